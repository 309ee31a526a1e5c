//! Role based access control, answered from an index of roles by name and of bindings by subject.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use knarr_store::Stored;
use serde::Deserialize;

use super::{Attributes, Decision};
use crate::{UserInfo, derived::View};

/// A rule of a Role or ClusterRole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rule {
    #[serde(deserialize_with = "or_empty")]
    pub verbs: Vec<String>,
    #[serde(deserialize_with = "or_empty")]
    pub api_groups: Vec<String>,
    #[serde(deserialize_with = "or_empty")]
    pub resources: Vec<String>,
    #[serde(deserialize_with = "or_empty")]
    pub resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs", deserialize_with = "or_empty")]
    pub non_resource_urls: Vec<String>,
}

fn or_empty<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::<Vec<String>>::deserialize(d)?.unwrap_or_default())
}

impl Rule {
    /// What members of `system:masters` may.
    pub fn everything() -> [Rule; 2] {
        let all = || vec!["*".to_owned()];
        [
            Rule {
                verbs: all(),
                api_groups: all(),
                resources: all(),
                ..Rule::default()
            },
            Rule {
                verbs: all(),
                non_resource_urls: all(),
                ..Rule::default()
            },
        ]
    }

    pub fn allows(&self, ask: &Attributes) -> bool {
        let has = |list: &[String], what: &str| list.iter().any(|x| x == "*" || x == what);
        if !has(&self.verbs, &ask.verb) {
            return false;
        }
        if !ask.is_resource {
            return self
                .non_resource_urls
                .iter()
                .any(|url| url_matches(url, &ask.path));
        }
        has(&self.api_groups, &ask.group)
            && self
                .resources
                .iter()
                .any(|r| resource_matches(r, &ask.resource, &ask.subresource))
            && (self.resource_names.is_empty() || self.resource_names.contains(&ask.name))
    }
}

fn url_matches(rule: &str, path: &str) -> bool {
    rule == "*"
        || rule == path
        || rule
            .strip_suffix('*')
            .is_some_and(|prefix| path.starts_with(prefix))
}

fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    match rule.split_once('/') {
        None => subresource.is_empty() && rule == resource,
        Some((r, s)) => !subresource.is_empty() && s == subresource && (r == "*" || r == resource),
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RoleBody {
    rules: Option<Vec<Rule>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct BindingBody {
    subjects: Option<Vec<Subject>>,
    role_ref: RoleRef,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct RoleRef {
    kind: String,
    name: String,
}

impl Subject {
    /// The user or group that a request must come from. `namespace` is the binding's, which an account may leave out.
    fn bound(&self, namespace: &str) -> Bound {
        let shown = match self.kind.as_str() {
            "ServiceAccount" => format!(
                "ServiceAccount {:?}",
                format!("{}/{}", self.name, self.namespace)
            ),
            kind => format!("{kind} {:?}", self.name),
        };
        Bound {
            key: self.key(namespace),
            shown,
        }
    }

    fn key(&self, namespace: &str) -> String {
        match self.kind.as_str() {
            "Group" => format!("g:{}", self.name),
            "ServiceAccount" => {
                let namespace = if self.namespace.is_empty() {
                    namespace
                } else {
                    &self.namespace
                };
                format!("u:system:serviceaccount:{namespace}:{}", self.name)
            }
            _ => format!("u:{}", self.name),
        }
    }
}

struct Binding {
    /// Empty for a ClusterRoleBinding.
    namespace: String,
    name: String,
    role: RoleRef,
    subjects: Vec<Bound>,
}

/// A subject of a binding.
struct Bound {
    /// The user or group that a request must come from.
    key: String,
    /// As reasons name it: `User "ann"`.
    shown: String,
}

impl Binding {
    /// Key of the role in the index: cluster roles have no namespace.
    fn role_key(&self) -> String {
        let namespace = if self.role.kind == "Role" {
            self.namespace.as_str()
        } else {
            ""
        };
        format!("{namespace}/{}", self.role.name)
    }
}

/// Everything RBAC knows. Keys of bindings are those of the store.
#[derive(Default)]
pub(crate) struct Index {
    roles: HashMap<String, Vec<Arc<Rule>>>,
    bindings: HashMap<Arc<str>, Binding>,
    /// Keys of bindings by their subject, then by their namespace (empty for the cluster's), so that bindings of a large
    /// group in other namespaces cost a request nothing.
    by_subject: HashMap<String, HashMap<String, HashSet<Arc<str>>>>,
}

/// What the four kinds are stored under.
const ROLES: &str = "/registry/roles/";
const CLUSTER_ROLES: &str = "/registry/clusterroles/";
const BINDINGS: &str = "/registry/rolebindings/";
const CLUSTER_BINDINGS: &str = "/registry/clusterrolebindings/";

impl Index {
    pub fn decide(&self, ask: &Attributes) -> Decision {
        let mut missing: Vec<String> = Vec::new();
        for binding in self.bound(&ask.user, &ask.namespace) {
            match self.role_allows(&binding.role_key(), ask) {
                Some(true) => {
                    return Decision::allow(reason(binding, &ask.user));
                }
                Some(false) => {}
                None => missing.push(absent(&binding.role)),
            }
        }
        let missing = told(missing);
        let reason = if missing.is_empty() {
            missing
        } else {
            format!("RBAC: {missing}")
        };
        Decision::no_opinion(reason)
    }

    /// None when there is no such role.
    fn role_allows(&self, key: &str, ask: &Attributes) -> Option<bool> {
        self.roles
            .get(key)
            .map(|rules| rules.iter().any(|r| r.allows(ask)))
    }

    /// Bindings of a user that hold in a namespace: the cluster's, and those of the namespace itself.
    fn bound<'a>(
        &'a self,
        user: &UserInfo,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Binding> {
        let mut keys: Vec<&Arc<str>> = Vec::new();
        let user_key = format!("u:{}", user.name);
        let groups = user.groups.iter().map(|g| format!("g:{g}"));
        for subject in std::iter::once(user_key).chain(groups) {
            let Some(places) = self.by_subject.get(&subject) else {
                continue;
            };
            keys.extend(places.get("").into_iter().flatten());
            if !namespace.is_empty() {
                keys.extend(places.get(namespace).into_iter().flatten());
            }
        }
        keys.into_iter().filter_map(|key| self.bindings.get(key))
    }

    /// All rules of a user in a namespace, and which roles are not there.
    pub fn rules(&self, user: &UserInfo, namespace: &str) -> (Vec<Arc<Rule>>, Option<String>) {
        let mut rules = Vec::new();
        let mut missing = Vec::new();
        for binding in self.bound(user, namespace) {
            match self.roles.get(&binding.role_key()) {
                Some(held) => rules.extend(held.iter().cloned()),
                None => missing.push(absent(&binding.role)),
            }
        }
        let missing = told(missing);
        (rules, Some(missing).filter(|m| !m.is_empty()))
    }

    fn unbind(&mut self, key: &str) {
        let Some(old) = self.bindings.remove(key) else {
            return;
        };
        for subject in old.subjects {
            let Some(places) = self.by_subject.get_mut(&subject.key) else {
                continue;
            };
            if let Some(keys) = places.get_mut(&old.namespace) {
                keys.remove(key);
                if keys.is_empty() {
                    places.remove(&old.namespace);
                }
            }
            if places.is_empty() {
                self.by_subject.remove(&subject.key);
            }
        }
    }
}

impl View for Index {
    const PREFIXES: &'static [&'static str] = &[ROLES, CLUSTER_ROLES, BINDINGS, CLUSTER_BINDINGS];

    fn put(&mut self, stored: &Stored) {
        let head = &stored.head;
        let key = stored.key.as_ref();
        if key.starts_with(ROLES) || key.starts_with(CLUSTER_ROLES) {
            let body: RoleBody = serde_json::from_slice(&stored.json).unwrap_or_default();
            let rules = body
                .rules
                .unwrap_or_default()
                .into_iter()
                .map(Arc::new)
                .collect();
            self.roles
                .insert(format!("{}/{}", head.namespace, head.name), rules);
        } else {
            self.unbind(key);
            let body: BindingBody = serde_json::from_slice(&stored.json).unwrap_or_default();
            let subjects: Vec<Bound> = body
                .subjects
                .unwrap_or_default()
                .iter()
                .map(|s| s.bound(&head.namespace))
                .collect();
            for subject in &subjects {
                self.by_subject
                    .entry(subject.key.clone())
                    .or_default()
                    .entry(head.namespace.clone())
                    .or_default()
                    .insert(stored.key.clone());
            }
            let binding = Binding {
                namespace: head.namespace.clone(),
                name: head.name.clone(),
                role: body.role_ref,
                subjects,
            };
            self.bindings.insert(stored.key.clone(), binding);
        }
    }

    fn forget(&mut self, prefix: &str) {
        if prefix == BINDINGS || prefix == CLUSTER_BINDINGS {
            let of = |k: &&Arc<str>| k.starts_with(prefix);
            let gone: Vec<_> = self.bindings.keys().filter(of).cloned().collect();
            gone.iter().for_each(|key| self.unbind(key));
        } else {
            self.roles
                .retain(|key, _| key.starts_with('/') != (prefix == CLUSTER_ROLES));
        }
    }

    fn remove(&mut self, stored: &Stored) {
        let key = stored.key.as_ref();
        if key.starts_with(ROLES) || key.starts_with(CLUSTER_ROLES) {
            self.roles
                .remove(&format!("{}/{}", stored.head.namespace, stored.head.name));
        } else {
            self.unbind(key);
        }
    }
}

/// What is said of a role that a binding names and that is not there.
fn absent(role: &RoleRef) -> String {
    let kind = if role.kind == "Role" {
        "role.rbac.authorization.k8s.io"
    } else {
        "clusterrole.rbac.authorization.k8s.io"
    };
    format!("{kind} {:?} not found", role.name)
}

/// Several as one, each once.
fn told(mut missing: Vec<String>) -> String {
    missing.sort();
    missing.dedup();
    super::aggregate(&missing)
}

/// Why a binding allows something to a user, as reviews tell it.
fn reason(binding: &Binding, user: &UserInfo) -> String {
    let own = |key: &str| match key.split_once(':') {
        Some(("u", name)) => user.name == name,
        Some(("g", group)) => user.in_group(group),
        _ => false,
    };
    let subject = binding.subjects.iter().find(|s| own(&s.key));
    let to = subject.map_or("", |s| s.shown.as_str());
    let of = format!("{} {:?} to {to}", binding.role.kind, binding.role.name);
    if binding.namespace.is_empty() {
        return format!(
            "RBAC: allowed by ClusterRoleBinding {:?} of {of}",
            binding.name
        );
    }
    let name = format!("{}/{}", binding.name, binding.namespace);
    format!("RBAC: allowed by RoleBinding {name:?} of {of}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(key: &str, namespace: &str, name: &str, json: knarr_json::Value) -> Stored {
        let head = knarr_api::Head {
            namespace: namespace.into(),
            name: name.into(),
            ..Default::default()
        };
        Stored {
            key: key.into(),
            revision: 1,
            created: 1,
            json: json.to_string().into(),
            hole: 0,
            head,
        }
    }

    fn ask(user: UserInfo, verb: &str, resource: &str, namespace: &str) -> Attributes {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes {
            user,
            verb: verb.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            is_resource: true,
            ..Default::default()
        }
    }

    #[test]
    fn bindings_grant_where_they_stand() {
        let mut index = Index::default();
        let role = knarr_json::json!({"rules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "*/log"]}]});
        index.put(&stored("/registry/clusterroles/read", "", "read", role));
        let binding = knarr_json::json!({
            "roleRef": {"kind": "ClusterRole", "name": "read"},
            "subjects": [{"kind": "User", "name": "ann"}, {"kind": "ServiceAccount", "name": "bot"}, {"kind": "Group", "name": "crew"}]
        });
        index.put(&stored("/registry/rolebindings/a/b", "a", "b", binding));
        let ann = || UserInfo::new("ann", Vec::<String>::new());
        let bot = UserInfo::new("system:serviceaccount:a:bot", Vec::<String>::new());
        let table = [
            (ask(ann(), "get", "pods", "a"), true),
            (ask(ann(), "get", "pods/log", "a"), true),
            (ask(ann(), "get", "pods/exec", "a"), false),
            (ask(ann(), "get", "pods", "b"), false),
            (ask(ann(), "get", "pods", ""), false),
            (ask(ann(), "delete", "pods", "a"), false),
            (ask(bot, "list", "pods", "a"), true),
            (ask(UserInfo::new("x", ["crew"]), "list", "pods", "a"), true),
            (
                ask(UserInfo::new("x", ["else"]), "list", "pods", "a"),
                false,
            ),
        ];
        for (ask, want) in table {
            assert_eq!(index.decide(&ask).allowed, want, "{ask:?}");
        }
        let gone = stored(
            "/registry/rolebindings/a/b",
            "a",
            "b",
            knarr_json::json!({}),
        );
        index.remove(&gone);
        assert!(
            !index.decide(&ask(ann(), "get", "pods", "a")).allowed && index.by_subject.is_empty()
        );
    }

    #[test]
    fn many_bindings_elsewhere_cost_nothing() {
        let mut index = Index::default();
        let role = knarr_json::json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]});
        index.put(&stored("/registry/clusterroles/r", "", "r", role));
        let binding = knarr_json::json!({"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "Group", "name": "crew"}]});
        for n in 0..10_000 {
            let namespace = format!("n{n}");
            let key = format!("/registry/rolebindings/{namespace}/b");
            index.put(&stored(&key, &namespace, "b", binding.clone()));
        }
        let user = || UserInfo::new("x", ["crew"]);
        for (namespace, looked_at) in [("n77", 1), ("other", 0)] {
            assert_eq!(index.bound(&user(), namespace).count(), looked_at);
            let ask = ask(user(), "get", "pods", namespace);
            assert_eq!(index.decide(&ask).allowed, looked_at > 0);
        }
    }

    #[test]
    fn paths_match_by_prefix() {
        assert!(
            url_matches("/healthz/*", "/healthz/etcd")
                && url_matches("*", "/x")
                && !url_matches("/api", "/apis")
        );
    }
}
