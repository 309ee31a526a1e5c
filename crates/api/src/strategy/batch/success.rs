//! Success policies of Jobs.

use knarr_json::Value;

use super::indexes;
use crate::{
    field::{Error, Errors},
    validation::{At, go, list, non_negative},
};

/// A success policy as messages show it: see [`go::dump`].
pub const LAYOUT: &str = "Rules[SucceededIndexes. SucceededCount. ]";

const LONGEST_LIST: usize = 64 << 10;

/// Checks `successPolicy` of the Job spec `job`.
pub fn policy(policy: &At, job: &At, errs: &mut Errors) {
    if job.text("completionMode") != "Indexed" {
        errs.push(
            policy
                .invalid("requires indexed completion mode")
                .showing(go::dump(policy.v, LAYOUT)),
        );
        return;
    }
    let rules = policy.get("rules");
    match list(rules.v).len() {
        0 => {
            errs.push(rules.required(
                "at least one rules must be specified when the successPolicy is specified",
            ))
        }
        n if n > 20 => errs.push(Error::too_many(&rules.path, n, 20)),
        _ => {}
    }
    // the original cannot check rules without a number of completions, which is told already
    let Some(completions) = job.int("completions") else {
        return;
    };
    for rule in rules.each() {
        check_rule(&rule, completions, errs);
    }
}

fn check_rule(rule: &At, completions: i64, errs: &mut Errors) {
    let (indexes, count) = (rule.some("succeededIndexes"), rule.some("succeededCount"));
    if indexes.is_none() && count.is_none() {
        errs.push(
            rule.required("at least one of succeededCount or succeededIndexes must be specified"),
        );
    }
    let mut listed = 0;
    if let Some(indexes) = &indexes {
        if indexes.str().len() > LONGEST_LIST {
            errs.push(Error::too_long(&indexes.path, LONGEST_LIST));
        }
        match indexes::count(indexes.str(), completions) {
            Ok(n) => listed = n,
            Err(words) => {
                errs.push(indexes.invalid(format!("error parsing succeededIndexes: {words}")));
            }
        }
    }
    let Some(count) = count else { return };
    non_negative(rule, "succeededCount", errs);
    let wanted = count.v.as_i64().unwrap_or(0);
    if wanted > completions {
        errs.push(count.invalid(format!(
            "must be less than or equal to {completions} (the number of specified completions)"
        )));
    }
    if indexes.is_some() && wanted > listed {
        errs.push(count.invalid(format!(
            "must be less than or equal to {listed} (the number of indexes in the specified succeededIndexes field)"
        )));
    }
}

/// A policy as messages show it, null for none.
pub fn shown(policy: &Value) -> String {
    if policy.is_null() {
        "null".to_owned()
    } else {
        go::dump(policy, LAYOUT)
    }
}
