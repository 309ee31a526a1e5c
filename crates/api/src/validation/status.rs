//! Counts in the status of workloads.

use super::{At, non_negative};
use crate::field::Errors;

const REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// Checks that counts are not negative, in the order of `keys`.
pub fn counts(status: &At, keys: &[&str], errs: &mut Errors) {
    for key in keys {
        non_negative(status, key, errs);
    }
}

/// `cannot be greater than …` where a part exceeds its whole. Absent counts are zero.
pub fn at_most(status: &At, part: &str, whole: &str, words: &str, errs: &mut Errors) {
    if status.int(part).unwrap_or(0) > status.int(whole).unwrap_or(0) {
        errs.push(status.get(part).invalid(words));
    }
}

/// `collisionCount` never falls, and once there it never goes.
pub fn collisions(status: &At, old: &knarr_json::Value, errs: &mut Errors) {
    let Some(was) = old
        .get("collisionCount")
        .and_then(knarr_json::Value::as_i64)
    else {
        return;
    };
    let now = status.int("collisionCount");
    if now.is_none_or(|n| n < was) {
        let path = status.path.child("collisionCount");
        errs.push(crate::field::Error::invalid(
            &path,
            now.unwrap_or(0),
            "cannot be decremented",
        ));
    }
}

/// The list `conditions` of kinds that have `metav1.Condition`s.
pub fn conditions(all: &At, errs: &mut Errors) {
    use crate::{field::Error, names};
    const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
    for c in all.each() {
        for m in names::qualified_name(c.text("type")) {
            errs.push(Error::invalid(&c.path.child("type"), c.text("type"), m));
        }
        if !STATUSES.contains(&c.text("status")) {
            errs.push(Error::not_supported(
                &c.path.child("status"),
                c.text("status"),
                &STATUSES,
            ));
        }
        if c.int("observedGeneration").is_some_and(|n| n < 0) {
            let words = "must be greater than or equal to zero";
            errs.push(c.get("observedGeneration").invalid(words));
        }
        for key in ["lastTransitionTime", "reason"] {
            if c.text(key).is_empty() {
                errs.push(c.get(key).required(""));
            }
        }
        if !c.text("reason").is_empty() && !is_reason(c.text("reason")) {
            errs.push(c.get("reason").invalid(REASON));
        }
        if c.text("reason").len() > 1024 {
            errs.push(Error::too_long(&c.path.child("reason"), 1024));
        }
        if c.text("message").len() > 32768 {
            errs.push(Error::too_long(&c.path.child("message"), 32768));
        }
    }
}

/// [`REASON`] as code.
fn is_reason(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || b"_,:".contains(&c);
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(|c| inner(*c))
        && bytes.last().is_some_and(|c| !b",:".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn conditions_have_reasons_of_one_word() {
        for (reason, wrong) in [
            ("A", 0),
            ("ReasonA,ReasonB:c_", 0),
            ("a b", 1),
            ("1", 1),
            ("A:", 1),
        ] {
            let all = json!({"c": [{"type": "T", "status": "True", "reason": reason,
                "lastTransitionTime": "2024-01-01T00:00:00Z", "observedGeneration": 0}]});
            let mut errs = Errors::new();
            conditions(&At::new(&all, "status").get("c"), &mut errs);
            assert_eq!(errs.len(), wrong, "{reason}: {errs:?}");
        }
    }
}
