//! Protobuf over HTTPS, read and written with message types made by others.

mod common;

use bytes::{Buf, Bytes, BytesMut};
use common::Server;
use http::{Request, header};
use http_body_util::BodyExt;
use k8s_pb::{
    api::{
        apps::v1::Deployment,
        authentication::v1::TokenRequest,
        autoscaling::v1::Scale,
        core::v1::{ConfigMap, ConfigMapList},
    },
    apimachinery::pkg::{
        apis::meta::v1::{
            DeleteOptions, ObjectMeta, PartialObjectMetadataList, Preconditions, Status, WatchEvent,
        },
        runtime::{TypeMeta, Unknown},
    },
};
use knarr_json::{Value, json};
use kube::client::Body;
use prost::Message;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

fn envelope(api_version: &str, kind: &str, message: &impl Message) -> Vec<u8> {
    let type_meta = TypeMeta {
        api_version: Some(api_version.into()),
        kind: Some(kind.into()),
    };
    let unknown = Unknown {
        type_meta: Some(type_meta),
        raw: Some(message.encode_to_vec()),
        ..Unknown::default()
    };
    [b"k8s\0".to_vec(), unknown.encode_to_vec()].concat()
}

/// Kind and message of a body.
fn opened<T: Message + Default>(body: &[u8]) -> (String, T) {
    let unknown =
        Unknown::decode(body.strip_prefix(b"k8s\0").expect("the mark of the format")).unwrap();
    let type_meta = unknown.type_meta.unwrap();
    let kind = format!(
        "{}.{}",
        type_meta.api_version.unwrap(),
        type_meta.kind.unwrap()
    );
    (kind, T::decode(&*unknown.raw.unwrap()).unwrap())
}

struct Wire(kube::Client);

impl Wire {
    async fn ask(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        body: impl Into<Vec<u8>>,
        content_type: &str,
    ) -> (u16, String, Bytes) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, accept)
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::from(body.into()))
            .unwrap();
        let response = self.0.send(request).await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers()[header::CONTENT_TYPE]
            .to_str()
            .unwrap()
            .to_owned();
        (
            status,
            kind,
            response.into_body().collect().await.unwrap().to_bytes(),
        )
    }

    async fn get<T: Message + Default>(&self, path: &str, accept: &str) -> (u16, String, T) {
        let (status, content_type, body) = self.ask("GET", path, accept, "", PROTOBUF).await;
        assert_eq!(content_type, PROTOBUF, "{}", String::from_utf8_lossy(&body));
        let (kind, message) = opened(&body);
        (status, kind, message)
    }

    async fn post<T: Message + Default>(
        &self,
        path: &str,
        kind: (&str, &str),
        message: &impl Message,
    ) -> (u16, String, T) {
        let body = envelope(kind.0, kind.1, message);
        let (status, content_type, body) = self.ask("POST", path, PROTOBUF, body, PROTOBUF).await;
        assert_eq!(content_type, PROTOBUF, "{}", String::from_utf8_lossy(&body));
        let (kind, message) = opened(&body);
        (status, kind, message)
    }

    async fn post_json(&self, path: &str, body: &Value) {
        let (status, _, answer) = self
            .ask(
                "POST",
                path,
                "application/json",
                body.to_string(),
                "application/json",
            )
            .await;
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
    }
}

fn named(name: &str) -> Option<ObjectMeta> {
    Some(ObjectMeta {
        name: Some(name.into()),
        ..ObjectMeta::default()
    })
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_lists_and_statuses() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let wire = Wire(server.admin().await);

    let mut map = ConfigMap {
        metadata: named("a"),
        ..ConfigMap::default()
    };
    map.data.insert("k".into(), "v\"ü\n".into());
    map.binary_data.insert("b".into(), vec![0, 255]);
    let (status, kind, made) = wire
        .post::<ConfigMap>(MAPS, ("v1", "ConfigMap"), &map)
        .await;
    assert_eq!((status, kind.as_str()), (201, "v1.ConfigMap"));
    assert_eq!(
        (&made.data, &made.binary_data),
        (&map.data, &map.binary_data)
    );
    let meta = made.metadata.unwrap();
    assert!(
        meta.uid.is_some() && meta.creation_timestamp.unwrap().seconds.unwrap() > 1_700_000_000
    );
    assert!(meta.managed_fields[0].fields_v1.is_some());

    // Enough to be encoded away from the thread that answers.
    for i in 0..30 {
        let data = json!({"k": "x".repeat(20_000)});
        let name = format!("big-{i:02}");
        wire.post_json(MAPS, &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})).await;
    }
    let (_, kind, list) = wire.get::<ConfigMapList>(MAPS, PROTOBUF).await;
    assert_eq!((kind.as_str(), list.items.len()), ("v1.ConfigMapList", 31));
    assert_eq!(list.items[30].data["k"].len(), 20_000);
    let (_, _, page) = wire
        .get::<ConfigMapList>(&format!("{MAPS}?limit=2"), PROTOBUF)
        .await;
    assert_eq!(page.items.len(), 2);
    let meta = page.metadata.unwrap();
    assert_eq!(meta.remaining_item_count, Some(29));
    assert!(meta.r#continue.is_some());
    let (_, _, none) = wire
        .get::<ConfigMapList>(&format!("{MAPS}?labelSelector=none%3Dhere"), PROTOBUF)
        .await;
    assert!(none.items.is_empty() && none.metadata.unwrap().resource_version.is_some());

    let partial = format!("{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let (_, kind, list) = wire.get::<PartialObjectMetadataList>(MAPS, &partial).await;
    assert_eq!(
        (kind.as_str(), list.items.len()),
        ("meta.k8s.io/v1.PartialObjectMetadataList", 31)
    );
    assert_eq!(
        list.items[0].metadata.as_ref().unwrap().name.as_deref(),
        Some("a")
    );

    let (status, kind, gone) = wire.get::<Status>(&format!("{MAPS}/none"), PROTOBUF).await;
    assert_eq!(
        (status, kind.as_str(), gone.code),
        (404, "v1.Status", Some(404))
    );
    assert_eq!(gone.details.unwrap().kind.as_deref(), Some("configmaps"));
    let (status, _, refused) = wire
        .get::<Status>(MAPS, &format!("{PROTOBUF};as=Table;g=meta.k8s.io;v=v1"))
        .await;
    assert_eq!(status, 406);
    assert!(
        refused
            .message
            .unwrap()
            .starts_with("object *v1.Table does not implement")
    );

    let wrong = DeleteOptions {
        preconditions: Some(Preconditions {
            uid: Some("x".into()),
            ..Preconditions::default()
        }),
        ..DeleteOptions::default()
    };
    let body = envelope("v1", "DeleteOptions", &wrong);
    let (status, _, _) = wire
        .ask("DELETE", &format!("{MAPS}/a"), PROTOBUF, body, PROTOBUF)
        .await;
    assert_eq!(status, 409);
    let (status, _, body) = wire
        .ask("DELETE", &format!("{MAPS}/a"), PROTOBUF, "", PROTOBUF)
        .await;
    assert_eq!(
        (status, opened::<Status>(&body).1.status.as_deref()),
        (200, Some("Success"))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subresources_take_and_give_their_own_kinds() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let wire = Wire(server.admin().await);
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i", "livenessProbe": {"httpGet": {"port": "http"}}}]}}}});
    wire.post_json(deployments, &deployment).await;
    let (_, _, whole) = wire
        .get::<Deployment>(&format!("{deployments}/d"), PROTOBUF)
        .await;
    let pod = whole.spec.unwrap().template.unwrap().spec.unwrap();
    let probe = pod.containers[0].liveness_probe.as_ref().unwrap();
    let port = probe
        .handler
        .as_ref()
        .unwrap()
        .http_get
        .as_ref()
        .unwrap()
        .port
        .as_ref()
        .unwrap();
    assert_eq!(
        (probe.period_seconds, port.str_val.as_deref()),
        (Some(10), Some("http"))
    );
    let (_, kind, mut scale) = wire
        .get::<Scale>(&format!("{deployments}/d/scale"), PROTOBUF)
        .await;
    assert_eq!(
        (kind.as_str(), scale.spec.as_ref().unwrap().replicas),
        ("autoscaling/v1.Scale", Some(1))
    );
    scale.spec.as_mut().unwrap().replicas = Some(3);
    let body = envelope("autoscaling/v1", "Scale", &scale);
    let (status, _, body) = wire
        .ask(
            "PUT",
            &format!("{deployments}/d/scale"),
            PROTOBUF,
            body,
            PROTOBUF,
        )
        .await;
    assert_eq!(
        (status, opened::<Scale>(&body).1.spec.unwrap().replicas),
        (200, Some(3))
    );

    wire.post_json(
        "/api/v1/namespaces/default/serviceaccounts",
        &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "s"}}),
    )
    .await;
    let path = "/api/v1/namespaces/default/serviceaccounts/s/token";
    let (status, _, token) = wire
        .post::<TokenRequest>(
            path,
            ("authentication.k8s.io/v1", "TokenRequest"),
            &TokenRequest::default(),
        )
        .await;
    assert_eq!(status, 201);
    assert!(token.status.unwrap().token.unwrap().split('.').count() == 3);
    server.stop().await;
}

/// Takes whole frames off what has come.
fn frames(buffer: &mut BytesMut) -> Vec<WatchEvent> {
    let mut out = Vec::new();
    while let Some(head) = buffer.get(..4) {
        let length = u32::from_be_bytes(head.try_into().unwrap()) as usize;
        if buffer.len() < 4 + length {
            break;
        }
        buffer.advance(4);
        out.push(WatchEvent::decode(&*buffer.split_to(length)).unwrap());
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_send_messages_behind_their_length() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let wire = Wire(server.admin().await);
    let map = |name: &str| ConfigMap {
        metadata: named(name),
        ..ConfigMap::default()
    };
    wire.post::<ConfigMap>(MAPS, ("v1", "ConfigMap"), &map("a"))
        .await;
    let accept = format!("{PROTOBUF};stream=watch");
    let path = format!(
        "{MAPS}?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=20"
    );
    let request = Request::get(path)
        .header(header::ACCEPT, &accept)
        .body(Body::empty())
        .unwrap();
    let mut response = wire.0.send(request).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], *accept);
    wire.post::<ConfigMap>(MAPS, ("v1", "ConfigMap"), &map("b"))
        .await;
    let mut buffer = BytesMut::new();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let frame = response.body_mut().frame().await.unwrap().unwrap();
        buffer.extend_from_slice(frame.data_ref().unwrap());
        for event in frames(&mut buffer) {
            let (kind, object) = opened::<ConfigMap>(&event.object.unwrap().raw.unwrap());
            assert_eq!(kind, "v1.ConfigMap");
            let name = object.metadata.unwrap().name.unwrap_or_default();
            seen.push(format!("{} {name}", event.r#type.unwrap()));
        }
    }
    assert_eq!(seen, ["ADDED a", "BOOKMARK ", "ADDED b"]);
    let gone = format!("{MAPS}?watch=1&resourceVersion=1000000");
    let (_, content_type, body) = wire.ask("GET", &gone, &accept, "", PROTOBUF).await;
    assert_eq!(content_type, accept);
    let events = frames(&mut BytesMut::from(&body[..]));
    let (_, status) = opened::<Status>(events[0].object.as_ref().unwrap().raw.as_ref().unwrap());
    assert_eq!(
        (events[0].r#type.as_deref(), status.code),
        (Some("ERROR"), Some(504))
    );
    server.stop().await;
}
