//! Roles and bindings of `rbac.authorization.k8s.io`.

use jiff::Timestamp;
use knarr_json::{Value, json};

use super::{
    Column, Context, Strategy,
    defaults::{at, each, set_text},
};
use crate::{
    field::{Error, Errors},
    names,
    selector::LabelSelector,
    table,
    validation::{At, labels, list, meta, ordered_json, text},
};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Whether a role holds in one namespace or in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleScope {
    Role,
    ClusterRole,
}

/// `Role` and `ClusterRole`.
pub struct Role(pub RoleScope);

impl Role {
    fn namespaced(&self) -> bool {
        self.0 == RoleScope::Role
    }

    fn check(&self, object: &Value, errs: &mut Errors) {
        meta::create(object, self.namespaced(), meta::path_segment, errs);
        for rule in At::root(object, "rules").each() {
            policy_rule(&rule, self.namespaced(), errs);
        }
        let aggregation = At::root(object, "aggregationRule");
        if !aggregation.v.is_null() && !self.namespaced() {
            let selectors = aggregation.get("clusterRoleSelectors");
            if list(selectors.v).is_empty() {
                errs.push(selectors.required(
                    "at least one clusterRoleSelector required if aggregationRule is non-nil",
                ));
            }
            for selector in selectors.each() {
                labels::selector(&selector, errs);
                if LabelSelector::from_object(selector.v).is_err() {
                    errs.push(Error::invalid(
                        &selector.path,
                        Value::Null,
                        "invalid label selector.",
                    ));
                }
            }
        }
    }
}

impl Strategy for Role {
    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        self.check(object, &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        self.check(object, &mut errs);
        meta::update_core(object, old, &mut errs);
        errs
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::path_segment(name, prefix)
    }
}

fn policy_rule(rule: &At, namespaced: bool, errs: &mut Errors) {
    let empty = |key: &str| list(&rule.v[key]).is_empty();
    if empty("verbs") {
        errs.push(
            rule.get("verbs")
                .required("verbs must contain at least one value"),
        );
    }
    if !empty("nonResourceURLs") {
        let urls = rule.get("nonResourceURLs");
        if namespaced {
            errs.push(urls.invalid("namespaced rules cannot apply to non-resource URLs"));
        }
        if !empty("apiGroups") || !empty("resources") || !empty("resourceNames") {
            errs.push(
                urls.invalid("rules cannot apply to both regular resources and non-resource URLs"),
            );
        }
        return;
    }
    if empty("apiGroups") {
        errs.push(
            rule.get("apiGroups")
                .required("resource rules must supply at least one api group"),
        );
    }
    if empty("resources") {
        errs.push(
            rule.get("resources")
                .required("resource rules must supply at least one resource"),
        );
    }
}

/// Whether a binding grants in one namespace or in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingScope {
    RoleBinding,
    ClusterRoleBinding,
}

/// `RoleBinding` and `ClusterRoleBinding`.
pub struct Binding(pub BindingScope);

impl Binding {
    fn namespaced(&self) -> bool {
        self.0 == BindingScope::RoleBinding
    }

    fn check(&self, object: &Value, errs: &mut Errors) {
        meta::create(object, self.namespaced(), meta::path_segment, errs);
        let role = At::root(object, "roleRef");
        if role.text("apiGroup") != GROUP {
            let group = role.get("apiGroup");
            errs.push(Error::not_supported(&group.path, group.str(), &[GROUP]));
        }
        let kinds: &[&str] = if self.namespaced() {
            &["Role", "ClusterRole"]
        } else {
            &["ClusterRole"]
        };
        if !kinds.contains(&role.text("kind")) {
            let kind = role.get("kind");
            errs.push(Error::not_supported(&kind.path, kind.str(), kinds));
        }
        let name = role.get("name");
        if name.str().is_empty() {
            errs.push(name.required(""));
        } else {
            name.push(names::path_segment(name.str()), errs);
        }
        for subject in At::root(object, "subjects").each() {
            check_subject(&subject, self.namespaced(), errs);
        }
    }
}

fn check_subject(subject: &At, namespaced: bool, errs: &mut Errors) {
    if subject.text("name").is_empty() {
        errs.push(subject.get("name").required(""));
    }
    let group = subject.get("apiGroup");
    let wants = |wanted: &str, errs: &mut Errors| {
        if group.str() != wanted {
            errs.push(Error::not_supported(&group.path, group.str(), &[wanted]));
        }
    };
    match subject.text("kind") {
        "ServiceAccount" => {
            if !subject.text("name").is_empty() {
                subject
                    .get("name")
                    .push(names::dns1123_subdomain(subject.text("name")), errs);
            }
            wants("", errs);
            if !namespaced && subject.text("namespace").is_empty() {
                errs.push(subject.get("namespace").required(""));
            }
        }
        "User" | "Group" => wants(GROUP, errs),
        other => {
            errs.push(Error::not_supported(
                &subject.path.child("kind"),
                other,
                &["ServiceAccount", "User", "Group"],
            ));
        }
    }
}

impl Strategy for Binding {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        if let Some(role) = at(object, "roleRef") {
            set_text(role, "apiGroup", GROUP);
        }
        for subject in each(object, "subjects") {
            let group = match text(subject, "kind") {
                "User" | "Group" => GROUP,
                _ => continue,
            };
            set_text(subject, "apiGroup", group);
        }
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        self.check(object, &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        self.check(object, &mut errs);
        meta::update_core(object, old, &mut errs);
        if object["roleRef"] != old["roleRef"] {
            let role = &object["roleRef"];
            let shown = json!({"APIGroup": text(role, "apiGroup"), "Kind": text(role, "kind"), "Name": text(role, "name")});
            let text = ordered_json(&shown, &["APIGroup", "Kind", "Name"]);
            errs.push(
                At::root(object, "roleRef")
                    .invalid("cannot change roleRef")
                    .showing(text),
            );
        }
        errs
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::path_segment(name, prefix)
    }

    fn columns(&self) -> Vec<Column> {
        let (role, users, groups, accounts) = if self.namespaced() {
            (
                "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.",
                "Users in the roleBinding",
                "Groups in the roleBinding",
                "ServiceAccounts in the roleBinding",
            )
        } else {
            (
                "RoleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.",
                "Users in the clusterRoleBinding",
                "Groups in the clusterRoleBinding",
                "ServiceAccounts in the clusterRoleBinding",
            )
        };
        vec![
            table::name(),
            table::column("Role", role),
            table::age(),
            table::wide("Users", users),
            table::wide("Groups", groups),
            table::wide("ServiceAccounts", accounts),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let role = &object["roleRef"];
        let named = |kind: &str| {
            let of_kind = list(&object["subjects"])
                .iter()
                .filter(|s| text(s, "kind") == kind);
            let all: Vec<String> = of_kind
                .map(|s| {
                    if kind == "ServiceAccount" {
                        format!("{}/{}", text(s, "namespace"), text(s, "name"))
                    } else {
                        text(s, "name").to_owned()
                    }
                })
                .collect();
            Value::from(all.join(", "))
        };
        vec![
            table::name_of(object),
            format!("{}/{}", text(role, "kind"), text(role, "name")).into(),
            table::age_of(object, now),
            named("User"),
            named("Group"),
            named("ServiceAccount"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_subjects() {
        let role = json!({"metadata": {"name": "a:b", "namespace": "n"}, "rules": [{"resources": ["pods"], "apiGroups": [""]}, {"nonResourceURLs": ["/x"], "verbs": ["get"]}]});
        let fields = |errs: Errors| errs.into_iter().map(|e| e.field).collect::<Vec<_>>();
        assert_eq!(
            fields(Role(RoleScope::Role).validate_create(&Context::default(), &role)),
            ["rules[0].verbs", "rules[1].nonResourceURLs"]
        );
        let mut binding = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "r"},
            "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}]});
        let strategy = Binding(BindingScope::ClusterRoleBinding);
        strategy.default(&Context::default(), &mut binding);
        assert_eq!(binding["subjects"][0]["apiGroup"], GROUP);
        assert_eq!(
            fields(strategy.validate_create(&Context::default(), &binding)),
            ["subjects[1].namespace"]
        );
    }
}
