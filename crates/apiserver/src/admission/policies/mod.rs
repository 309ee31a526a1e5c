//! Policies written in CEL: MutatingAdmissionPolicy before the mutating webhooks, ValidatingAdmissionPolicy before the
//! validating ones.

mod authz;
pub(crate) mod conditions;
pub(crate) mod config;
mod index;
mod made;
mod matching;
mod mutating;
mod params;
pub(crate) mod run;
mod validating;

use knarr_json::Value;

pub(crate) use index::Policies;

use super::{Attributes, Reinvocation, webhook};
use crate::Outcome;

/// Lets MutatingAdmissionPolicies change the object, and tells `round` when one did, so that a second round follows.
///
/// # Errors
/// What a policy answers.
pub async fn mutate(
    a: &Attributes<'_>,
    object: &mut Value,
    round: &mut Reinvocation,
) -> Outcome<()> {
    let policies = a.call.shared.admission.policies.mutating();
    if policies.is_empty() || webhook::matching::is_exempt(a) || a.is_review() {
        return Ok(());
    }
    mutating::mutate(a, &policies, object, round)
}

/// Asks ValidatingAdmissionPolicies.
///
/// # Errors
/// What a policy answers.
pub async fn validate(a: &Attributes<'_>, object: &Value) -> Outcome<()> {
    let policies = a.call.shared.admission.policies.validating();
    if policies.is_empty() || webhook::matching::is_exempt(a) || a.is_review() {
        return Ok(());
    }
    validating::validate(a, &policies, object)
}
