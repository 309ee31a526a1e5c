//! PersistentVolumeClaims.

use jiff::Timestamp;
use knarr_json::{Value, json};

use super::{OLD_CLASS, class, modes, or_unset, phase, protect};
use crate::{
    field::{Error, Errors, Path},
    names,
    strategy::{
        Column, Context, Strategy, common,
        defaults::{ensure, set, set_text},
        pod,
    },
    table,
    validation::{
        At,
        amount::Amount,
        claims, immutable, list, map, meta,
        resources::{amount, is_native},
        text,
    },
};

/// `v1/PersistentVolumeClaim`.
pub struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        set(ensure(object, "spec"), "volumeMode", "Filesystem");
        set_text(ensure(object, "status"), "phase", "Pending");
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        object["status"] = json!({"phase": "Pending"});
        sources(&mut object["spec"], None);
        protect(object, "kubernetes.io/pvc-protection");
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        claims::spec(&At::root(object, "spec"), &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
        if ctx.subresource != "status" {
            sources(&mut object["spec"], Some(&old["spec"]));
        }
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        if ctx.subresource == "status" {
            meta::update_core(object, old, &mut errs);
            status(object, &mut errs);
            return errs;
        }
        // an update is validated twice, as a new claim and as a changed one, and both answers are given
        errs.extend(self.validate_create(ctx, object));
        meta::update_core(object, old, &mut errs);
        errs.extend(self.validate_create(ctx, object));
        changes(object, old, &mut errs);
        errs
    }

    fn warnings(&self, ctx: &Context, object: &Value, _old: Option<&Value>) -> Vec<String> {
        match ctx.subresource.as_str() {
            "status" => Vec::new(),
            _ => old_class(object)
                .into_iter()
                .chain(claim_warnings(&At::root(object, "spec")))
                .collect(),
        }
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Status",
                "phase represents the current phase of PersistentVolumeClaim.",
            ),
            table::column(
                "Volume",
                "volumeName is the binding reference to the PersistentVolume backing this claim.",
            ),
            table::column(
                "Capacity",
                "capacity represents the actual resources of the underlying volume.",
            ),
            table::column(
                "Access Modes",
                "accessModes contains the actual access modes the volume backing the PVC has.",
            ),
            table::column("StorageClass", "StorageClass of the pvc"),
            table::column(
                "VolumeAttributesClass",
                "The VolumeAttributesClass used by this claim.",
            ),
            table::age(),
            table::wide(
                "VolumeMode",
                "Whether the volume has a file system or is a raw block device.",
            ),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let bound = !text(spec, "volumeName").is_empty();
        let capacity = if bound {
            Amount::of(&status["capacity"]["storage"]).to_string()
        } else {
            String::new()
        };
        let access = if bound {
            modes(&status["accessModes"])
        } else {
            String::new()
        };
        vec![
            table::name_of(object),
            phase(object).into(),
            text(spec, "volumeName").into(),
            capacity.into(),
            access.into(),
            class(object).into(),
            or_unset(text(spec, "volumeAttributesClassName")),
            table::age_of(object, now),
            or_unset(text(spec, "volumeMode")),
        ]
    }
}

/// The two fields for what a volume is filled from say the same. Kinds that the older one was not made for are dropped from
/// it, unless the claim had a source before; so are sources in other namespaces, which are not supported.
fn sources(spec: &mut Value, old: Option<&Value>) {
    const FIELDS: [&str; 3] = ["apiGroup", "kind", "name"];
    let had = old.is_some_and(|o| !o["dataSource"].is_null() || !o["dataSourceRef"].is_null());
    if !had {
        if !text(&spec["dataSourceRef"], "namespace").is_empty() {
            common::clear(spec, "dataSourceRef");
        }
        let source = &spec["dataSource"];
        let known = [
            ("", "PersistentVolumeClaim"),
            ("snapshot.storage.k8s.io", "VolumeSnapshot"),
        ];
        if !known.contains(&(text(source, "apiGroup"), text(source, "kind"))) {
            common::clear(spec, "dataSource");
        }
    }
    let copy = |from: &Value| {
        let mut to = json!({});
        for key in FIELDS {
            common::keep(&mut to, from, key);
        }
        to
    };
    let (source, reference) = (&spec["dataSource"], &spec["dataSourceRef"]);
    if source.is_object() && reference.is_null() {
        spec["dataSourceRef"] = copy(source);
    } else if source.is_null() && reference.is_object() && text(reference, "namespace").is_empty() {
        spec["dataSource"] = copy(reference);
    }
    for key in ["dataSource", "dataSourceRef"] {
        if spec[key].is_null() {
            common::clear(spec, key);
        }
    }
}

/// Warns about parts of a byte.
pub fn claim_warnings(spec: &At) -> Vec<String> {
    let resources = spec.get("resources");
    ["requests", "limits"]
        .into_iter()
        .filter_map(|which| {
            let all = resources.get(which);
            let at = At {
                v: all.v.get("storage")?,
                path: all.path.key("storage"),
            };
            pod::warnings::fraction(&at)
        })
        .collect()
}

/// A class that is named by the annotation of old.
fn old_class(object: &Value) -> Option<String> {
    let annotations = At::root(object, "metadata").get("annotations");
    annotations.v.get(OLD_CLASS)?;
    let path = annotations.path.key(OLD_CLASS);
    Some(format!(
        "{path}: deprecated since v1.8; use \"storageClassName\" attribute instead"
    ))
}

/// A bound claim may grow, or get another class of attributes; an unbound one may be given a volume.
fn changes(object: &Value, old: &Value, errs: &mut Errors) {
    let (spec, was) = (At::root(object, "spec"), &old["spec"]);
    let mut rest = spec.v.clone();
    if text(was, "volumeName").is_empty() {
        common::keep(&mut rest, was, "volumeName");
    }
    let named = |o: &Value| text(&o["metadata"]["annotations"], OLD_CLASS).to_owned();
    let (class, was_named) = (spec.v["storageClassName"].as_str(), named(old));
    let unset = was["storageClassName"].is_null();
    let has_annotation =
        map(&old["metadata"], "annotations").is_some_and(|m| m.contains_key(OLD_CLASS));
    let takes_over = has_annotation
        && unset
        && class == Some(was_named.as_str())
        && ["", was_named.as_str()].contains(&named(object).as_str());
    if !takes_over && named(object) != was_named {
        let path = Path::new("metadata").child("annotations").child(OLD_CLASS);
        errs.push(Error::invalid(&path, named(object), "field is immutable"));
    }
    if unset && class.is_some_and(|c| !has_annotation || c == was_named) {
        common::keep(&mut rest, was, "storageClassName");
    }
    let bound = text(&old["status"], "phase") == "Bound";
    if bound {
        let requests = &was["resources"]["requests"];
        if rest["resources"]["requests"].is_object() {
            common::keep(&mut rest["resources"]["requests"], requests, "storage");
        }
        common::keep(&mut rest, was, "volumeAttributesClassName");
    }
    if rest != *was {
        let words = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n";
        errs.push(spec.forbidden(words));
    }
    size(&spec, old, errs);
    let mode = At {
        v: spec.get("volumeMode").v,
        path: Path::default().child("volumeMode"),
    };
    immutable(&mode, &was["volumeMode"], errs);
    attributes_stay(&spec, old, errs);
}

/// A volume that once got attributes of a class is not without one again.
fn attributes_stay(spec: &At, old: &Value, errs: &mut Errors) {
    const KEY: &str = "volumeAttributesClassName";
    let wanted = spec.get(KEY);
    let applied = !old["status"]["currentVolumeAttributesClassName"].is_null();
    if !applied || *wanted.v == old["spec"][KEY] || !wanted.str().is_empty() {
        return;
    }
    let what = match wanted.v.is_null() {
        true => "nil",
        false => "empty string",
    };
    errs.push(wanted.forbidden(format!(
        "update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
    )));
}

/// A claim that asked for too much may ask for less again, but for more than it has.
fn size(spec: &At, old: &Value, errs: &mut Errors) {
    let asked = |spec: &Value| Amount::of(&spec["resources"]["requests"]["storage"]);
    let (new, was) = (asked(spec.v), asked(&old["spec"]));
    let has = Amount::of(&old["status"]["capacity"]["storage"]);
    if new < was && new.nanos <= has.nanos {
        let path = spec
            .path
            .child("resources")
            .child("requests")
            .child("storage");
        errs.push(Error::forbidden(
            &path,
            "field can not be less than status.capacity",
        ));
    }
}

fn status(object: &Value, errs: &mut Errors) {
    let status = At::root(object, "status");
    if list(&object["spec"]["accessModes"]).is_empty() {
        let path = Path::new("Spec").child("accessModes");
        errs.push(Error::required(&path, ""));
    }
    for (_, at) in status.get("capacity").entries() {
        whole(&at, errs);
    }
    const RESIZES: [&str; 5] = [
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    // the original says it in the singular, and without the key
    let path = status.path.child("allocatedResourceStatus");
    for (name, at) in status.get("allocatedResourceStatuses").entries() {
        resource(name, &path, errs);
        if !RESIZES.contains(&at.str()) {
            errs.push(Error::not_supported(&path, name, &RESIZES));
        }
    }
    let allocated = status.get("allocatedResources");
    for (name, at) in allocated.entries() {
        let before = errs.len();
        resource(name, &allocated.path, errs);
        if errs.len() == before {
            whole(&at, errs);
        }
        if errs.len() == before {
            amount(&at, "storage", errs);
        }
    }
}

fn whole(at: &At, errs: &mut Errors) {
    let n = Amount::of(at.v).rounded_up();
    if n < 0 {
        let n = i64::try_from(n).unwrap_or(i64::MIN);
        errs.push(Error::invalid(
            &at.path,
            n,
            "must be a valid resource quantity",
        ));
    }
}

/// What of a claim can grow: storage, or what a driver has besides.
fn resource(name: &str, path: &Path, errs: &mut Errors) {
    let wrong = names::qualified_name(name);
    if wrong.is_empty() && is_native(name) && name != "storage" {
        errs.push(Error::not_supported(path, name, &["storage"]));
    }
    for m in wrong {
        errs.push(Error::invalid(path, name, m));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_twice_or_dropped() {
        let snapshot =
            json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
        let odd = json!({"apiGroup": "a.io", "kind": "Thing", "name": "t"});
        for (mut spec, want) in [
            (
                json!({"dataSource": snapshot}),
                json!({"dataSource": snapshot, "dataSourceRef": snapshot}),
            ),
            (
                json!({"dataSourceRef": odd}),
                json!({"dataSource": odd, "dataSourceRef": odd}),
            ),
            (json!({"dataSource": odd}), json!({})),
            (
                json!({"dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "p", "namespace": "n"}}),
                json!({}),
            ),
        ] {
            sources(&mut spec, None);
            assert_eq!(spec, want);
        }
    }

    #[test]
    fn what_may_change() {
        let claim = |spec: Value, phase: &str| json!({"metadata": {"name": "c"}, "spec": spec, "status": {"phase": phase, "capacity": {"storage": "1Gi"}}});
        let asks = |storage: &str| json!({"resources": {"requests": {"storage": storage}}});
        for (old, new, phase, want) in [
            (asks("1Gi"), asks("2Gi"), "Bound", vec![]),
            (asks("1Gi"), asks("2Gi"), "Pending", vec!["spec"]),
            (asks("3Gi"), asks("2Gi"), "Bound", vec![]),
            (
                asks("3Gi"),
                asks("1Gi"),
                "Bound",
                vec!["spec.resources.requests.storage"],
            ),
            (
                json!({}),
                json!({"storageClassName": "a"}),
                "Pending",
                vec![],
            ),
            (
                json!({"storageClassName": "a"}),
                json!({"storageClassName": "b"}),
                "Pending",
                vec!["spec"],
            ),
            (
                json!({"volumeAttributesClassName": "a"}),
                json!({"volumeAttributesClassName": "b"}),
                "Bound",
                vec![],
            ),
            (
                json!({"volumeAttributesClassName": "a"}),
                json!({}),
                "Bound",
                vec![],
            ),
            (
                json!({"volumeAttributesClassName": "a"}),
                json!({}),
                "Pending",
                vec!["spec"],
            ),
        ] {
            let mut errs = Errors::new();
            changes(
                &claim(new.clone(), phase),
                &claim(old.clone(), phase),
                &mut errs,
            );
            let all: Vec<&str> = errs.iter().map(|e| e.field.as_str()).collect();
            assert_eq!(all, want, "{old} to {new}");
        }
    }

    #[test]
    fn attributes_that_a_volume_has_stay() {
        let claim = |class: Value, applied: Value| {
            json!({"metadata": {}, "spec": {"volumeAttributesClassName": class},
                "status": {"phase": "Bound", "currentVolumeAttributesClassName": applied}})
        };
        let words = |what: &str| {
            vec![format!(
                "spec.volumeAttributesClassName: Forbidden: update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil"
            )]
        };
        for (was, class, applied, want) in [
            (json!("a"), json!("b"), json!("a"), vec![]),
            (json!("a"), Value::Null, json!("a"), words("nil")),
            (json!("a"), json!(""), json!("a"), words("empty string")),
            (json!("a"), json!(""), Value::Null, vec![]),
            (json!(""), json!(""), json!("a"), vec![]),
        ] {
            let mut errs = Errors::new();
            let (new, old) = (claim(class, applied.clone()), claim(was, applied));
            changes(&new, &old, &mut errs);
            let all: Vec<String> = errs.iter().map(ToString::to_string).collect();
            assert_eq!(all, want);
        }
    }

    #[test]
    fn statuses_that_are_refused() {
        let claim = json!({"spec": {"accessModes": ["ReadWriteOnce"]}, "status": {"capacity": {"storage": "-1"},
            "allocatedResourceStatuses": {"cpu": "Odd"}, "allocatedResources": {"storage": "-2"}}});
        let mut errs = Errors::new();
        status(&claim, &mut errs);
        let all: Vec<String> = errs.iter().map(ToString::to_string).collect();
        assert_eq!(
            all,
            [
                "status.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
                "status.allocatedResourceStatus: Unsupported value: \"cpu\": supported values: \"storage\"",
                "status.allocatedResourceStatus: Unsupported value: \"cpu\": supported values: \"ControllerResizeInProgress\", \"ControllerResizeInfeasible\", \"NodeResizeInProgress\", \"NodeResizeInfeasible\", \"NodeResizePending\"",
                "status.allocatedResources[storage]: Invalid value: -2: must be a valid resource quantity",
            ]
        );
    }

    #[test]
    fn what_is_warned_about() {
        let old = "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \"storageClassName\" attribute instead";
        let size = "spec.resources.requests[storage]: fractional byte value \"1500m\" is invalid, must be an integer";
        let claim = json!({"metadata": {"annotations": {OLD_CLASS: "fast"}},
            "spec": {"resources": {"requests": {"storage": "1500m"}}}});
        for (subresource, want) in [("", vec![old, size]), ("status", vec![])] {
            let ctx = Context {
                subresource: subresource.into(),
                ..Context::default()
            };
            assert_eq!(PersistentVolumeClaim.warnings(&ctx, &claim, None), want);
        }
    }
}
