//! Which requests are audited, and how much of them: `audit.k8s.io/v1` Policy. Pure.

use serde::Deserialize;

use crate::authz::Attributes;

/// How much is told of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }
}

/// When an event is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::RequestReceived => "RequestReceived",
            Stage::ResponseStarted => "ResponseStarted",
            Stage::ResponseComplete => "ResponseComplete",
            Stage::Panic => "Panic",
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    api_version: String,
    kind: String,
    rules: Vec<Rule>,
    omit_stages: Vec<Stage>,
    omit_managed_fields: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<Resources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs", default)]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Resources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// What the policy says of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    pub level: Level,
    pub omit_stages: Vec<Stage>,
    pub omit_managed_fields: bool,
}

/// Reads a policy file.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Policy, String> {
    let policy: Policy = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    if policy.kind != "Policy" || policy.api_version != "audit.k8s.io/v1" {
        return Err(format!(
            "no kind {:?} is registered for version {:?}",
            policy.kind, policy.api_version
        ));
    }
    if policy.rules.is_empty() {
        return Err("loaded illegal policy with 0 rules".into());
    }
    for (n, rule) in policy.rules.iter().enumerate() {
        let resources = !rule.resources.is_empty() || !rule.namespaces.is_empty();
        if resources && !rule.non_resource_urls.is_empty() {
            return Err(format!(
                "rules[{n}].nonResourceURLs: Invalid value: rules cannot apply to both regular resources and non-resource URLs"
            ));
        }
        for (i, of) in rule.resources.iter().enumerate() {
            if !of.resource_names.is_empty() && of.resources.is_empty() {
                return Err(format!(
                    "rules[{n}].resources[{i}].resourceNames: Invalid value: using resourceNames requires at least one resource"
                ));
            }
        }
        for url in &rule.non_resource_urls {
            if url != "*" && !url.starts_with('/') {
                return Err(format!(
                    "rules[{n}].nonResourceURLs: Invalid value: {url:?}: non-resource URL rules must begin with a '/' character"
                ));
            }
        }
    }
    Ok(policy)
}

impl Policy {
    pub(crate) fn decide(&self, ask: &Attributes) -> Decided {
        let rule = self.rules.iter().find(|r| r.matches(ask));
        let mut omit_stages = self.omit_stages.clone();
        omit_stages.extend(rule.map_or(&[][..], |r| &r.omit_stages));
        Decided {
            level: rule.map_or(Level::None, |r| r.level),
            omit_stages,
            omit_managed_fields: rule
                .and_then(|r| r.omit_managed_fields)
                .unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    fn matches(&self, ask: &Attributes) -> bool {
        let any = |list: &[String], what: &str| list.is_empty() || list.iter().any(|x| x == what);
        let groups = &self.user_groups;
        if !any(&self.users, &ask.user.name)
            || !any(&self.verbs, &ask.verb)
            || !(groups.is_empty() || groups.iter().any(|g| ask.user.in_group(g)))
        {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return ask.is_resource
                && any(&self.namespaces, &ask.namespace)
                && (self.resources.is_empty() || self.resources.iter().any(|r| r.matches(ask)));
        }
        if !self.non_resource_urls.is_empty() {
            return !ask.is_resource
                && self.non_resource_urls.iter().any(|url| {
                    url == "*"
                        || *url == ask.path
                        || url
                            .strip_suffix('*')
                            .is_some_and(|prefix| ask.path.starts_with(prefix))
                });
        }
        true
    }
}

impl Resources {
    fn matches(&self, ask: &Attributes) -> bool {
        if self.group != "*" && self.group != ask.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !self.resource_names.contains(&ask.name) {
            return false;
        }
        self.resources
            .iter()
            .any(|wanted| match wanted.split_once('/') {
                None if wanted == "*" => true,
                None => *wanted == ask.resource && ask.subresource.is_empty(),
                Some(("*", sub)) => !ask.subresource.is_empty() && sub == ask.subresource,
                Some((resource, "*")) => resource == ask.resource,
                Some((resource, sub)) => resource == ask.resource && sub == ask.subresource,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UserInfo;

    const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: ["system:kube-proxy"], verbs: [watch]}
- {level: None, userGroups: ["system:nodes"], resources: [{group: "", resources: [nodes/status]}]}
- {level: Request, resources: [{group: "", resources: [configmaps], resourceNames: [one]}], namespaces: [a], omitManagedFields: true}
- {level: Metadata, resources: [{group: "", resources: ["secrets", "*/log", "pods/*"]}], omitStages: [ResponseStarted]}
- {level: None, nonResourceURLs: ["/healthz*", "/version"]}
- {level: RequestResponse, resources: [{group: apps}]}
- {level: Request, resources: [{group: "*", resources: [widgets]}]}
"#;

    #[test]
    fn the_first_rule_that_matches_counts() {
        let policy = parse(POLICY).unwrap();
        let ask = |user: &str, group: &str, verb: &str, what: &str, namespace: &str, name: &str| {
            let (api, resource) = what.split_once(':').unwrap_or(("", what));
            let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
            Attributes {
                user: UserInfo::new(user, [group]),
                verb: verb.into(),
                group: api.into(),
                resource: resource.into(),
                subresource: sub.into(),
                namespace: namespace.into(),
                name: name.into(),
                is_resource: true,
                ..Attributes::default()
            }
        };
        let table = [
            (
                ask("system:kube-proxy", "", "watch", "secrets", "", ""),
                Level::None,
            ),
            (
                ask("system:kube-proxy", "", "list", "secrets", "", ""),
                Level::Metadata,
            ),
            (
                ask("n", "system:nodes", "patch", "nodes/status", "", "n"),
                Level::None,
            ),
            (
                ask("n", "system:nodes", "patch", "nodes", "", "n"),
                Level::None,
            ),
            (
                ask("a", "", "update", "configmaps", "a", "one"),
                Level::Request,
            ),
            (
                ask("a", "", "update", "configmaps", "b", "one"),
                Level::None,
            ),
            (ask("a", "", "get", "pods", "a", "p"), Level::Metadata),
            (ask("a", "", "get", "pods/log", "a", "p"), Level::Metadata),
            (
                ask("a", "", "get", "apps:deployments/scale", "a", "p"),
                Level::RequestResponse,
            ),
            (
                ask("a", "", "get", "x.example:widgets", "a", "w"),
                Level::Request,
            ),
            (
                ask("a", "", "get", "x.example:gears", "a", "w"),
                Level::None,
            ),
        ];
        for (ask, want) in table {
            assert_eq!(policy.decide(&ask).level, want, "{ask:?}");
        }
        let one = policy.decide(&ask("a", "", "get", "configmaps", "a", "one"));
        assert!(one.omit_managed_fields && one.omit_stages == [Stage::RequestReceived]);
        let two = policy.decide(&ask("a", "", "get", "secrets", "a", "s"));
        assert_eq!(
            two.omit_stages,
            [Stage::RequestReceived, Stage::ResponseStarted]
        );
        let path = Attributes {
            path: "/healthz/etcd".into(),
            verb: "get".into(),
            ..Attributes::default()
        };
        assert_eq!(policy.decide(&path).level, Level::None);
    }

    #[test]
    fn policies_are_checked() {
        let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";
        for (text, want) in [
            (head.to_owned(), "0 rules"),
            (POLICY.replace("kind: Policy", "kind: X"), "no kind"),
            (format!("{head}rules: [{{level: Some}}]"), "Some"),
            (
                format!("{head}rules: [{{level: None, nonResourceURLs: [x]}}]"),
                "begin with",
            ),
            (
                format!("{head}rules: [{{level: None, nonResourceURLs: [/x], namespaces: [a]}}]"),
                "cannot apply to both",
            ),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(want), "{error} lacks {want}");
        }
    }
}
