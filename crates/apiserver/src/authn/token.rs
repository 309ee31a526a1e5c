//! Service account tokens: JWTs that this server signs, bound to an audience, a time and often to an object.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, jwk};
use knarr_store::Store;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::UserInfo;

/// How tokens are signed.
pub struct TokenConfig {
    /// PKCS#8 PEM of an RSA or P-256 key.
    pub signing_key_pem: String,
    /// `iss` of the tokens: the base of `/.well-known/openid-configuration`.
    pub issuer: String,
    /// Audiences of this server; tokens that name none of them are no credentials here.
    pub audiences: Vec<String>,
}

/// Signs and verifies.
pub(crate) struct Tokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    algorithm: Algorithm,
    key_id: String,
    jwk: Value,
    pub issuer: String,
    pub audiences: Vec<String>,
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

/// A token that holds: its user, and the audiences it was good for.
pub(crate) struct Reviewed {
    pub user: UserInfo,
    pub audiences: Vec<String>,
}

fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}

impl Tokens {
    /// # Errors
    /// When the key is neither RSA nor P-256.
    pub fn new(config: TokenConfig) -> Result<Self, String> {
        let pem = config.signing_key_pem.as_bytes();
        let (signing, algorithm) = match EncodingKey::from_rsa_pem(pem) {
            Ok(key) => (key, Algorithm::RS256),
            Err(_) => (
                EncodingKey::from_ec_pem(pem).map_err(|e| e.to_string())?,
                Algorithm::ES256,
            ),
        };
        let mut key =
            jwk::Jwk::from_encoding_key(&signing, algorithm).map_err(|e| e.to_string())?;
        let key_id = key
            .thumbprint(jwk::ThumbprintHash::SHA256)
            .map_err(|e| e.to_string())?;
        key.common.key_id = Some(key_id.clone());
        key.common.public_key_use = Some(jwk::PublicKeyUse::Signature);
        let verifying = DecodingKey::from_jwk(&key).map_err(|e| e.to_string())?;
        let jwk = serde_json::to_value(&key).map_err(|e| e.to_string())?;
        Ok(Tokens {
            signing,
            verifying,
            algorithm,
            key_id,
            jwk,
            issuer: config.issuer,
            audiences: config.audiences,
        })
    }

    /// # Errors
    /// When signing fails.
    pub fn sign(&self, claims: &Claims) -> Result<String, String> {
        let header = Header {
            kid: Some(self.key_id.clone()),
            typ: None,
            ..Header::new(self.algorithm)
        };
        jsonwebtoken::encode(&header, claims, &self.signing).map_err(|e| e.to_string())
    }

    /// The public key set, `/openid/v1/jwks`.
    pub fn key_set(&self) -> Value {
        json!({"keys": [self.jwk]})
    }

    /// `/.well-known/openid-configuration`.
    pub fn discovery(&self) -> Value {
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{}/openid/v1/jwks", self.issuer.trim_end_matches('/')),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [format!("{:?}", self.algorithm)],
        })
    }

    /// Whether a token is good for one of `audiences` (this server's own by default) and what it is bound to still lives.
    ///
    /// # Errors
    /// Why not, in words for the log and for TokenReview.
    pub fn review(
        &self,
        store: &Store,
        token: &str,
        audiences: Option<&[String]>,
    ) -> Result<Reviewed, String> {
        let wanted = audiences.unwrap_or(&self.audiences);
        let mut validation = Validation::new(self.algorithm);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(wanted);
        validation.validate_nbf = true;
        validation.leeway = 10;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verifying, &validation)
            .map_err(|e| e.to_string())?
            .claims;
        check_bound(store, &claims.kubernetes)?;
        let audiences = claims
            .aud
            .iter()
            .filter(|a| wanted.contains(a))
            .cloned()
            .collect();
        Ok(Reviewed {
            user: user_of(&claims),
            audiences,
        })
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
    alive(
        store,
        &format!("/registry/serviceaccounts/{namespace}/"),
        "service account",
        &bound.serviceaccount,
    )?;
    if let Some(pod) = &bound.pod {
        alive(store, &format!("/registry/pods/{namespace}/"), "pod", pod)?;
    }
    if let Some(secret) = &bound.secret {
        alive(
            store,
            &format!("/registry/secrets/{namespace}/"),
            "secret",
            secret,
        )?;
    }
    // A node named beside a pod only informs; one that the token is bound to must live.
    if let (Some(node), None, None) = (&bound.node, &bound.pod, &bound.secret) {
        alive(store, "/registry/minions/", "node", node)?;
    }
    Ok(())
}

fn alive(store: &Store, prefix: &str, what: &str, wanted: &Object) -> Result<(), String> {
    let stored = store
        .get(&format!("{prefix}{}", wanted.name))
        .ok_or_else(|| format!("{what} {} is gone", wanted.name))?;
    if stored.head.uid != wanted.uid {
        return Err(format!(
            "{what} UID ({}) does not match claim ({})",
            stored.head.uid, wanted.uid
        ));
    }
    if stored.head.deleting && long_deleted(&stored.json) {
        return Err(format!("{what} {} has been deleted", wanted.name));
    }
    Ok(())
}

/// Tokens outlive their object's deletion by a minute, so that it can still clean up behind itself.
fn long_deleted(json: &[u8]) -> bool {
    let object: Value = serde_json::from_slice(json).unwrap_or_default();
    let deleted = object["metadata"]["deletionTimestamp"]
        .as_str()
        .and_then(|t| t.parse::<jiff::Timestamp>().ok());
    deleted.is_none_or(|t| jiff::Timestamp::now().as_second() > t.as_second() + 60)
}
