//! An issuer's public keys: found by discovery, read again when a token names one that is not there yet.

use std::{
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use knarr_json::Value;
use tokio::sync::Mutex;

use super::config::Source;
use crate::outbound::{Fetcher, Trust};

/// Keys are not asked for more often than this, whatever tokens come.
const PAUSE: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);

pub struct Keys {
    issuer: String,
    discovery: String,
    algorithms: Vec<Algorithm>,
    fetcher: Fetcher,
    keys: ArcSwapOption<JwkSet>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jwks_url: Option<String>,
    /// When the keys were last asked for.
    asked: Option<Instant>,
    failed: String,
}

impl Keys {
    /// # Errors
    /// When the authority's certificate is none, or an algorithm is unknown.
    pub fn new(source: &Source, algorithms: &[String]) -> Result<Self, String> {
        let trust = if source.certificate_authority.is_empty() {
            Trust::System
        } else {
            Trust::pem(source.certificate_authority.as_bytes())?
        };
        let sound = [
            "RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "PS384", "PS512", "EdDSA",
        ];
        let named: Vec<&str> = match algorithms {
            [] => sound.to_vec(),
            some => some.iter().map(String::as_str).collect(),
        };
        let algorithms: Result<Vec<_>, String> = named
            .into_iter()
            .map(|a| {
                let known = Algorithm::from_str(a).ok().filter(|_| sound.contains(&a));
                known.ok_or_else(|| format!("oidc: unsupported signing alg: {a:?}"))
            })
            .collect();
        let base = if source.discovery_url.is_empty() {
            format!(
                "{}/.well-known/openid-configuration",
                source.url.trim_end_matches('/')
            )
        } else {
            source.discovery_url.clone()
        };
        Ok(Keys {
            issuer: source.url.clone(),
            discovery: base,
            algorithms: algorithms?,
            fetcher: Fetcher::new(&trust)?,
            keys: ArcSwapOption::empty(),
            state: Mutex::default(),
        })
    }

    /// The claims of a token whose signature is right.
    ///
    /// # Errors
    /// Why it is not, or why the keys cannot be had.
    pub async fn verify(&self, token: &str) -> Result<Value, String> {
        let header = jsonwebtoken::decode_header(token)
            .map_err(|e| format!("oidc: verify token: oidc: malformed jwt: {e}"))?;
        if !self.algorithms.contains(&header.alg) {
            return Err(format!(
                "oidc: verify token: oidc: id token signed with unsupported algorithm, expected {:?} got {:?}",
                self.algorithms, header.alg
            ));
        }
        // Who has a token of a known key does not wait for those whose keys are being looked for.
        if let Some(claims) = try_keys(self.keys.load().as_deref(), token, &header) {
            return Ok(claims);
        }
        let mut state = self.state.lock().await;
        if state.asked.is_none_or(|at| at.elapsed() >= PAUSE) {
            state.asked = Some(Instant::now());
            state.failed = match self.refresh(&mut state).await {
                Ok(()) => String::new(),
                Err(why) => why,
            };
        }
        let keys = self.keys.load_full();
        if keys.is_none() {
            tracing::warn!(issuer = self.issuer, why = state.failed, "OIDC issuer");
            return Err("oidc: authenticator not initialized".into());
        }
        drop(state);
        try_keys(keys.as_deref(), token, &header).ok_or_else(|| {
            "oidc: verify token: failed to verify signature: failed to verify id token signature".into()
        })
    }

    async fn refresh(&self, state: &mut State) -> Result<(), String> {
        if state.jwks_url.is_none() {
            let document: Value = self.fetch(&self.discovery).await?;
            let named = document["issuer"].as_str().unwrap_or_default();
            if named != self.issuer {
                return Err(format!(
                    "oidc: issuer did not match the issuer returned by provider, expected {:?} got {named:?}",
                    self.issuer
                ));
            }
            let url = document["jwks_uri"].as_str().unwrap_or_default();
            if !url.starts_with("https://") {
                return Err(format!("oidc: jwks_uri {url:?} is not https"));
            }
            state.jwks_url = Some(url.to_owned());
        }
        if let Some(url) = &state.jwks_url {
            let keys = self.fetch(url).await?;
            // Keys of kinds that are unknown here are left out, not an error.
            let known = keys["keys"].items().iter().cloned();
            let keys = known.filter_map(|k| knarr_json::from_value(k).ok());
            self.keys.store(Some(Arc::new(JwkSet {
                keys: keys.collect(),
            })));
        }
        Ok(())
    }

    async fn fetch(&self, url: &str) -> Result<Value, String> {
        let got = tokio::time::timeout(TIMEOUT, self.fetcher.get_json(url)).await;
        got.unwrap_or_else(|_| Err(format!("{url} does not answer")))
    }
}

pub(crate) fn try_keys(
    keys: Option<&JwkSet>,
    token: &str,
    header: &jsonwebtoken::Header,
) -> Option<Value> {
    let mut validation = Validation::new(header.alg);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let fits = |id: &Option<String>| match (&header.kid, id) {
        (Some(wanted), Some(id)) => wanted == id,
        _ => true,
    };
    keys?
        .keys
        .iter()
        .filter(|k| fits(&k.common.key_id))
        .filter_map(|k| DecodingKey::from_jwk(k).ok())
        .find_map(|key| jsonwebtoken::decode(token, &key, &validation).ok())
        .map(|data| data.claims)
}
