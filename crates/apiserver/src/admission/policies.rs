//! Where policies written in CEL have their place in the chain: MutatingAdmissionPolicy before the mutating webhooks,
//! ValidatingAdmissionPolicy before the validating ones.

use serde_json::Value;

use super::Attributes;
use crate::Outcome;

/// Lets MutatingAdmissionPolicies change the object. True when one did, so that webhooks that came before are asked again.
///
/// # Errors
/// What a policy answers.
pub async fn mutate(_attributes: &Attributes<'_>, _object: &mut Value) -> Outcome<bool> {
    Ok(false)
}

/// Asks ValidatingAdmissionPolicies.
///
/// # Errors
/// What a policy answers.
pub async fn validate(_attributes: &Attributes<'_>, _object: &Value) -> Outcome<()> {
    Ok(())
}
