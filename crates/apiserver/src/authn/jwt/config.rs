//! `AuthenticationConfiguration` (apiserver.config.k8s.io), read and checked.

use std::collections::HashSet;

use serde::Deserialize;

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    pub jwt: Vec<Issuer>,
    pub anonymous: Option<Anonymous>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anonymous {
    #[serde(default)]
    pub enabled: bool,
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    pub path: String,
}

impl From<Anonymous> for crate::authn::Anonymous {
    fn from(file: Anonymous) -> Self {
        crate::authn::Anonymous {
            enabled: file.enabled,
            paths: file.conditions.into_iter().map(|c| c.path).collect(),
        }
    }
}

/// An issuer of tokens, and what its claims mean here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Issuer {
    pub issuer: Source,
    #[serde(default)]
    pub claim_validation_rules: Vec<ClaimRule>,
    pub claim_mappings: Mappings,
    #[serde(default)]
    pub user_validation_rules: Vec<UserRule>,
    /// `--oidc-signing-algs`; the file has no such field, all that are sound are taken.
    #[serde(skip)]
    pub algorithms: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    pub url: String,
    #[serde(rename = "discoveryURL", default)]
    pub discovery_url: String,
    /// PEM; without it the machine's own authorities count.
    #[serde(default)]
    pub certificate_authority: String,
    #[serde(default)]
    pub audiences: Vec<String>,
    #[serde(default)]
    pub audience_match_policy: String,
    #[serde(default)]
    pub egress_selector_type: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[serde(default)]
pub struct ClaimRule {
    pub claim: String,
    pub required_value: String,
    pub expression: String,
    pub message: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(default)]
pub struct UserRule {
    pub expression: String,
    pub message: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(default)]
pub struct Mappings {
    pub username: Mapping,
    pub groups: Mapping,
    pub uid: Mapping,
    pub extra: Vec<Extra>,
}

/// A claim with a prefix, or an expression.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(default)]
pub struct Mapping {
    pub claim: String,
    pub prefix: Option<String>,
    pub expression: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[serde(default)]
pub struct Extra {
    pub key: String,
    pub value_expression: String,
}

/// # Errors
/// Everything that is wrong with the file, with the field's path.
pub fn parse(text: &str) -> Result<File, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    let versions = ["v1", "v1beta1", "v1alpha1"].map(|v| format!("apiserver.config.k8s.io/{v}"));
    if file.kind != "AuthenticationConfiguration" || !versions.contains(&file.api_version) {
        return Err(format!(
            "no kind {:?} is registered for version {:?}",
            file.kind, file.api_version
        ));
    }
    check(&file.jwt)?;
    if let Some(anonymous) = &file.anonymous
        && !anonymous.enabled
        && !anonymous.conditions.is_empty()
    {
        return Err("anonymous.conditions: Invalid value: enabled should be set to true when conditions are defined".into());
    }
    Ok(file)
}

/// # Errors
/// The first thing that is wrong.
pub fn check(issuers: &[Issuer]) -> Result<(), String> {
    let mut urls = HashSet::new();
    for (n, issuer) in issuers.iter().enumerate() {
        let at = |field: &str| format!("jwt[{n}].{field}");
        let source = &issuer.issuer;
        if !source.url.starts_with("https://") {
            let why = "URL scheme must be https";
            return Err(format!(
                "{}: Invalid value: {:?}: {why}",
                at("issuer.url"),
                source.url
            ));
        }
        if !urls.insert(&source.url) {
            return Err(format!(
                "{}: Duplicate value: {:?}",
                at("issuer.url"),
                source.url
            ));
        }
        if source.discovery_url == source.url {
            let why = "discoveryURL must be different from URL";
            return Err(format!(
                "{}: Invalid value: {why}",
                at("issuer.discoveryURL")
            ));
        }
        if source.audiences.is_empty() {
            let why =
                "at least one jwt[%d].issuer.audiences is required".replace("%d", &n.to_string());
            return Err(format!("{}: Required value: {why}", at("issuer.audiences")));
        }
        if source.audiences.len() > 1 && source.audience_match_policy != "MatchAny" {
            let why = "audienceMatchPolicy must be MatchAny for multiple audiences";
            return Err(format!(
                "{}: Invalid value: {why}",
                at("issuer.audienceMatchPolicy")
            ));
        }
        check_mappings(&issuer.claim_mappings)
            .map_err(|(field, why)| format!("{}: {why}", at(&format!("claimMappings.{field}"))))?;
        for (i, rule) in issuer.claim_validation_rules.iter().enumerate() {
            if rule.claim.is_empty() == rule.expression.is_empty() {
                let path = at(&format!("claimValidationRules[{i}]"));
                return Err(format!(
                    "{path}: Invalid value: exactly one of claim or expression is required"
                ));
            }
        }
    }
    Ok(())
}

type Wrong = (&'static str, &'static str);

fn check_mappings(mappings: &Mappings) -> Result<(), Wrong> {
    let Mapping {
        claim,
        prefix,
        expression,
    } = &mappings.username;
    match (claim.is_empty(), expression.is_empty()) {
        (true, true) => {
            return Err((
                "username",
                "Required value: claim or expression is required",
            ));
        }
        (false, false) => {
            return Err((
                "username",
                "Invalid value: claim and expression can't both be set",
            ));
        }
        (false, true) if prefix.is_none() => {
            return Err((
                "username.prefix",
                "Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing",
            ));
        }
        _ => {}
    }
    let groups = &mappings.groups;
    if !groups.claim.is_empty() && !groups.expression.is_empty() {
        return Err((
            "groups",
            "Invalid value: claim and expression can't both be set",
        ));
    }
    if !groups.claim.is_empty() && groups.prefix.is_none() {
        return Err((
            "groups.prefix",
            "Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing",
        ));
    }
    let uid = &mappings.uid;
    if !uid.claim.is_empty() && !uid.expression.is_empty() {
        return Err((
            "uid",
            "Invalid value: claim and expression can't both be set",
        ));
    }
    let mut keys = HashSet::new();
    for extra in &mappings.extra {
        if extra.key.is_empty() || extra.key != extra.key.to_lowercase() || !extra.key.contains('/')
        {
            return Err((
                "extra",
                "Invalid value: key must be a lowercase domain-prefixed path",
            ));
        }
        if !keys.insert(&extra.key) {
            return Err(("extra", "Duplicate value"));
        }
        if extra.value_expression.is_empty() {
            return Err(("extra", "Required value: valueExpression is required"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_checked() {
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
        let good = format!(
            "{head}jwt:\n- issuer: {{url: 'https://i', audiences: [a]}}\n  claimMappings:\n    username: {{claim: sub, prefix: ''}}\nanonymous: {{enabled: true, conditions: [{{path: /livez}}]}}\n"
        );
        let file = parse(&good).unwrap();
        assert_eq!(file.jwt[0].issuer.url, "https://i");
        assert_eq!(file.anonymous.unwrap().conditions[0].path, "/livez");
        let table = [
            (good.replace("https", "http"), "must be https"),
            (good.replace("[a]", "[]"), "audiences is required"),
            (good.replace("[a]", "[a, b]"), "MatchAny"),
            (good.replace(", prefix: ''", ""), "prefix is required"),
            (
                good.replace("claim: sub, prefix: ''", ""),
                "claim or expression",
            ),
            (
                good.replace("enabled: true", "enabled: false"),
                "enabled should be set",
            ),
            (good.replace("kind: A", "kind: B"), "no kind"),
            (good.replace("issuer:", "issuers:"), "issuers"),
        ];
        for (text, want) in table {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(want), "{error} lacks {want}");
        }
    }
}
