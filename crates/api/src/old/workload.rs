//! Workloads of `apps/v1beta1` and `extensions/v1beta1`, whose selector and rollout had other defaults, and budgets of
//! `policy/v1beta1`, whose empty selector chose nothing.

use knarr_json::{Value, json};

use crate::strategy::defaults::{at as inner, ensure, set};

/// Chooses no pod, as an empty selector of a budget did.
const NOTHING: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";

/// The spec, unless it is only a part of one.
fn whole(object: &mut Value) -> Option<&mut Value> {
    inner(object, "spec").filter(|s| s["template"].is_object())
}

/// A selector that is left out is that of the template's labels.
pub fn selector(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if let Some(spec) = inner(object, "spec")
        && labels.is_object()
    {
        set(spec, "selector", json!({"matchLabels": labels}));
    }
}

pub fn apps_deployment(object: &mut Value) {
    selector(object);
    if let Some(spec) = whole(object) {
        set(spec, "revisionHistoryLimit", 2);
    }
}

pub fn extensions_deployment(object: &mut Value) {
    selector(object);
    let Some(spec) = whole(object) else {
        return;
    };
    set(spec, "revisionHistoryLimit", i32::MAX);
    set(spec, "progressDeadlineSeconds", i32::MAX);
    let strategy = ensure(spec, "strategy");
    set(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let update = ensure(strategy, "rollingUpdate");
        set(update, "maxUnavailable", 1);
        set(update, "maxSurge", 1);
    }
}

fn on_delete(object: &mut Value) {
    selector(object);
    if let Some(spec) = whole(object) {
        set(ensure(spec, "updateStrategy"), "type", "OnDelete");
    }
}

pub fn stateful_set(object: &mut Value) {
    on_delete(object);
}

pub fn daemon_set(object: &mut Value) {
    on_delete(object);
}

pub fn budget_up(object: &mut Value) {
    let selector = object.get_mut("spec").and_then(|s| s.get_mut("selector"));
    if let Some(selector) =
        selector.filter(|s| s.as_object().is_some_and(knarr_json::Map::is_empty))
    {
        *selector = json!({"matchExpressions": [{"key": NOTHING, "operator": "Exists"}]});
    }
}

pub fn budget_down(object: &mut Value) {
    let selector = object.get_mut("spec").and_then(|s| s.get_mut("selector"));
    if let Some(selector) = selector
        && selector["matchExpressions"][0]["key"] == NOTHING
    {
        *selector = json!({});
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_old_are_kept() {
        let mut object = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}});
        extensions_deployment(&mut object);
        assert_eq!(
            object["spec"]["selector"],
            json!({"matchLabels": {"a": "b"}})
        );
        assert_eq!(
            object["spec"]["strategy"]["rollingUpdate"],
            json!({"maxUnavailable": 1, "maxSurge": 1})
        );
        let mut budget = json!({"spec": {"selector": {}}});
        budget_up(&mut budget);
        assert_eq!(
            budget["spec"]["selector"]["matchExpressions"][0]["operator"],
            "Exists"
        );
        budget_down(&mut budget);
        assert_eq!(budget, json!({"spec": {"selector": {}}}));
    }
}
