//! One webhook asked about one request.

use knarr_api::Status;
use knarr_json::{Value, json};

use super::{
    super::Attributes,
    config::{DryRun, Hook},
    matching::{self, Invocation},
    review::{self, Answer},
};
use crate::{Outcome, rest::Target};

/// Why a webhook did not say yes.
#[derive(Debug)]
pub enum Refused {
    /// It could not be asked; its `failurePolicy` says what that means.
    Unreachable(String),
    /// It said no, or may not be asked this.
    Denied(Box<Status>),
}

/// The object and the one before it, at the version that a webhook asked for.
pub fn versioned(a: &Attributes<'_>, object: &Value, invocation: &Invocation) -> (Value, Value) {
    let old = a.old.cloned().unwrap_or_default();
    if invocation.version == a.target.version || a.kind.kind != a.target.resource.kind {
        return (object.clone(), old);
    }
    let target = Target {
        version: invocation.version.clone(),
        ..a.target.clone()
    };
    let convert = |mut object: Value| {
        if !object.is_null() {
            target.to_version(&mut object);
        }
        object
    };
    (convert(object.clone()), convert(old))
}

/// Asks a webhook. Its warnings and annotations are noted with the call.
///
/// # Errors
/// Whatever is no yes.
pub async fn ask(
    a: &Attributes<'_>,
    hook: &Hook,
    invocation: &Invocation,
    shown: (&Value, &Value),
    mutating: bool,
) -> Result<Answer, Refused> {
    match hook.dry_run {
        _ if !a.dry_run => {}
        DryRun::Asked => {}
        DryRun::Unknown => return Err(Refused::Unreachable("Webhook SideEffects is nil".into())),
        DryRun::Refused => {
            let why = format!("admission webhook {:?} does not support dry run", hook.name);
            return Err(Refused::Denied(Status::bad_request(why).into()));
        }
    }
    let unreachable = |why: String| Refused::Unreachable(why);
    let version = hook.review.ok_or_else(|| {
        unreachable("could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)".into())
    })?;
    let uid = uuid::Uuid::new_v4().to_string();
    let name = matching::name(a, shown.0);
    let request = review::request(a, &invocation.version, name, shown, version, &uid);
    let body = serde_json::to_vec(&request)
        .map_err(|e| unreachable(format!("could not create admission objects: {e}")))?;
    let clients = &a.call.shared.webhooks;
    let answered = clients
        .post(&hook.client, body.into(), hook.timeout)
        .await
        .map_err(|failure| unreachable(failed(&failure)))?;
    let answer = review::answer(&answered, &uid, version, mutating)
        .map_err(|invalid| unreachable(invalid.to_string()))?;
    for (key, value) in &answer.annotations {
        a.call.annotate(&format!("{}/{key}", hook.name), value);
    }
    a.call.warn(answer.warnings.iter().cloned());
    if answer.allowed {
        return Ok(answer);
    }
    Err(Refused::Denied(
        review::denial(&hook.name, answer.status).into(),
    ))
}

fn failed(failure: &crate::webhook::Failure) -> String {
    match failure {
        crate::webhook::Failure::Config(why) => format!("could not get REST client: {why}"),
        other => format!("failed to call webhook: {other}"),
    }
}

/// What becomes of a request when a webhook did not say yes: it goes on when the webhook cannot be asked and does not mind.
///
/// # Errors
/// The refusal that the client gets.
pub fn settle(a: &Attributes<'_>, hook: &Hook, refused: Refused, place: &str) -> Outcome<()> {
    match refused {
        Refused::Denied(status) => Err(status),
        Refused::Unreachable(why) if hook.ignores_failures => {
            tracing::warn!(
                webhook = &*hook.name,
                why,
                "webhook failed and is passed over"
            );
            a.call
                .annotate(&format!("failed-open.{place}"), &*hook.name);
            Ok(())
        }
        Refused::Unreachable(why) => {
            tracing::warn!(webhook = &*hook.name, why, "webhook failed");
            let why = format!("failed calling webhook {:?}: {why}", hook.name);
            Err(Status::internal(why).into())
        }
    }
}

/// Notes for the audit event what a mutating webhook did.
pub fn note(a: &Attributes<'_>, hook: &Hook, place: &str, patch: &[Value]) {
    let mutated = !patch.is_empty();
    let mut what =
        json!({"configuration": &*hook.configuration, "webhook": &*hook.name, "mutated": mutated});
    a.call
        .annotate(&format!("mutation.{place}"), what.to_string());
    if mutated {
        what = json!({"configuration": &*hook.configuration, "webhook": &*hook.name, "patch": patch, "patchType": "JSONPatch"});
        a.call.annotate(&format!("patch.{place}"), what.to_string());
    }
}
