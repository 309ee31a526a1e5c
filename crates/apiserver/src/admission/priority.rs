//! Priority: pods get the number of their PriorityClass; only one class may be the default.

use knarr_api::Status;
use knarr_json::Value;
use knarr_store::Range;
use serde::Deserialize;

use super::{Attributes, Operation};
use crate::{Outcome, chain::Call, rest::Target};

const CLASSES: &str = "/registry/priorityclasses/";

struct Class {
    name: String,
    value: i64,
    preemption: String,
}

impl Class {
    fn of(object: &Value) -> Self {
        Class {
            name: object["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .into(),
            value: object["value"].as_i64().unwrap_or(0),
            preemption: object["preemptionPolicy"]
                .as_str()
                .unwrap_or("PreemptLowerPriority")
                .into(),
        }
    }
}

/// Whether a class is the default: all that is read of most classes, for each pod that names none.
#[derive(Deserialize)]
struct Rank {
    #[serde(default, rename = "globalDefault")]
    default: bool,
}

fn default_class(call: &Call) -> Option<Value> {
    let listing = call.shared.store.list(Range {
        prefix: CLASSES,
        ..Range::default()
    });
    let items = listing.map(|l| l.items).unwrap_or_default();
    let defaults = items
        .iter()
        .filter(|s| serde_json::from_slice(&s.json).is_ok_and(|rank: Rank| rank.default));
    defaults
        .filter_map(|s| serde_json::from_slice::<Value>(&s.json).ok())
        .min_by_key(|c| c["value"].as_i64())
}

pub fn admit_pod(a: &Attributes<'_>, pod: &mut Value) -> Outcome<()> {
    if a.operation == Operation::Update {
        let before = a.old.map(|o| &o["spec"]).filter(|o| o["priority"].is_i64());
        if let Some(before) = before.filter(|_| pod["spec"]["priority"].is_null()) {
            pod["spec"]["priority"] = before["priority"].clone();
            if pod["spec"]["preemptionPolicy"].is_null() && !before["preemptionPolicy"].is_null() {
                pod["spec"]["preemptionPolicy"] = before["preemptionPolicy"].clone();
            }
        }
        return Ok(());
    }
    if !pod["spec"].is_object() {
        return Ok(());
    }
    let shown = a.shown_name(pod).to_owned();
    let forbid = |why: String| Err(Status::forbidden("", "pods", &shown, &why).into());
    let name = pod["spec"]["priorityClassName"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let class = if name.is_empty() {
        default_class(a.call).map(|c| Class::of(&c))
    } else {
        match a.call.shared.store.get(&format!("{CLASSES}{name}")) {
            Some(stored) => Some(Class::of(
                &serde_json::from_slice(&stored.json).unwrap_or_default(),
            )),
            None => return forbid(format!("no PriorityClass with name {name} was found")),
        }
    };
    let class = class.unwrap_or(Class {
        name: String::new(),
        value: 0,
        preemption: "PreemptLowerPriority".into(),
    });
    let spec = &mut pod["spec"];
    if name.is_empty() && !class.name.is_empty() {
        spec["priorityClassName"] = class.name.into();
    }
    if let Some(given) = spec["priority"].as_i64().filter(|p| *p != class.value) {
        return forbid(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name",
            class.value
        ));
    }
    spec["priority"] = class.value.into();
    match spec["preemptionPolicy"].as_str() {
        Some(given) if given != class.preemption => forbid(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name",
            class.preemption
        )),
        _ => {
            spec["preemptionPolicy"] = class.preemption.into();
            Ok(())
        }
    }
}

/// # Errors
/// 403 for the classes that the system's own pods have.
pub fn may_delete(target: &Target) -> Outcome<()> {
    let of_system = ["system-node-critical", "system-cluster-critical"];
    let resource = &target.resource;
    if resource.plural != "priorityclasses" || !of_system.contains(&target.name.as_str()) {
        return Ok(());
    }
    let why = "this is a system priority class and cannot be deleted";
    let status = Status::forbidden(&resource.group, &resource.plural, &target.name, why);
    Err(status.into())
}

/// # Errors
/// 403 for a second default.
pub fn admit_class(a: &Attributes<'_>, class: &Value) -> Outcome<()> {
    if class["globalDefault"] != true {
        return Ok(());
    }
    let other =
        default_class(a.call).and_then(|c| c["metadata"]["name"].as_str().map(str::to_owned));
    match other {
        Some(other) if other != a.name() => {
            let why = format!(
                "PriorityClass {other} is already marked as default. Only one default can exist"
            );
            Err(a.forbidden(class, &why))
        }
        _ => Ok(()),
    }
}
