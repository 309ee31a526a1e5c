//! Versions with fields of their own, converted by a webhook over TLS.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use http_body_util::BodyExt;
use knarr_json::{Value, json};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, WatchEvent, WatchParams},
};

use super::{
    DEFINITIONS,
    common::{Server, hook::Hook, request::send},
    define, definition, revision, version,
};

const V1: &str = "/apis/example.com/v1/namespaces/default/doors";
const V2: &str = "/apis/example.com/v2/namespaces/default/doors";

/// `hostPort: "a:80"` of v1 is `host: a` and `port: 80` of v2.
fn converted(object: &Value, to: &str) -> Value {
    let mut new = object.clone();
    new["apiVersion"] = to.into();
    let spec = &object["spec"];
    match (to, object["apiVersion"] == to) {
        (_, true) => {}
        ("example.com/v1", _) => {
            let host = spec["host"].as_str().unwrap_or_default();
            new["spec"] = json!({"hostPort": format!("{host}:{}", spec["port"])});
            let metadata = new["metadata"].as_object_mut().unwrap();
            if let Some(Value::Object(mut annotations)) = metadata.remove("annotations") {
                annotations.remove("example.com/converted");
                if !annotations.is_empty() {
                    metadata.insert("annotations", annotations.into());
                }
            }
        }
        _ => {
            let joined = spec["hostPort"].as_str().unwrap_or_default();
            let (host, port) = joined.split_once(':').unwrap_or((joined, "0"));
            let port: i64 = port.parse().unwrap_or_default();
            new["spec"] = json!({"host": host, "port": port});
            new["metadata"]["annotations"]["example.com/converted"] = "yes".into();
        }
    }
    new
}

fn convert(review: &Value) -> Value {
    let request = &review["request"];
    let to = request["desiredAPIVersion"].as_str().unwrap();
    let objects = request["objects"].as_array().unwrap().iter();
    let objects: Vec<Value> = objects.map(|o| converted(o, to)).collect();
    json!({"kind": "ConversionReview", "apiVersion": review["apiVersion"], "response": {
        "uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects}})
}

/// A definition with two versions whose conversion is the hook's work.
fn doors(hook: &Hook) -> Value {
    let v1 = version("v1", true, json!({"hostPort": {"type": "string"}}));
    let v2 = json!({"host": {"type": "string"}, "port": {"type": "integer", "maximum": 65535}, "paint": {"type": "string", "default": "white"}});
    let mut crd = definition("Door", json!([v1, version("v2", false, v2)]));
    crd["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v2", "v1", "v1beta1"], "clientConfig": hook.by_url()}});
    crd
}

fn door(version: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Door", "metadata": {"name": name}, "spec": spec})
}

fn stored(server: &Server, name: &str) -> Value {
    let stored = server
        .store
        .get(&format!("/registry/example.com/doors/default/{name}"));
    serde_json::from_slice(&stored.unwrap().json).unwrap()
}

async fn apply(client: &kube::Client, path: &str, manager: &str, body: Value) -> (u16, Value) {
    let request = http::Request::patch(format!("{path}?fieldManager={manager}"))
        .header("content-type", "application/apply-patch+yaml")
        .body(kube::client::Body::from(body.to_string().into_bytes()))
        .unwrap();
    let response = client.send(request).await.unwrap();
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_in_one_version_is_read_in_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let hook = Hook::reviews(convert).await;
    define(&client, &doors(&hook)).await;

    let new = door("v2", "a", json!({"host": "a", "port": 80}));
    let (code, made, _) = send(&client, "POST", V2, new).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["apiVersion"], "example.com/v2");
    assert_eq!(made["spec"]["port"], 80);
    let kept = stored(&server, "a");
    assert_eq!(kept["apiVersion"], "example.com/v1");
    assert_eq!(kept["spec"], json!({"hostPort": "a:80"}));
    let (_, read, _) = send(&client, "GET", &format!("{V1}/a"), Value::Null).await;
    assert_eq!(
        (&read["spec"], revision(&read)),
        (&json!({"hostPort": "a:80"}), revision(&made))
    );
    let (_, read, _) = send(&client, "GET", &format!("{V2}/a"), Value::Null).await;
    assert_eq!(
        read["spec"],
        json!({"host": "a", "port": 80}),
        "defaults come before conversion"
    );
    assert_eq!(
        read["metadata"]["annotations"],
        json!({"example.com/converted": "yes"})
    );

    let asked = &hook.seen()[0];
    assert_eq!(
        asked["http"],
        "HTTP/2.0 timeout=30s \"apiextensions.k8s.io/v1\""
    );
    assert_eq!(asked["desiredAPIVersion"], "example.com/v1");
    assert_eq!(asked["objects"][0]["spec"]["paint"], "white");

    // What v2 does not allow is refused in v2 alone.
    let wrong = door("v2", "w", json!({"host": "a", "port": 80000}));
    assert_eq!(send(&client, "POST", V2, wrong).await.0, 422);
    let (code, _, _) = send(
        &client,
        "POST",
        V1,
        door("v1", "b", json!({"hostPort": "b:80000"})),
    )
    .await;
    assert_eq!(code, 201);
    let (_, list, _) = send(&client, "GET", V2, Value::Null).await;
    let specs: Vec<&Value> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| &i["spec"])
        .collect();
    assert_eq!(
        specs,
        [
            &json!({"host": "a", "port": 80}),
            &json!({"host": "b", "port": 80000})
        ]
    );
    assert_eq!(
        (&list["apiVersion"], &list["kind"]),
        (&json!("example.com/v2"), &json!("DoorList"))
    );

    let (code, patched, _) = send(
        &client,
        "PATCH",
        &format!("{V2}/a"),
        json!({"spec": {"port": 81}}),
    )
    .await;
    assert_eq!(code, 200, "{patched}");
    assert_eq!(stored(&server, "a")["spec"]["hostPort"], "a:81");
    let mut read = send(&client, "GET", &format!("{V1}/a"), Value::Null)
        .await
        .1;
    read["spec"]["hostPort"] = "c:82".into();
    let (code, updated, _) = send(&client, "PUT", &format!("{V1}/a"), read).await;
    assert_eq!(code, 200, "{updated}");
    let (_, read, _) = send(&client, "GET", &format!("{V2}/a"), Value::Null).await;
    assert_eq!(read["spec"], json!({"host": "c", "port": 82}));
    let (code, status, _) = send(
        &client,
        "PATCH",
        &format!("{V2}/a/status"),
        json!({"status": {"open": true}}),
    )
    .await;
    assert_eq!((code, &status["status"]), (200, &json!({"open": true})));
    assert_eq!(stored(&server, "a")["spec"]["hostPort"], "c:82");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_have_their_version() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let hook = Hook::reviews(convert).await;
    define(&client, &doors(&hook)).await;
    let old = send(
        &client,
        "POST",
        V1,
        door("v1", "a", json!({"hostPort": "a:1"})),
    )
    .await
    .1;
    let quiet = WatchParams::default().disable_bookmarks();
    for (version, spec) in [
        ("v1", json!({"hostPort": "a:2"})),
        ("v2", json!({"host": "a", "port": 2})),
    ] {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", version, "Door"));
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &kind);
        let mut events = api.watch(&quiet, "0").await.unwrap().boxed();
        let mut next = async || {
            let event = tokio::time::timeout(Duration::from_secs(10), events.next()).await;
            event.expect("in time").unwrap().unwrap()
        };
        let first = match next().await {
            WatchEvent::Added(first) => first,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            first.types.unwrap().api_version,
            format!("example.com/{version}")
        );
        let change =
            json!({"spec": {"hostPort": "a:2"}, "metadata": {"labels": {"seen": version}}});
        let (code, changed, _) = send(&client, "PATCH", &format!("{V1}/a"), change).await;
        assert_eq!(code, 200, "{changed}");
        let second = match next().await {
            WatchEvent::Modified(second) => second,
            other => panic!("{other:?}"),
        };
        assert_eq!(second.data["spec"], spec);
        assert_eq!(
            second.metadata.resource_version.as_deref(),
            Some(revision(&changed))
        );
    }
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v2", "Door"));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &kind);
    let mut events = api.watch(&quiet, revision(&old)).await.unwrap().boxed();
    send(&client, "DELETE", &format!("{V1}/a"), Value::Null).await;
    let mut last = None;
    while !matches!(last, Some(WatchEvent::Deleted(_))) {
        last = events.next().await.transpose().unwrap();
    }
    let Some(WatchEvent::Deleted(gone)) = last else {
        unreachable!()
    };
    assert_eq!(gone.data["spec"], json!({"host": "a", "port": 2}));
    server.stop().await;
}

/// A change that cannot be brought to the watch's version is told as one error, which ends the watch.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_what_cannot_be_converted() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let broken = Arc::<Mutex<bool>>::default();
    let current = broken.clone();
    let hook = Hook::reviews(move |review| match *current.lock().unwrap() {
        true => json!({"fail": 500}),
        false => convert(review),
    })
    .await;
    define(&client, &doors(&hook)).await;
    let first = door("v1", "a", json!({"hostPort": "a:1"}));
    let (_, made, _) = send(&client, "POST", V1, first).await;
    let since = format!("{V2}?watch=1&resourceVersion={}", revision(&made));
    let watch = http::Request::get(since).body(kube::client::Body::empty());
    let stream = client.send(watch.unwrap()).await.unwrap().into_body();
    *broken.lock().unwrap() = true;
    for port in [2, 3] {
        let change = json!({"spec": {"hostPort": format!("a:{port}")}});
        let (code, changed, _) = send(&client, "PATCH", &format!("{V1}/a"), change).await;
        assert_eq!(code, 200, "{changed}");
    }
    // One that does not end would fill any memory.
    let whole = http_body_util::Limited::new(stream, 64 * 1024).collect();
    let whole = tokio::time::timeout(Duration::from_secs(20), whole).await;
    let bytes = whole
        .expect("the watch ends")
        .expect("it is short")
        .to_bytes();
    let frames: Vec<Value> = serde_json::Deserializer::from_slice(&bytes)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(frames.len(), 1, "{frames:?}");
    assert_eq!(frames[0]["type"], "ERROR");
    assert_eq!(frames[0]["object"]["code"], 500);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_of_fields_are_known_across_versions() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let hook = Hook::reviews(convert).await;
    let mut crd = doors(&hook);
    // A default that conversion loses would be a change each time.
    crd["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["paint"] =
        json!({"type": "string"});
    define(&client, &crd).await;
    let (code, made) = apply(
        &client,
        &format!("{V2}/a"),
        "one",
        door("v2", "a", json!({"host": "a", "port": 1})),
    )
    .await;
    assert_eq!(code, 201, "{made}");
    // The same again changes nothing.
    let (code, same) = apply(
        &client,
        &format!("{V2}/a"),
        "one",
        door("v2", "a", json!({"host": "a", "port": 1})),
    )
    .await;
    assert_eq!((code, revision(&same)), (200, revision(&made)), "{same}");
    let managed = &same["metadata"]["managedFields"][0];
    assert_eq!(
        (&managed["apiVersion"], &managed["manager"]),
        (&json!("example.com/v2"), &json!("one"))
    );
    // In the other version it is one field; whose it is is told as that one knows it.
    let (code, refused) = apply(
        &client,
        &format!("{V1}/a"),
        "two",
        door("v1", "a", json!({"hostPort": "b:2"})),
    )
    .await;
    assert_eq!(code, 409, "{refused}");
    assert_eq!(
        refused["message"],
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.host\n- .spec.port"
    );
    let (code, forced) = apply(
        &client,
        &format!("{V1}/a"),
        "two&force=true",
        door("v1", "a", json!({"hostPort": "b:2"})),
    )
    .await;
    assert_eq!(code, 200, "{forced}");
    let managers: Vec<(&Value, &Value)> = forced["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|m| m["fieldsV1"]["f:spec"].is_object())
        .map(|m| (&m["manager"], &m["apiVersion"]))
        .collect();
    assert_eq!(managers, [(&json!("two"), &json!("example.com/v1"))]);
    let (_, read, _) = send(&client, "GET", &format!("{V2}/a"), Value::Null).await;
    assert_eq!(read["spec"], json!({"host": "b", "port": 2}));
    server.stop().await;
}

/// What a webhook does wrong, and what is said of it.
fn mistakes() -> Vec<(&'static str, Value, &'static str)> {
    let with = |path: &str, value: Value| json!({"set": path, "value": value});
    vec![
        (
            "a failure",
            json!({"fail": 500}),
            "failed: an error on the server (\"no\") has prevented the request from succeeding",
        ),
        (
            "nothing found",
            json!({"fail": 404}),
            "failed: the server could not find the requested resource",
        ),
        (
            "no response",
            with("/response", Value::Null),
            "failed: no response provided",
        ),
        (
            "another kind",
            with("/kind", json!("Review")),
            "failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got apiextensions.k8s.io/v1, Kind=Review",
        ),
        (
            "a refusal",
            with(
                "/response/result",
                json!({"status": "Failure", "message": "not today"}),
            ),
            "failed: not today",
        ),
        (
            "a refusal without words",
            with("/response/result", json!({"status": "Failure"})),
            "failed: response.result.status was 'Failure', not 'Success'",
        ),
        (
            "no result",
            with("/response/result", json!({})),
            "failed: response.result.status was '', not 'Success'",
        ),
        (
            "no objects",
            with("/response/convertedObjects", json!([])),
            "returned 0 objects, expected 1",
        ),
        (
            "another version",
            with(
                "/response/convertedObjects/0/apiVersion",
                json!("example.com/v3"),
            ),
            "returned invalid object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v3)",
        ),
        (
            "another kind of object",
            with("/response/convertedObjects/0/kind", json!("Gate")),
            "returned invalid object at index 0: invalid kind (expected Door, received Gate)",
        ),
        (
            "another name",
            with("/response/convertedObjects/0/metadata/name", json!("z")),
            "returned invalid object: must have the same name: a != z",
        ),
        (
            "another namespace",
            with(
                "/response/convertedObjects/0/metadata/namespace",
                json!("z"),
            ),
            "returned invalid object: must have the same namespace: default != z",
        ),
        (
            "labels of numbers",
            with(
                "/response/convertedObjects/0/metadata/labels",
                json!({"n": 1}),
            ),
            "returned invalid metadata: metadata.labels[n] must be a string, but is int64 in converted object",
        ),
        (
            "labels that are a list",
            with("/response/convertedObjects/0/metadata/labels", json!(["n"])),
            "returned invalid metadata: invalid metadata.labels of type []interface {} in converted object",
        ),
        (
            "bad labels",
            with(
                "/response/convertedObjects/0/metadata/labels",
                json!({"n": "-"}),
            ),
            "returned invalid metadata: metadata.labels: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_of_webhooks_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let mistake = Arc::<Mutex<Value>>::default();
    let current = mistake.clone();
    let hook = Hook::reviews(move |review| {
        let mistake = current.lock().unwrap().clone();
        let mut answer = convert(review);
        if mistake["fail"].is_number() || mistake["text"].is_string() {
            return mistake;
        }
        if let Some(path) = mistake["set"].as_str() {
            *place(&mut answer, path) = mistake["value"].clone();
        }
        answer
    })
    .await;
    define(&client, &doors(&hook)).await;
    let (code, made, _) = send(
        &client,
        "POST",
        V1,
        door("v1", "a", json!({"hostPort": "a:1"})),
    )
    .await;
    assert_eq!(code, 201, "{made}");
    for (what, wrong, said) in mistakes() {
        *mistake.lock().unwrap() = wrong;
        let want = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 500,
            "message": format!("conversion webhook for example.com/v1, Kind=Door {said}"),
        });
        for path in [format!("{V2}/a"), V2.to_owned()] {
            let (code, answer, _) = send(&client, "GET", &path, Value::Null).await;
            assert_eq!((code, &answer), (500, &want), "{what}");
        }
        let (code, _, _) = send(
            &client,
            "PATCH",
            &format!("{V2}/a"),
            json!({"spec": {"port": 2}}),
        )
        .await;
        assert_eq!(code, 500, "{what}");
        // Who asks for the version that is stored is not concerned.
        assert_eq!(
            send(&client, "GET", &format!("{V1}/a"), Value::Null)
                .await
                .0,
            200
        );
    }
    // Answers to other questions.
    *mistake.lock().unwrap() = json!({"set": "/response/uid", "value": "elsewhere"});
    let (_, answer, _) = send(&client, "GET", &format!("{V2}/a"), Value::Null).await;
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "conversion webhook for example.com/v1, Kind=Door failed: expected response.uid=\""
        ),
        "{message}"
    );
    assert!(message.ends_with("\", got \"elsewhere\""), "{message}");
    *mistake.lock().unwrap() =
        json!({"set": "/response/convertedObjects/0/metadata/uid", "value": "other"});
    let (_, answer, _) = send(&client, "GET", &format!("{V2}/a"), Value::Null).await;
    let uid = made["metadata"]["uid"].as_str().unwrap();
    assert_eq!(
        answer["message"],
        format!(
            "conversion webhook for example.com/v1, Kind=Door returned invalid object: must have the same UID: {uid} != other"
        )
    );
    // Writes ask too, about what is to be written.
    *mistake.lock().unwrap() =
        json!({"set": "/response/result", "value": {"status": "Failure", "message": "no"}});
    let (code, answer, _) = send(
        &client,
        "POST",
        V2,
        door("v2", "n", json!({"host": "n", "port": 1})),
    )
    .await;
    assert_eq!(code, 500);
    assert_eq!(
        answer["message"],
        "conversion webhook for example.com/v2, Kind=Door failed: no"
    );
    *mistake.lock().unwrap() = Value::Null;
    assert_eq!(
        send(&client, "GET", &format!("{V2}/n"), Value::Null)
            .await
            .0,
        404
    );
    assert_eq!(
        send(&client, "GET", &format!("{V2}/a"), Value::Null)
            .await
            .0,
        200
    );
    server.stop().await;
}

/// A place in JSON, made where it is missing.
fn place<'v>(value: &'v mut Value, path: &str) -> &'v mut Value {
    path.split('/')
        .skip(1)
        .fold(value, |at, step| match step.parse::<usize>() {
            Ok(i) => &mut at[i],
            Err(_) => &mut at[step],
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_do_not_answer_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let slow = Arc::<Mutex<bool>>::default();
    let current = slow.clone();
    let hook = Hook::reviews(move |review| {
        let mut answer = convert(review);
        if *current.lock().unwrap() {
            answer["sleep"] = 60.into();
        }
        answer
    })
    .await;
    define(&client, &doors(&hook)).await;
    send(
        &client,
        "POST",
        V1,
        door("v1", "a", json!({"hostPort": "a:1"})),
    )
    .await;
    *slow.lock().unwrap() = true;
    let url = format!("https://{}/review?timeout=30s", hook.address);
    let (code, answer, _) = send(&client, "GET", &format!("{V2}/a"), Value::Null).await;
    assert_eq!(code, 500);
    assert_eq!(
        answer["message"],
        format!(
            "conversion webhook for example.com/v1, Kind=Door failed: Post {url:?}: context deadline exceeded"
        )
    );
    // Nobody listens where this one did.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let url = format!("https://{address}/convert");
    let config = json!({"spec": {"conversion": {"webhook": {"clientConfig": {"url": url}}}}});
    let crd = format!("{DEFINITIONS}/doors.example.com");
    assert_eq!(send(&client, "PATCH", &crd, config).await.0, 200);
    let said = format!(
        "conversion webhook for example.com/v1, Kind=Door failed: Post \"{url}?timeout=30s\": dial tcp {address}: connect: connection refused"
    );
    *slow.lock().unwrap() = false;
    super::until(|| async {
        let (_, answer, _) = send(&client, "GET", &format!("{V2}/a"), Value::Null).await;
        answer["message"] == said
    })
    .await;
    server.stop().await;
}
