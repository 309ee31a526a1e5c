//! StatefulSets.

use jiff::Timestamp;
use knarr_json::{Value, json};

use super::selector;
use crate::{
    field::{Error, Errors},
    names,
    strategy::{
        Column, Context, Strategy, common,
        defaults::{at, each, ensure, set, set_text},
        pod,
        storage::claim_warnings,
    },
    table,
    validation::{At, claims, go, list, meta, non_negative, status, text},
};

/// `apps/v1/StatefulSet`.
pub struct StatefulSet;

/// The part of a rolling update that messages show: see [`go::dump`].
const ROLLING: &str = "Partition0 MaxUnavailable.";

const MAY_CHANGE: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

impl Strategy for StatefulSet {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        let spec = ensure(object, "spec");
        set_text(spec, "podManagementPolicy", "OrderedReady");
        let strategy = ensure(spec, "updateStrategy");
        set_text(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            set(ensure(strategy, "rollingUpdate"), "partition", 0);
        }
        let retention = ensure(spec, "persistentVolumeClaimRetentionPolicy");
        set_text(retention, "whenDeleted", "Retain");
        set_text(retention, "whenScaled", "Retain");
        set(spec, "replicas", 1);
        set(spec, "revisionHistoryLimit", 10);
        pod::defaults::template(spec);
        pod::round_template(spec);
        for claim in each(spec, "volumeClaimTemplates") {
            set_text(claim, "apiVersion", "v1");
            set_text(claim, "kind", "PersistentVolumeClaim");
            if let Some(spec) = at(claim, "spec") {
                set(spec, "volumeMode", "Filesystem");
            }
            set_text(ensure(claim, "status"), "phase", "Pending");
        }
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
        drop_disabled(object, &Value::Null);
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::label, &mut errs);
        check(&At::root(object, "spec"), None, &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
        drop_disabled(object, old);
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        if ctx.subresource == "status" {
            check_status(object, old, &mut errs);
            meta::update_core(object, old, &mut errs);
            return errs;
        }
        meta::update_core(object, old, &mut errs);
        let spec = At::root(object, "spec");
        check(&spec, Some(&old["spec"]), &mut errs);
        let changeable = [
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        ];
        let mut rest = spec.v.clone();
        for key in changeable {
            common::keep(&mut rest, &old["spec"], key);
        }
        if rest != old["spec"] {
            errs.push(spec.forbidden(MAY_CHANGE));
        }
        errs
    }

    fn warnings(&self, ctx: &Context, object: &Value, old: Option<&Value>) -> Vec<String> {
        if ctx.subresource == "status" {
            return Vec::new();
        }
        let mut out = super::template_warnings(object, old);
        out.extend(own_warnings(object, old.is_some()));
        out
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::label(name, prefix)
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column("Ready", "Number of the pod with ready state"),
            table::age(),
            table::wide("Containers", "Names of each container in the template."),
            table::wide(
                "Images",
                "Images referenced by each container in the template.",
            ),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (names, images) = table::containers(&object["spec"]["template"]["spec"]["containers"]);
        vec![
            table::name_of(object),
            super::ready_of(object).into(),
            table::age_of(object, now),
            names.into(),
            images.into(),
        ]
    }
}

fn check(spec: &At, old: Option<&Value>, errs: &mut Errors) {
    management(spec, errs);
    let retention = spec.get("persistentVolumeClaimRetentionPolicy");
    for key in ["whenDeleted", "whenScaled"] {
        let policy = retention.get(key);
        if !retention.v.is_null() && !["Retain", "Delete"].contains(&policy.str()) {
            errs.push(Error::not_supported(
                &policy.path,
                policy.str(),
                &["Retain", "Delete"],
            ));
        }
    }
    non_negative(spec, "replicas", errs);
    non_negative(spec, "minReadySeconds", errs);
    non_negative(&spec.get("ordinals"), "start", errs);
    selector(spec, "statefulset", errs);
    claim_templates(spec, old.is_none(), errs);
    template(spec, old, errs);
    let service = spec.get("serviceName");
    if !service.str().is_empty() && old.is_none() {
        service.push(names::dns1123_label(service.str()), errs);
    }
}

/// The pod template, whose claims count as volumes.
fn template(spec: &At, old: Option<&Value>, errs: &mut Errors) {
    let mut with_claims = spec.v.clone();
    if let Some(pod) = at(&mut with_claims, "template").and_then(|t| at(t, "spec")) {
        let mut volumes = list(&pod["volumes"]).to_vec();
        for claim in list(&spec.v["volumeClaimTemplates"]) {
            let name = &claim["metadata"]["name"];
            let bad = text(&claim["metadata"], "name").is_empty()
                || volumes.iter().any(|v| v["name"] == *name);
            if !bad {
                volumes
                    .push(json!({"name": name, "persistentVolumeClaim": {"claimName": "claim"}}));
            }
        }
        if !volumes.is_empty() {
            pod["volumes"] = volumes.into();
        }
    }
    let at = At {
        v: &with_claims,
        path: spec.path.clone(),
    };
    super::pod_template(&at, "StatefulSet", old, errs);
}

fn management(spec: &At, errs: &mut Errors) {
    let policy = spec.get("podManagementPolicy");
    match policy.str() {
        "OrderedReady" | "Parallel" => {}
        "" => errs.push(policy.required("")),
        _ => errs.push(policy.invalid("must be 'OrderedReady' or 'Parallel'")),
    }
    let strategy = spec.get("updateStrategy");
    let rolling = strategy.get("rollingUpdate");
    match strategy.text("type") {
        "" => errs.push(strategy.required("")),
        "OnDelete" => {
            if !rolling.v.is_null() {
                let shown = go::dump(rolling.v, ROLLING);
                errs.push(
                    rolling
                        .invalid("only allowed for updateStrategy 'RollingUpdate'")
                        .showing(shown),
                );
            }
        }
        "RollingUpdate" => {
            non_negative(&rolling, "partition", errs);
            if let Some(unavailable) = rolling.some("maxUnavailable") {
                super::int_or_percent(&unavailable, errs);
                if super::int_or_percent_value(unavailable.v) == 0 {
                    errs.push(unavailable.invalid("cannot be 0"));
                }
                super::at_most_all(&unavailable, errs);
            }
        }
        _ => {
            let layout = format!("Type'' RollingUpdate*{{{ROLLING}}}");
            errs.push(
                strategy
                    .invalid("must be 'RollingUpdate' or 'OnDelete'")
                    .showing(go::dump(strategy.v, &layout)),
            );
        }
    }
}

/// The field of a feature that is off, where it was not set before.
fn drop_disabled(object: &mut Value, old: &Value) {
    const FIELD: &str = "maxUnavailable";
    let strategy = at(object, "spec").and_then(|s| at(s, "updateStrategy"));
    if old["spec"]["updateStrategy"]["rollingUpdate"][FIELD].is_null()
        && let Some(rolling) = strategy.and_then(|s| at(s, "rollingUpdate"))
    {
        common::clear(rolling, FIELD);
    }
}

fn claim_templates(spec: &At, new: bool, errs: &mut Errors) {
    if !new {
        return;
    }
    for claim in spec.items("volumeClaimTemplates") {
        claims::spec(&claim.get("spec"), errs);
    }
}

fn check_status(object: &Value, old: &Value, errs: &mut Errors) {
    let s = At::root(object, "status");
    let counts = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    status::counts(&s, &counts, errs);
    let whole = "cannot be greater than status.replicas";
    for part in [
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
    ] {
        status::at_most(&s, part, "replicas", whole, errs);
    }
    status::at_most(
        &s,
        "availableReplicas",
        "readyReplicas",
        "cannot be greater than status.readyReplicas",
        errs,
    );
    status::collisions(&s, &old["status"], errs);
}

/// Warnings about claims and history. The original names the spec of a claim in one way when the set is new and in another
/// when it changes.
fn own_warnings(object: &Value, is_update: bool) -> Vec<String> {
    let spec = At::root(object, "spec");
    let mut out: Vec<String> = spec
        .items("volumeClaimTemplates")
        .flat_map(|claim| {
            let path = match is_update {
                true => claim.path.child("Spec"),
                false => claim.path.clone(),
            };
            let v = claim.get("spec").v;
            claim_warnings(&At { v, path })
        })
        .collect();
    if spec.v["revisionHistoryLimit"]
        .as_i64()
        .is_some_and(|n| n < 0)
    {
        out.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".into());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn sets_are_updated_one_by_one() {
        let with = |rolling: Value| json!({"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}});
        let ctx = Context::default();
        let both = || with(json!({"partition": 1, "maxUnavailable": 2}));
        let mut new = both();
        StatefulSet.prepare_create(&ctx, &mut new);
        assert_eq!(new["spec"], with(json!({"partition": 1}))["spec"]);
        for (old, want) in [
            (with(json!({"partition": 1})), with(json!({"partition": 1}))),
            (both(), both()),
        ] {
            let mut object = both();
            StatefulSet.prepare_update(&ctx, &mut object, &old);
            assert_eq!(object["spec"], want["spec"], "{old}");
        }
    }

    #[test]
    fn claims_and_history_are_warned_about() {
        let claim = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
        let set = json!({"metadata": {"generation": 1}, "spec": {"revisionHistoryLimit": -1,
            "volumeClaimTemplates": [claim("1Gi"), claim("100m")]}});
        let path = |spec: &str| {
            format!(
                "spec.volumeClaimTemplates[1]{spec}.resources.requests[storage]: fractional byte value \"100m\" is invalid, must be an integer"
            )
        };
        let history = "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended";
        for (subresource, old, want) in [
            ("", None, vec![path(""), history.to_owned()]),
            ("", Some(&set), vec![path(".Spec"), history.to_owned()]),
            ("status", Some(&set), vec![]),
        ] {
            let ctx = Context {
                subresource: subresource.into(),
                ..Context::default()
            };
            assert_eq!(StatefulSet.warnings(&ctx, &set, old), want);
        }
    }
}
