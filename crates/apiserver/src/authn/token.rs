//! Service account tokens: JWTs that this server signs, bound to an audience, a time and often to an object.

use std::{collections::HashMap, sync::Arc};

use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk};
use knarr_json::{Value, json};
use knarr_store::Store;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use super::{Known, Verdict, key::Key, legacy};
use crate::{UserInfo, server::Shared};

/// How tokens are signed.
#[derive(Default)]
pub struct TokenConfig {
    /// PKCS#8 PEM of an RSA or P-256 key.
    pub signing_key_pem: String,
    /// `iss` of the tokens: the base of `/.well-known/openid-configuration`.
    pub issuer: String,
    /// Audiences of this server; tokens that name none of them are no credentials here.
    pub audiences: Vec<String>,
    /// Further issuers whose tokens are taken, for changing the issuer without cutting anybody off.
    pub former_issuers: Vec<String>,
    /// PEM of further keys, private or public, whose tokens are taken.
    pub further_keys: Vec<String>,
    /// The longest that a token may last (seconds); none means without a limit of its own.
    pub max_seconds: Option<u64>,
    /// Tokens of pods do not outlive what was asked for (`--service-account-extend-token-expiration=false`).
    pub strict_expiration: bool,
}

/// How many checked tokens are remembered before all are forgotten.
const REMEMBERED: usize = 8192;

/// Seconds that clocks may differ.
const LEEWAY: u64 = 60;

/// Signs and verifies.
pub(crate) struct Tokens {
    signing: EncodingKey,
    keys: Vec<Key>,
    algorithm: Algorithm,
    key_id: String,
    pub issuer: String,
    former_issuers: Vec<String>,
    pub audiences: Vec<String>,
    pub max_seconds: Option<u64>,
    pub strict_expiration: bool,
    /// Tokens whose signature was right. What they are bound to is looked up each time.
    checked: RwLock<HashMap<String, Arc<Checked>>>,
}

/// What a token with a right signature says.
pub(crate) enum Checked {
    Bound(Box<Claims>),
    Legacy(Box<legacy::Claims>),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Claims {
    #[serde(default)]
    pub aud: Vec<String>,
    pub exp: u64,
    pub iat: u64,
    pub iss: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Bound,
    pub nbf: u64,
    pub sub: String,
}

/// The account, and the object whose life the token shares.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Bound {
    pub namespace: String,
    pub serviceaccount: Object,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Object>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Object>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Object>,
    /// Seconds since the epoch after which the holder is warned that the token is getting old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Object {
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}

impl Tokens {
    /// # Errors
    /// When a key is neither RSA nor P-256.
    pub fn new(config: TokenConfig) -> Result<Self, String> {
        let pem = config.signing_key_pem.as_bytes();
        let (signing, algorithm) = match EncodingKey::from_rsa_pem(pem) {
            Ok(key) => (key, Algorithm::RS256),
            Err(_) => (
                EncodingKey::from_ec_pem(pem).map_err(|e| e.to_string())?,
                Algorithm::ES256,
            ),
        };
        let jwk = jwk::Jwk::from_encoding_key(&signing, algorithm).map_err(|e| e.to_string())?;
        let mut keys = vec![Key::new(jwk, algorithm)?];
        let key_id = keys[0].id.clone();
        for pem in &config.further_keys {
            let key = Key::from_pem(pem)?;
            if keys.iter().all(|k| k.id != key.id) {
                keys.push(key);
            }
        }
        Ok(Tokens {
            signing,
            keys,
            algorithm,
            key_id,
            issuer: config.issuer,
            former_issuers: config.former_issuers,
            audiences: config.audiences,
            max_seconds: config.max_seconds,
            strict_expiration: config.strict_expiration,
            checked: RwLock::default(),
        })
    }

    /// # Errors
    /// When signing fails.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, String> {
        let header = Header {
            kid: Some(self.key_id.clone()),
            typ: None,
            ..Header::new(self.algorithm)
        };
        jsonwebtoken::encode(&header, claims, &self.signing).map_err(|e| e.to_string())
    }

    /// The public key set, `/openid/v1/jwks`.
    pub fn key_set(&self) -> Value {
        let keys: Vec<&Value> = self.keys.iter().map(|k| &k.jwk).collect();
        json!({"keys": keys})
    }

    /// `/.well-known/openid-configuration`.
    pub fn discovery(&self) -> Value {
        let mut algorithms: Vec<String> = self
            .keys
            .iter()
            .map(|k| format!("{:?}", k.algorithm))
            .collect();
        algorithms.sort();
        algorithms.dedup();
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{}/openid/v1/jwks", self.issuer.trim_end_matches('/')),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        })
    }

    /// The user of a token for one of `audiences` (this server's own when it is empty), when the token is of this issuer
    /// and what it is bound to still lives.
    ///
    /// # Errors
    /// Why it does not hold, in the original's words.
    pub async fn authenticate(
        &self,
        shared: &Shared,
        token: &str,
        audiences: &[String],
    ) -> Verdict {
        let Some(checked) = self.check(token)? else {
            return Ok(None);
        };
        let verdict = self.holds(shared, &checked, token, audiences);
        // What it is bound to may have been made through another server a moment ago.
        if verdict.is_err() && shared.store.catch_up().await.is_ok() {
            return self.holds(shared, &checked, token, audiences);
        }
        verdict
    }

    /// Whether a token with a right signature holds now.
    fn holds(
        &self,
        shared: &Shared,
        checked: &Checked,
        token: &str,
        audiences: &[String],
    ) -> Verdict {
        let wanted = if audiences.is_empty() {
            &self.audiences
        } else {
            audiences
        };
        match checked {
            Checked::Legacy(claims) => {
                let both = |a: &&String| self.audiences.contains(a);
                let audiences: Vec<String> = wanted.iter().filter(both).cloned().collect();
                if audiences.is_empty() {
                    return Err(wrong_audience(&self.audiences, wanted));
                }
                let user = legacy::user(shared, claims, token)?;
                Ok(Some(Known { user, audiences }))
            }
            Checked::Bound(claims) => {
                let both = |a: &&String| claims.aud.contains(a);
                let audiences: Vec<String> = wanted.iter().filter(both).cloned().collect();
                if audiences.is_empty() {
                    return Err(wrong_audience(&claims.aud, wanted));
                }
                check_time(claims, now())?;
                check_bound(&shared.store, &claims.kubernetes)?;
                Ok(Some(Known {
                    user: user_of(claims),
                    audiences,
                }))
            }
        }
    }

    /// None when it is no JWT of this issuer.
    pub(crate) fn check(&self, token: &str) -> Result<Option<Arc<Checked>>, String> {
        if let Some(known) = self.checked.read().get(token) {
            return Ok(Some(known.clone()));
        }
        let Some(issuer) = super::jwt::issuer_of(token) else {
            return Ok(None);
        };
        let legacy = issuer == legacy::ISSUER;
        if !legacy && issuer != self.issuer && !self.former_issuers.contains(&issuer) {
            return Ok(None);
        }
        let Ok(header) = jsonwebtoken::decode_header(token) else {
            return Ok(None);
        };
        let named = |k: &&Key| header.kid.as_ref().is_none_or(|id| *id == k.id);
        // A token that names a key we do not have may still be of one that had another name.
        let mut candidates: Vec<&Key> = self.keys.iter().filter(named).collect();
        if candidates.is_empty() {
            candidates = self.keys.iter().collect();
        }
        let checked = candidates
            .into_iter()
            .filter(|k| k.algorithm == header.alg)
            .find_map(|k| k.verify(token, legacy));
        let Some(checked) = checked.map(Arc::new) else {
            return Err("go-jose/go-jose: error in cryptographic primitive".into());
        };
        let mut known = self.checked.write();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(token.to_owned(), checked.clone());
        Ok(Some(checked))
    }

    /// Claims that start now.
    pub fn claims(&self, audiences: Vec<String>, seconds: u64, bound: Bound) -> Claims {
        let now = now();
        let sub = format!(
            "system:serviceaccount:{}:{}",
            bound.namespace, bound.serviceaccount.name
        );
        Claims {
            aud: if audiences.is_empty() {
                self.audiences.clone()
            } else {
                audiences
            },
            exp: now + seconds,
            iat: now,
            iss: self.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            kubernetes: bound,
            nbf: now,
            sub,
        }
    }
}

fn wrong_audience(have: &[String], wanted: &[String]) -> String {
    format!("token audiences {have:?} is invalid for the target audiences {wanted:?}")
}

fn check_time(claims: &Claims, now: u64) -> Result<(), String> {
    let why = if now > claims.exp.saturating_add(LEEWAY) {
        "service account token has expired"
    } else if now.saturating_add(LEEWAY) < claims.nbf {
        "service account token is not valid yet"
    } else if now.saturating_add(LEEWAY) < claims.iat {
        "service account token is issued in the future"
    } else {
        return Ok(());
    };
    Err(why.into())
}

fn user_of(claims: &Claims) -> UserInfo {
    let bound = &claims.kubernetes;
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{}", bound.namespace),
    ];
    let mut user = UserInfo::new(&claims.sub, groups);
    user.uid = bound.serviceaccount.uid.clone();
    let mut extra = |key: &str, value: &str| {
        user.extra.insert(
            format!("authentication.kubernetes.io/{key}"),
            vec![value.to_owned()],
        );
    };
    if !claims.jti.is_empty() {
        extra("credential-id", &format!("JTI={}", claims.jti));
    }
    if let Some(pod) = &bound.pod {
        extra("pod-name", &pod.name);
        extra("pod-uid", &pod.uid);
    }
    if let Some(node) = &bound.node {
        extra("node-name", &node.name);
        extra("node-uid", &node.uid);
    }
    user
}

/// The account and the bound object must be there, be the same ones, and not be long deleted.
fn check_bound(store: &Store, bound: &Bound) -> Result<(), String> {
    let namespace = &bound.namespace;
    let account = &bound.serviceaccount;
    match state(
        store,
        &format!("/registry/serviceaccounts/{namespace}/"),
        account,
    ) {
        State::Same => {}
        State::Absent => return Err(format!("serviceaccounts {:?} not found", account.name)),
        State::Deleted => return Err("service account has been deleted".into()),
        State::Other(uid) => {
            return Err(format!(
                "service account UID ({uid}) does not match claim ({})",
                account.uid
            ));
        }
    }
    let held = |prefix: String, object: &Object, what: &str| match state(store, &prefix, object) {
        State::Same => Ok(()),
        State::Absent | State::Deleted => {
            Err("service account token has been invalidated".to_owned())
        }
        State::Other(uid) => Err(format!(
            "{what} UID ({uid}) does not match service account {what} ref claim ({})",
            object.uid
        )),
    };
    if let Some(secret) = &bound.secret {
        held(format!("/registry/secrets/{namespace}/"), secret, "secret")?;
    }
    if let Some(pod) = &bound.pod {
        held(format!("/registry/pods/{namespace}/"), pod, "pod")?;
    }
    // A node named beside a pod only informs; one that the token is bound to must live.
    if let (Some(node), None, None) = (&bound.node, &bound.pod, &bound.secret) {
        held("/registry/minions/".to_owned(), node, "node")?;
    }
    Ok(())
}

/// How an object named in a token is now.
#[derive(Debug, PartialEq)]
pub(super) enum State {
    Same,
    Absent,
    /// For longer than it may still clean up behind itself.
    Deleted,
    /// Another one has its name, with this uid.
    Other(String),
}

pub(super) fn state(store: &Store, prefix: &str, wanted: &Object) -> State {
    let Some(stored) = store.get(&format!("{prefix}{}", wanted.name)) else {
        return State::Absent;
    };
    if stored.head.deleting && long_deleted(&stored.json) {
        return State::Deleted;
    }
    if stored.head.uid != wanted.uid {
        return State::Other(stored.head.uid.clone());
    }
    State::Same
}

/// Tokens outlive their object's deletion by a minute, so that it can still clean up behind itself.
fn long_deleted(json: &[u8]) -> bool {
    let object: Value = serde_json::from_slice(json).unwrap_or_default();
    let deleted = object["metadata"]["deletionTimestamp"]
        .as_str()
        .and_then(|t| t.parse::<jiff::Timestamp>().ok());
    deleted.is_none_or(|t| jiff::Timestamp::now().as_second() > t.as_second() + 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_checked_with_leeway() {
        let tokens = Tokens::new(TokenConfig {
            signing_key_pem: rcgen::KeyPair::generate().unwrap().serialize_pem(),
            issuer: "i".into(),
            ..TokenConfig::default()
        })
        .unwrap();
        let mut claims = tokens.claims(Vec::new(), 600, Bound::default());
        let now = claims.iat;
        let told = |claims: &Claims, now: u64| check_time(claims, now).err().unwrap_or_default();
        assert_eq!(told(&claims, now), "");
        assert_eq!(told(&claims, now + 650), "");
        assert_eq!(
            told(&claims, now + 661),
            "service account token has expired"
        );
        assert_eq!(
            told(&claims, now - 61),
            "service account token is not valid yet"
        );
        claims.nbf = 0;
        assert_eq!(
            told(&claims, now - 61),
            "service account token is issued in the future"
        );
    }

    #[test]
    fn keys_of_the_past_still_count() {
        let old = rcgen::KeyPair::generate().unwrap();
        let config = |signing: String, further_keys: Vec<String>| TokenConfig {
            signing_key_pem: signing,
            issuer: "i".into(),
            further_keys,
            ..TokenConfig::default()
        };
        let before = Tokens::new(config(old.serialize_pem(), Vec::new())).unwrap();
        let token = before
            .sign(&before.claims(vec!["a".into()], 600, Bound::default()))
            .unwrap();
        let new = || rcgen::KeyPair::generate().unwrap().serialize_pem();
        let with = Tokens::new(config(new(), vec![old.public_key_pem()])).unwrap();
        assert!(matches!(with.check(&token), Ok(Some(_))));
        assert_eq!(with.key_set()["keys"].items().len(), 2);
        let without = Tokens::new(config(new(), Vec::new())).unwrap();
        assert!(without.check(&token).is_err());
        assert!(matches!(without.check("no.jwt"), Ok(None)));
    }
}
