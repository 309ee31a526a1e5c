//! Authentication: who asks? The front proxy's headers, the client certificate, the bearer token, or nobody in particular,
//! in this order. What is local is answered without waiting.

pub mod bearer;
mod bootstrap;
pub mod config;
mod front_proxy;
pub mod impersonate;
pub mod jwt;
mod key;
mod legacy;
pub mod static_tokens;
pub mod token;
mod webhook;
pub mod x509;

use std::sync::Arc;

use arc_swap::ArcSwap;
use knarr_api::Status;

use crate::{
    Outcome, UserInfo,
    chain::{Call, Peer},
    server::Shared,
};
pub use config::{Anonymous, AuthenticationConfig, FrontProxy, TokenWebhook};

/// Everything that knows users.
pub(crate) struct Authenticators {
    anonymous: ArcSwap<Anonymous>,
    /// What holds when the configuration file says nothing of it.
    anonymous_by_flag: Anonymous,
    front_proxy: Option<FrontProxy>,
    bootstrap_tokens: bool,
    fixed: static_tokens::Fixed,
    jwt: jwt::Issuers,
    webhook: Option<webhook::Webhook>,
}

/// A user whom a token belongs to, and which of the asked audiences it is good for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Known {
    pub user: UserInfo,
    pub audiences: Vec<String>,
}

/// What an authenticator says of a token: its user; nothing, because it is not of its kind; or why it does not hold.
pub(crate) type Verdict = Result<Option<Known>, String>;

impl Authenticators {
    /// # Errors
    /// When the configuration cannot be used, in words.
    pub async fn new(
        config: AuthenticationConfig,
        fixed: Vec<(String, UserInfo)>,
    ) -> Result<Self, String> {
        let webhook = match config.webhook {
            Some(config) => Some(webhook::Webhook::new(config).await?),
            None => None,
        };
        let authenticators = Authenticators {
            anonymous: ArcSwap::from_pointee(config.anonymous.clone()),
            anonymous_by_flag: config.anonymous,
            front_proxy: config.front_proxy,
            bootstrap_tokens: config.bootstrap_tokens,
            fixed: static_tokens::Fixed::new(fixed),
            jwt: jwt::Issuers::default(),
            webhook,
        };
        authenticators.jwt.set(config.issuers)?;
        Ok(authenticators)
    }

    /// Takes on what the configuration file says now.
    ///
    /// # Errors
    /// What is wrong with it; the old one stays.
    pub fn reconfigure(&self, file: jwt::config::File) -> Result<(), String> {
        self.jwt.set(file.jwt)?;
        let anonymous = file.anonymous.map(Into::into);
        let anonymous = anonymous.unwrap_or_else(|| self.anonymous_by_flag.clone());
        self.anonymous.store(Arc::new(anonymous));
        Ok(())
    }

    /// Asks all that know tokens, in the original's order: what is local first.
    ///
    /// # Errors
    /// Why a token does not hold, in the original's words.
    pub async fn token(&self, shared: &Shared, token: &str, audiences: &[String]) -> Verdict {
        let own = shared.audiences();
        let agnostic = |user: Option<UserInfo>| user.and_then(|u| for_audiences(u, own, audiences));
        if let Some(known) = agnostic(self.fixed.user(token)) {
            return Ok(Some(known));
        }
        let mut errors = Vec::new();
        let mut local = |verdict: Verdict| {
            verdict.unwrap_or_else(|why| {
                errors.push(why);
                None
            })
        };
        if let Some(tokens) = &shared.tokens
            && let Some(known) = local(tokens.authenticate(shared, token, audiences).await)
        {
            return Ok(Some(known));
        }
        if self.bootstrap_tokens
            && let Some(known) = agnostic(bootstrap::user(&shared.store, token))
        {
            return Ok(Some(known));
        }
        match self.jwt.authenticate(token).await {
            Ok(user) => {
                if let Some(known) = agnostic(user) {
                    return Ok(Some(known));
                }
            }
            Err(why) => errors.push(why),
        }
        if let Some(webhook) = &self.webhook {
            match webhook.authenticate(token, audiences).await {
                Ok(Some(known)) => return Ok(Some(known)),
                Ok(None) => {}
                Err(why) => errors.push(why),
            }
        }
        match errors.len() {
            0 => Ok(None),
            1 => Err(errors.remove(0)),
            _ => Err(format!("[{}]", errors.join(", "))),
        }
    }
}

/// A user whose authenticator knows nothing of audiences is good for those of this server.
fn for_audiences(user: UserInfo, own: &[String], asked: &[String]) -> Option<Known> {
    let both = |a: &&String| own.contains(a);
    let audiences: Vec<String> = asked.iter().filter(both).cloned().collect();
    (asked.is_empty() || !audiences.is_empty()).then_some(Known { user, audiences })
}

/// Sets the call's user. What could be taken for credentials further on is removed from the headers.
///
/// # Errors
/// 401 for credentials that are none.
pub(crate) async fn authenticate(call: &mut Call, peer: &Peer) -> Outcome<()> {
    call.user = match peer {
        Peer::Local(user) => (**user).clone(),
        Peer::Remote(remote) => identify(call, &remote.certificate).await?,
    };
    bearer::strip(&mut call.headers);
    if let Some(proxy) = &call.shared.authenticators.front_proxy {
        front_proxy::strip(proxy, &mut call.headers);
    }
    Ok(())
}

async fn identify(call: &Call, certificate: &x509::Shown) -> Outcome<UserInfo> {
    let known = &call.shared.authenticators;
    let mut refused = certificate.refused();
    if let Some(proxy) = &known.front_proxy {
        match front_proxy::user(proxy, certificate, &call.headers) {
            Ok(Some(user)) => return Ok(user),
            Ok(None) => {}
            Err(why) => {
                tracing::debug!(%why, "front proxy refused");
                refused = true;
            }
        }
    }
    if let Some(user) = certificate.user() {
        return Ok((**user).clone());
    }
    let websocket = crate::rest::websocket::is_asked(call);
    let token = bearer::token(&call.headers, websocket).map_err(|why| {
        tracing::debug!(why, "bearer token refused");
        Box::new(Status::unauthorized())
    })?;
    if let Some(token) = token {
        return match known
            .token(&call.shared, &token, call.shared.audiences())
            .await
        {
            Ok(Some(found)) => Ok(found.user),
            Ok(None) => Err(Status::unauthorized().into()),
            Err(why) => {
                tracing::debug!(%why, "bearer token refused");
                Err(Status::unauthorized().into())
            }
        };
    }
    // Bad credentials are not the same as none.
    if refused {
        return Err(Status::unauthorized().into());
    }
    let anonymous = known.anonymous.load().user(&call.info.path);
    anonymous.ok_or_else(|| Status::unauthorized().into())
}

/// A header's value as text. Names may be of any letters; bytes that are no UTF-8 are replaced, never left out.
pub(crate) fn text_of(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Comparison whose time tells nothing about where two secrets differ.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |d, (x, y)| d | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_without_audiences_are_good_for_the_servers_own() {
        let user = || UserInfo::new("u", Vec::<String>::new());
        let texts = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let own = texts(&["api", "other"]);
        let got = |asked: &[&str]| {
            for_audiences(user(), &own, &texts(asked)).map(|known| known.audiences)
        };
        assert_eq!(got(&[]), Some(Vec::new()));
        assert_eq!(got(&["api", "x"]), Some(texts(&["api"])));
        assert_eq!(got(&["x"]), None);
    }

    #[tokio::test]
    async fn what_a_file_says_no_more_is_as_the_flags_say() {
        let config = AuthenticationConfig {
            anonymous: Anonymous {
                enabled: false,
                paths: Vec::new(),
            },
            ..AuthenticationConfig::default()
        };
        let known = Authenticators::new(config, Vec::new()).await.unwrap();
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
        for (text, open) in [("anonymous: {enabled: true}", true), ("jwt: []", false)] {
            let file = jwt::config::parse(&format!("{head}{text}")).unwrap();
            known.reconfigure(file).unwrap();
            let user = known.anonymous.load().user("/api");
            assert_eq!(user.is_some(), open, "{text}");
        }
    }

    #[test]
    fn anonymous_requests_may_be_kept_to_paths() {
        let some = Anonymous {
            enabled: true,
            paths: vec!["/livez".into()],
        };
        assert!(some.user("/livez").is_some() && some.user("/api").is_none());
        assert!(Anonymous::default().user("/api").is_some());
        let none = Anonymous {
            enabled: false,
            paths: Vec::new(),
        };
        assert!(none.user("/livez").is_none());
    }
}
