//! Tokens of OpenID Connect issuers.

pub(crate) mod claims;
pub mod config;
pub(crate) mod keys;

use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use knarr_json::Value;

use crate::UserInfo;

/// The issuers that are trusted now.
#[derive(Default)]
pub(crate) struct Issuers(ArcSwap<Vec<Arc<Issuer>>>);

struct Issuer {
    url: String,
    audiences: Vec<String>,
    rules: claims::Rules,
    keys: keys::Keys,
}

impl Issuers {
    /// Replaces all issuers.
    ///
    /// # Errors
    /// When one cannot be used; the old ones stay.
    pub fn set(&self, issuers: Vec<config::Issuer>) -> Result<(), String> {
        config::check(&issuers)?;
        let issuers: Result<Vec<_>, String> = issuers.into_iter().map(Issuer::new).collect();
        self.0.store(Arc::new(issuers?));
        Ok(())
    }

    /// The user of a token, when one of the issuers made it.
    ///
    /// # Errors
    /// Why a token of one of the issuers does not hold.
    pub async fn authenticate(&self, token: &str) -> Result<Option<UserInfo>, String> {
        let issuers = self.0.load_full();
        if issuers.is_empty() {
            return Ok(None);
        }
        let Some(named) = issuer_of(token) else {
            return Ok(None);
        };
        match issuers.iter().find(|i| i.url == named) {
            Some(issuer) => issuer.authenticate(token).await.map(Some),
            None => Ok(None),
        }
    }
}

impl Issuer {
    fn new(config: config::Issuer) -> Result<Arc<Self>, String> {
        let rules = claims::Rules::new(&config)?;
        Ok(Arc::new(Issuer {
            url: config.issuer.url.clone(),
            audiences: config.issuer.audiences.clone(),
            rules,
            keys: keys::Keys::new(&config.issuer, &config.algorithms)?,
        }))
    }

    async fn authenticate(&self, token: &str) -> Result<UserInfo, String> {
        let claims = self.keys.verify(token).await?;
        let told = |why: String| format!("oidc: verify token: {why}");
        claims::check_standard(&claims, &self.audiences, jiff::Timestamp::now().as_second())
            .map_err(told)?;
        self.rules.user(&claims)
    }
}

/// `iss` of a token, before anything of it is believed.
pub(crate) fn issuer_of(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Value = serde_json::from_slice(&bytes).ok()?;
    claims["iss"].as_str().map(str::to_owned)
}
