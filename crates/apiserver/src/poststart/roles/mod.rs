//! The default roles and bindings, as a table of lines.
//!
//! A rule reads `verbs; groups; resources`, words separated by spaces, `core` for the core group, `read` for get, list and
//! watch, `write` for create, update, patch, delete and deletecollection; `verbs; /paths` for paths.

mod controllers;
mod users;

use knarr_json::{Value, json};

use controllers::CONTROLLERS;
use users::ROLES;

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
        .filter_map(|line| knarr_json::from_value(rule(line)).ok())
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
