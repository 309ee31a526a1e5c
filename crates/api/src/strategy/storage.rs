//! PersistentVolumes and their claims.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Column, Context, Strategy, common,
    defaults::{ensure, set, set_text},
    pod,
};
use crate::{
    field::{Error, Errors},
    names, table,
    validation::{At, amount::Amount, claims, immutable, list, map, meta, text},
};

/// Puts the finalizer that protects an object in use on a new one.
fn protect(object: &mut Value, finalizer: &str) {
    let meta = ensure(object, "metadata");
    let mut all = list(&meta["finalizers"]).to_vec();
    if !all.iter().any(|f| f == finalizer) {
        all.push(finalizer.into());
        meta["finalizers"] = all.into();
    }
}

/// Access modes as `RWO,ROX`, in the order that kubectl knows them.
fn modes(all: &Value) -> String {
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| list(all).iter().any(|m| m == mode);
    let shown: Vec<&str> = SHORT
        .iter()
        .filter(|(mode, _)| has(mode))
        .map(|(_, short)| *short)
        .collect();
    shown.join(",")
}

fn phase(object: &Value) -> &str {
    if object["metadata"]["deletionTimestamp"].is_string() {
        "Terminating"
    } else {
        text(&object["status"], "phase")
    }
}

fn or_unset(text: &str) -> Value {
    if text.is_empty() {
        "<unset>".into()
    } else {
        text.into()
    }
}

/// `v1/PersistentVolume`.
pub struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        let spec = ensure(object, "spec");
        set_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        set(spec, "volumeMode", "Filesystem");
        if let Some(host) = super::defaults::at(spec, "hostPath") {
            set(host, "type", "");
        }
        pod::defaults::storage(spec);
        set_text(ensure(object, "status"), "phase", "Pending");
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        object["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": now});
        protect(object, "kubernetes.io/pv-protection");
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        volume(&At::root(object, "spec"), &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
        if ctx.subresource == "status" && object["status"]["phase"] != old["status"]["phase"] {
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            object["status"]["lastPhaseTransitionTime"] = now.into();
        }
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        if ctx.subresource == "status" {
            meta::update_core(object, old, &mut errs);
            return errs;
        }
        meta::create(object, false, meta::subdomain, &mut errs);
        let (spec, was) = (At::root(object, "spec"), &old["spec"]);
        volume(&spec, &mut errs);
        meta::update_core(object, old, &mut errs);
        let source = |v: &Value| {
            v.as_object()
                .into_iter()
                .flatten()
                .filter(|(k, _)| is_source(k))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect::<Vec<_>>()
        };
        if source(spec.v) != source(was) {
            errs.push(Error::forbidden(
                &spec.path.child("persistentvolumesource"),
                "spec.persistentvolumesource is immutable after creation",
            ));
        }
        let root = crate::field::Path::default();
        immutable(
            &At {
                v: &spec.v["volumeMode"],
                path: root.child("volumeMode"),
            },
            &was["volumeMode"],
            &mut errs,
        );
        if !was["nodeAffinity"].is_null() {
            immutable(
                &At {
                    v: &spec.v["nodeAffinity"],
                    path: root.child("nodeAffinity"),
                },
                &was["nodeAffinity"],
                &mut errs,
            );
        }
        errs
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("name", text(&object["metadata"], "name").to_owned())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["name"]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Capacity",
                "capacity is the description of the persistent volume's resources and capacity.",
            ),
            table::column(
                "Access Modes",
                "accessModes contains all ways the volume can be mounted.",
            ),
            table::column(
                "Reclaim Policy",
                "What happens to the volume when it is released from its claim.",
            ),
            table::column(
                "Status",
                "phase indicates if a volume is available, bound to a claim, or released by a claim.",
            ),
            table::column("Claim", "The claim that the volume is bound to."),
            table::column("StorageClass", "StorageClass of the pv"),
            table::column(
                "VolumeAttributesClass",
                "Name of VolumeAttributesClass to which this persistent volume belongs.",
            ),
            table::column(
                "Reason",
                "reason is a brief CamelCase string that describes any failure.",
            ),
            table::age(),
            table::wide(
                "VolumeMode",
                "Whether the volume has a file system or is a raw block device.",
            ),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = &object["spec"];
        let claim = &spec["claimRef"];
        let claimed = if claim.is_object() {
            format!("{}/{}", text(claim, "namespace"), text(claim, "name"))
        } else {
            String::new()
        };
        vec![
            table::name_of(object),
            Amount::of(&spec["capacity"]["storage"]).to_string().into(),
            modes(&spec["accessModes"]).into(),
            text(spec, "persistentVolumeReclaimPolicy").into(),
            phase(object).into(),
            claimed.into(),
            text(spec, "storageClassName").into(),
            or_unset(text(spec, "volumeAttributesClassName")),
            text(&object["status"], "reason").into(),
            table::age_of(object, now),
            or_unset(text(spec, "volumeMode")),
        ]
    }
}

/// Whether a field of a volume's spec says where its data is.
fn is_source(key: &str) -> bool {
    !matches!(
        key,
        "capacity"
            | "accessModes"
            | "claimRef"
            | "persistentVolumeReclaimPolicy"
            | "storageClassName"
            | "mountOptions"
            | "volumeMode"
            | "nodeAffinity"
            | "volumeAttributesClassName"
    )
}

fn volume(spec: &At, errs: &mut Errors) {
    claims::access_modes(spec, errs);
    let capacity = spec.get("capacity");
    if crate::validation::is_empty(capacity.v) {
        errs.push(capacity.required(""));
    }
    if !crate::validation::is_empty(capacity.v)
        && (capacity.v.get("storage").is_none()
            || map(spec.v, "capacity").is_some_and(|m| m.len() > 1))
    {
        errs.push(Error::not_supported(
            &capacity.path,
            capacity.v.clone(),
            &["storage"],
        ));
    }
    for (_, amount) in capacity.entries() {
        if Amount::of(amount.v).nanos <= 0 {
            errs.push(amount.invalid("must be greater than zero"));
        }
    }
    let policy = spec.get("persistentVolumeReclaimPolicy");
    if !["Delete", "Recycle", "Retain"].contains(&policy.str()) {
        errs.push(policy.not_supported(&["Delete", "Recycle", "Retain"]));
    }
    if let Some(affinity) = spec.some("nodeAffinity") {
        match affinity.some("required") {
            Some(required) => pod::validate::node_selector(&required, errs),
            None => errs.push(
                affinity
                    .get("required")
                    .required("must specify required node constraints"),
            ),
        }
    }
    let mut sources = spec
        .v
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(k, v)| is_source(k) && v.is_object())
        .map(|(k, _)| k);
    match sources.next() {
        None => errs.push(spec.required("must specify a volume type")),
        Some(key) => pod::validate::volume_source(key, &spec.get(key), errs),
    }
    for extra in sources {
        errs.push(
            spec.get(extra)
                .forbidden("may not specify more than 1 volume type"),
        );
    }
    let class = spec.get("storageClassName");
    if !class.str().is_empty() {
        class.push(names::dns1123_subdomain(class.str()), errs);
    }
    claims::volume_mode(spec, errs);
}

/// `v1/PersistentVolumeClaim`.
pub struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        set(ensure(object, "spec"), "volumeMode", "Filesystem");
        set_text(ensure(object, "status"), "phase", "Pending");
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        object["status"] = json!({"phase": "Pending"});
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
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        if ctx.subresource == "status" {
            meta::update_core(object, old, &mut errs);
            let status = At::root(object, "status");
            if text(&old["spec"], "volumeName").is_empty()
                && text(&object["spec"], "volumeName").is_empty()
                && status.has("conditions")
                && status.text("phase") == "Bound"
            {
                errs.push(
                    status
                        .get("phase")
                        .invalid("may not be Bound without a volume"),
                );
            }
            return errs;
        }
        meta::create(object, true, meta::subdomain, &mut errs);
        let (spec, was) = (At::root(object, "spec"), &old["spec"]);
        claims::spec(&spec, &mut errs);
        meta::update_core(object, old, &mut errs);
        claim_changes(&spec, was, &old["status"], &mut errs);
        errs
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("name", text(&object["metadata"], "name").to_owned())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["name"]
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
            text(spec, "storageClassName").into(),
            or_unset(text(spec, "volumeAttributesClassName")),
            table::age_of(object, now),
            or_unset(text(spec, "volumeMode")),
        ]
    }
}

/// A bound claim may grow; an unbound one may be given a volume. Nothing else changes.
fn claim_changes(spec: &At, was: &Value, status: &Value, errs: &mut Errors) {
    let mut rest = spec.v.clone();
    if text(was, "volumeName").is_empty() {
        common::keep(&mut rest, was, "volumeName");
    }
    let bound = text(status, "phase") == "Bound";
    if bound {
        let requests = was["resources"]["requests"].clone();
        let resources = ensure(&mut rest, "resources");
        common::keep(resources, &json!({"requests": requests}), "requests");
        common::keep(&mut rest, was, "volumeAttributesClassName");
    }
    if rest != *was {
        let words = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n";
        errs.push(spec.forbidden(words));
    }
    let (new, had) = (
        Amount::of(&spec.v["resources"]["requests"]["storage"]),
        Amount::of(&status["capacity"]["storage"]),
    );
    if bound && new < had {
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
