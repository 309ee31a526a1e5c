//! Attribute-based authorization (`--authorization-policy-file`): a file with one policy a line.

use knarr_json::Value;
use serde::Deserialize;

use super::{Attributes, Decision, Rule};
use crate::{UserInfo, user::AUTHENTICATED};

const API_VERSION: &str = "abac.authorization.kubernetes.io/v1beta1";

/// The policies of a file; a request is allowed that one of them allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies(Vec<Policy>);

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Policy {
    user: String,
    group: String,
    /// Lists, reads and watches only.
    readonly: bool,
    api_group: String,
    resource: String,
    namespace: String,
    non_resource_path: String,
}

impl Policies {
    /// Reads the lines of a file. Empty ones and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// The first line that is no policy.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut out = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let told = |why| format!("error reading policy file, line {}: {line}: {why}", n + 1);
            out.push(Policy::parse(line).map_err(told)?);
        }
        Ok(Policies(out))
    }

    pub(super) fn decide(&self, ask: &Attributes) -> Decision {
        if self.0.iter().any(|policy| policy.allows(ask)) {
            Decision::allow("")
        } else {
            Decision::no_opinion("No policy matched.")
        }
    }

    /// Rules that hold for a user in a namespace.
    pub(super) fn rules(&self, user: &UserInfo, namespace: &str) -> Vec<Rule> {
        let of = |p: &&Policy| p.is_for(user) && matches(&p.namespace, namespace);
        self.0.iter().filter(of).flat_map(Policy::rules).collect()
    }
}

/// Whether a policy's word is about something.
fn matches(word: &str, what: &str) -> bool {
    word == "*" || word == what
}

impl Policy {
    fn parse(line: &str) -> Result<Self, String> {
        let object: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
        if !object.is_object() {
            return Err("expected an object".into());
        }
        let policy = |value: &Value| knarr_json::from_value(value.clone());
        let versioned = object["apiVersion"].is_string() && object["kind"].is_string();
        if !versioned {
            let old: Policy = policy(&object).map_err(|e| e.to_string())?;
            return Ok(old.renewed());
        }
        if object["apiVersion"] != API_VERSION || object["kind"] != "Policy" {
            return Err(format!(
                "no kind {} is registered for version {}",
                object["kind"], object["apiVersion"]
            ));
        }
        let mut policy: Policy = policy(&object["spec"]).map_err(|e| e.to_string())?;
        policy.widen();
        Ok(policy)
    }

    /// Any user or group is whoever is authenticated.
    fn widen(&mut self) {
        if self.user == "*" || self.group == "*" {
            self.group = AUTHENTICATED.into();
            self.user.clear();
        }
    }

    /// A line without a version: what it does not say is meant to be anything.
    fn renewed(mut self) -> Self {
        if self.user.is_empty() && self.group.is_empty() {
            self.group = AUTHENTICATED.into();
        }
        self.widen();
        self.api_group = "*".into();
        self.non_resource_path.clear();
        if self.namespace.is_empty() && self.resource.is_empty() {
            self.non_resource_path = "*".into();
        }
        for word in [&mut self.namespace, &mut self.resource] {
            if word.is_empty() {
                *word = "*".into();
            }
        }
        self
    }

    fn is_for(&self, user: &UserInfo) -> bool {
        let named = !self.user.is_empty() || !self.group.is_empty();
        let by_name = self.user.is_empty() || self.user == user.name;
        named && by_name && (self.group.is_empty() || user.in_group(&self.group))
    }

    fn allows(&self, ask: &Attributes) -> bool {
        let reads = matches!(ask.verb.as_str(), "get" | "list" | "watch");
        if !self.is_for(&ask.user) || (self.readonly && !reads) {
            return false;
        }
        if ask.is_resource {
            return matches(&self.namespace, &ask.namespace)
                && matches(&self.resource, &ask.resource)
                && matches(&self.api_group, &ask.group);
        }
        let path = &self.non_resource_path;
        let below = path.ends_with('*') && ask.path.starts_with(path.trim_end_matches('*'));
        below || matches(path, &ask.path)
    }

    fn rules(&self) -> Vec<Rule> {
        let verbs: &[&str] = if self.readonly {
            &["get", "list", "watch"]
        } else {
            &["*"]
        };
        let verbs: Vec<String> = verbs.iter().map(|v| (*v).to_owned()).collect();
        let mut out = Vec::new();
        if !self.resource.is_empty() {
            out.push(Rule {
                verbs: verbs.clone(),
                api_groups: vec![self.api_group.clone()],
                resources: vec![self.resource.clone()],
                ..Rule::default()
            });
        }
        if !self.non_resource_path.is_empty() {
            out.push(Rule {
                verbs,
                non_resource_urls: vec![self.non_resource_path.clone()],
                ..Rule::default()
            });
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r##"
# whoever administers
{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": {"user": "admin", "namespace": "*", "resource": "*", "apiGroup": "*", "nonResourcePath": "*"}}
{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": {"user": "bob", "namespace": "projectCaribou", "resource": "pods", "readonly": true}}
{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": {"group": "ops", "nonResourcePath": "/healthz*"}}
{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": {"user": "*", "nonResourcePath": "/version"}}
{"user": "old", "namespace": "n"}
{"user": "older"}
{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": {"namespace": "*", "resource": "*", "apiGroup": "*"}}
"##;

    fn ask(user: &str, groups: &[&str], what: &str) -> Attributes {
        let mut words = what.split(' ');
        let mut next = || words.next().unwrap_or_default().to_owned();
        let mut ask = Attributes {
            user: UserInfo::new(user, groups.iter().copied()),
            verb: next(),
            ..Attributes::default()
        };
        let target = next();
        if target.starts_with('/') {
            ask.path = target;
            return ask;
        }
        let (group, resource) = target.rsplit_once('/').unwrap_or(("", &target));
        (ask.group, ask.resource) = (group.to_owned(), resource.to_owned());
        ask.namespace = next();
        ask.is_resource = true;
        ask
    }

    #[test]
    fn policies_allow_what_they_say() {
        let policies = Policies::parse(FILE).unwrap();
        for (user, groups, what, allowed) in [
            ("admin", vec![], "delete apps/deployments x", true),
            ("admin", vec![], "get /metrics", true),
            ("bob", vec![], "list pods projectCaribou", true),
            ("bob", vec![], "create pods projectCaribou", false),
            ("bob", vec![], "list pods other", false),
            ("bob", vec![], "list apps/pods projectCaribou", false),
            ("eve", vec!["ops"], "post /healthz/etcd", true),
            ("eve", vec!["ops"], "get /livez", false),
            ("eve", vec!["system:authenticated"], "get /version", true),
            ("eve", vec!["system:unauthenticated"], "get /version", false),
            ("old", vec![], "delete apps/deployments n", true),
            ("old", vec![], "delete apps/deployments m", false),
            ("old", vec![], "get /metrics", false),
            ("older", vec![], "delete apps/deployments m", true),
            ("older", vec![], "get /anything", true),
            ("nobody", vec![], "get pods n", false),
        ] {
            let ask = ask(user, &groups, what);
            let said = policies.decide(&ask);
            assert_eq!(said.allowed, allowed, "{user} {what}");
            assert_eq!(said.reason.is_empty(), allowed, "{user} {what}");
        }
    }

    #[test]
    fn rules_are_those_of_the_namespace() {
        let policies = Policies::parse(FILE).unwrap();
        let of = |user: &str, namespace: &str| -> Vec<String> {
            let rules = policies.rules(&UserInfo::new::<String>(user, []), namespace);
            let told = |r: &Rule| {
                let what = [&r.api_groups[..], &r.resources, &r.non_resource_urls].concat();
                format!("{} {}", r.verbs.join(","), what.join(","))
            };
            rules.iter().map(told).collect()
        };
        assert_eq!(of("bob", "projectCaribou"), ["get,list,watch ,pods"]);
        assert!(of("bob", "other").is_empty());
        assert_eq!(of("admin", "any"), ["* *,*", "* *"]);
    }

    #[test]
    fn what_is_no_policy_is_refused_with_its_line() {
        for bad in [
            "{",
            "[]",
            r#"{"user": 7}"#,
            r#"{"apiVersion": "v1", "kind": "Policy", "spec": {}}"#,
        ] {
            let why = Policies::parse(&format!("# first\n{bad}")).unwrap_err();
            assert!(why.contains("line 2"), "{why}");
        }
    }
}
