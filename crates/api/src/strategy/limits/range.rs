//! What a LimitRange may say.

use crate::{
    field::{Error, Errors},
    names,
    strategy::pod::validate::container_resource,
    validation::{
        At,
        amount::Amount,
        is_empty, map,
        resources::{overcommits, resource_name},
    },
};
use knarr_json::{Text, Value};

const TYPES: [&str; 3] = ["Pod", "Container", "PersistentVolumeClaim"];

/// Checks all limits.
pub fn check(object: &Value, errs: &mut Errors) {
    let mut types: Vec<&str> = Vec::new();
    for limit in At::root(object, "spec").items("limits") {
        let kind = limit.get("type");
        type_name(&kind, errs);
        if types.contains(&kind.str()) {
            errs.push(kind.duplicate());
        }
        types.push(kind.str());
        all_names(&limit, errs);
        relations(&limit, errs);
    }
}

fn type_name(kind: &At, errs: &mut Errors) {
    let wrong = names::qualified_name(kind.str());
    if wrong.is_empty() && !kind.str().contains('/') && !TYPES.contains(&kind.str()) {
        errs.push(kind.invalid("must be a standard limit type or fully qualified"));
    }
    kind.push(wrong, errs);
}

/// Names of resources, of which pods and containers have fewer than other things.
fn all_names(limit: &At, errs: &mut Errors) {
    let kind = limit.text("type");
    let check = |key: &str, errs: &mut Errors| {
        for (name, at) in limit.get(key).entries() {
            match kind {
                "Pod" | "Container" => container_resource(&at, name, errs),
                _ => resource_name(&at, name, errs),
            }
        }
    };
    check("max", errs);
    check("min", errs);
    for key in ["default", "defaultRequest"] {
        if kind != "Pod" {
            check(key, errs);
        } else if !is_empty(&limit.v[key]) {
            errs.push(
                limit
                    .get(key)
                    .forbidden("may not be specified when `type` is 'Pod'"),
            );
        }
    }
    let storage = ["min", "max"]
        .iter()
        .any(|k| limit.v[*k].get("storage").is_some());
    if kind == "PersistentVolumeClaim" && !storage {
        let words = "either minimum or maximum storage value is required, but neither was provided";
        errs.push(limit.get("limits").required(words));
    }
    check("maxLimitRequestRatio", errs);
}

/// The amounts of one resource.
struct Amounts {
    max: Option<Amount>,
    min: Option<Amount>,
    default: Option<Amount>,
    request: Option<Amount>,
    ratio: Option<Amount>,
}

/// How the amounts of one resource relate to each other.
fn relations(limit: &At, errs: &mut Errors) {
    const KEYS: [&str; 5] = [
        "max",
        "min",
        "default",
        "defaultRequest",
        "maxLimitRequestRatio",
    ];
    let mut resources: Vec<&Text> = KEYS
        .iter()
        .filter_map(|k| map(limit.v, k))
        .flat_map(|m| m.keys())
        .collect();
    resources.sort();
    resources.dedup();
    for name in resources {
        let amount = |key: &str| match limit.v["type"] == "Pod" && key.starts_with("default") {
            true => None,
            false => limit.v[key].get(name).map(Amount::of),
        };
        let [max, min, default, request, ratio] = KEYS.map(amount);
        let amounts = Amounts {
            max,
            min,
            default,
            request,
            ratio,
        };
        order(limit, name, &amounts, errs);
        ratios(limit, name, &amounts, errs);
        if let (false, Some(default), Some(request)) = (overcommits(name), default, request)
            && default.nanos != request.nanos
        {
            let words = format!(
                "default value {default} must equal to defaultRequest value {request} in {name}"
            );
            let path = limit.path.child("defaultRequest").key(name);
            errs.push(Error::invalid(&path, request.to_string(), words));
        }
    }
}

fn order(limit: &At, name: &str, a: &Amounts, errs: &mut Errors) {
    let (min, max, request, default) = (a.min, a.max, a.request, a.default);
    type Side = (Option<Amount>, &'static str);
    let rules: [(Side, Side, &str, Option<Amount>); 6] = [
        ((min, "min"), (max, "max"), "min", min),
        (
            (min, "min"),
            (request, "default request"),
            "defaultRequest",
            request,
        ),
        (
            (request, "default request"),
            (max, "max"),
            "defaultRequest",
            request,
        ),
        (
            (request, "default request"),
            (default, "default limit"),
            "defaultRequest",
            request,
        ),
        ((min, "min"), (default, "default"), "default", min),
        ((default, "default"), (max, "max"), "default", max),
    ];
    for ((low, low_name), (high, high_name), at, shown) in rules {
        if let (Some(low), Some(high), Some(shown)) = (low, high, shown)
            && low > high
        {
            let words = format!("{low_name} value {low} is greater than {high_name} value {high}");
            errs.push(Error::invalid(
                &limit.path.child(at).key(name),
                shown.to_string(),
                words,
            ));
        }
    }
}

fn ratios(limit: &At, name: &str, a: &Amounts, errs: &mut Errors) {
    let Some(ratio) = a.ratio else { return };
    let mut refuse = |words: String| {
        let path = limit.path.child("maxLimitRequestRatio").key(name);
        errs.push(Error::invalid(&path, ratio.to_string(), words));
    };
    if ratio.nanos < 1_000_000_000 {
        refuse(format!("ratio {ratio} is less than 1"));
    }
    if let (Some(min), Some(max)) = (a.min, a.max) {
        let limit = max.nanos as f64 / min.nanos as f64;
        if ratio.nanos as f64 / 1e9 > limit {
            refuse(format!(
                "ratio {ratio} is greater than max/min = {limit:.6}"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn limits_that_are_refused() {
        let cases: &[(Value, &[&str])] = &[
            (
                json!({"type": "Container", "max": {"disk": "1"}}),
                &[
                    "max[disk]: Invalid value: \"disk\": must be a standard resource type or fully qualified",
                    "max[disk]: Invalid value: \"disk\": must be a standard resource for containers",
                ],
            ),
            (
                json!({"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}),
                &[],
            ),
            (
                json!({"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3"}}),
                &[
                    "maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is greater than max/min = 2.000000",
                ],
            ),
            (
                json!({"type": "Container", "default": {"a.io/x": "2"}, "defaultRequest": {"a.io/x": "1"}}),
                &[
                    "defaultRequest[a.io/x]: Invalid value: \"1\": default value 2 must equal to defaultRequest value 1 in a.io/x",
                ],
            ),
        ];
        for (limit, want) in cases {
            let mut errs = Errors::new();
            check(&json!({"spec": {"limits": [limit]}}), &mut errs);
            let all: Vec<String> = errs
                .iter()
                .map(|e| e.to_string().replace("spec.limits[0].", ""))
                .collect();
            assert_eq!(all, *want, "{limit}");
        }
    }
}
