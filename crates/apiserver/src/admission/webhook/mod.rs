//! Webhooks: mutating ones are asked one after the other, each seeing what the one before made of the object; validating
//! ones are asked all at once.

pub(super) mod call;
pub(crate) mod config;
mod index;
pub(super) mod matching;
pub(super) mod review;

use futures::future::join_all;
use knarr_api::{
    Status,
    decode::{self, Expect, FieldValidation, Format},
    patch::json,
};
use knarr_json::Value;

pub(crate) use index::Hooks;

use super::{Attributes, Reinvocation};
use crate::{Outcome, codec};

/// Where webhooks have their notes in audit events.
const PLACE: &str = "webhook.admission.k8s.io";

/// Lets the mutating webhooks that concern the request change its object.
///
/// # Errors
/// What a webhook answers, or that it cannot be asked.
pub async fn mutate(
    a: &Attributes<'_>,
    object: &mut Value,
    round: &mut Reinvocation,
) -> Outcome<()> {
    let hooks = a.call.shared.admission.hooks.mutating();
    if hooks.is_empty() || matching::is_exempt(a) {
        return Ok(());
    }
    round.resume(object);
    for (i, hook) in hooks.iter().enumerate() {
        let Some(invocation) = matching::invocation(a, hook, object)? else {
            continue;
        };
        if !round.asks(&hook.uid) {
            continue;
        }
        let place = format!("{PLACE}/round_{}_index_{i}", round.number());
        let (mut shown, old) = call::versioned(a, object, &invocation);
        let changed = match call::ask(a, hook, &invocation, (&shown, &old), true).await {
            Ok(answer) => {
                call::note(a, hook, &place, &answer.patch);
                patched(a, &hook.name, &mut shown, &answer.patch, &invocation)?
            }
            Err(refused) => {
                call::settle(a, hook, refused, &format!("mutation.{place}"))?;
                false
            }
        };
        if changed {
            *object = shown;
            round.changed();
        }
        if hook.reinvoked {
            round.may_ask_again(&hook.uid);
        }
    }
    round.leave(object);
    Ok(())
}

/// Applies a webhook's patch to the object it was shown, and brings that back to the version of the request. True when
/// something changed.
fn patched(
    a: &Attributes<'_>,
    hook: &str,
    shown: &mut Value,
    patch: &[Value],
    invocation: &matching::Invocation,
) -> Outcome<bool> {
    if patch.is_empty() {
        return Ok(false);
    }
    if shown.is_null() {
        let why = format!(
            "admission webhook {hook:?} attempted to modify the object, which is not supported for this operation"
        );
        return Err(Status::internal(why).into());
    }
    let new = json::apply(shown, patch).map_err(Status::internal)?;
    let new = adopted(a, new, shown, invocation)?;
    let changed = new != *shown;
    *shown = new;
    Ok(changed)
}

/// What someone made of `shown`, as its type reads it, with defaults, both at the version of the request.
pub(super) fn adopted(
    a: &Attributes<'_>,
    new: Value,
    shown: &mut Value,
    invocation: &matching::Invocation,
) -> Outcome<Value> {
    let mut new = read(a, &new, &invocation.version)?;
    let own_kind = a.kind.kind == a.target.resource.kind;
    if own_kind && invocation.version != a.target.version {
        a.target.to_version(&mut new);
        a.target.to_version(shown);
    }
    if own_kind && a.subresource != "scale" {
        let strategy = &a.target.resource.strategy;
        strategy.default(&a.target.context(a.call), &mut new);
        codec::settle(a.call, a.target, &mut new);
    }
    Ok(new)
}

/// The patched object as its type reads it; what has no type is taken as it is.
fn read(a: &Attributes<'_>, object: &Value, version: &str) -> Outcome<Value> {
    let schemas = a.call.shared.schemas.load();
    let own_kind = a.kind.kind == a.target.resource.kind;
    let version = if own_kind { version } else { a.kind.version };
    if schemas
        .by_kind(a.kind.group, version, a.kind.kind)
        .is_none()
    {
        return Ok(object.clone());
    }
    let expect = Expect {
        group: a.kind.group,
        version,
        kind: a.kind.kind,
        custom: false,
    };
    let bytes = serde_json::to_vec(object).map_err(Status::internal)?;
    let read = decode::decode(
        &schemas,
        &bytes,
        Format::Json,
        &expect,
        FieldValidation::Ignore,
    );
    Ok(read
        .map_err(|status| Status::internal(status.message))?
        .object)
}

/// Asks the validating webhooks that concern the request.
///
/// # Errors
/// What the first of them that says no answers, or that one cannot be asked.
pub async fn validate(a: &Attributes<'_>, object: &Value) -> Outcome<()> {
    let hooks = a.call.shared.admission.hooks.validating();
    if hooks.is_empty() || matching::is_exempt(a) {
        return Ok(());
    }
    let mut asked = Vec::new();
    for (i, hook) in hooks.iter().enumerate() {
        if let Some(invocation) = matching::invocation(a, hook, object)? {
            asked.push((i, hook, invocation));
        }
    }
    let answers = join_all(asked.iter().map(|(_, hook, invocation)| async move {
        let (shown, old) = call::versioned(a, object, invocation);
        call::ask(a, hook, invocation, (&shown, &old), false).await
    }));
    for ((i, hook, _), answer) in asked.iter().zip(answers.await) {
        if let Err(refused) = answer {
            let place = format!("validating.{PLACE}/round_0_index_{i}");
            call::settle(a, hook, refused, &place)?;
        }
    }
    Ok(())
}

/// Reads an answer as each kind of webhook may give it.
#[cfg(test)]
pub(super) fn fuzz(body: &[u8], uid: &str) {
    for version in [config::Version::V1, config::Version::V1Beta1] {
        for mutating in [true, false] {
            if let Ok(answer) = review::answer(body, uid, version, mutating) {
                let object = knarr_json::json!({"a": [1], "metadata": {}});
                let _ = json::apply(&object, &answer.patch);
                let _ = review::denial("w", answer.status);
            }
        }
    }
}
