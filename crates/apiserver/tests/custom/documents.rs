//! Discovery and OpenAPI tell of custom resources as soon as they are served, and no longer than that.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use knarr_json::{Value, json};

use super::{
    DEFINITIONS,
    common::{Server, request::send},
    define, definition, version,
};

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
const DOCUMENT: &str = "/openapi/v3/apis/example.com/v1";
/// How long documents may lag behind.
const SOON: Duration = Duration::from_secs(1);

/// The answer to a GET with its ETag.
async fn get(client: &kube::Client, path: &str, accept: &str) -> (u16, String, Value) {
    let request = http::Request::get(path).header("accept", accept);
    let request = request.body(kube::client::Body::empty()).unwrap();
    let response = client.send(request).await.unwrap();
    let code = response.status().as_u16();
    let etag = response.headers().get("etag");
    let etag = etag
        .map(|e| e.to_str().unwrap().to_owned())
        .unwrap_or_default();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (
        code,
        etag,
        serde_json::from_slice(&bytes).unwrap_or_default(),
    )
}

/// What a request that begins in time finds.
async fn soon<T>(what: &str, check: impl AsyncFn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        let asked = start.elapsed();
        if let Some(found) = check().await {
            return found;
        }
        assert!(asked < SOON, "{what} takes too long");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Where `/openapi/v3` says that the document of the group is, with its hash.
async fn hash(client: &kube::Client) -> Option<String> {
    let (_, _, index) = get(client, "/openapi/v3", "application/json").await;
    let place = &index["paths"]["apis/example.com/v1"]["serverRelativeURL"];
    place.as_str().map(str::to_owned)
}

fn schema(document: &Value) -> &Value {
    &document["components"]["schemas"]["com.example.v1.Pot"]["properties"]["spec"]["properties"]
}

async fn aggregated(client: &kube::Client) -> Option<Value> {
    let (_, _, list) = get(client, "/apis", AGGREGATED).await;
    let groups = list["items"].as_array().unwrap();
    groups
        .iter()
        .find(|g| g["metadata"]["name"] == "example.com")
        .cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_follow_definitions() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let (_, etag_before, _) = get(&client, "/openapi/v2", "application/json").await;
    let (_, groups_before, _) = get(&client, "/apis", AGGREGATED).await;
    let pots = |spec: Value| definition("Pot", json!([version("v1", true, spec)]));
    define(&client, &pots(json!({"size": {"type": "integer"}}))).await;

    let first = soon("OpenAPI v3", || hash(&client)).await;
    let document = soon("the document", async || {
        let (code, _, document) = get(&client, DOCUMENT, "application/json").await;
        (code == 200 && schema(&document).is_object()).then_some(document)
    })
    .await;
    assert_eq!(schema(&document), &json!({"size": {"type": "integer"}}));
    assert!(document["paths"]["/apis/example.com/v1/namespaces/{namespace}/pots/{name}/status"]["patch"].is_object());
    // The place with its hash is there for good.
    let (code, _, same) = get(&client, &first, "application/json").await;
    assert_eq!((code, &same), (200, &document));
    let v2 = soon("OpenAPI v2", async || {
        let (_, etag, v2) = get(&client, "/openapi/v2", "application/json").await;
        (etag != etag_before && v2["definitions"]["com.example.v1.Pot"].is_object()).then_some(v2)
    })
    .await;
    assert_eq!(
        v2["definitions"]["com.example.v1.Pot"]["properties"]["spec"]["properties"],
        json!({"size": {"type": "integer"}})
    );
    let group = soon("aggregated discovery", || aggregated(&client)).await;
    assert_eq!(group["versions"][0]["resources"][0]["resource"], "pots");
    assert_eq!(
        group["versions"][0]["resources"][0]["subresources"][0]["subresource"],
        "status"
    );
    let (_, groups, _) = get(&client, "/apis", AGGREGATED).await;
    assert_ne!(groups, groups_before);
    let (_, plain, _) = send(&client, "GET", "/apis/example.com/v1", Value::Null).await;
    let names: Vec<&Value> = plain["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["name"])
        .collect();
    assert_eq!(names, ["pots", "pots/status"]);

    // A change of the schema changes the hash and the ETags.
    let (_, etag_v2, _) = get(&client, "/openapi/v2", "application/json").await;
    let (_, etag_v3, _) = get(&client, DOCUMENT, "application/json").await;
    let spec = json!({"size": {"type": "integer"}, "lid": {"type": "boolean"}});
    let change = json!({"spec": {"versions": [version("v1", true, spec.clone())]}});
    let (code, answer, _) = send(
        &client,
        "PATCH",
        &format!("{DEFINITIONS}/pots.example.com"),
        change,
    )
    .await;
    assert_eq!(code, 200, "{answer}");
    let second = soon("the new hash", async || {
        hash(&client).await.filter(|h| *h != first)
    })
    .await;
    let (code, _, document) = get(&client, &second, "application/json").await;
    assert_eq!((code, schema(&document)), (200, &spec));
    let (_, new, _) = get(&client, DOCUMENT, "application/json").await;
    assert_ne!(new, etag_v3);
    soon("the new v2", async || {
        let (_, etag, v2) = get(&client, "/openapi/v2", "application/json").await;
        let properties =
            &v2["definitions"]["com.example.v1.Pot"]["properties"]["spec"]["properties"];
        (etag != etag_v2 && *properties == spec).then_some(())
    })
    .await;

    // Another definition in the group has no part in this one's end.
    let cans = definition("Can", json!([version("v1", true, json!({}))]));
    define(&client, &cans).await;
    assert_eq!(
        send(
            &client,
            "DELETE",
            &format!("{DEFINITIONS}/pots.example.com"),
            Value::Null
        )
        .await
        .0,
        200
    );
    soon("the end in v3", async || {
        let (_, _, document) = get(&client, DOCUMENT, "application/json").await;
        let schemas = &document["components"]["schemas"];
        (schemas["com.example.v1.Can"].is_object() && schemas["com.example.v1.Pot"].is_null())
            .then_some(())
    })
    .await;
    assert_eq!(
        send(
            &client,
            "DELETE",
            &format!("{DEFINITIONS}/cans.example.com"),
            Value::Null
        )
        .await
        .0,
        200
    );
    soon("the end of the group", async || {
        hash(&client).await.is_none().then_some(())
    })
    .await;
    assert_eq!(get(&client, DOCUMENT, "application/json").await.0, 404);
    soon("the end in v2", async || {
        let (_, _, v2) = get(&client, "/openapi/v2", "application/json").await;
        let text = v2.to_string();
        (!text.contains("com.example.v1")).then_some(())
    })
    .await;
    soon("the end in discovery", async || {
        aggregated(&client).await.is_none().then_some(())
    })
    .await;
    let (_, groups, _) = get(&client, "/apis", AGGREGATED).await;
    assert_eq!(groups, groups_before, "all is as it was");
    assert_eq!(
        send(&client, "GET", "/apis/example.com/v1", Value::Null)
            .await
            .0,
        404
    );
    server.stop().await;
}
