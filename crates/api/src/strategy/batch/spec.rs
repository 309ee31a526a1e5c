//! What the specs of Jobs and the templates of CronJobs have in common.

use knarr_json::Value;

use super::{failure, success};
use crate::{
    field::{Error, Errors},
    strategy::pod,
    validation::{At, domain_prefixed_path, non_negative},
};

/// Beyond this many completions, Jobs that count failures per index have stricter limits.
const MANY: i64 = 100_000;
/// Most pods at once, and most failed indexes, of such Jobs.
const FEW: i64 = 10_000;

/// Checks everything but the selector.
pub fn check(spec: &At, errs: &mut Errors) {
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        non_negative(spec, key, errs);
    }
    if spec.has("maxFailedIndexes") && !spec.has("backoffLimitPerIndex") {
        errs.push(
            spec.get("backoffLimitPerIndex")
                .required("when maxFailedIndexes is specified"),
        );
    }
    managed_by(spec, errs);
    completion_mode(spec, errs);
    if let Some(policy) = spec.some("podFailurePolicy") {
        failure::policy(&policy, spec, errs);
    }
    if let Some(policy) = spec.some("successPolicy") {
        success::policy(&policy, spec, errs);
    }
    replacement(spec, errs);
    let template = spec.get("template");
    pod::validate::template(&template, None, errs);
    restart_policy(&template.get("spec"), spec.has("podFailurePolicy"), errs);
}

fn managed_by(spec: &At, errs: &mut Errors) {
    let Some(manager) = spec.some("managedBy") else {
        return;
    };
    domain_prefixed_path(&manager, errs);
    if manager.str().len() > 63 {
        errs.push(Error::too_long(&manager.path, 63));
    }
}

fn completion_mode(spec: &At, errs: &mut Errors) {
    let mode = spec.get("completionMode");
    if !mode.v.is_null() && !["Indexed", "NonIndexed"].contains(&mode.str()) {
        errs.push(mode.not_supported(&["NonIndexed", "Indexed"]));
    }
    match (mode.v, mode.str()) {
        (_, "Indexed") => indexed(spec, errs),
        (Value::Null, _) | (_, "NonIndexed") => {
            for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(only) = spec.some(key) {
                    errs.push(only.invalid("requires indexed completion mode"));
                }
            }
        }
        _ => {}
    }
}

fn indexed(spec: &At, errs: &mut Errors) {
    let (parallelism, failed) = (spec.get("parallelism"), spec.get("maxFailedIndexes"));
    let at_once = parallelism.v.as_i64().unwrap_or(0);
    let completions = spec.int("completions");
    if completions.is_none() {
        errs.push(
            spec.get("completions")
                .required("when completion mode is Indexed"),
        );
    }
    if at_once > MANY {
        errs.push(parallelism.invalid(format!(
            "must be less than or equal to {MANY} when completion mode is Indexed"
        )));
    }
    let most = failed.v.as_i64();
    if completions.zip(most).is_some_and(|(all, most)| most > all) {
        errs.push(failed.invalid("must be less than or equal to completions"));
    }
    if most.is_some_and(|n| n > MANY) {
        errs.push(failed.invalid(format!("must be less than or equal to {MANY}")));
    }
    if completions.is_none_or(|n| n <= MANY) || !spec.has("backoffLimitPerIndex") {
        return;
    }
    if most.is_none() {
        errs.push(failed.required(&format!(
            "must be specified when completions is above {MANY}"
        )));
    }
    let limit = format!(
        "must be less than or equal to {FEW} when completions are above {MANY} and used with backoff limit per index"
    );
    if at_once > FEW {
        errs.push(parallelism.invalid(limit.as_str()));
    }
    if most.is_some_and(|n| n > FEW) {
        errs.push(failed.invalid(limit));
    }
}

fn replacement(spec: &At, errs: &mut Errors) {
    let policy = spec.get("podReplacementPolicy");
    let allowed: &[&str] = if spec.has("podFailurePolicy") {
        &["Failed"]
    } else {
        &["Failed", "TerminatingOrFailed"]
    };
    if !policy.v.is_null() && !allowed.contains(&policy.str()) {
        errs.push(policy.not_supported(allowed));
    }
}

fn restart_policy(pod_spec: &At, has_failure_policy: bool, errs: &mut Errors) {
    let policy = pod_spec.get("restartPolicy");
    match policy.str() {
        "" | "Always" => errs.push(policy.required("valid values: \"OnFailure\", \"Never\"")),
        "OnFailure" if has_failure_policy => {
            errs.push(
                policy.invalid("only \"Never\" is supported when podFailurePolicy is specified"),
            );
        }
        "OnFailure" | "Never" => {}
        _ => errs.push(policy.not_supported(&["OnFailure", "Never"])),
    }
}

/// Warnings about the spec of a Job at `path`.
pub fn warnings(spec: &At) -> Vec<String> {
    let mut out = Vec::new();
    if spec.text("completionMode") == "Indexed"
        && spec.int("completions").unwrap_or(0) > MANY
        && spec.int("parallelism").unwrap_or(0) > FEW
    {
        out.push(format!(
            "{}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
            spec.path
        ));
    }
    out.extend(pod::warnings::template(&spec.get("template")));
    out
}
