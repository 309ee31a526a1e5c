//! PriorityClasses and RuntimeClasses.

use jiff::Timestamp;
use knarr_json::{Value, json};

use super::{Column, Context, Strategy, defaults::set, pod};
use crate::{
    field::{Error, Errors, Path},
    names, table,
    validation::{At, immutable, labels, meta, ordered_json, taints, text},
};

/// `scheduling.k8s.io/v1/PriorityClass`.
pub struct PriorityClass;

/// The highest value that a user may give.
const HIGHEST: i64 = 1_000_000_000;

impl Strategy for PriorityClass {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        set(object, "preemptionPolicy", "PreemptLowerPriority");
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        object["metadata"]["generation"] = json!(1);
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        let name = text(&object["metadata"], "name");
        let value = At::root(object, "value");
        if name.starts_with("system-") {
            if let Some(why) = not_the_systems(name, object) {
                let words = format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
                );
                errs.push(Error::forbidden(
                    &Path::new("metadata").child("name"),
                    words,
                ));
            }
        } else if value.v.as_i64().is_some_and(|v| v > HIGHEST) {
            errs.push(value.forbidden(format!(
                "maximum allowed value of a user defined priority is {HIGHEST}"
            )));
        }
        let policy = At::root(object, "preemptionPolicy");
        match policy.str() {
            "PreemptLowerPriority" | "Never" => {}
            "" => errs.push(policy.required("")),
            _ => errs.push(policy.not_supported(&["PreemptLowerPriority", "Never"])),
        }
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        let number = |o: &Value| o["value"].as_i64().unwrap_or(0);
        if number(object) != number(old) {
            errs.push(At::root(object, "value").forbidden("may not be changed in an update."));
        }
        immutable(
            &At::root(object, "preemptionPolicy"),
            &old["preemptionPolicy"],
            &mut errs,
        );
        errs
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::count(
                "Value",
                "value represents the integer value of this priority class. This is the actual priority that pods receive when they have the name of this class in their pod spec.",
            ),
            Column {
                kind: "boolean".into(),
                ..table::column(
                    "Global-Default",
                    "globalDefault specifies whether this PriorityClass should be considered as the default priority for pods that do not have any priority class. Only one PriorityClass can be marked as `globalDefault`. However, if more than one PriorityClasses exists with their `globalDefault` field set to true, the smallest value of such global default PriorityClasses will be used as the default priority.",
                )
            },
            table::age(),
            table::column(
                "PreemptionPolicy",
                "preemptionPolicy is the Policy for preempting pods with lower priority. One of Never, PreemptLowerPriority. Defaults to PreemptLowerPriority if unset.",
            ),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            table::name_of(object),
            object["value"].as_i64().unwrap_or(0).into(),
            (object["globalDefault"] == true).into(),
            table::age_of(object, now),
            text(object, "preemptionPolicy").into(),
        ]
    }
}

/// How a class differs from the system's own of its name.
fn not_the_systems(name: &str, class: &Value) -> Option<String> {
    let value = match name {
        "system-node-critical" => 2_000_001_000,
        "system-cluster-critical" => 2_000_000_000,
        _ => return Some(format!("{name} is not a known system priority class")),
    };
    if class["value"].as_i64().unwrap_or(0) != value {
        Some(format!("value of {name} PriorityClass must be {value}"))
    } else if class["globalDefault"] == true {
        Some(format!(
            "globalDefault of {name} PriorityClass must be false"
        ))
    } else {
        None
    }
}

/// `node.k8s.io/v1/RuntimeClass`.
pub struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        let handler = At::root(object, "handler");
        if handler.str().is_empty() {
            errs.push(handler.required(""));
        } else {
            handler.push(names::dns1123_label(handler.str()), &mut errs);
        }
        let overhead = At {
            v: &object["overhead"]["podFixed"],
            path: Path::new("overhead"),
        };
        pod::validate::overhead(&overhead, &mut errs);
        let scheduling = At::root(object, "scheduling");
        labels::labels(&scheduling.get("nodeSelector"), &mut errs);
        let tolerations = scheduling.get("tolerations");
        taints::tolerations(&tolerations, &mut errs);
        repeated(&tolerations, &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        immutable(&At::root(object, "handler"), &old["handler"], &mut errs);
        errs
    }

    fn warnings(&self, _ctx: &Context, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let selector = At::root(object, "scheduling").get("nodeSelector");
        selector
            .entries()
            .filter_map(|(key, _)| {
                pod::warnings::node_label(key).map(|words| format!("{}: {words}", selector.path))
            })
            .collect()
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Handler",
                "handler specifies the underlying runtime and configuration that the CRI implementation will use to handle pods of this class.",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            table::name_of(object),
            text(object, "handler").into(),
            table::age_of(object, now),
        ]
    }
}

fn repeated(all: &At, errs: &mut Errors) {
    let mut seen: Vec<&Value> = Vec::new();
    for t in all.each() {
        if seen.contains(&t.v) {
            let shown = json!({"Key": t.text("key"), "Operator": t.text("operator"), "Value": t.text("value"),
                "Effect": t.text("effect"), "TolerationSeconds": t.v["tolerationSeconds"]});
            let order = ["Key", "Operator", "Value", "Effect", "TolerationSeconds"];
            errs.push(t.duplicate().showing(ordered_json(&shown, &order)));
        }
        seen.push(t.v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn old_labels_of_nodes_are_warned_about() {
        let class = json!({"scheduling": {"nodeSelector": {"beta.kubernetes.io/os": "linux", "disk": "ssd"}}});
        assert_eq!(
            RuntimeClass.warnings(&Context::default(), &class, None),
            ["scheduling.nodeSelector: deprecated since v1.14; use \"kubernetes.io/os\" instead"]
        );
    }
}
