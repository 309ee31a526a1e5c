//! What may be asked of a device's capacity that several allocations share.

use super::set_of;
use crate::{
    field::{Error, Errors},
    validation::{At, amount::Amount, list},
};

pub(super) fn capacity(at: &At, shared: bool, errs: &mut Errors) {
    let Some(policy) = at.some("requestPolicy") else {
        return;
    };
    if !shared {
        errs.push(policy.forbidden("allowMultipleAllocations must be true"));
        return;
    }
    let most = Amount::of(&at.v["value"]);
    let (values, range) = (policy.get("validValues"), policy.some("validRange"));
    if !list(values.v).is_empty() && range.is_some() {
        errs.push(policy.forbidden(
            "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time",
        ));
        return;
    }
    let used = if range.is_some() {
        "validRange"
    } else {
        "validValues"
    };
    if range.is_none() && list(values.v).is_empty() {
        return;
    }
    let Some(default) = policy.some("default") else {
        let words = format!("required when {used} is defined");
        errs.push(policy.get("default").required(&words));
        return;
    };
    let default = Amount::of(default.v);
    match range {
        Some(range) => valid_range(&range, default, most, errs),
        None => valid_values(&values, default, most, errs),
    }
}

fn valid_values(values: &At, default: Amount, most: Amount, errs: &mut Errors) {
    let all: Vec<At> = values.each().collect();
    let amount = |at: &At| Amount::of(at.v);
    for pair in all.windows(2) {
        if amount(&pair[0]) > amount(&pair[1]) {
            let shown = amount(&pair[1]).to_string();
            let words = "values must be sorted in ascending order";
            errs.push(Error::invalid(&pair[1].path, shown, words));
        }
    }
    let key = |at: &At| amount(at).nanos.to_string();
    set_of(values, 10, &key, errs, &mut |at, errs| {
        if amount(at) > most {
            let words = format!("option is larger than capacity value: {most}");
            errs.push(Error::invalid(&at.path, amount(at).to_string(), words));
        }
    });
    if !all.iter().any(|at| amount(at).nanos == default.nanos) {
        let words = "default value is not valid according to the requestPolicy";
        errs.push(Error::invalid(&values.path, default.to_string(), words));
    }
}

fn valid_range(range: &At, default: Amount, most: Amount, errs: &mut Errors) {
    let Some(min) = range.some("min").map(|at| Amount::of(at.v)) else {
        errs.push(
            range
                .get("min")
                .required("required when validRange is defined"),
        );
        return;
    };
    let mut wrong = |key: &str, shown: Amount, words: String| {
        errs.push(Error::invalid(
            &range.path.child(key),
            shown.to_string(),
            words,
        ));
    };
    if min > most {
        wrong(
            "min",
            min,
            format!("min is larger than capacity value: {most}"),
        );
    }
    if default < min {
        wrong("min", default, format!("default is less than min: {min}"));
    }
    let max = range.some("max").map(|at| Amount::of(at.v));
    if let Some(max) = max {
        if min > max {
            wrong("max", min, format!("min is larger than max: {max}"));
        }
        if max > most {
            wrong(
                "max",
                max,
                format!("max is larger than capacity value: {most}"),
            );
        }
        if default > max {
            wrong("max", default, format!("default is more than max: {max}"));
        }
    }
    let Some(step) = range.some("step").map(|at| Amount::of(at.v)) else {
        return;
    };
    if step.nanos <= 0 {
        wrong("step", step, "must be greater than zero".into());
        return;
    }
    let added = min.plus(step);
    if added > most {
        wrong(
            "step",
            step,
            format!("one step {added} is larger than capacity value: {most}"),
        );
    }
    for value in [Some(default), max].into_iter().flatten() {
        if (value.nanos - min.nanos) % step.nanos != 0 {
            let words = format!("value is not a multiple of a given step ({step}) from ({min})");
            wrong("step", value, words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn what_may_be_asked_of_a_shared_capacity_fits_into_it() {
        for (policy, wrong) in [
            (json!({"default": "1", "validValues": ["1", "2"]}), 0),
            (json!({"default": "3", "validValues": ["2", "1", "20"]}), 3),
            (
                json!({"default": "2", "validRange": {"min": "1", "max": "4", "step": "1"}}),
                0,
            ),
            (
                json!({"default": "2", "validRange": {"min": "1", "max": "4", "step": "2"}}),
                2,
            ),
            (json!({"validRange": {"min": "1"}}), 1),
        ] {
            let v = json!({"value": "10", "requestPolicy": policy});
            let mut errs = Errors::new();
            capacity(&At::new(&v, "c"), true, &mut errs);
            assert_eq!(errs.len(), wrong, "{policy}: {errs:?}");
        }
    }
}
