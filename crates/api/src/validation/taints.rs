//! Taints and tolerations.

use knarr_json::json;

use super::{At, ordered_json};
use crate::{
    field::{Error, Errors},
    names,
};

/// Effects of a taint, in the order that messages list them.
pub const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Taints of a node: each well-formed, and one per key and effect.
pub fn taints(all: &At, errs: &mut Errors) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for taint in all.each() {
        let key = taint.get("key");
        for m in names::qualified_name(taint.text("key")) {
            errs.push(Error::invalid(&key.path, taint.text("key"), m));
        }
        let wrong = names::label_value(taint.text("value"));
        if !wrong.is_empty() {
            errs.push(taint.get("value").invalid(wrong.join(";")));
        }
        effect(&taint, false, errs);
        let this = (taint.text("key"), taint.text("effect"));
        if seen.contains(&this) {
            let shown = json!({"Key": this.0, "Value": taint.text("value"), "Effect": this.1, "TimeAdded": taint.v["timeAdded"]});
            let text = ordered_json(&shown, &["Key", "Value", "Effect", "TimeAdded"]);
            errs.push(
                taint
                    .duplicate()
                    .showing(text)
                    .with_detail("taints must be unique by key and effect pair"),
            );
            continue;
        }
        seen.push(this);
    }
}

fn effect(at: &At, may_be_empty: bool, errs: &mut Errors) {
    let effect = at.get("effect");
    match effect.str() {
        "" if may_be_empty => {}
        "" => errs.push(effect.required("")),
        e if EFFECTS.contains(&e) => {}
        _ => errs.push(effect.not_supported(&EFFECTS)),
    }
}

/// Tolerations of a pod.
pub fn tolerations(all: &At, errs: &mut Errors) {
    for t in all.each() {
        toleration(&t, errs);
    }
}

fn toleration(t: &At, errs: &mut Errors) {
    let (key, operator, value) = (t.get("key"), t.get("operator"), t.text("value"));
    if !key.str().is_empty() {
        key.push(names::qualified_name(key.str()), errs);
    }
    if key.str().is_empty() && operator.str() != "Exists" {
        let words = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errs.push(Error::invalid(&operator.path, operator.str(), words));
    }
    if t.has("tolerationSeconds") && t.text("effect") != "NoExecute" {
        let words = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errs.push(Error::invalid(
            &t.path.child("effect"),
            t.text("effect"),
            words,
        ));
    }
    match operator.str() {
        "Equal" | "" => {
            let wrong = names::label_value(value);
            if !wrong.is_empty() {
                errs.push(Error::invalid(&operator.path, value, wrong.join(";")));
            }
        }
        "Exists" if !value.is_empty() => {
            errs.push(Error::invalid(
                &operator.path,
                value,
                "value must be empty when `operator` is 'Exists'",
            ));
        }
        "Exists" => {}
        "Gt" | "Lt" => errs.push(operator.not_supported(&["Equal", "Exists", "Lt", "Gt"])),
        _ => errs.push(operator.not_supported(&["Equal", "Exists"])),
    }
    if !t.text("effect").is_empty() {
        effect(t, true, errs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::Value;

    fn check(f: fn(&At, &mut Errors), v: Value) -> Vec<String> {
        let mut errs = Errors::new();
        f(&At::new(&v, "t"), &mut errs);
        errs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn taints_are_unique_and_complete() {
        let twice = json!([{"key": "a", "effect": "NoSchedule"}, {"key": "a", "value": "o", "effect": "NoSchedule"}]);
        let want = "t[1]: Duplicate value: {\"Key\":\"a\",\"Value\":\"o\",\"Effect\":\"NoSchedule\",\"TimeAdded\":null}: taints must be unique by key and effect pair";
        assert_eq!(check(taints, twice), [want]);
        assert_eq!(
            check(taints, json!([{"key": "a"}])),
            ["t[0].effect: Required value"]
        );
    }

    #[test]
    fn tolerations_make_sense() {
        for (t, field) in [
            (
                json!({"key": "a", "operator": "Exists", "value": "d"}),
                "t[0].operator: Invalid value: \"d\"",
            ),
            (
                json!({"value": "x"}),
                "t[0].operator: Invalid value: \"\": operator must be Exists",
            ),
            (
                json!({"key": "g", "effect": "NoSchedule", "tolerationSeconds": 9}),
                "t[0].effect: Invalid value: \"NoSchedule\"",
            ),
            (
                json!({"key": "g", "effect": "NoRun"}),
                "t[0].effect: Unsupported value: \"NoRun\"",
            ),
            (
                json!({"key": "g", "operator": "Gt", "value": "5"}),
                "t[0].operator: Unsupported value: \"Gt\": supported values: \"Equal\", \"Exists\", \"Lt\", \"Gt\"",
            ),
        ] {
            let errs = check(tolerations, json!([t]));
            assert!(
                errs.len() == 1 && errs[0].starts_with(field),
                "{t}: {errs:?}"
            );
        }
        assert!(check(tolerations, json!([{"operator": "Exists"}, {"key": "a"}])).is_empty());
    }
}
