//! The objects of priority and fairness that every cluster has: two pairs that cannot be changed, and those that are
//! suggested.

use knarr_json::{Value, json};

/// Kept as they are; kept up to date with the server unless a user takes them over.
const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
const GROUP_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";

fn object(kind: &str, name: &str, spec: Value) -> Value {
    let metadata = json!({"name": name, "annotations": {AUTO_UPDATE: "true"}});
    json!({"apiVersion": GROUP_VERSION, "kind": kind, "metadata": metadata, "spec": spec})
}

fn level(name: &str, shares: i64, lendable: i64, queues: Option<(i64, i64)>) -> Value {
    let response = match queues {
        None => json!({"type": "Reject"}),
        Some((queues, hand)) => json!({
            "type": "Queue",
            "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50},
        }),
    };
    let limited = json!({
        "nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response,
    });
    let spec = json!({"type": "Limited", "limited": limited});
    object("PriorityLevelConfiguration", name, spec)
}

/// All PriorityLevelConfigurations of a new cluster.
pub fn levels() -> Vec<Value> {
    let exempt = json!({
        "type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0},
    });
    vec![
        object("PriorityLevelConfiguration", "exempt", exempt),
        level("catch-all", 5, 0, None),
        level("system", 30, 33, Some((64, 6))),
        level("node-high", 40, 25, Some((64, 6))),
        level("leader-election", 10, 0, Some((16, 4))),
        level("workload-high", 40, 50, Some((128, 6))),
        level("workload-low", 100, 90, Some((128, 6))),
        level("global-default", 20, 50, Some((128, 6))),
    ]
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "group": {"name": name}})
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

fn account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"name": name, "namespace": "kube-system"}})
}

/// A rule for resources in namespaces.
fn resources(verbs: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]})
}

fn flow(name: &str, level: &str, precedence: i64, method: &str, rule: Value) -> Value {
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": [rule],
    });
    if !method.is_empty() {
        spec["distinguisherMethod"] = json!({"type": method});
    }
    object("FlowSchema", name, spec)
}

/// A rule for whatever these subjects do.
fn everything(subjects: &[Value]) -> Value {
    json!({
        "subjects": subjects,
        "resourceRules": [{
            "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"],
        }],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    })
}

const USER: &str = "ByUser";
const NAMESPACE: &str = "ByNamespace";
const LEASE: [&str; 3] = ["get", "create", "update"];

/// All FlowSchemas of a new cluster.
pub fn schemas() -> Vec<Value> {
    let everyone = [
        group("system:unauthenticated"),
        group("system:authenticated"),
    ];
    let nodes = [group("system:nodes")];
    let controllers = user("system:kube-controller-manager");
    let scheduler = user("system:kube-scheduler");
    let leases = resources(&LEASE, "coordination.k8s.io", &["leases"]);
    let endpoints = resources(&LEASE, "", &["endpoints"]);
    let mut own_node = resources(&["*"], "", &["nodes", "nodes/status"]);
    own_node["clusterScope"] = true.into();
    vec![
        flow(
            "exempt",
            "exempt",
            1,
            "",
            everything(&[group("system:masters")]),
        ),
        flow(
            "catch-all",
            "catch-all",
            10_000,
            USER,
            everything(&everyone),
        ),
        flow("system-nodes", "system", 500, USER, everything(&nodes)),
        flow(
            "system-node-high",
            "node-high",
            400,
            USER,
            json!({
                "subjects": nodes,
                "resourceRules": [own_node, resources(&["*"], "coordination.k8s.io", &["leases"])],
            }),
        ),
        flow(
            "probes",
            "exempt",
            2,
            "",
            json!({
                "subjects": everyone,
                "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}],
            }),
        ),
        flow(
            "system-leader-election",
            "leader-election",
            100,
            USER,
            json!({
                "subjects": [&controllers, &scheduler, account("*")],
                "resourceRules": [leases],
            }),
        ),
        flow(
            "endpoint-controller",
            "workload-high",
            150,
            USER,
            json!({
                "subjects": [&controllers, account("endpoint-controller"), account("endpointslicemirroring-controller")],
                "resourceRules": [endpoints],
            }),
        ),
        flow(
            "workload-leader-election",
            "leader-election",
            200,
            USER,
            json!({
                "subjects": [account("*")],
                "resourceRules": [resources(&LEASE, "", &["endpoints", "configmaps"]), leases],
            }),
        ),
        flow(
            "kube-controller-manager",
            "workload-high",
            800,
            NAMESPACE,
            everything(&[controllers]),
        ),
        flow(
            "kube-scheduler",
            "workload-high",
            800,
            NAMESPACE,
            everything(&[scheduler]),
        ),
        flow(
            "kube-system-service-accounts",
            "workload-high",
            900,
            NAMESPACE,
            everything(&[account("*")]),
        ),
        flow(
            "service-accounts",
            "workload-low",
            9000,
            USER,
            everything(&[group("system:serviceaccounts")]),
        ),
        flow(
            "global-default",
            "global-default",
            9900,
            USER,
            everything(&everyone),
        ),
    ]
}

/// The spec that an object of this name must have, if there is one.
pub fn mandatory(kind: &str, name: &str) -> Option<Value> {
    if name != "exempt" && name != "catch-all" {
        return None;
    }
    let all = if kind == "FlowSchema" {
        schemas()
    } else {
        levels()
    };
    all.into_iter()
        .find(|o| o["metadata"]["name"] == name)
        .map(|mut o| o["spec"].take())
}
