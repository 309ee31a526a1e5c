//! What may change of a Job.

use knarr_json::Value;

use super::{failure, status::holds, success};
use crate::{
    field::Errors,
    strategy::{common, defaults::at},
    validation::{At, immutable, is_empty, labels, list},
};

/// What never changes of the spec of a Job, but for a suspended one whose pods do not run.
pub fn fixed(object: &Value, old: &Value, errs: &mut Errors) {
    let (spec, was) = (At::root(object, "spec"), &old["spec"]);
    completions(&spec, was, errs);
    let selector = spec.get("selector");
    if *selector.v != was["selector"] {
        let shown = labels::selector_json(selector.v);
        errs.push(selector.invalid("field is immutable").showing(shown));
    }
    let template = spec.get("template");
    if *template.v != allowed_template(template.v, old) {
        errs.push(template.invalid("field is immutable"));
    }
    immutable(&spec.get("completionMode"), &was["completionMode"], errs);
    let policy = spec.get("podFailurePolicy");
    if *policy.v != was["podFailurePolicy"] {
        let shown = failure::shown(policy.v);
        errs.push(policy.invalid("field is immutable").showing(shown));
    }
    for key in ["backoffLimitPerIndex", "managedBy"] {
        immutable(&spec.get(key), &was[key], errs);
    }
    let policy = spec.get("successPolicy");
    if *policy.v != was["successPolicy"] {
        let shown = success::shown(policy.v);
        errs.push(policy.invalid("field is immutable").showing(shown));
    }
}

/// An Indexed Job may be scaled: its completions follow its parallelism.
fn completions(spec: &At, old: &Value, errs: &mut Errors) {
    let now = spec.get("completions");
    if *now.v == old["completions"] {
        return;
    }
    if spec.text("completionMode") != "Indexed" {
        errs.push(now.invalid("field is immutable"));
    } else if !now.v.is_null() && *now.v != spec.v["parallelism"] {
        errs.push(now.invalid("can only be modified in tandem with spec.parallelism"));
    }
}

/// The old template with what may change taken from the new one.
fn allowed_template(new: &Value, old: &Value) -> Value {
    let mut template = old["spec"]["template"].clone();
    let suspended = old["spec"]["suspend"] == true;
    let rests = holds(old, "Suspended") && old["status"]["active"].as_i64().unwrap_or(0) == 0;
    let started = !old["status"]["startTime"].is_null();
    if suspended && (!started || rests) {
        take_directives(&mut template, new);
    }
    if suspended && rests {
        take_resources(&mut template, new);
    }
    template
}

/// Where pods may run, and what is written on them.
fn take_directives(template: &mut Value, new: &Value) {
    for key in ["annotations", "labels"] {
        if let Some(meta) = at(template, "metadata") {
            common::keep(meta, &new["metadata"], key);
        } else if !is_empty(&new["metadata"]) {
            template["metadata"] = new["metadata"].clone();
        }
    }
    let Some(spec) = at(template, "spec") else {
        return;
    };
    for key in ["nodeSelector", "tolerations", "schedulingGates"] {
        common::keep(spec, &new["spec"], key);
    }
    let wanted = &new["spec"]["affinity"];
    let had = spec.get("affinity").is_some();
    match (wanted.is_object(), had) {
        (false, true) => {
            common::clear(&mut spec["affinity"], "nodeAffinity");
            if is_empty(&spec["affinity"]) {
                common::clear(spec, "affinity");
            }
        }
        (true, _) => {
            let affinity = crate::strategy::defaults::ensure(spec, "affinity");
            common::keep(affinity, wanted, "nodeAffinity");
        }
        (false, false) => {}
    }
}

/// What containers ask for, as long as they are the same containers.
fn take_resources(template: &mut Value, new: &Value) {
    for key in ["containers", "initContainers"] {
        let wanted = list(&new["spec"][key]);
        let Some(all) = template["spec"].get_mut(key).and_then(Value::as_array_mut) else {
            continue;
        };
        let same = all.len() == wanted.len()
            && all.iter().zip(wanted).all(|(a, b)| a["name"] == b["name"]);
        if same {
            for (container, wanted) in all.iter_mut().zip(wanted) {
                common::keep(container, wanted, "resources");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    fn job(status: Value) -> Value {
        json!({"spec": {"suspend": true, "parallelism": 1, "completions": 1, "completionMode": "Indexed", "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {}}]}}}, "status": status})
    }

    fn wrong(status: Value, change: impl Fn(&mut Value)) -> Vec<String> {
        let old = job(status);
        let mut new = old.clone();
        change(&mut new["spec"]);
        let mut errs = Errors::new();
        fixed(&new, &old, &mut errs);
        errs.iter().map(|e| e.field.clone()).collect()
    }

    #[test]
    fn templates_of_jobs_that_rest_may_change_in_part() {
        let rests =
            json!({"startTime": "t", "conditions": [{"type": "Suspended", "status": "True"}]});
        let runs = json!({"startTime": "t"});
        let node = |spec: &mut Value| {
            spec["template"]["spec"]["nodeSelector"] = json!({"x": "y"});
            spec["template"]["spec"]["affinity"] = json!({"nodeAffinity": {}});
        };
        let amounts = |spec: &mut Value| {
            spec["template"]["spec"]["containers"][0]["resources"] =
                json!({"limits": {"cpu": "1"}});
        };
        let image = |spec: &mut Value| {
            spec["template"]["spec"]["containers"][0]["image"] = json!("j");
        };
        let none = Vec::<String>::new();
        assert_eq!(wrong(json!({}), node), none);
        assert_eq!(wrong(rests.clone(), node), none);
        assert_eq!(wrong(runs, node), ["spec.template"]);
        assert_eq!(wrong(rests.clone(), amounts), none);
        assert_eq!(wrong(json!({}), amounts), ["spec.template"]);
        assert_eq!(wrong(rests, image), ["spec.template"]);
    }

    #[test]
    fn completions_follow_parallelism() {
        let scaled = |n: i64| {
            wrong(json!({}), move |spec| {
                spec["completions"] = json!(n);
                spec["parallelism"] = json!(3);
            })
        };
        assert_eq!(scaled(3), Vec::<String>::new());
        assert_eq!(scaled(2), ["spec.completions"]);
    }
}
