//! Webhook authorization: a service is asked by SubjectAccessReview.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use knarr_json::{Value, json};
use parking_lot::Mutex;

use super::{Attributes, Decision, config, selectors::Term};
use crate::{expression::Expression, outbound};

/// How many answers are kept, and how large a question may be to be kept (bytes), as in the original.
const KEPT: usize = 8192;
const LARGEST_KEPT: usize = 10_000;

pub(super) struct Webhook {
    name: String,
    service: outbound::Webhook,
    version: String,
    allowed_hold: Duration,
    refused_hold: Duration,
    deny_on_failure: bool,
    conditions: Vec<Expression>,
    answers: Mutex<HashMap<String, (Instant, Decision)>>,
}

impl Webhook {
    /// # Errors
    /// When the kubeconfig cannot be read or a condition does not compile.
    pub async fn new(config: config::Webhook) -> Result<Self, String> {
        let conditions = config
            .conditions
            .iter()
            .map(|c| Expression::new(c, "request"));
        Ok(Webhook {
            service: outbound::Webhook::from_kubeconfig(&config.kubeconfig, config.timeout).await?,
            conditions: conditions.collect::<Result<_, _>>()?,
            name: config.name,
            version: config.version,
            allowed_hold: config.allowed_hold,
            refused_hold: config.refused_hold,
            deny_on_failure: config.deny_on_failure,
            answers: Mutex::default(),
        })
    }

    pub async fn decide(&self, ask: &Attributes) -> Decision {
        let spec = spec(ask);
        match self.matches(&spec) {
            Ok(true) => {}
            Ok(false) => return Decision::default(),
            Err(why) => return self.failed(why),
        }
        let key = spec.to_string();
        if let Some((until, known)) = self.answers.lock().get(&key)
            && *until > Instant::now()
        {
            return known.clone();
        }
        let question = json!({
            "apiVersion": format!("authorization.k8s.io/{}", self.version),
            "kind": "SubjectAccessReview",
            "metadata": {"creationTimestamp": null},
            "spec": if self.version == "v1" { spec } else { old_form(spec) },
            "status": {"allowed": false},
        });
        let decision = match self.service.ask(&question).await {
            Ok(answer) => match read(&answer["status"]) {
                Ok(decision) => decision,
                Err(why) => return self.failed(why),
            },
            Err(why) => return self.failed(why),
        };
        self.keep(key, &decision);
        decision
    }

    /// Whether the service is to be asked: a condition that is false decides, then one that cannot be run.
    fn matches(&self, spec: &Value) -> Result<bool, String> {
        let mut failed = None;
        for condition in &self.conditions {
            match condition.holds(spec) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(why) => failed = failed.or(Some(why)),
            }
        }
        failed.map_or(Ok(true), Err)
    }

    fn keep(&self, key: String, decision: &Decision) {
        let hold = if decision.allowed {
            self.allowed_hold
        } else {
            self.refused_hold
        };
        if hold.is_zero() || key.len() > LARGEST_KEPT {
            return;
        }
        let now = Instant::now();
        let mut answers = self.answers.lock();
        if answers.len() >= KEPT {
            answers.retain(|_, (until, _)| *until > now);
        }
        if answers.len() < KEPT {
            answers.insert(key, (now + hold, decision.clone()));
        }
    }

    fn failed(&self, why: String) -> Decision {
        tracing::warn!(webhook = self.name, why, "authorization webhook");
        Decision {
            denied: self.deny_on_failure,
            error: why,
            ..Decision::default()
        }
    }
}

/// The question's spec in the form of v1.
fn spec(ask: &Attributes) -> Value {
    let user = &ask.user;
    let mut spec = json!({"user": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        spec["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        spec["extra"] = json!(user.extra);
    }
    if !ask.is_resource {
        spec["nonResourceAttributes"] = json!({"path": ask.path, "verb": ask.verb});
        return spec;
    }
    let mut resource = knarr_json::Map::new();
    for (key, value) in [
        ("namespace", &ask.namespace),
        ("verb", &ask.verb),
        ("group", &ask.group),
        ("version", &ask.version),
        ("resource", &ask.resource),
        ("subresource", &ask.subresource),
        ("name", &ask.name),
    ] {
        if !value.is_empty() {
            resource.insert(key, value.as_str().into());
        }
    }
    for (key, terms) in [
        ("fieldSelector", &ask.fields),
        ("labelSelector", &ask.labels),
    ] {
        if !terms.is_empty() {
            let terms: Vec<Value> = terms.iter().map(Term::to_json).collect();
            resource.insert(key, json!({"requirements": terms}));
        }
    }
    spec["resourceAttributes"] = resource.into();
    spec
}

/// v1beta1 says `group` where v1 says `groups`.
fn old_form(mut spec: Value) -> Value {
    if let Some(map) = spec.as_object_mut()
        && let Some(groups) = map.remove("groups")
    {
        map.insert("group", groups);
    }
    spec
}

/// # Errors
/// For answers that say both yes and no.
fn read(status: &Value) -> Result<Decision, String> {
    let flag = |key: &str| status[key].as_bool().unwrap_or(false);
    let (allowed, denied) = (flag("allowed"), flag("denied"));
    if allowed && denied {
        return Err("webhook subject access review returned both allow and deny response".into());
    }
    Ok(Decision {
        allowed,
        denied,
        reason: status["reason"].as_str().unwrap_or_default().into(),
        error: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UserInfo;

    #[test]
    fn questions_and_answers() {
        let ask = Attributes {
            user: UserInfo::new("ann", ["g"]),
            verb: "list".into(),
            resource: "pods".into(),
            is_resource: true,
            fields: super::super::selectors::fields("spec.nodeName=n"),
            ..Attributes::default()
        };
        let got = spec(&ask);
        assert_eq!(
            got["resourceAttributes"]["fieldSelector"]["requirements"][0]["values"],
            json!(["n"])
        );
        assert_eq!(old_form(got)["group"], json!(["g", "system:authenticated"]));
        assert!(read(&json!({"allowed": true})).unwrap().allowed);
        assert!(
            read(&json!({"denied": true, "reason": "no"}))
                .unwrap()
                .denied
        );
        assert!(read(&json!({"denied": true, "allowed": true})).is_err());
    }
}
