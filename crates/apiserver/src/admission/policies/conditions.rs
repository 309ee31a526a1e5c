//! `matchConditions` of policies and webhooks: all must hold.

use std::collections::BTreeMap;

use knarr_cel::{Budget, budget};
use knarr_json::Value;

use super::{
    config::Compiled,
    run::{Failure, Run, Subject},
};

/// Whether all conditions hold. One that does not hold decides even if another fails.
///
/// # Errors
/// What the failing ones say, if none decides.
pub(crate) fn hold(
    conditions: &[Compiled],
    subject: &Subject,
    params: &Value,
) -> Result<bool, String> {
    if conditions.is_empty() {
        return Ok(true);
    }
    let variables = BTreeMap::new();
    let run = Run {
        subject,
        params,
        variables: &variables,
    };
    let all: Vec<Option<&Compiled>> = conditions.iter().map(Some).collect();
    let mut budget = Budget::new(budget::MATCH_CONDITIONS);
    let answers = run
        .each(&all, &mut budget, |value| value.as_bool() == Some(true))
        .map_err(|failure: Failure| failure.to_string())?;
    let mut failed = Vec::new();
    for answer in answers.into_iter().flatten() {
        match answer {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(why) => failed.push(why),
        }
    }
    match failed.as_slice() {
        [] => Ok(true),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}
