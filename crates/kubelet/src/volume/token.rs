//! Service account tokens of pods: fetched, kept until most of their life is over, then fetched anew.

use std::collections::HashMap;

use k8s_openapi::{
    api::{
        authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
        core::v1::{Pod, ServiceAccount},
    },
    jiff::{SignedDuration, Timestamp},
};
use kube::{Api, Client, api::PostParams};

/// Lifetime when the volume names none, in seconds.
const DEFAULT_LIFE: i64 = 3600;
/// No token is used for longer than this.
const MAX_USE: SignedDuration = SignedDuration::from_hours(24);

/// One token with the time from which a new one is wanted.
#[derive(Clone)]
struct Token {
    text: String,
    renew_at: Timestamp,
}

/// The tokens of one pod by (volume, path).
#[derive(Default, Clone)]
pub struct Tokens {
    known: HashMap<(String, String), Token>,
}

/// When a token that lives from `from` to `until` is to be replaced: after four fifths of its life, at most a day.
fn renewal(from: Timestamp, until: Timestamp) -> Timestamp {
    let life = until.duration_since(from);
    let used = (life / 5 * 4).min(MAX_USE);
    from.saturating_add(used).unwrap_or(until)
}

impl Tokens {
    pub fn texts(&self) -> HashMap<(String, String), String> {
        self.known
            .iter()
            .map(|(k, t)| (k.clone(), t.text.clone()))
            .collect()
    }

    /// When the first of them wants renewal.
    pub fn renew_at(&self) -> Option<Timestamp> {
        self.known.values().map(|t| t.renew_at).min()
    }

    /// Fetches what the pod's volumes want and is missing or old.
    ///
    /// # Errors
    /// The API server's answer, when there is no usable token.
    pub async fn refresh(&mut self, client: &Client, pod: &Pod) -> Result<(), String> {
        let spec = pod.spec.clone().unwrap_or_default();
        for volume in spec.volumes.iter().flatten() {
            for source in volume
                .projected
                .iter()
                .flat_map(|p| p.sources.iter().flatten())
            {
                let Some(wanted) = &source.service_account_token else {
                    continue;
                };
                let key = (volume.name.clone(), wanted.path.clone());
                let old = self.known.get(&key);
                if old.is_some_and(|t| t.renew_at > Timestamp::now()) {
                    continue;
                }
                let had = old.is_some();
                match fetch(
                    client,
                    pod,
                    wanted.audience.as_deref(),
                    wanted.expiration_seconds.unwrap_or(DEFAULT_LIFE),
                )
                .await
                {
                    Ok(token) => drop(self.known.insert(key, token)),
                    Err(error) if had => tracing::warn!(%error, "token not renewed; trying again"),
                    Err(error) => return Err(format!("failed to fetch token: {error}")),
                }
            }
        }
        Ok(())
    }
}

async fn fetch(
    client: &Client,
    pod: &Pod,
    audience: Option<&str>,
    life: i64,
) -> Result<Token, kube::Error> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let account = pod
        .spec
        .as_ref()
        .and_then(|s| s.service_account_name.as_deref())
        .filter(|a| !a.is_empty())
        .unwrap_or("default");
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: audience
                .filter(|a| !a.is_empty())
                .map(|a| vec![a.to_owned()]),
            expiration_seconds: Some(life),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        }),
        ..TokenRequest::default()
    };
    let now = Timestamp::now();
    let answer = api
        .create_token_request(account, &PostParams::default(), &request)
        .await?;
    let status = answer.status.unwrap_or_default();
    let until = status.expiration_timestamp.map_or_else(
        || {
            now.saturating_add(SignedDuration::from_secs(life))
                .unwrap_or(now)
        },
        |t| t.0,
    );
    Ok(Token {
        text: status.token.unwrap_or_default(),
        renew_at: renewal(now, until),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewed_at_four_fifths() {
        let at = |s: i64| Timestamp::from_second(s).expect("time");
        assert_eq!(renewal(at(0), at(3600)), at(2880));
        assert_eq!(renewal(at(0), at(365 * 86400)), at(86400));
    }
}
