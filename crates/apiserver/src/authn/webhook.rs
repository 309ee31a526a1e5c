//! Webhook token authentication: a service is asked by TokenReview who a token belongs to.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use knarr_json::{Value, json};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::{Known, TokenWebhook, Verdict};
use crate::{UserInfo, outbound};

const TIMEOUT: Duration = Duration::from_secs(30);
/// How many answers are kept.
const KEPT: usize = 4096;

/// A token's digest and the audiences it was asked for. Tokens themselves are not kept: they are secrets, and of any length.
type Asked = ([u8; 32], Vec<String>);

pub struct Webhook {
    service: outbound::Webhook,
    version: String,
    hold: Duration,
    answers: Mutex<HashMap<Asked, (Instant, Option<Known>)>>,
}

impl Webhook {
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn new(config: TokenWebhook) -> Result<Self, String> {
        if !matches!(config.version.as_str(), "v1" | "v1beta1") {
            return Err(format!(
                "unsupported webhook token authentication version {:?}",
                config.version
            ));
        }
        Ok(Webhook {
            service: outbound::Webhook::from_kubeconfig(&config.kubeconfig, TIMEOUT).await?,
            version: config.version,
            hold: config.cache,
            answers: Mutex::default(),
        })
    }

    pub async fn authenticate(&self, token: &str, audiences: &[String]) -> Verdict {
        let key = (Sha256::digest(token).into(), audiences.to_vec());
        if let Some((at, known)) = self.answers.lock().get(&key)
            && at.elapsed() < self.hold
        {
            return Ok(known.clone());
        }
        let question = json!({
            "apiVersion": format!("authentication.k8s.io/{}", self.version),
            "kind": "TokenReview",
            "metadata": {"creationTimestamp": null},
            "spec": {"token": token, "audiences": audiences},
            "status": {"user": {}},
        });
        let answer = self.service.ask(&question).await?;
        let known = read(&answer["status"], audiences)?;
        let mut answers = self.answers.lock();
        if answers.len() >= KEPT {
            answers.retain(|_, (at, _)| at.elapsed() < self.hold);
        }
        if answers.len() < KEPT {
            answers.insert(key, (Instant::now(), known.clone()));
        }
        Ok(known)
    }
}

/// What the status of an answered review says. Pure.
fn read(status: &Value, asked: &[String]) -> Verdict {
    if status["authenticated"] != true {
        return match status["error"].as_str().filter(|e| !e.is_empty()) {
            Some(error) => Err(error.to_owned()),
            None => Ok(None),
        };
    }
    let list = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect()
    };
    let said = list(&status["audiences"]);
    // A service that knows nothing of audiences vouches for all that were asked for.
    let audiences: Vec<String> = if said.is_empty() {
        asked.to_vec()
    } else {
        said.into_iter().filter(|a| asked.contains(a)).collect()
    };
    if audiences.is_empty() && !asked.is_empty() {
        return Ok(None);
    }
    let shown = &status["user"];
    let mut user = UserInfo::new(
        shown["username"].as_str().unwrap_or_default(),
        list(&shown["groups"]),
    );
    user.uid = shown["uid"].as_str().unwrap_or_default().into();
    let extra = shown["extra"].as_object().into_iter().flatten();
    user.extra = extra.map(|(k, v)| (k.to_string(), list(v))).collect();
    Ok(Some(Known { user, audiences }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let asked = ["api".to_owned()];
        let user = json!({"username": "ann", "uid": "1", "groups": ["g"], "extra": {"k": ["v"]}});
        let known = read(&json!({"authenticated": true, "user": user}), &asked)
            .unwrap()
            .unwrap();
        assert_eq!(
            (known.user.name.as_str(), known.audiences),
            ("ann", vec!["api".to_owned()])
        );
        assert_eq!(known.user.groups, ["g", "system:authenticated"]);
        let other = json!({"authenticated": true, "user": user, "audiences": ["x"]});
        assert_eq!(read(&other, &asked), Ok(None));
        assert_eq!(
            read(&json!({"authenticated": false, "error": "no"}), &asked),
            Err("no".into())
        );
        assert_eq!(read(&json!({}), &asked), Ok(None));
    }
}
