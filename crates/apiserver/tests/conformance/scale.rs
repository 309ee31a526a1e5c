//! The scale of what has replicas.

use knarr_json::{Value, json};

use crate::{
    kinds::template,
    world::{STRATEGIC, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn scales_are_read_written_and_patched() {
    let world = World::start().await;
    let apps = "/apis/apps/v1/namespaces/default";
    let selected = json!({"matchLabels": {"app": "a"}});
    for (path, selector) in [
        (format!("{apps}/deployments"), selected.clone()),
        (format!("{apps}/replicasets"), selected.clone()),
        (format!("{apps}/statefulsets"), selected),
        (
            "/api/v1/namespaces/default/replicationcontrollers".to_owned(),
            json!({"app": "a"}),
        ),
    ] {
        let object = json!({"metadata": {"name": "s"}, "spec": {"replicas": 1, "selector": selector, "template": template()}});
        world.make(&path, object).await;
        let (object, scale) = (format!("{path}/s"), format!("{path}/s/scale"));
        let mut read = world.get(&scale).await;
        assert_eq!(read["kind"], "Scale");
        assert_eq!(read["apiVersion"], "autoscaling/v1");
        assert_eq!(
            (&read["spec"]["replicas"], &read["status"]["selector"]),
            (&json!(1), &json!("app=a"))
        );
        // Without a revision it is written whatever happened in between.
        read["metadata"]["resourceVersion"] = Value::Null;
        read["spec"]["replicas"] = json!(2);
        let written = world.put(&scale, read.clone()).await;
        assert_eq!(written["spec"]["replicas"], 2);
        assert_eq!(world.get(&object).await["spec"]["replicas"], 2);
        let patched = world
            .patch(&scale, STRATEGIC, json!({"spec": {"replicas": 4}}))
            .await;
        assert_eq!(patched["spec"]["replicas"], 4);
        assert_eq!(world.get(&object).await["spec"]["replicas"], 4);
        read["metadata"]["resourceVersion"] = json!("1");
        let (code, _) = world.ask("PUT", &scale, read).await;
        assert_eq!(code, 409, "an old revision is a conflict");
    }
    world.stop().await;
}

/// A Scale says whose it is, and another object's is refused, by PUT and PATCH in their own words.
#[tokio::test(flavor = "multi_thread")]
async fn another_objects_scale_is_refused() {
    let world = World::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let spec = json!({"selector": {"matchLabels": {"app": "a"}}, "template": template()});
    let object = json!({"metadata": {"name": "s"}, "spec": spec});
    world.make(path, object).await;
    let scale = format!("{path}/s/scale");
    let mut read = world.get(&scale).await;
    read["metadata"]["uid"] = json!("another");
    let (put, put_answer) = world.ask("PUT", &scale, read).await;
    assert_eq!(put, 409, "{put_answer}");
    let text = |answer: &Value| answer["message"].as_str().unwrap().to_owned();
    assert!(text(&put_answer).contains("StorageError: invalid object, Code: 4"));
    for (metadata, code, words) in [
        (
            json!({"uid": "another"}),
            409,
            "Operation cannot be fulfilled on deployments/scale.apps \"s\": Precondition failed: UID in precondition: another,",
        ),
        (json!({"name": "t"}), 400, "the name of the object (t)"),
        (
            json!({"namespace": "elsewhere"}),
            400,
            "the namespace of the provided object does not match",
        ),
    ] {
        let patch = json!({"metadata": metadata, "spec": {"replicas": 3}}).to_string();
        let kind = [("content-type", "application/merge-patch+json")];
        let (patched, _, answer) = world.raw("PATCH", &scale, &kind, patch.into()).await;
        assert_eq!(patched, code, "{answer}");
        assert!(text(&answer).contains(words), "{answer}");
    }
    assert_eq!(world.get(&scale).await["spec"]["replicas"], 1);
    world.stop().await;
}
