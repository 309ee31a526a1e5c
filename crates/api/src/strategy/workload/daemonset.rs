//! DaemonSets.

use jiff::Timestamp;
use knarr_json::{Value, json};

use crate::{
    field::Errors,
    selector::LabelSelector,
    strategy::{
        Column, Context, Strategy, common,
        defaults::{ensure, set, set_text},
        pod,
    },
    table,
    validation::{At, go, labels, meta, non_negative, status, text},
};

/// `apps/v1/DaemonSet`.
pub struct DaemonSet;

/// Where the generation of the template was kept before `apps/v1`.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

impl Strategy for DaemonSet {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        let spec = ensure(object, "spec");
        let strategy = ensure(spec, "updateStrategy");
        set_text(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = ensure(strategy, "rollingUpdate");
            set(rolling, "maxUnavailable", 1);
            set(rolling, "maxSurge", 0);
        }
        set(spec, "revisionHistoryLimit", 10);
        pod::defaults::template(spec);
        pod::round_template(spec);
        set(
            ensure(ensure(object, "metadata"), "annotations"),
            TEMPLATE_GENERATION,
            "0",
        );
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
        let kept = template_generation(object).max(1);
        set_template_generation(object, kept);
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        check(&At::root(object, "spec"), None, &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
        let changed = object["spec"]["template"] != old["spec"]["template"];
        set_template_generation(object, template_generation(old) + i64::from(changed));
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        if ctx.subresource == "status" {
            let s = At::root(object, "status");
            let counts = [
                "currentNumberScheduled",
                "numberMisscheduled",
                "desiredNumberScheduled",
                "numberReady",
                "observedGeneration",
                "updatedNumberScheduled",
                "numberAvailable",
                "numberUnavailable",
                "collisionCount",
            ];
            status::counts(&s, &counts, &mut errs);
            status::collisions(&s, &old["status"], &mut errs);
            return errs;
        }
        let spec = At::root(object, "spec");
        super::immutable_selector(&spec, old, &mut errs);
        check(&spec, Some(&old["spec"]), &mut errs);
        errs
    }

    fn warnings(&self, _ctx: &Context, object: &Value, old: Option<&Value>) -> Vec<String> {
        super::template_warnings(object, old)
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        let mut out = vec![
            table::name(),
            table::count(
                "Desired",
                "The total number of nodes that should be running the daemon pod (including nodes correctly running the daemon pod). More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/",
            ),
            table::count(
                "Current",
                "The number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod. More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/",
            ),
            table::count(
                "Ready",
                "numberReady is the number of nodes that should be running the daemon pod and have one or more of the daemon pod running with a Ready Condition.",
            ),
            table::count(
                "Up-to-date",
                "The total number of nodes that are running updated daemon pod",
            ),
            table::count(
                "Available",
                "The number of nodes that should be running the daemon pod and have one or more of the daemon pod running and available (ready for at least spec.minReadySeconds)",
            ),
            table::column(
                "Node Selector",
                "NodeSelector is a selector which must be true for the pod to fit on a node. Selector which must match a node's labels for the pod to be scheduled on that node. More info: https://kubernetes.io/docs/concepts/configuration/assign-pod-node/",
            ),
            table::age(),
        ];
        out.extend(super::wide_columns());
        out
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let number = |key: &str| Value::from(status[key].as_i64().unwrap_or(0));
        let mut out = vec![
            table::name_of(object),
            number("desiredNumberScheduled"),
            number("currentNumberScheduled"),
            number("numberReady"),
            number("updatedNumberScheduled"),
            number("numberAvailable"),
            table::labels(&spec["template"]["spec"]["nodeSelector"]).into(),
            table::age_of(object, now),
        ];
        out.extend(super::wide_cells(spec));
        out
    }
}

fn template_generation(object: &Value) -> i64 {
    text(&object["metadata"]["annotations"], TEMPLATE_GENERATION)
        .parse()
        .unwrap_or(0)
}

fn set_template_generation(object: &mut Value, generation: i64) {
    ensure(ensure(object, "metadata"), "annotations")[TEMPLATE_GENERATION] =
        json!(generation.to_string());
}

fn check(spec: &At, old: Option<&Value>, errs: &mut Errors) {
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    labels::selector(&selector, errs);
    let template_labels = template.get("metadata").get("labels");
    if LabelSelector::from_object(selector.v).is_ok_and(|s| !s.matches_labels(template_labels.v)) {
        errs.push(super::not_selected(&template_labels));
    }
    if !selector.v.is_null() && labels::selector_is_empty(selector.v) {
        let shown = labels::selector_json(selector.v);
        errs.push(
            selector
                .invalid("empty selector is invalid for daemonset")
                .showing(shown),
        );
    }
    pod::validate::template(&template, old.map(|o| &o["template"]), errs);
    super::runs_forever(&template.get("spec"), "DaemonSet", errs);
    non_negative(spec, "minReadySeconds", errs);
    update_strategy(&spec.get("updateStrategy"), errs);
    non_negative(spec, "revisionHistoryLimit", errs);
}

fn update_strategy(strategy: &At, errs: &mut Errors) {
    let rolling = strategy.get("rollingUpdate");
    match strategy.text("type") {
        "OnDelete" => {}
        "RollingUpdate" if rolling.v.is_null() => errs.push(rolling.required("")),
        "RollingUpdate" => rolling_update(&rolling, errs),
        _ => errs.push(
            strategy
                .not_supported(&["RollingUpdate", "OnDelete"])
                .showing(go::dump(strategy.v, super::STRATEGY)),
        ),
    }
}

fn rolling_update(rolling: &At, errs: &mut Errors) {
    let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
    for at in [&unavailable, &surge] {
        super::int_or_percent(at, errs);
    }
    for at in [&unavailable, &surge] {
        super::at_most_all(at, errs);
    }
    let both = (
        super::int_or_percent_value(unavailable.v),
        super::int_or_percent_value(surge.v),
    );
    if both == (0, 0) {
        errs.push(unavailable.required("cannot be 0 when maxSurge is 0"));
    } else if both.0 != 0 && both.1 != 0 {
        errs.push(surge.invalid("may not be set when maxUnavailable is non-zero"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(spec: Value) -> Vec<String> {
        let mut object = json!({"metadata": {"name": "d", "namespace": "n"}, "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        for (k, v) in spec.as_object().unwrap() {
            object["spec"][k] = v.clone();
        }
        DaemonSet.default(&Context::default(), &mut object);
        DaemonSet
            .validate_create(&Context::default(), &object)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn selectors_and_strategies() {
        assert_eq!(wrong(json!({})), Vec::<String>::new());
        let unselected = "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`";
        for (spec, want) in [
            (json!({"selector": null}), unselected),
            (
                json!({"selector": {}}),
                "spec.selector: Invalid value: {}: empty selector is invalid for daemonset",
            ),
            (
                json!({"updateStrategy": {"type": "Sometimes", "rollingUpdate": {"maxUnavailable": 2}}}),
                "spec.updateStrategy: Unsupported value: {\"Type\":\"Sometimes\",\"RollingUpdate\":{\"MaxUnavailable\":2,\"MaxSurge\":0}}: supported values: \"RollingUpdate\", \"OnDelete\"",
            ),
            (
                json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}),
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
            ),
            (
                json!({"updateStrategy": {"rollingUpdate": {"maxSurge": "10%"}}}),
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: \"10%\": may not be set when maxUnavailable is non-zero",
            ),
        ] {
            assert_eq!(wrong(spec), [want]);
        }
    }
}
