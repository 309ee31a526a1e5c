//! ResourceSlices: the devices that a driver offers.

use std::sync::LazyLock;

use jiff::Timestamp;
use knarr_json::Value;
use regex::Regex;

use super::{capacity::capacity, devices, each_of, names, set_of};
use crate::{
    field::{Error, Errors},
    names as text_names,
    strategy::{Column, Context, Strategy, common, defaults::each, pod::node_selector},
    table,
    validation::{At, go, has, immutable, list, map, meta, text},
};

/// `resource.k8s.io/v1/ResourceSlice`.
pub struct ResourceSlice;

const DEVICES: usize = 128;
const DEVICES_WITH_MORE: usize = 64;
const COUNTER_SETS: usize = 8;
const COUNTERS: usize = 32;
const CONSUMPTIONS: usize = 2;
const ATTRIBUTES: usize = 32;
const TAINTS: usize = 16;
const LONGEST_VALUE: usize = 64;
const ATTRIBUTE: &str = "IntValue=int. BoolValue=bool. StringValue=string. VersionValue=version. IntValues=ints. BoolValues=bools. StringValues=strings. VersionValues=versions.";
/// Fields of features that are off unless asked for.
const OFF: [&str; 4] = ["ints", "bools", "strings", "versions"];

/// <https://semver.org>, version 2.0.0.
static SEMVER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    const NUMBER: &str = r"(0|[1-9]\d*)";
    const PRE: &str = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)";
    const BUILD: &str = r"[0-9a-zA-Z-]+";
    Regex::new(&format!(
        r"^{NUMBER}\.{NUMBER}\.{NUMBER}(-{PRE}(\.{PRE})*)?(\+{BUILD}(\.{BUILD})*)?$"
    ))
    .ok()
});

/// Drops what belongs to features that are off, unless it was there before.
fn without_disabled(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else {
        return;
    };
    for device in each(spec, "devices") {
        common::clear(device, "nodeAllocatableResourceMappings");
        let attributes = device.get_mut("attributes").and_then(Value::as_object_mut);
        for (_, attribute) in attributes.into_iter().flatten() {
            OFF.iter().for_each(|key| common::clear(attribute, key));
        }
    }
}

/// A taint tells since when it is there.
fn stamp(object: &mut Value) {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let Some(spec) = object.get_mut("spec") else {
        return;
    };
    for device in each(spec, "devices") {
        for taint in each(device, "taints") {
            crate::strategy::defaults::set(taint, "timeAdded", now.as_str());
        }
    }
}

impl Strategy for ResourceSlice {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        stamp(object);
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        without_disabled(object);
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        spec(&At::root(object, "spec"), None, &mut errs);
        errs
    }

    fn prepare_update(&self, _ctx: &Context, object: &mut Value, _old: &Value) {
        without_disabled(object);
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        spec(&At::root(object, "spec"), Some(&old["spec"]), &mut errs);
        errs
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let spec = &object["spec"];
        vec![
            ("spec.nodeName", text(spec, "nodeName").to_owned()),
            ("spec.driver", text(spec, "driver").to_owned()),
        ]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.nodeName", "spec.driver"]
    }

    fn unknown_field(&self, field: &str) -> String {
        format!("field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {field}")
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Node",
                "NodeName identifies the node which provides the resources in this pool. A field selector can be used to list only ResourceSlice objects belonging to a certain node.\n\nThis field can be used to limit access from nodes to ResourceSlices with the same node name. It also indicates to autoscalers that adding new nodes of the same type as some old node might also make new resources available.\n\nExactly one of NodeName, NodeSelector, AllNodes, and PerDeviceNodeSelection must be set. This field is immutable.",
            ),
            table::column(
                "Driver",
                "Driver identifies the DRA driver providing the capacity information. A field selector can be used to list only ResourceSlice objects with a certain driver name.\n\nMust be a DNS subdomain and should end with a DNS domain owned by the vendor of the driver. It should use only lower case characters. This field is immutable.",
            ),
            table::column(
                "Pool",
                "Name is used to identify the pool. For node-local devices, this is often the node name, but this is not required.\n\nIt must not be longer than 253 characters and must consist of one or more DNS sub-domains separated by slashes. This field is immutable.",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = &object["spec"];
        let node = match (&spec["nodeName"], has(spec, "nodeSelector")) {
            (Value::String(name), _) => name.as_str(),
            (_, true) => "<some>",
            _ if spec["allNodes"] == true => "<all>",
            _ => "<unset>",
        };
        vec![
            table::name_of(object),
            node.into(),
            text(spec, "driver").into(),
            text(&spec["pool"], "name").into(),
            table::age_of(object, now),
        ]
    }
}

fn spec(spec: &At, old: Option<&Value>, errs: &mut Errors) {
    names::driver(&spec.get("driver"), errs);
    let pool = spec.get("pool");
    names::pool(&pool.get("name"), errs);
    let number = |key: &str| (pool.int(key).unwrap_or(0), pool.path.child(key));
    let (count, path) = number("resourceSliceCount");
    if count <= 0 {
        errs.push(Error::invalid(&path, count, "must be greater than zero"));
    }
    let (generation, path) = number("generation");
    if generation < 0 {
        let words = "must be greater than or equal to zero";
        errs.push(Error::invalid(&path, generation, words));
    }
    if let Some(old) = old {
        immutable(&pool.get("name"), &old["pool"]["name"], errs);
        immutable(&spec.get("driver"), &old["driver"], errs);
        immutable(&spec.get("nodeName"), &old["nodeName"], errs);
    }
    place(spec, errs);
    if has(spec.v, "sharedCounters") && has(spec.v, "devices") {
        let words = "only one of `sharedCounters` or `devices` is allowed";
        errs.push(Error::invalid(&spec.path, "", words));
    }
    all_devices(spec, old, errs);
    let name = |at: &At| at.text("name").to_owned();
    set_of(
        &spec.get("sharedCounters"),
        COUNTER_SETS,
        &name,
        errs,
        &mut |at, errs| {
            counters(at, "name", errs);
        },
    );
}

fn all_devices(spec: &At, old: Option<&Value>, errs: &mut Errors) {
    let all = spec.get("devices");
    let more =
        |d: &Value| !list(&d["taints"]).is_empty() || !list(&d["consumesCounters"]).is_empty();
    let most = if list(all.v).iter().any(more) {
        DEVICES_WITH_MORE
    } else {
        DEVICES
    };
    let name = |at: &At| at.text("name").to_owned();
    let per_device = spec.flag("perDeviceNodeSelection");
    set_of(&all, most, &name, errs, &mut |at, errs| {
        let before = old.and_then(|o| {
            list(&o["devices"])
                .iter()
                .find(|d| d["name"] == at.v["name"])
        });
        device(at, before, per_device, errs);
    });
}

/// Checks fields that each say where devices are, and lists those that do.
fn places<'s>(at: &At, flags: &[&'s str], empty: &str, errs: &mut Errors) -> Vec<&'s str> {
    let mut out = Vec::new();
    if let Some(node) = at.some("nodeName") {
        if node.str().is_empty() {
            errs.push(node.invalid(empty));
        } else {
            out.push("`nodeName`");
            node.push(text_names::dns1123_subdomain(node.str()), errs);
        }
    }
    if let Some(selector) = at.some("nodeSelector") {
        out.push("`nodeSelector`");
        node_selector(&selector, errs);
    }
    for flag in flags {
        match at.some(flag.trim_matches('`')) {
            Some(v) if *v.v == true => out.push(flag),
            Some(v) => errs.push(v.invalid("must be either unset or set to true")),
            None => {}
        }
    }
    out
}

fn place(spec: &At, errs: &mut Errors) {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let empty = "must be either unset or set to a non-empty string";
    let set = places(
        spec,
        &["`allNodes`", "`perDeviceNodeSelection`"],
        empty,
        errs,
    );
    if let Some(terms) = spec
        .some("nodeSelector")
        .map(|s| s.get("nodeSelectorTerms"))
        && list(terms.v).len() != 1
    {
        const LAYOUT: &str =
            "MatchExpressions[Key'' Operator'' Values.] MatchFields[Key'' Operator'' Values.]";
        errs.push(
            terms
                .invalid("must have exactly one node selector term")
                .showing(go::dump_list(terms.v, LAYOUT)),
        );
    }
    match set.len() {
        0 => errs.push(spec.required(ONE)),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", set.join(", "));
            let words = format!("{ONE}, but multiple fields are set");
            errs.push(Error::invalid(&spec.path, shown, words));
        }
    }
}

fn device(at: &At, old: Option<&Value>, per_device: bool, errs: &mut Errors) {
    names::label(&at.get("name"), errs);
    let (attributes, capacity) = (at.get("attributes"), at.get("capacity"));
    let count = |v: &Value| v.as_object().map_or(0, knarr_json::Map::len);
    let total = count(attributes.v) + count(capacity.v);
    if total > ATTRIBUTES {
        let words =
            format!("the total number of attributes and capacities must not exceed {ATTRIBUTES}");
        errs.push(Error::invalid(&at.path, total, words));
    }
    for (key, attribute) in attributes.entries() {
        names::qualified(key, &attributes.path, errs);
        self::attribute(&attribute, errs);
    }
    if old.is_none_or(|o| o["capacity"] != *capacity.v) {
        for (key, value) in capacity.entries() {
            names::qualified(key, &capacity.path, errs);
            self::capacity(&value, at.flag("allowMultipleAllocations"), errs);
        }
    }
    let taints = at.get("taints");
    if old.is_none_or(|o| o["taints"] != *taints.v) {
        each_of(&taints, TAINTS, errs, &mut |t, errs| {
            devices::taint(t, errs)
        });
    }
    let key = |at: &At| at.text("counterSet").to_owned();
    set_of(
        &at.get("consumesCounters"),
        CONSUMPTIONS,
        &key,
        errs,
        &mut |at, errs| {
            counters(at, "counterSet", errs);
        },
    );
    device_place(at, per_device, errs);
    devices::binding(at, errs);
}

fn device_place(at: &At, per_device: bool, errs: &mut Errors) {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    if !per_device {
        if ["nodeName", "nodeSelector", "allNodes"]
            .iter()
            .any(|k| at.has(k))
        {
            let words = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            errs.push(Error::invalid(&at.path, Value::Null, words));
        }
        return;
    }
    let set = places(at, &["`allNodes`"], "must not be empty", errs);
    match set.len() {
        0 => errs.push(at.required(ONE)),
        1 => {}
        _ => errs.push(Error::invalid(
            &at.path,
            format!("{{{}}}", set.join(", ")),
            ONE,
        )),
    }
}

fn counters(at: &At, key: &str, errs: &mut Errors) {
    let name = at.get(key);
    if name.str().is_empty() {
        errs.push(name.required(""));
    } else {
        names::label(&name, errs);
    }
    let counters = at.get("counters");
    let count = map(at.v, "counters").map_or(0, knarr_json::Map::len);
    match count {
        0 => errs.push(counters.required("")),
        n if n > COUNTERS => errs.push(Error::too_many(&counters.path, n, COUNTERS)),
        _ => {
            for (key, _) in counters.entries() {
                for m in text_names::dns1123_label(key) {
                    errs.push(Error::invalid(&counters.path, key, m));
                }
            }
        }
    }
}

fn attribute(at: &At, errs: &mut Errors) {
    if at.text("string").len() > LONGEST_VALUE {
        errs.push(Error::too_long(&at.path.child("string"), LONGEST_VALUE));
    }
    if let Some(version) = at.some("version") {
        if !SEMVER.as_ref().is_some_and(|re| re.is_match(version.str())) {
            errs.push(version.invalid("must be a string compatible with semver.org spec 2.0.0"));
        }
        if version.str().len() > LONGEST_VALUE {
            errs.push(Error::too_long(&version.path, LONGEST_VALUE));
        }
    }
    let values = ["bool", "int", "string", "version"]
        .iter()
        .filter(|k| at.has(k));
    match values.count() {
        0 => errs.push(Error::invalid(
            &at.path,
            "",
            "exactly one value must be specified",
        )),
        1 => {}
        _ => errs.push(
            at.invalid("exactly one value must be specified")
                .showing(go::dump(at.v, ATTRIBUTE)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn attributes_have_one_value_and_versions_are_semantic() {
        for (attribute, wrong) in [
            (json!({"int": 1}), 0),
            (json!({"version": "1.2.3-a.1+b"}), 0),
            (json!({"version": "1.2"}), 1),
            (json!({"version": "01.2.3"}), 1),
            (json!({}), 1),
            (json!({"int": 1, "bool": true}), 1),
        ] {
            let mut errs = Errors::new();
            super::attribute(&At::new(&attribute, "a"), &mut errs);
            assert_eq!(errs.len(), wrong, "{attribute}: {errs:?}");
        }
    }
}
