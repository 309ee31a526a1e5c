//! Tokens of the old kind, kept in Secrets of type `kubernetes.io/service-account-token`: they never expire, and are good
//! as long as their Secret holds them.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Method, Request, header};
use jiff::Timestamp;
use knarr_json::{Value, json};
use serde::{Deserialize, Serialize};

use super::{
    same,
    token::{Object, State, state},
};
use crate::{
    UserInfo, body,
    chain::{self, Peer},
    server::Shared,
    user::MASTERS,
};

/// `iss` of such tokens.
pub const ISSUER: &str = "kubernetes/serviceaccount";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Claims {
    pub iss: String,
    pub sub: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    pub namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    pub secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    pub account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    pub uid: String,
}

/// # Errors
/// Why the token does not hold, in the original's words.
pub fn user(shared: &Shared, claims: &Claims, token: &str) -> Result<UserInfo, String> {
    check_claims(claims)?;
    let Claims {
        namespace,
        secret: name,
        account,
        uid,
        ..
    } = claims;
    let stored = shared
        .store
        .get(&format!("/registry/secrets/{namespace}/{name}"));
    let stored = stored
        .filter(|s| !s.head.deleting)
        .ok_or("Token has been invalidated")?;
    let secret: Value = serde_json::from_slice(&stored.json).unwrap_or_default();
    let held = secret["data"]["token"]
        .as_str()
        .and_then(|t| STANDARD.decode(t).ok())
        .and_then(|t| String::from_utf8(t).ok());
    if !held.is_some_and(|held| same(&held, token)) {
        return Err("Token does not match server's copy".into());
    }
    let object = Object {
        name: account.clone(),
        uid: uid.clone(),
    };
    let prefix = format!("/registry/serviceaccounts/{namespace}/");
    match state(&shared.store, &prefix, &object) {
        State::Same => {}
        State::Absent => return Err(format!("serviceaccounts {account:?} not found")),
        State::Deleted => {
            return Err(format!(
                "ServiceAccount {namespace}/{account} has been deleted"
            ));
        }
        State::Other(now) => {
            return Err(format!(
                "ServiceAccount UID ({now}) does not match claim ({uid})"
            ));
        }
    }
    let labels = &secret["metadata"]["labels"];
    if labels[INVALID_SINCE]
        .as_str()
        .is_some_and(|v| !v.is_empty())
    {
        return Err(format!(
            "the token in secret {namespace}/{name} for service account {namespace}/{account} has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the '{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
        ));
    }
    note_use(shared, claims, labels);
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
    ];
    let mut user = UserInfo::new(&claims.sub, groups);
    user.uid = uid.clone();
    Ok(user)
}

fn check_claims(claims: &Claims) -> Result<(), String> {
    let missing = [
        (&claims.sub, "sub claim is missing"),
        (&claims.namespace, "namespace claim is missing"),
        (&claims.secret, "secretName claim is missing"),
        (&claims.account, "serviceAccountName claim is missing"),
        (&claims.uid, "serviceAccountUID claim is missing"),
    ];
    if let Some((_, why)) = missing.iter().find(|(claim, _)| claim.is_empty()) {
        return Err((*why).into());
    }
    let sub = format!(
        "system:serviceaccount:{}:{}",
        claims.namespace, claims.account
    );
    // A name that is none would reach other keys of the store.
    if claims.sub != sub || claims.secret.contains('/') || claims.namespace.contains('/') {
        return Err("sub claim is invalid".into());
    }
    Ok(())
}

/// Labels the Secret with the day of its last use, once a day.
fn note_use(shared: &Shared, claims: &Claims, labels: &Value) {
    let today = Timestamp::now().strftime("%Y-%m-%d").to_string();
    if labels[LAST_USED] == today.as_str() {
        return;
    }
    let Some(shared) = shared.me.upgrade() else {
        return;
    };
    let path = format!(
        "/api/v1/namespaces/{}/secrets/{}",
        claims.namespace, claims.secret
    );
    let patch = json!({"metadata": {"labels": {LAST_USED: today}}});
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        let request = Request::builder()
            .method(Method::PATCH)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/merge-patch+json")
            .header(header::USER_AGENT, "kube-apiserver")
            .body(body::full(patch.to_string()));
        if let Ok(request) = request {
            let user = UserInfo::new("system:apiserver", [MASTERS]);
            chain::handle(shared, request, Peer::Local(Arc::new(user))).await;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_must_be_whole() {
        let whole = Claims {
            iss: ISSUER.into(),
            sub: "system:serviceaccount:a:b".into(),
            namespace: "a".into(),
            secret: "s".into(),
            account: "b".into(),
            uid: "u".into(),
        };
        assert_eq!(check_claims(&whole), Ok(()));
        let told = |claims: Claims| check_claims(&claims).unwrap_err();
        let other = Claims {
            account: "c".into(),
            ..whole.clone()
        };
        assert_eq!(told(other), "sub claim is invalid");
        let none = Claims {
            secret: String::new(),
            ..whole
        };
        assert_eq!(told(none), "secretName claim is missing");
    }
}
