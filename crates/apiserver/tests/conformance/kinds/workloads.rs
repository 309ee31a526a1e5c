//! Kinds that make pods.

use knarr_json::{Value, json};

use super::{Kind, template};

fn with(more: Value) -> Value {
    let mut spec =
        json!({"selector": {"matchLabels": {"app": "a"}}, "template": template(), "replicas": 1});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key.as_str()] = value.clone();
    }
    json!({ "spec": spec })
}

pub fn kinds() -> Vec<Kind> {
    let (apps, batch) = ("/apis/apps/v1", "/apis/batch/v1");
    let scaled = || json!({"spec": {"replicas": 2}});
    let mut job = template();
    job["spec"]["restartPolicy"] = json!("Never");
    let mut daemons = with(Value::Null);
    daemons["spec"].as_object_mut().unwrap().remove("replicas");
    let cron = json!({"spec": {"schedule": "0 5 1 1 *", "jobTemplate": {"spec": {"template": job.clone()}}}});
    let controller =
        json!({"spec": {"replicas": 1, "selector": {"app": "a"}, "template": template()}});
    vec![
        Kind::new(apps, "Deployment", "deployments", with(Value::Null))
            .change(scaled())
            .conditions(),
        Kind::new(apps, "ReplicaSet", "replicasets", with(Value::Null))
            .change(scaled())
            .conditions(),
        Kind::new(
            apps,
            "StatefulSet",
            "statefulsets",
            with(json!({"serviceName": "s"})),
        )
        .change(scaled())
        .conditions(),
        Kind::new(apps, "DaemonSet", "daemonsets", daemons)
            .change(json!({"spec": {"minReadySeconds": 5}}))
            .conditions(),
        Kind::new(
            apps,
            "ControllerRevision",
            "controllerrevisions",
            json!({"revision": 1, "data": {"a": [1, "b"]}}),
        )
        .change(json!({"revision": 2})),
        Kind::new(
            "/api/v1",
            "ReplicationController",
            "replicationcontrollers",
            controller,
        )
        .change(scaled())
        .conditions(),
        Kind::new(batch, "Job", "jobs", json!({"spec": {"template": job, "suspend": true}}))
            .change(json!({"spec": {"parallelism": 2}}))
            .conditions(),
        Kind::new(batch, "CronJob", "cronjobs", cron)
            .change(json!({"spec": {"suspend": true}}))
            .status(json!({"lastScheduleTime": "2026-01-01T00:00:00Z"})),
        Kind::new(
            "/apis/policy/v1",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"foo": "bar"}}}}),
        )
        .change(json!({"spec": {"minAvailable": 2}}))
        .status(json!({"currentHealthy": 1, "desiredHealthy": 2, "disruptionsAllowed": 0, "expectedPods": 2})),
        Kind::new(
            "/apis/autoscaling/v2",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}),
        )
        .change(json!({"spec": {"maxReplicas": 5}}))
        .conditions(),
    ]
}
