//! Deletes that others interfere with.

mod common;

use common::{Server, request::send};
use knarr_api::head::Encoded;
use knarr_json::{Value, json};
use knarr_store::{EventKind, Write};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// As a kubelet does: every second pod that is to go at once is removed by it, the others get a last status.
async fn meddle(store: knarr_store::Store) {
    let mut watch = store.watch("/registry/pods/", None).unwrap();
    while let Some(Ok(event)) = watch.next().await {
        let pod = &event.object;
        if event.kind != EventKind::Modified || !pod.head.deleting {
            continue;
        }
        let (key, expect) = (pod.key.to_string(), pod.revision);
        let number: u32 = pod.head.name[1..].parse().unwrap();
        let write = if number.is_multiple_of(2) {
            Write::Delete { key, expect }
        } else {
            let mut object: Value = serde_json::from_slice(&pod.json).unwrap();
            if object["status"]["message"] == "still here" {
                continue;
            }
            object["status"]["message"] = "still here".into();
            Write::Update {
                key,
                expect,
                value: Encoded::new(&object).unwrap(),
                head: pod.head.clone(),
            }
        };
        let _ = store.write(write).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_is_to_go_at_once_goes_whoever_is_faster() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let admin = server.admin().await;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let (code, body, _) = send(&admin, "POST", accounts, account).await;
    assert_eq!(code, 201, "{body}");
    let meddling = tokio::spawn(meddle(server.store.clone()));
    for n in 0..60 {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p{n}")},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
        let (code, body, _) = send(&admin, "POST", PODS, pod).await;
        assert_eq!(code, 201, "{body}");
        let path = format!("{PODS}/p{n}");
        let (code, body, _) = send(&admin, "DELETE", &path, json!({"gracePeriodSeconds": 0})).await;
        assert_eq!((code, &body["kind"]), (200, &json!("Pod")), "p{n}: {body}");
        let (code, body, _) = send(&admin, "GET", &path, Value::Null).await;
        assert_eq!(code, 404, "p{n} is still there: {body}");
    }
    meddling.abort();
    server.stop().await;
}
