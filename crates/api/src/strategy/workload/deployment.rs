//! Deployments.

use jiff::Timestamp;
use knarr_json::Value;

use super::selector;
use crate::{
    field::{Error, Errors},
    strategy::{
        Column, Context, Strategy, common,
        defaults::{ensure, set, set_text},
        pod,
    },
    table,
    validation::{At, go, meta, non_negative, status},
};

/// `apps/v1/Deployment`.
pub struct Deployment;

impl Strategy for Deployment {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        let spec = ensure(object, "spec");
        set(spec, "replicas", 1);
        let strategy = ensure(spec, "strategy");
        set_text(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            let rolling = ensure(strategy, "rollingUpdate");
            set(rolling, "maxUnavailable", "25%");
            set(rolling, "maxSurge", "25%");
        }
        set(spec, "revisionHistoryLimit", 10);
        set(spec, "progressDeadlineSeconds", 600);
        pod::defaults::template(spec);
        pod::round_template(spec);
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        check(&At::root(object, "spec"), None, &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
        if ctx.subresource == "status" {
            common::keep_meta(object, old, "labels");
        }
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        if ctx.subresource == "status" {
            check_status(object, old, &mut errs);
            return errs;
        }
        let spec = At::root(object, "spec");
        check(&spec, Some(&old["spec"]), &mut errs);
        super::immutable_selector(&spec, old, &mut errs);
        errs
    }

    fn warnings(&self, _ctx: &Context, object: &Value, old: Option<&Value>) -> Vec<String> {
        super::named_warnings(object, old)
    }

    fn has_generation(&self) -> bool {
        true
    }

    /// Annotations of a Deployment are copied to its ReplicaSets, so a change of them is one that controllers must see.
    fn generation_changed(&self, object: &Value, old: &Value) -> bool {
        object["spec"] != old["spec"]
            || object["metadata"]["annotations"] != old["metadata"]["annotations"]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain(name, prefix)
    }

    fn columns(&self) -> Vec<Column> {
        let mut out = vec![
            table::name(),
            table::column("Ready", "Number of the pod with ready state"),
            table::column(
                "Up-to-date",
                "Total number of non-terminated pods targeted by this deployment that have the desired template spec.",
            ),
            table::column(
                "Available",
                "Total number of available pods (ready for at least minReadySeconds) targeted by this deployment.",
            ),
            table::age(),
        ];
        out.extend(super::wide_columns());
        out
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let status = &object["status"];
        let number = |v: &Value| Value::from(v.as_i64().unwrap_or(0));
        let mut out = vec![
            table::name_of(object),
            super::ready_of(object).into(),
            number(&status["updatedReplicas"]),
            number(&status["availableReplicas"]),
            table::age_of(object, now),
        ];
        out.extend(super::wide_cells(&object["spec"]));
        out
    }
}

fn check(spec: &At, old: Option<&Value>, errs: &mut Errors) {
    non_negative(spec, "replicas", errs);
    selector(spec, "deployment", errs);
    super::pod_template(spec, "ReplicaSet", old, errs);
    strategy(&spec.get("strategy"), errs);
    non_negative(spec, "minReadySeconds", errs);
    non_negative(spec, "revisionHistoryLimit", errs);
    if let Some(deadline) = spec.int("progressDeadlineSeconds") {
        non_negative(spec, "progressDeadlineSeconds", errs);
        if deadline <= spec.int("minReadySeconds").unwrap_or(0) {
            errs.push(
                spec.get("progressDeadlineSeconds")
                    .invalid("must be greater than minReadySeconds"),
            );
        }
    }
}

fn strategy(strategy: &At, errs: &mut Errors) {
    let rolling = strategy.get("rollingUpdate");
    match strategy.text("type") {
        "Recreate" => {
            if !rolling.v.is_null() {
                errs.push(
                    rolling.forbidden("may not be specified when strategy `type` is 'Recreate'"),
                );
            }
        }
        "RollingUpdate" => rolling_update(&rolling, errs),
        _ => errs.push(
            strategy
                .not_supported(&["Recreate", "RollingUpdate"])
                .showing(go::dump(strategy.v, super::STRATEGY)),
        ),
    }
}

fn rolling_update(rolling: &At, errs: &mut Errors) {
    let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
    super::int_or_percent(&unavailable, errs);
    super::int_or_percent(&surge, errs);
    if super::int_or_percent_value(unavailable.v) == 0 && super::int_or_percent_value(surge.v) == 0
    {
        errs.push(Error::invalid(
            &unavailable.path,
            unavailable.v.clone(),
            "may not be 0 when `maxSurge` is 0",
        ));
    }
    super::at_most_all(&unavailable, errs);
}

fn check_status(object: &Value, old: &Value, errs: &mut Errors) {
    let s = At::root(object, "status");
    let counts = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    status::counts(&s, &counts, errs);
    let whole = "cannot be greater than status.replicas";
    for part in ["updatedReplicas", "readyReplicas", "availableReplicas"] {
        status::at_most(&s, part, "replicas", whole, errs);
    }
    status::at_most(
        &s,
        "availableReplicas",
        "readyReplicas",
        "cannot be greater than readyReplicas",
        errs,
    );
    status::collisions(&s, &old["status"], errs);
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    fn deployment(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "d", "namespace": "n", "resourceVersion": "1"}, "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        for (k, v) in spec.as_object().unwrap() {
            object["spec"][k] = v.clone();
        }
        Deployment.default(&Context::default(), &mut object);
        object
    }

    fn wrong(spec: Value) -> Vec<String> {
        Deployment
            .validate_create(&Context::default(), &deployment(spec))
            .iter()
            .map(|e| format!("{}: {}", e.field, e.body()))
            .collect()
    }

    #[test]
    fn numbers_and_strategies() {
        assert_eq!(wrong(json!({})), Vec::<String>::new());
        for (spec, want) in [
            (
                json!({"replicas": -2}),
                "spec.replicas: Invalid value: -2: must be greater than or equal to 0",
            ),
            (
                json!({"minReadySeconds": 30, "progressDeadlineSeconds": 30}),
                "spec.progressDeadlineSeconds: Invalid value: 30: must be greater than minReadySeconds",
            ),
            (
                json!({"strategy": {"type": "Fast"}}),
                "spec.strategy: Unsupported value: {\"Type\":\"Fast\",\"RollingUpdate\":null}: supported values: \"Recreate\", \"RollingUpdate\"",
            ),
            (
                json!({"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}}),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
            ),
            (
                json!({"strategy": {"rollingUpdate": {"maxUnavailable": "101%"}}}),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ),
            (
                json!({"selector": {}}),
                "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
            ),
            (
                json!({"selector": {"matchLabels": {"a": "c"}}}),
                "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
            ),
        ] {
            assert_eq!(wrong(spec), [want]);
        }
    }

    #[test]
    fn selectors_do_not_change_and_annotations_count() {
        let old = deployment(json!({}));
        let mut new = old.clone();
        new["spec"]["selector"] = json!({"matchLabels": {"a": "b", "c": "d"}});
        new["spec"]["template"]["metadata"]["labels"] = json!({"a": "b", "c": "d"});
        let errs = Deployment.validate_update(&Context::default(), &new, &old);
        assert_eq!(
            errs[0].to_string(),
            "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\",\"c\":\"d\"}}: field is immutable"
        );
        let mut noted = old.clone();
        noted["metadata"]["annotations"] = json!({"x": "y"});
        assert!(Deployment.generation_changed(&noted, &old));
    }
}
