//! Kinds of the core group, and what goes with them.

use knarr_json::{Value, json};

use super::{Kind, condition, template};

pub fn kinds() -> Vec<Kind> {
    let v1 = "/api/v1";
    let event = json!({
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        "reason": "Test", "message": "as told", "type": "Normal",
        "source": {"component": "walk"}, "firstTimestamp": "2026-01-01T00:00:00Z"});
    let new_event = json!({
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Do", "reason": "Test",
        "note": "as told", "type": "Normal", "reportingController": "example.com/walk", "reportingInstance": "one"});
    let limits = json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "500m"}, "default": {"cpu": "100m"}}]}});
    vec![
        Kind::new(
            v1,
            "ConfigMap",
            "configmaps",
            json!({"data": {"a": "1"}, "binaryData": {"b": "AA=="}}),
        )
        .change(json!({"data": {"a": "2", "c": "3"}})),
        Kind::new(v1, "Secret", "secrets", json!({"data": {"a": "MQ=="}}))
            .change(json!({"data": {"a": "Mg=="}})),
        Kind::new(v1, "ServiceAccount", "serviceaccounts", Value::Null)
            .change(json!({"automountServiceAccountToken": false})),
        Kind::new(
            v1,
            "PodTemplate",
            "podtemplates",
            json!({"template": template()}),
        )
        .change(json!({"template": {"metadata": {"labels": {"changed": "yes"}}}})),
        Kind::new(
            v1,
            "Pod",
            "pods",
            json!({"spec": template()["spec"], "metadata": {}}),
        )
        .change(json!({"spec": {"activeDeadlineSeconds": 30}}))
        .status(json!({"conditions": [condition()], "message": "as told"})),
        Kind::new(
            v1,
            "Endpoints",
            "endpoints",
            json!({"subsets": [{"addresses": [{"ip": "10.0.0.24"}], "ports": [{"name": "http", "port": 80}]}]}),
        )
        .change(json!({"subsets": [{"addresses": [{"ip": "10.0.0.25"}], "ports": [{"name": "web", "port": 8080}]}]})),
        Kind::new(v1, "LimitRange", "limitranges", limits),
        Kind::new(
            v1,
            "ResourceQuota",
            "resourcequotas",
            json!({"spec": {"hard": {"cpu": "1", "memory": "500Mi"}}}),
        )
        .change(json!({"spec": {"hard": {"cpu": "750m", "memory": "2Gi"}}}))
        .status(json!({"hard": {"cpu": "750m", "memory": "2Gi"}})),
        Kind::new(v1, "Event", "events", event).change(json!({"message": "another"})),
        Kind::new(
            "/apis/events.k8s.io/v1",
            "Event",
            "events",
            new_event,
        )
        .names(["fourth", "fifth", "sixth"])
        .change(json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}})),
        Kind::new(v1, "Node", "nodes", Value::Null)
            .cluster()
            .conditions()
            .change(json!({"spec": {"unschedulable": true}})),
        Kind::new(
            "/apis/coordination.k8s.io/v1",
            "Lease",
            "leases",
            json!({"spec": {"holderIdentity": "holder", "leaseDurationSeconds": 30, "leaseTransitions": 0,
                "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:05.000000Z"}}),
        )
        .change(json!({"spec": {"holderIdentity": "another", "leaseDurationSeconds": 60, "leaseTransitions": 1}})),
        Kind::new(
            "/apis/node.k8s.io/v1",
            "RuntimeClass",
            "runtimeclasses",
            json!({"handler": "runc"}),
        )
        .cluster()
        .change(json!({"overhead": {"podFixed": {"cpu": "10m"}}})),
        Kind::new(
            "/apis/scheduling.k8s.io/v1",
            "PriorityClass",
            "priorityclasses",
            json!({"value": 100}),
        )
        .cluster()
        .change(json!({"description": "changed"})),
    ]
}
