//! Counts in the status of workloads.

use super::{At, non_negative};
use crate::field::Errors;

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

/// `collisionCount` never falls.
pub fn collisions(status: &At, old: &serde_json::Value, errs: &mut Errors) {
    let Some(was) = old
        .get("collisionCount")
        .and_then(serde_json::Value::as_i64)
    else {
        return;
    };
    let now = status.int("collisionCount").unwrap_or(0);
    if now < was {
        errs.push(crate::field::Error::invalid(
            &status.path.child("collisionCount"),
            now,
            "cannot be decremented",
        ));
    }
}
