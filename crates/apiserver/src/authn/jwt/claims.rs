//! From claims to a user: the mappings and rules of an issuer. Pure.

use std::collections::BTreeMap;

use knarr_json::Value;

use super::config::{self, Mapping};
use crate::{UserInfo, expression::Expression};

/// Seconds that clocks may differ.
const LEEWAY: i64 = 300;

/// `exp`, `nbf` and `aud`.
///
/// # Errors
/// Why the token does not hold now or here.
pub fn check_standard(claims: &Value, audiences: &[String], now: i64) -> Result<(), String> {
    let time = |key: &str| claims[key].as_f64().map(|t| t as i64);
    let shown =
        |t: i64| jiff::Timestamp::from_second(t).map_or_else(|_| t.to_string(), |t| t.to_string());
    match time("exp") {
        Some(until) if until > now => {}
        until => {
            return Err(format!(
                "oidc: token is expired (Token Expiry: {})",
                shown(until.unwrap_or(0))
            ));
        }
    }
    if let Some(from) = time("nbf").filter(|from| now + LEEWAY < *from) {
        return Err(format!(
            "oidc: current time {} before the nbf (not before) time: {}",
            shown(now),
            shown(from)
        ));
    }
    let have = texts(&claims["aud"]).unwrap_or_default();
    if !have.iter().any(|a| audiences.contains(a)) {
        return Err(match audiences {
            [one] => format!("oidc: expected audience {one:?} got {have:?}"),
            some => format!("oidc: expected audience in {some:?} got {have:?}"),
        });
    }
    Ok(())
}

/// What an issuer's claims mean, ready to run.
pub struct Rules {
    username: Source,
    groups: Option<Source>,
    uid: Option<Source>,
    extra: Vec<(String, Expression)>,
    required: Vec<(String, String)>,
    validations: Vec<(Expression, String)>,
    user_validations: Vec<(Expression, String)>,
}

enum Source {
    Claim { claim: String, prefix: String },
    Expression(Expression),
}

impl Source {
    fn new(mapping: &Mapping) -> Result<Option<Self>, String> {
        if !mapping.expression.is_empty() {
            let expression = Expression::new(&mapping.expression, "claims")?;
            return Ok(Some(Source::Expression(expression)));
        }
        let prefix = mapping.prefix.clone().unwrap_or_default();
        let claim = mapping.claim.clone();
        Ok((!claim.is_empty()).then_some(Source::Claim { claim, prefix }))
    }
}

impl Rules {
    /// # Errors
    /// Expressions that do not compile.
    pub fn new(config: &config::Issuer) -> Result<Self, String> {
        let mappings = &config.claim_mappings;
        let mut rules = Rules {
            username: Source::new(&mappings.username)?
                .ok_or("username: claim or expression is required")?,
            groups: Source::new(&mappings.groups)?,
            uid: Source::new(&mappings.uid)?,
            extra: Vec::new(),
            required: Vec::new(),
            validations: Vec::new(),
            user_validations: Vec::new(),
        };
        for extra in &mappings.extra {
            let expression = Expression::new(&extra.value_expression, "claims")?;
            rules.extra.push((extra.key.clone(), expression));
        }
        for rule in &config.claim_validation_rules {
            if rule.expression.is_empty() {
                rules
                    .required
                    .push((rule.claim.clone(), rule.required_value.clone()));
            } else {
                let expression = Expression::new(&rule.expression, "claims")?;
                rules.validations.push((expression, rule.message.clone()));
            }
        }
        for rule in &config.user_validation_rules {
            let expression = Expression::new(&rule.expression, "user")?;
            rules
                .user_validations
                .push((expression, rule.message.clone()));
        }
        Ok(rules)
    }

    /// The user that claims describe.
    ///
    /// # Errors
    /// What is missing in them or forbids them.
    pub fn user(&self, claims: &Value) -> Result<UserInfo, String> {
        let name = self.username(claims)?;
        let groups = match &self.groups {
            None => Vec::new(),
            Some(source) => groups(source, claims)?,
        };
        let mut user = UserInfo::new(&name, groups);
        user.uid = match &self.uid {
            None => String::new(),
            Some(source) => single(source, claims, "uid")?,
        };
        user.extra = self.extra(claims)?;
        if let Some(id) = claims["jti"].as_str().filter(|id| !id.is_empty()) {
            user.extra.insert(
                "authentication.kubernetes.io/credential-id".into(),
                vec![format!("JTI={id}")],
            );
        }
        for (claim, wanted) in &self.required {
            let Some(have) = claims.get(claim) else {
                return Err(format!(
                    "oidc: required claim {claim} not present in ID token"
                ));
            };
            let have = have.as_str().unwrap_or_default();
            if have != wanted {
                return Err(format!(
                    "oidc: required claim {claim} value does not match. Got = {have}, want = {wanted}"
                ));
            }
        }
        for (rule, message) in &self.validations {
            if rule.run(claims)? != Value::Bool(true) {
                return Err(failed(
                    "oidc: error evaluating claim validation expression",
                    rule,
                    message,
                ));
            }
        }
        self.check_user(&user)?;
        Ok(user)
    }

    fn username(&self, claims: &Value) -> Result<String, String> {
        let name = single(&self.username, claims, "username")?;
        if let Source::Claim { claim, .. } = &self.username
            && claim == "email"
            && let Some(verified) = claims.get("email_verified")
        {
            let Some(verified) = verified.as_bool() else {
                return Err("oidc: parse 'email_verified' claim: not a boolean".into());
            };
            if !verified {
                return Err("oidc: email not verified".into());
            }
        }
        Ok(name)
    }

    fn extra(&self, claims: &Value) -> Result<BTreeMap<String, Vec<String>>, String> {
        let mut out = BTreeMap::new();
        for (key, expression) in &self.extra {
            let value = expression.run(claims)?;
            let list = texts(&value)
                .ok_or_else(|| format!("oidc: error evaluating extra claim expression for {key:?}: not a string or a list of strings"))?;
            let list: Vec<String> = list.into_iter().filter(|v| !v.is_empty()).collect();
            if !list.is_empty() {
                out.insert(key.clone(), list);
            }
        }
        Ok(out)
    }

    fn check_user(&self, user: &UserInfo) -> Result<(), String> {
        if self.user_validations.is_empty() {
            return Ok(());
        }
        let groups: Vec<&String> = user
            .groups
            .iter()
            .filter(|g| *g != crate::user::AUTHENTICATED)
            .collect();
        let shown = knarr_json::json!({"username": user.name, "uid": user.uid, "groups": groups, "extra": user.extra});
        for (rule, message) in &self.user_validations {
            if rule.run(&shown)? != Value::Bool(true) {
                return Err(failed(
                    "oidc: error evaluating user info validation rule",
                    rule,
                    message,
                ));
            }
        }
        Ok(())
    }
}

fn failed(what: &str, rule: &Expression, message: &str) -> String {
    format!(
        "{what}: validation expression '{}' failed: {message}",
        rule.source()
    )
}

fn single(source: &Source, claims: &Value, what: &str) -> Result<String, String> {
    match source {
        Source::Claim { claim, prefix } => {
            let Some(value) = claims.get(claim) else {
                return Err(format!(
                    "oidc: parse {what} claims {claim:?}: claim not present"
                ));
            };
            let text = value.as_str().ok_or_else(|| {
                format!("oidc: parse {what} claims {claim:?}: claim is not a string")
            })?;
            if text.is_empty() && what == "username" {
                return Err(format!(
                    "oidc: parse {what} claims {claim:?}: claim is empty"
                ));
            }
            Ok(format!("{prefix}{text}"))
        }
        Source::Expression(expression) => match expression.run(claims)? {
            Value::String(text) if !text.is_empty() || what != "username" => Ok(text.into()),
            Value::String(_) => Err("oidc: empty username".into()),
            _ => Err(format!(
                "oidc: error evaluating {what} claim expression: not a string"
            )),
        },
    }
}

fn groups(source: &Source, claims: &Value) -> Result<Vec<String>, String> {
    match source {
        Source::Claim { claim, prefix } => {
            let Some(value) = claims.get(claim) else {
                return Ok(Vec::new());
            };
            let list = texts(value).ok_or_else(|| {
                format!("oidc: parse groups claim {claim:?}: json: cannot unmarshal into a list of strings")
            })?;
            Ok(list.into_iter().map(|g| format!("{prefix}{g}")).collect())
        }
        Source::Expression(expression) => {
            let value = expression.run(claims)?;
            let list = texts(&value).ok_or(
                "oidc: error evaluating group claim expression: not a string or a list of strings",
            )?;
            Ok(list.into_iter().filter(|g| !g.is_empty()).collect())
        }
    }
}

/// One string or a list of them; null is none.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::String(text) => Some(vec![text.to_string()]),
        Value::Array(list) => list.iter().map(|v| v.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    fn rules(config: Value) -> Rules {
        let mut whole = json!({"issuer": {"url": "https://i", "audiences": ["a"]}});
        whole
            .as_object_mut()
            .unwrap()
            .extend(config.as_object().unwrap().clone());
        Rules::new(&knarr_json::from_value(whole).unwrap()).unwrap()
    }

    #[test]
    fn claims_become_users() {
        let rules = rules(json!({
            "claimMappings": {
                "username": {"claim": "email", "prefix": "o:"}, "groups": {"claim": "roles", "prefix": "g:"},
                "uid": {"claim": "sub"}
            },
            "claimValidationRules": [{"claim": "hd", "requiredValue": "acme"}]
        }));
        let good =
            json!({"email": "a@b", "roles": ["x", "y"], "sub": "7", "hd": "acme", "jti": "j"});
        let user = rules.user(&good).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("o:a@b", "7"));
        assert_eq!(user.groups, ["g:x", "g:y", "system:authenticated"]);
        assert_eq!(
            user.extra["authentication.kubernetes.io/credential-id"],
            ["JTI=j"]
        );
        let told = |key: &str, value: Value| {
            let mut claims = good.clone();
            claims[key] = value;
            rules.user(&claims).unwrap_err()
        };
        assert_eq!(
            told("email_verified", json!(false)),
            "oidc: email not verified"
        );
        assert!(told("hd", json!("x")).contains("Got = x, want = acme"));
        assert!(told("roles", json!({"a": 1})).contains("groups claim"));
        assert!(
            rules
                .user(&json!({}))
                .unwrap_err()
                .contains("claim not present")
        );
        assert_eq!(
            rules
                .user(&json!({"email": "e", "sub": "s", "hd": "acme", "roles": "one"}))
                .unwrap()
                .groups[0],
            "g:one"
        );
    }

    #[test]
    fn times_and_audiences_count() {
        let check = |claims: Value| {
            check_standard(&claims, &["a".into()], 1000)
                .err()
                .unwrap_or_default()
        };
        assert_eq!(check(json!({"exp": 1001, "aud": "a"})), "");
        assert_eq!(
            check(json!({"exp": 1001, "aud": ["x", "a"], "nbf": 1200})),
            ""
        );
        assert!(check(json!({"exp": 1000, "aud": "a"})).contains("expired"));
        assert!(check(json!({"aud": "a"})).contains("expired"));
        assert!(check(json!({"exp": 1001, "aud": "b"})).contains("expected audience"));
        assert!(check(json!({"exp": 9999, "aud": "a", "nbf": 1301})).contains("not before"));
    }
}
