//! How requests are authorized: `--authorization-mode`, or `--authorization-config`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde::Deserialize;

pub use super::abac::Policies;

/// Who is asked, in order. [`Default`] is `Node,RBAC`.
#[derive(Debug, Clone)]
pub struct AuthorizationConfig {
    pub modes: Vec<Mode>,
    /// Where the modes come from (`--authorization-config`), to be read again when it changes.
    pub file: Option<PathBuf>,
    /// `--authorization-policy-file`, for the mode ABAC.
    pub policies: Option<Arc<Policies>>,
}

impl Default for AuthorizationConfig {
    fn default() -> Self {
        AuthorizationConfig {
            modes: vec![Mode::Node, Mode::Rbac],
            file: None,
            policies: None,
        }
    }
}

#[derive(Debug, Clone)]
pub enum Mode {
    AlwaysAllow,
    AlwaysDeny,
    Node,
    Rbac,
    Abac(Arc<Policies>),
    Webhook(Box<Webhook>),
}

impl Mode {
    /// The name of its kind.
    pub fn name(&self) -> &'static str {
        match self {
            Mode::AlwaysAllow => "AlwaysAllow",
            Mode::AlwaysDeny => "AlwaysDeny",
            Mode::Node => "Node",
            Mode::Rbac => "RBAC",
            Mode::Abac(_) => "ABAC",
            Mode::Webhook(_) => "Webhook",
        }
    }
}

/// A service that is asked by SubjectAccessReview.
#[derive(Debug, Clone)]
pub struct Webhook {
    pub name: String,
    /// A kubeconfig whose current cluster is the service.
    pub kubeconfig: PathBuf,
    /// `v1` or `v1beta1` of SubjectAccessReview.
    pub version: String,
    pub timeout: Duration,
    /// How long a yes and a no hold; zero does not keep them.
    pub allowed_hold: Duration,
    pub refused_hold: Duration,
    /// What a service that does not answer means: a no, or no opinion.
    pub deny_on_failure: bool,
    /// Only requests for which all of these (CEL) are true are asked about.
    pub conditions: Vec<String>,
}

impl Webhook {
    /// With the original's defaults.
    pub fn new(name: &str, kubeconfig: PathBuf) -> Self {
        Webhook {
            name: name.to_owned(),
            kubeconfig,
            version: "v1beta1".into(),
            timeout: Duration::from_secs(30),
            allowed_hold: Duration::from_secs(300),
            refused_hold: Duration::from_secs(30),
            deny_on_failure: false,
            conditions: Vec::new(),
        }
    }
}

/// The modes that `--authorization-mode` names.
///
/// # Errors
/// Names that are none, twice the same, a webhook without its kubeconfig or the reverse; policies likewise.
pub fn modes(
    names: &[String],
    webhook: Option<Webhook>,
    policies: Option<Arc<Policies>>,
) -> Result<Vec<Mode>, String> {
    let has = |mode: &str| names.iter().any(|n| n == mode);
    if webhook.is_some() && !has("Webhook") {
        return Err(
            "cannot specify --authorization-webhook-config-file without mode Webhook".into(),
        );
    }
    if policies.is_some() && !has("ABAC") {
        return Err("cannot specify --authorization-policy-file without mode ABAC".into());
    }
    let mut modes = Vec::new();
    for (n, name) in names.iter().enumerate() {
        if names[..n].contains(name) {
            return Err(format!(
                "authorization-mode {name:?} has mode specified more than once"
            ));
        }
        modes.push(match name.as_str() {
            "AlwaysAllow" => Mode::AlwaysAllow,
            "AlwaysDeny" => Mode::AlwaysDeny,
            "Node" => Mode::Node,
            "RBAC" => Mode::Rbac,
            "ABAC" => Mode::Abac(
                policies
                    .clone()
                    .ok_or("authorization-mode ABAC's authorization policy file not passed")?,
            ),
            "Webhook" => {
                let webhook = webhook
                    .clone()
                    .ok_or("authorization-mode Webhook's authorization config file not passed")?;
                Mode::Webhook(Box::new(webhook))
            }
            other => return Err(format!("{other:?} is not a valid mode")),
        });
    }
    if modes.is_empty() {
        return Err("at least one authorization-mode must be passed".into());
    }
    Ok(modes)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    authorizers: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    webhook: Option<Described>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Described {
    timeout: String,
    #[serde(rename = "authorizedTTL")]
    authorized_ttl: Option<String>,
    #[serde(rename = "unauthorizedTTL")]
    unauthorized_ttl: Option<String>,
    #[serde(default = "yes")]
    cache_authorized_requests: bool,
    #[serde(default = "yes")]
    cache_unauthorized_requests: bool,
    subject_access_review_version: String,
    #[serde(default)]
    match_condition_subject_access_review_version: String,
    failure_policy: String,
    connection_info: Connection,
    #[serde(default)]
    match_conditions: Vec<Condition>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Connection {
    #[serde(rename = "type")]
    kind: String,
    kube_config_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    expression: String,
}

/// Reads an `AuthorizationConfiguration`; the mode ABAC goes by `policies`.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &str, policies: Option<&Arc<Policies>>) -> Result<Vec<Mode>, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    let versions = ["v1", "v1beta1", "v1alpha1"].map(|v| format!("apiserver.config.k8s.io/{v}"));
    if file.kind != "AuthorizationConfiguration" || !versions.contains(&file.api_version) {
        return Err(format!(
            "no kind {:?} is registered for version {:?}",
            file.kind, file.api_version
        ));
    }
    if file.authorizers.is_empty() {
        return Err(
            "authorizers: Required value: at least one authorization mode must be defined".into(),
        );
    }
    let mut seen: Vec<String> = Vec::new();
    let mut modes = Vec::new();
    for (n, entry) in file.authorizers.into_iter().enumerate() {
        let once = if entry.kind == "Webhook" {
            &entry.name
        } else {
            &entry.kind
        };
        if seen.contains(once) {
            return Err(format!("authorizers[{n}]: Duplicate value: {once:?}"));
        }
        seen.push(once.clone());
        modes.push(match (entry.kind.as_str(), entry.webhook) {
            ("AlwaysAllow", None) => Mode::AlwaysAllow,
            ("AlwaysDeny", None) => Mode::AlwaysDeny,
            ("Node", None) => Mode::Node,
            ("RBAC", None) => Mode::Rbac,
            ("ABAC", None) => Mode::Abac(
                policies
                    .cloned()
                    .ok_or("authorization-mode ABAC's authorization policy file not passed")?,
            ),
            ("Webhook", Some(described)) => Mode::Webhook(Box::new(
                webhook(&entry.name, described)
                    .map_err(|why| format!("authorizers[{n}].webhook.{why}"))?,
            )),
            ("Webhook", None) => {
                return Err(format!("authorizers[{n}].webhook: Required value: required when type=Webhook"));
            }
            (_, Some(_)) => {
                return Err(format!("authorizers[{n}].webhook: Invalid value: may only be specified when type=Webhook"));
            }
            (other, None) => {
                return Err(format!("authorizers[{n}].type: Unsupported value: {other:?}: supported values: \"ABAC\", \"AlwaysAllow\", \"AlwaysDeny\", \"Node\", \"RBAC\", \"Webhook\""));
            }
        });
    }
    Ok(modes)
}

fn webhook(name: &str, described: Described) -> Result<Webhook, String> {
    let hold = |text: Option<String>, usual: u64, kept: bool| match (kept, text) {
        (false, _) => Ok(Duration::ZERO),
        (true, None) => Ok(Duration::from_secs(usual)),
        (true, Some(text)) => duration(&text),
    };
    let timeout = duration(&described.timeout)?;
    if timeout.is_zero() || timeout > Duration::from_secs(30) {
        return Err(format!(
            "timeout: Invalid value: {:?}: must be > 0s and <= 30s",
            described.timeout
        ));
    }
    let version = described.subject_access_review_version;
    if !matches!(version.as_str(), "v1" | "v1beta1") {
        return Err(format!(
            "subjectAccessReviewVersion: Unsupported value: {version:?}: supported values: \"v1\", \"v1beta1\""
        ));
    }
    let has_conditions = !described.match_conditions.is_empty();
    if has_conditions && described.match_condition_subject_access_review_version != "v1" {
        return Err("matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified".into());
    }
    let deny_on_failure = match described.failure_policy.as_str() {
        "Deny" => true,
        "NoOpinion" => false,
        other => {
            return Err(format!(
                "failurePolicy: Unsupported value: {other:?}: supported values: \"Deny\", \"NoOpinion\""
            ));
        }
    };
    let kubeconfig = match (
        described.connection_info.kind.as_str(),
        described.connection_info.kube_config_file,
    ) {
        ("KubeConfigFile", Some(file)) => file,
        ("KubeConfigFile", None) => {
            return Err("connectionInfo.kubeConfigFile: Required value".into());
        }
        (other, _) => {
            return Err(format!(
                "connectionInfo.type: Unsupported value: {other:?}: supported values: \"InClusterConfig\", \"KubeConfigFile\""
            ));
        }
    };
    Ok(Webhook {
        name: name.to_owned(),
        kubeconfig,
        version,
        timeout,
        allowed_hold: hold(
            described.authorized_ttl,
            300,
            described.cache_authorized_requests,
        )?,
        refused_hold: hold(
            described.unauthorized_ttl,
            30,
            described.cache_unauthorized_requests,
        )?,
        deny_on_failure,
        conditions: described
            .match_conditions
            .into_iter()
            .map(|c| c.expression)
            .collect(),
    })
}

/// A duration as Go writes it: `1h30m`, `5s`, `300ms`.
///
/// # Errors
/// When it is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("time: invalid duration {text:?}");
    let mut total = 0.0;
    let mut rest = text;
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let units = [
            ("ns", 1e-9),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("ms", 1e-3),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
        ];
        let (unit, seconds) = units
            .iter()
            .find(|(u, _)| rest.starts_with(u))
            .ok_or_else(wrong)?;
        total += number * seconds;
        rest = &rest[unit.len()..];
    }
    // Go counts nanoseconds in 64 bits; longer ones would overflow whoever adds them to a time.
    let longest = Duration::from_nanos(i64::MAX.unsigned_abs());
    let total = Duration::try_from_secs_f64(total).map_err(|_| wrong())?;
    (total <= longest).then_some(total).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, millis) in [
            ("5s", 5000),
            ("1h30m", 5_400_000),
            ("300ms", 300),
            ("1.5s", 1500),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "5", "s", "5x", "-1s", "9999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_have_names() {
        let names = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let policies = Arc::new(Policies::default());
        let abac = modes(&names(&["Node", "ABAC"]), None, Some(policies.clone())).unwrap();
        assert_eq!([abac[0].name(), abac[1].name()], ["Node", "ABAC"]);
        for bad in [
            vec!["Rbac"],
            vec![],
            vec!["RBAC", "RBAC"],
            vec!["Webhook"],
            vec!["ABAC"],
        ] {
            assert!(modes(&names(&bad), None, None).is_err(), "{bad:?}");
        }
        assert_eq!(
            modes(&names(&["RBAC"]), None, Some(policies)).unwrap_err(),
            "cannot specify --authorization-policy-file without mode ABAC"
        );
    }

    #[test]
    fn files_are_read() {
        let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n- type: Webhook\n  name: w\n  webhook:\n    timeout: 3s\n    subjectAccessReviewVersion: v1\n    matchConditionSubjectAccessReviewVersion: v1\n    failurePolicy: Deny\n    unauthorizedTTL: 7s\n    connectionInfo: {type: KubeConfigFile, kubeConfigFile: /x}\n    matchConditions: [{expression: 'true'}]\n- {type: RBAC, name: rbac}\n";
        let modes = parse(text, None).unwrap();
        let Mode::Webhook(webhook) = &modes[0] else {
            panic!("a webhook")
        };
        assert!(webhook.deny_on_failure && webhook.conditions == ["true"]);
        assert_eq!(
            (webhook.timeout.as_secs(), webhook.refused_hold.as_secs()),
            (3, 7)
        );
        for (from, to) in [
            ("Deny", "Maybe"),
            ("timeout: 3s", "timeout: 90s"),
            ("type: RBAC", "type: Rbac"),
            ("kind: A", "kind: X"),
            ("type: RBAC", "type: ABAC"),
        ] {
            assert!(parse(&text.replace(from, to), None).is_err(), "{to}");
        }
    }
}
