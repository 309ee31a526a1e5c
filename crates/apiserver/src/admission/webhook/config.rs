//! Webhooks as their configurations describe them, with the defaults that old or direct writes may lack.

use std::{sync::Arc, time::Duration};

use knarr_api::selector::LabelSelector;
use knarr_json::Value;

use super::super::{
    Operation,
    policies::config::{self, Compiled},
};
use crate::webhook::ClientConfig;

const DEFAULT_TIMEOUT: u64 = 10;

/// One webhook of a configuration.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Tells it from every other one: `configuration/name/number`.
    pub uid: Arc<str>,
    pub configuration: Arc<str>,
    pub name: Arc<str>,
    pub rules: Vec<Rule>,
    /// Whether a request for another version of the same resource counts.
    pub equivalent: bool,
    pub namespaces: Selector,
    pub objects: Selector,
    /// All must hold for the hook to be asked.
    pub conditions: Arc<Vec<Compiled>>,
    pub client: ClientConfig,
    pub timeout: Duration,
    /// `failurePolicy: Ignore`
    pub ignores_failures: bool,
    pub dry_run: DryRun,
    /// The `AdmissionReview` that it understands; none when it understands nothing that we speak.
    pub review: Option<Version>,
    /// `reinvocationPolicy: IfNeeded`
    pub reinvoked: bool,
}

/// What a hook may be asked in a dry run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DryRun {
    Asked,
    Refused,
    /// It does not say whether it has side effects.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V1Beta1,
}

/// A selector that may be one that cannot be read.
pub type Selector = Result<LabelSelector, String>;

/// One of the rules of a webhook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    pub operations: Vec<String>,
    pub groups: Vec<String>,
    pub versions: Vec<String>,
    pub resources: Vec<String>,
    pub scope: Scope,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    #[default]
    All,
    Namespaced,
    Cluster,
}

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// A selector that selects everything where there is none.
pub fn selector(value: &Value) -> Selector {
    match value {
        Value::Null => Ok(LabelSelector::everything()),
        value => LabelSelector::from_object(value),
    }
}

impl Rule {
    pub fn of(rule: &Value) -> Self {
        Rule {
            operations: texts(&rule["operations"]),
            groups: texts(&rule["apiGroups"]),
            versions: texts(&rule["apiVersions"]),
            resources: texts(&rule["resources"]),
            scope: match rule["scope"].as_str() {
                Some("Namespaced") => Scope::Namespaced,
                Some("Cluster") => Scope::Cluster,
                _ => Scope::All,
            },
        }
    }

    /// Whether a request on this resource is meant.
    pub fn matches(
        &self,
        operation: Operation,
        resource: (&str, &str, &str),
        subresource: &str,
        namespaced: bool,
    ) -> bool {
        let has = |list: &[String], what: &str| list.iter().any(|x| x == "*" || x == what);
        let (group, version, plural) = resource;
        let scope = match self.scope {
            Scope::All => true,
            Scope::Namespaced => namespaced,
            Scope::Cluster => !namespaced,
        };
        let named = |rule: &String| {
            let (r, s) = rule.split_once('/').unwrap_or((rule, ""));
            (r == "*" || r == plural) && (s == "*" || s == subresource)
        };
        scope
            && has(&self.operations, operation.name())
            && has(&self.groups, group)
            && has(&self.versions, version)
            && self.resources.iter().any(named)
    }
}

impl Hook {
    /// The webhooks of a configuration, in its order.
    pub fn all_of(configuration: &Value) -> Vec<Arc<Hook>> {
        let name = configuration["metadata"]["name"]
            .as_str()
            .unwrap_or_default();
        let hooks = configuration["webhooks"].as_array();
        let mut seen: Vec<String> = Vec::new();
        let mut out = Vec::new();
        for hook in hooks.into_iter().flatten() {
            let own = hook["name"].as_str().unwrap_or_default();
            let number = seen.iter().filter(|s| *s == own).count();
            seen.push(own.to_owned());
            let uid = format!("{name}/{own}/{number}");
            out.push(Arc::new(Hook::of(hook, name, own, &uid)));
        }
        out
    }

    fn of(hook: &Value, configuration: &str, name: &str, uid: &str) -> Self {
        let rules = hook["rules"].as_array().into_iter().flatten();
        let seconds = hook["timeoutSeconds"].as_u64().unwrap_or(DEFAULT_TIMEOUT);
        let versions = texts(&hook["admissionReviewVersions"]);
        let review = versions.iter().find_map(|v| match v.as_str() {
            "v1" => Some(Version::V1),
            "v1beta1" => Some(Version::V1Beta1),
            _ => None,
        });
        Hook {
            uid: uid.into(),
            configuration: configuration.into(),
            name: name.into(),
            rules: rules.map(Rule::of).collect(),
            equivalent: hook["matchPolicy"] != "Exact",
            namespaces: selector(&hook["namespaceSelector"]),
            objects: selector(&hook["objectSelector"]),
            conditions: Arc::new(config::conditions(hook, false)),
            client: ClientConfig::of(&hook["clientConfig"]),
            timeout: Duration::from_secs(seconds.max(1)),
            ignores_failures: hook["failurePolicy"] == "Ignore",
            dry_run: match hook["sideEffects"].as_str() {
                Some("None" | "NoneOnDryRun") => DryRun::Asked,
                Some(_) => DryRun::Refused,
                None => DryRun::Unknown,
            },
            review,
            reinvoked: hook["reinvocationPolicy"] == "IfNeeded",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn rules_match_what_they_name() {
        let rule = Rule::of(
            &json!({"operations": ["CREATE", "UPDATE"], "apiGroups": ["", "apps"], "apiVersions": ["v1"], "resources": ["pods", "*/scale", "deployments/*"], "scope": "Namespaced"}),
        );
        let pods = ("", "v1", "pods");
        let deployments = ("apps", "v1", "deployments");
        let table = [
            (Operation::Create, pods, "", true, true),
            (Operation::Create, pods, "", false, false),
            (Operation::Delete, pods, "", true, false),
            (Operation::Update, pods, "status", true, false),
            (Operation::Update, pods, "scale", true, true),
            (Operation::Update, deployments, "status", true, true),
            (Operation::Update, deployments, "", true, true),
            (Operation::Create, ("apps", "v2", "pods"), "", true, false),
            (Operation::Create, ("batch", "v1", "pods"), "", true, false),
        ];
        for (operation, resource, sub, namespaced, wanted) in table {
            let got = rule.matches(operation, resource, sub, namespaced);
            assert_eq!(got, wanted, "{operation:?} {resource:?} {sub} {namespaced}");
        }
    }

    #[test]
    fn what_is_left_out_has_a_meaning() {
        let configuration = json!({"metadata": {"name": "c"}, "webhooks": [
            {"name": "a", "clientConfig": {"url": "https://x/"}, "admissionReviewVersions": ["v2", "v1beta1", "v1"]},
            {"name": "a", "matchPolicy": "Exact", "timeoutSeconds": 3, "sideEffects": "Some", "failurePolicy": "Ignore", "reinvocationPolicy": "IfNeeded"},
        ]});
        let hooks = Hook::all_of(&configuration);
        let (first, second) = (&hooks[0], &hooks[1]);
        assert_eq!((&*first.uid, &*second.uid), ("c/a/0", "c/a/1"));
        assert!(first.equivalent && !first.ignores_failures && !first.reinvoked);
        assert_eq!(first.timeout, Duration::from_secs(10));
        assert_eq!(first.review, Some(Version::V1Beta1));
        assert_eq!(first.dry_run, DryRun::Unknown);
        assert!(first.namespaces.as_ref().unwrap().is_everything());
        assert!(!second.equivalent && second.ignores_failures && second.reinvoked);
        assert_eq!(second.dry_run, DryRun::Refused);
        assert_eq!(second.review, None);
    }
}
