//! The default roles and bindings, as a table of lines.
//!
//! A rule reads `verbs; groups; resources`, words separated by spaces, `core` for the core group, `read` for get, list and
//! watch, `write` for create, update, patch, delete and deletecollection; `verbs; /paths` for paths.

use serde_json::{Value, json};

struct Role {
    name: &'static str,
    /// Role that this one is summed into: `admin`, `edit` or `view`.
    into: &'static str,
    rules: &'static [&'static str],
}

const fn role(name: &'static str, rules: &'static [&'static str]) -> Role {
    Role {
        name,
        into: "",
        rules,
    }
}

const ROLES: &[Role] = &[
    role("cluster-admin", &["*; *; *", "*; /*all"]),
    role(
        "system:discovery",
        &[
            "get; /livez /readyz /healthz /version /version/ /openapi /openapi/* /api /api/* /apis /apis/*",
        ],
    ),
    role(
        "system:public-info-viewer",
        &["get; /livez /readyz /healthz /version /version/"],
    ),
    role(
        "system:monitoring",
        &[
            "get; /metrics /metrics/slis /livez /readyz /healthz /livez/* /readyz/* /healthz/*",
            "get; /flagz",
            "get; /statusz",
        ],
    ),
    role(
        "system:service-account-issuer-discovery",
        &[
            "get; /.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
        ],
    ),
    role(
        "system:basic-user",
        &[
            "create; authorization.k8s.io; selfsubjectaccessreviews selfsubjectrulesreviews",
            "create; authentication.k8s.io; selfsubjectreviews",
        ],
    ),
    role(
        "system:auth-delegator",
        &[
            "create; authentication.k8s.io; tokenreviews",
            "create; authorization.k8s.io; subjectaccessreviews",
        ],
    ),
    Role {
        name: "system:aggregate-to-admin",
        into: "admin",
        rules: &[
            "create; authorization.k8s.io; localsubjectaccessreviews",
            "read write; rbac.authorization.k8s.io; roles rolebindings",
        ],
    },
    Role {
        name: "system:aggregate-to-edit",
        into: "edit",
        rules: &[
            "read; core; pods/attach pods/proxy pods/exec pods/portforward secrets services/proxy",
            "impersonate; core; serviceaccounts",
            "write; core; pods pods/attach pods/exec pods/portforward pods/proxy",
            "create; core; pods/eviction",
            "write; core; configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy",
            "create; core; serviceaccounts/token",
            "write; apps; daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale",
            "write; autoscaling; horizontalpodautoscalers",
            "write; batch; cronjobs jobs",
            "write; policy; poddisruptionbudgets",
            "write; networking.k8s.io; ingresses networkpolicies",
            "read write; coordination.k8s.io; leases",
            "write; resource.k8s.io; resourceclaims resourceclaimtemplates",
        ],
    },
    Role {
        name: "system:aggregate-to-view",
        into: "view",
        rules: &[
            "read; core; configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status",
            "read; core; bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status",
            "read; core; namespaces",
            "read; discovery.k8s.io; endpointslices",
            "read; apps; controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
            "read; autoscaling; horizontalpodautoscalers horizontalpodautoscalers/status",
            "read; batch; cronjobs cronjobs/status jobs jobs/status",
            "read; policy; poddisruptionbudgets poddisruptionbudgets/status",
            "read; networking.k8s.io; ingresses ingresses/status networkpolicies",
            "read; resource.k8s.io; resourceclaims resourceclaims/status resourceclaimtemplates",
        ],
    },
    role(
        "system:node",
        &[
            "create; authentication.k8s.io; tokenreviews",
            "create; authorization.k8s.io; subjectaccessreviews localsubjectaccessreviews",
            "read; core; services",
            "create read; core; nodes",
            "update patch; core; nodes nodes/status",
            "create update patch; core events.k8s.io; events",
            "read; core; pods",
            "create delete; core; pods",
            "update patch; core; pods/status",
            "create; core; pods/eviction",
            "read; core; secrets configmaps",
            "get; core; persistentvolumeclaims persistentvolumes endpoints",
            "create read; certificates.k8s.io; certificatesigningrequests",
            "read; certificates.k8s.io; clustertrustbundles",
            "get create update patch delete; coordination.k8s.io; leases",
            "get; storage.k8s.io; volumeattachments",
            "create; core; serviceaccounts/token",
            "get update patch; core; persistentvolumeclaims/status",
            "read; storage.k8s.io; csidrivers",
            "get create update patch delete; storage.k8s.io; csinodes",
            "read; node.k8s.io; runtimeclasses",
            "get; resource.k8s.io; resourceclaims",
            "read write; resource.k8s.io; resourceslices",
        ],
    ),
    role(
        "system:node-proxier",
        &[
            "list watch; core; services endpoints",
            "read; core; nodes",
            "create update patch; core events.k8s.io; events",
            "list watch; discovery.k8s.io; endpointslices",
            "list watch; networking.k8s.io; servicecidrs",
        ],
    ),
    role(
        "system:node-bootstrapper",
        &["create read; certificates.k8s.io; certificatesigningrequests"],
    ),
    role(
        "system:node-problem-detector",
        &[
            "get; core; nodes",
            "patch; core; nodes/status",
            "create update patch; core events.k8s.io; events",
        ],
    ),
    role(
        "system:kubelet-api-admin",
        &[
            "read; core; nodes",
            "proxy; core; nodes",
            "*; core; nodes/log nodes/metrics nodes/proxy nodes/stats nodes/configz nodes/healthz nodes/pods",
        ],
    ),
    role(
        "system:kube-scheduler",
        &[
            "create patch update; core events.k8s.io; events",
            "create get update list watch; coordination.k8s.io; leases",
            "read; core; nodes",
            "read delete; core; pods",
            "create; core; bindings pods/binding",
            "patch update; core; pods/status",
            "read; core; replicationcontrollers services persistentvolumeclaims persistentvolumes namespaces",
            "read; apps; replicasets statefulsets",
            "read; policy; poddisruptionbudgets",
            "read; storage.k8s.io; csinodes csidrivers csistoragecapacities storageclasses volumeattachments",
            "create; authentication.k8s.io; tokenreviews",
            "create; authorization.k8s.io; subjectaccessreviews",
            "read patch update; resource.k8s.io; resourceclaims resourceclaims/status deviceclasses resourceslices",
        ],
    ),
    role(
        "system:volume-scheduler",
        &[
            "read patch update; core; persistentvolumes",
            "read; storage.k8s.io; storageclasses",
            "read patch update; core; persistentvolumeclaims",
        ],
    ),
    role(
        "system:kube-controller-manager",
        &[
            "create patch update; core events.k8s.io; events",
            "create get update list watch; coordination.k8s.io; leases",
            "create; core; secrets serviceaccounts serviceaccounts/token",
            "delete; core; secrets",
            "get; core; configmaps namespaces secrets serviceaccounts",
            "update; core; secrets serviceaccounts",
            "create; authentication.k8s.io; tokenreviews",
            "create; authorization.k8s.io; subjectaccessreviews",
            "list watch; *; *",
        ],
    ),
    role(
        "system:kube-dns",
        &[
            "list watch; core; endpoints services",
            "list watch; discovery.k8s.io; endpointslices",
            "list watch; core; pods namespaces",
        ],
    ),
    role(
        "system:kube-aggregator",
        &[
            "read; core; services endpoints",
            "read; discovery.k8s.io; endpointslices",
        ],
    ),
    role(
        "system:persistent-volume-provisioner",
        &[
            "read create delete; core; persistentvolumes",
            "read update; core; persistentvolumeclaims",
            "read; storage.k8s.io; storageclasses",
            "watch; core; events",
            "create update patch; core events.k8s.io; events",
        ],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &["create; certificates.k8s.io; certificatesigningrequests/nodeclient"],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &["create; certificates.k8s.io; certificatesigningrequests/selfnodeclient"],
    ),
];

/// Roles of controllers: each is bound to the service account of its name in `kube-system`.
const CONTROLLERS: &[(&str, &[&str])] = &[
    (
        "clusterrole-aggregation-controller",
        &["escalate get list patch update watch; rbac.authorization.k8s.io; clusterroles"],
    ),
    (
        "cronjob-controller",
        &[
            "read update; batch; cronjobs",
            "read create update delete patch; batch; jobs",
            "update; batch; cronjobs/status cronjobs/finalizers",
            "list delete; core; pods",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "daemon-set-controller",
        &[
            "read; apps; daemonsets",
            "update; apps; daemonsets/status daemonsets/finalizers",
            "list watch; core; nodes",
            "create delete list patch watch; core; pods",
            "create; core; pods/binding",
            "read create delete patch update; apps; controllerrevisions",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "deployment-controller",
        &[
            "read update; apps; deployments",
            "update; apps; deployments/status deployments/finalizers",
            "read create update patch delete; apps; replicasets",
            "read update; core; pods",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "disruption-controller",
        &[
            "read; apps; deployments replicasets statefulsets",
            "read; core; replicationcontrollers pods",
            "read; policy; poddisruptionbudgets",
            "update; policy; poddisruptionbudgets/status",
            "patch update; core; pods/status",
            "get; *; */scale",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "endpoint-controller",
        &[
            "read; core; pods services",
            "read create update delete; core; endpoints",
            "create; core; endpoints/restricted",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "endpointslice-controller",
        &[
            "read; core; nodes pods services",
            "update; core; services/finalizers",
            "read create update delete; discovery.k8s.io; endpointslices",
            "create; discovery.k8s.io; endpointslices/restricted",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "endpointslicemirroring-controller",
        &[
            "read; core; endpoints services",
            "update; core; services/finalizers endpoints/finalizers",
            "read create update delete; discovery.k8s.io; endpointslices",
            "create; discovery.k8s.io; endpointslices/restricted",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "generic-garbage-collector",
        &[
            "read patch update delete; *; *",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "horizontal-pod-autoscaler",
        &[
            "read; autoscaling; horizontalpodautoscalers",
            "update; autoscaling; horizontalpodautoscalers/status",
            "get update; *; */scale",
            "list; core; pods",
            "get list; metrics.k8s.io; pods",
            "get list; custom.metrics.k8s.io external.metrics.k8s.io; *",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "job-controller",
        &[
            "read update patch; batch; jobs",
            "update; batch; jobs/status jobs/finalizers",
            "create delete list patch watch; core; pods",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "namespace-controller",
        &[
            "read delete; core; namespaces",
            "update; core; namespaces/finalize namespaces/status",
            "read delete deletecollection; *; *",
        ],
    ),
    (
        "node-controller",
        &[
            "read update delete patch; core; nodes",
            "patch update; core; nodes/status",
            "patch update; core; pods/status",
            "list get delete; core; pods",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "persistent-volume-binder",
        &[
            "read update create delete; core; persistentvolumes",
            "update; core; persistentvolumes/status persistentvolumeclaims/status",
            "read update; core; persistentvolumeclaims",
            "read; storage.k8s.io; storageclasses",
            "read; core; nodes",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "pod-garbage-collector",
        &[
            "list watch delete; core; pods",
            "get list; core; nodes",
            "patch; core; pods/status",
        ],
    ),
    (
        "pv-protection-controller",
        &[
            "read update; core; persistentvolumes",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "pvc-protection-controller",
        &[
            "read update; core; persistentvolumeclaims",
            "read; core; pods",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "replicaset-controller",
        &[
            "read update; apps; replicasets",
            "update; apps; replicasets/status replicasets/finalizers",
            "create delete list patch watch; core; pods",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "replication-controller",
        &[
            "read update; core; replicationcontrollers",
            "update; core; replicationcontrollers/status replicationcontrollers/finalizers",
            "create delete list patch watch; core; pods",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "resourcequota-controller",
        &[
            "list watch; *; *",
            "update; core; resourcequotas/status",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "root-ca-cert-publisher",
        &[
            "create update; core; configmaps",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "service-account-controller",
        &[
            "create; core; serviceaccounts",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "service-controller",
        &[
            "read; core; services",
            "patch update; core; services/status",
            "list watch; core; nodes",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "statefulset-controller",
        &[
            "list watch; core; pods",
            "read; apps; statefulsets",
            "update; apps; statefulsets/status statefulsets/finalizers",
            "get create delete update patch; core; pods",
            "get create delete update patch list watch; apps; controllerrevisions",
            "get create list watch update delete; core; persistentvolumeclaims",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "ttl-after-finished-controller",
        &[
            "read delete; batch; jobs",
            "create patch update; core events.k8s.io; events",
        ],
    ),
    (
        "ttl-controller",
        &[
            "update patch list watch; core; nodes",
            "create patch update; core events.k8s.io; events",
        ],
    ),
];

/// Bindings: role, and subjects as `u:` user or `g:` group.
const BINDINGS: &[(&str, &[&str])] = &[
    ("cluster-admin", &["g:system:masters"]),
    ("system:monitoring", &["g:system:monitoring"]),
    ("system:discovery", &["g:system:authenticated"]),
    ("system:basic-user", &["g:system:authenticated"]),
    (
        "system:public-info-viewer",
        &["g:system:authenticated", "g:system:unauthenticated"],
    ),
    ("system:node-proxier", &["u:system:kube-proxy"]),
    (
        "system:kube-controller-manager",
        &["u:system:kube-controller-manager"],
    ),
    ("system:kube-scheduler", &["u:system:kube-scheduler"]),
    ("system:volume-scheduler", &["u:system:kube-scheduler"]),
    (
        "system:service-account-issuer-discovery",
        &["g:system:serviceaccounts"],
    ),
];

/// Every default role and binding as an object.
pub fn all() -> Vec<Value> {
    let mut out: Vec<Value> = ROLES.iter().map(role_object).collect();
    out.extend(["admin", "edit", "view"].map(summed));
    for (name, subjects) in BINDINGS {
        out.push(binding(name, subjects.iter().map(|s| subject(s)).collect()));
    }
    // Nodes are given their permissions by the authorizer itself; the binding is there, empty, for those who look.
    out.push(binding("system:node", Vec::new()));
    for (name, rules) in CONTROLLERS {
        let role = format!("system:controller:{name}");
        out.push(object(
            "ClusterRole",
            &role,
            json!({"rules": rules.iter().map(|r| rule(r)).collect::<Vec<_>>()}),
        ));
        out.push(binding(
            &role,
            vec![json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"})],
        ));
    }
    out
}

/// What every node may do, whatever its pods use: the rules of the role `system:node`, which is bound to nobody.
pub fn node_rules() -> Vec<crate::authz::Rule> {
    let lines = ROLES.iter().find(|r| r.name == "system:node");
    let rules = lines.map_or(&[][..], |r| r.rules).iter();
    rules
        .filter_map(|line| serde_json::from_value(rule(line)).ok())
        .collect()
}

fn object(kind: &str, name: &str, rest: Value) -> Value {
    let mut out = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
    });
    if let (Some(out), Value::Object(rest)) = (out.as_object_mut(), rest) {
        out.extend(rest);
    }
    out
}

fn role_object(role: &Role) -> Value {
    let rules: Vec<Value> = role.rules.iter().map(|r| rule(r)).collect();
    let mut out = object("ClusterRole", role.name, json!({"rules": rules}));
    if !role.into.is_empty() {
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{}", role.into);
        out["metadata"]["labels"][label] = "true".into();
    }
    out
}

/// `admin`, `edit` or `view`: the sum of what is labelled for it. Each but the last also counts towards the one above.
fn summed(name: &str) -> Value {
    let parts: &[&str] = match name {
        "admin" => &["admin", "edit", "view"],
        "edit" => &["edit", "view"],
        _ => &["view"],
    };
    let above = match name {
        "edit" => Some("admin"),
        "view" => Some("edit"),
        _ => None,
    };
    let rules: Vec<Value> = ROLES
        .iter()
        .filter(|r| parts.contains(&r.into))
        .flat_map(|r| r.rules.iter().map(|r| rule(r)))
        .collect();
    let label = format!("rbac.authorization.k8s.io/aggregate-to-{name}");
    let selectors = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
    let mut out = object(
        "ClusterRole",
        name,
        json!({"aggregationRule": selectors, "rules": rules}),
    );
    if let Some(above) = above {
        out["metadata"]["labels"][format!("rbac.authorization.k8s.io/aggregate-to-{above}")] =
            "true".into();
    }
    out
}

fn subject(text: &str) -> Value {
    let (kind, name) = match text.split_once(':') {
        Some(("g", name)) => ("Group", name),
        Some((_, name)) => ("User", name),
        None => ("User", text),
    };
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name})
}

fn binding(role: &str, subjects: Vec<Value>) -> Value {
    let reference =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role});
    let mut out = object("ClusterRoleBinding", role, json!({"roleRef": reference}));
    if !subjects.is_empty() {
        out["subjects"] = subjects.into();
    }
    out
}

fn rule(line: &str) -> Value {
    let mut parts = line.split(';').map(str::trim);
    let (verbs, second, third) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
        parts.next(),
    );
    let mut words: Vec<&str> = Vec::new();
    for verb in verbs.split_whitespace() {
        match verb {
            "read" => words.extend(["get", "list", "watch"]),
            "write" => words.extend(["create", "delete", "deletecollection", "patch", "update"]),
            other => words.push(other),
        }
    }
    let Some(resources) = third else {
        let urls: Vec<&str> = second
            .split_whitespace()
            .map(|u| if u == "/*all" { "*" } else { u })
            .collect();
        return json!({"verbs": words, "nonResourceURLs": urls});
    };
    let groups: Vec<&str> = second
        .split_whitespace()
        .map(|g| if g == "core" { "" } else { g })
        .collect();
    let resources: Vec<&str> = resources.split_whitespace().collect();
    json!({"verbs": words, "apiGroups": groups, "resources": resources})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_rules() {
        assert_eq!(
            rule("read; core; pods"),
            json!({"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods"]})
        );
        assert_eq!(
            rule("*; /*all"),
            json!({"verbs": ["*"], "nonResourceURLs": ["*"]})
        );
        assert_eq!(
            all()
                .iter()
                .filter(|o| o["metadata"]["name"] == "admin")
                .count(),
            1
        );
    }
}
