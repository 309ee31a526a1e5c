//! VolumeAttachments and VolumeAttributesClasses.

use jiff::Timestamp;
use knarr_json::Value;

use super::{Column, Context, Strategy, common, defaults::at, pod::validate::driver_name, storage};
use crate::{
    field::{Error, Errors},
    names, table,
    validation::{At, has, immutable, immutable_struct, map, meta, text},
};

/// Longest message of an error of attaching, in bytes.
const LONGEST_MESSAGE: usize = 1024;
/// Keys and values of a class's parameters, or of what a driver tells of an attached volume, together, in bytes.
const LARGEST_MAP: usize = 256 << 10;

/// `storage.k8s.io/v1/VolumeAttachment`.
pub struct VolumeAttachment;

impl Strategy for VolumeAttachment {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        let source = at(object, "spec").and_then(|s| at(s, "source"));
        if let Some(volume) = source.and_then(|s| at(s, "inlineVolumeSpec")) {
            storage::spec::source_defaults(volume);
        }
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        attachment(object, &mut errs);
        // what the first version of the kind did not ask for is asked for once more
        let spec = At::root(object, "spec");
        driver_name(&spec.get("attacher"), &mut errs);
        if let Some(volume) = spec.get("source").some("persistentVolumeName") {
            volume.push(names::dns1123_subdomain(volume.str()), &mut errs);
        }
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
        if ctx.subresource == "status" {
            common::keep_meta_of_status(object, old);
        }
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        // an update is validated twice, as a new attachment and as a changed one, and both answers are given
        for _ in 0..2 {
            attachment(object, &mut errs);
        }
        let at = At::root(object, "spec");
        let layout = "Attacher'' Source{PersistentVolumeName. InlineVolumeSpec.} NodeName''";
        immutable_struct(&at, &old["spec"], layout, &mut errs);
        errs
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Attacher",
                "attacher indicates the name of the volume driver that MUST handle this request. This is the name returned by GetPluginName().",
            ),
            table::column(
                "PV",
                "persistentVolumeName represents the name of the persistent volume to attach.",
            ),
            table::column(
                "Node",
                "nodeName represents the node that the volume should be attached to.",
            ),
            Column {
                kind: "boolean".into(),
                ..table::column(
                    "Attached",
                    "attached indicates the volume is successfully attached. This field must only be set by the entity completing the attach operation, i.e. the external-attacher.",
                )
            },
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = &object["spec"];
        vec![
            table::name_of(object),
            text(spec, "attacher").into(),
            text(&spec["source"], "persistentVolumeName").into(),
            text(spec, "nodeName").into(),
            (object["status"]["attached"] == true).into(),
            table::age_of(object, now),
        ]
    }
}

fn attachment(object: &Value, errs: &mut Errors) {
    meta::create(object, false, meta::subdomain, errs);
    spec(&At::root(object, "spec"), errs);
    status(&At::root(object, "status"), errs);
}

fn status(status: &At, errs: &mut Errors) {
    let told = status.get("attachmentMetadata");
    let size = |(key, value): (&str, At)| key.len() + value.str().len();
    if told.entries().map(size).sum::<usize>() > LARGEST_MAP {
        errs.push(Error::too_long(&told.path, LARGEST_MAP));
    }
    for key in ["attachError", "detachError"] {
        let fault = status.get(key);
        if fault.text("message").len() > LONGEST_MESSAGE {
            // the original names the other limit
            errs.push(Error::too_long(&fault.path.child("message"), LARGEST_MAP));
        }
        if fault.int("errorCode").is_some_and(|n| n < 0) {
            let words = "must be between 0 and 2147483647, inclusive";
            errs.push(fault.get("errorCode").invalid(words));
        }
    }
}

fn spec(spec: &At, errs: &mut Errors) {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    if spec.text("attacher").is_empty() {
        errs.push(spec.get("attacher").required(""));
    }
    let source = spec.get("source");
    let volume = source.get("persistentVolumeName");
    match (
        has(source.v, "persistentVolumeName"),
        has(source.v, "inlineVolumeSpec"),
    ) {
        (false, false) => errs.push(source.required(ONE)),
        (true, true) => errs.push(source.forbidden(ONE)),
        (true, false) if volume.str().is_empty() => {
            errs.push(volume.required("must specify non empty persistentVolumeName"));
        }
        (true, false) => {}
        (false, true) => storage::spec::inline(&source.get("inlineVolumeSpec"), errs),
    }
    let node = spec.get("nodeName");
    node.push(names::dns1123_subdomain(node.str()), errs);
}

/// `storage.k8s.io/v1/VolumeAttributesClass`.
pub struct VolumeAttributesClass;

impl Strategy for VolumeAttributesClass {
    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        let driver = At::root(object, "driverName");
        if driver.str().is_empty() {
            errs.push(driver.required(""));
        } else {
            let lower = driver.str().to_lowercase();
            for m in names::qualified_name(&lower) {
                errs.push(Error::invalid(&driver.path, lower.as_str(), m));
            }
        }
        parameters(&At::root(object, "parameters"), object, &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        for key in ["driverName", "parameters"] {
            immutable(&At::root(object, key), &old[key], &mut errs);
        }
        errs
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "DriverName",
                "Name of the CSI driver This field is immutable.",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            table::name_of(object),
            text(object, "driverName").into(),
            table::age_of(object, now),
        ]
    }
}

fn parameters(at: &At, object: &Value, errs: &mut Errors) {
    let Some(all) = map(object, "parameters").filter(|m| !m.is_empty()) else {
        errs.push(at.required("must contain at least one key/value pair"));
        return;
    };
    if all.len() > 512 {
        errs.push(Error::too_long(&at.path, 512));
        return;
    }
    let mut total = 0;
    for (key, value) in all {
        if key.is_empty() {
            errs.push(Error::invalid(&at.path, "", "field can not be empty."));
        }
        total += key.len() + value.as_str().unwrap_or_default().len();
    }
    if total > LARGEST_MAP {
        errs.push(Error::too_long(&at.path, LARGEST_MAP));
    }
}
