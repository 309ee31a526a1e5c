//! Nodes.

mod status;

use jiff::Timestamp;
use knarr_json::{Value, json};

use super::{
    Column, Context, Strategy, common,
    defaults::{ensure, set},
};
use crate::{
    field::{Error, Errors},
    table,
    validation::{
        At, canonical, list, map, meta, net, ordered_json, resources::amount, taints, text,
    },
};

/// `v1/Node`.
pub struct Node;

impl Strategy for Node {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        pod_cidrs(ensure(object, "spec"));
        let status = ensure(object, "status");
        super::pod::resources::round_up(status);
        if let Some(capacity) = status["capacity"]
            .as_object()
            .filter(|c| !c.is_empty())
            .cloned()
        {
            let allocatable = ensure(status, "allocatable");
            if allocatable.as_object().is_some_and(|a| a.is_empty()) {
                *allocatable = capacity.into();
            }
        }
        if status["allocatable"].is_null() {
            common::clear(status, "allocatable");
        }
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        drop_config(object);
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        annotations(object, &mut errs);
        self.check(object, &mut errs);
        amounts(object, &mut errs);
        let status = At::root(object, "status");
        status::swap(&status, &mut errs);
        status::features(&status, &mut errs);
        ranges(&At::root(object, "spec").get("podCIDRs"), &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
        drop_config(object);
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        // an update is validated twice, as a new node and as a changed one, and both answers are given
        let mut errs = match ctx.subresource.as_str() {
            "status" => Errors::new(),
            _ => self.validate_create(ctx, object),
        };
        meta::update_core(object, old, &mut errs);
        annotations(object, &mut errs);
        amounts(object, &mut errs);
        status::features(&At::root(object, "status"), &mut errs);
        addresses(object, &mut errs);
        kept_once_set(object, old, &mut errs);
        self.check(object, &mut errs);
        let id = At::root(object, "spec").get("externalID");
        if id.str() != text(&old["spec"], "externalID") {
            errs.push(id.forbidden("may not be updated"));
        }
        errs
    }

    fn warnings(&self, _ctx: &Context, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        if !text(&object["spec"], "externalID").is_empty() {
            out.push(
                "spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned(),
            );
        }
        for range in At::root(object, "spec").get("podCIDRs").each() {
            out.extend(canonical::cidr(&range));
        }
        out
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![(
            "spec.unschedulable",
            (object["spec"]["unschedulable"] == true).to_string(),
        )]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column("Status", "The status of the node"),
            table::column("Roles", "The roles of the node"),
            table::age(),
            table::column("Version", "Kubelet Version reported by the node."),
            table::wide("Internal-IP", "List of addresses reachable to the node."),
            table::wide("External-IP", "List of addresses reachable to the node."),
            table::wide("OS-Image", "OS Image reported by the node."),
            table::wide("Kernel-Version", "Kernel Version reported by the node."),
            table::wide(
                "Container-Runtime",
                "ContainerRuntime Version reported by the node.",
            ),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let info = &object["status"]["nodeInfo"];
        let or_unknown = |s: &str| Value::from(if s.is_empty() { "<unknown>" } else { s });
        let architecture = text(info, "architecture");
        let mut kernel = text(info, "kernelVersion").to_owned();
        if !kernel.is_empty() && !architecture.is_empty() {
            kernel = format!("{kernel} ({architecture})");
        }
        vec![
            table::name_of(object),
            state(object).into(),
            roles(object).into(),
            table::age_of(object, now),
            text(info, "kubeletVersion").into(),
            address(object, "InternalIP"),
            address(object, "ExternalIP"),
            or_unknown(text(info, "osImage")),
            or_unknown(&kernel),
            or_unknown(text(info, "containerRuntimeVersion")),
        ]
    }
}

impl Node {
    fn check(&self, object: &Value, errs: &mut Errors) {
        let spec = At::root(object, "spec");
        let taints = spec.get("taints");
        // the original names the taints as if they were metadata
        taints::taints(
            &At {
                v: taints.v,
                path: crate::field::Path::new("metadata").child("taints"),
            },
            errs,
        );
    }
}

/// `podCIDR` and the first of `podCIDRs` are the same; the old field wins where they differ.
fn pod_cidrs(spec: &mut Value) {
    let one = text(spec, "podCIDR").to_owned();
    let first = list(&spec["podCIDRs"])
        .first()
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if !one.is_empty() && one != first {
        spec["podCIDRs"] = json!([one]);
    } else if one.is_empty() && !first.is_empty() {
        set(spec, "podCIDR", first);
    }
}

/// The kubelet's configuration was once told here; what says so is dropped.
fn drop_config(object: &mut Value) {
    common::clear(&mut object["spec"], "configSource");
    common::clear(&mut object["status"], "config");
}

/// Taints of a time when they had no field.
fn annotations(object: &Value, errs: &mut Errors) {
    const TAINTS: &str = "scheduler.alpha.kubernetes.io/taints";
    let meta = At::root(object, "metadata");
    let path = meta.path.child("annotations").child(TAINTS);
    let written = text(&meta.v["annotations"], TAINTS);
    if let Ok(list @ Value::Array(_)) = serde_json::from_str::<Value>(written) {
        taints::taints(&At { v: &list, path }, errs);
    }
}

/// Ranges of pods' addresses: one per family.
fn ranges(cidrs: &At, errs: &mut Errors) {
    for cidr in cidrs.each() {
        net::cidr_strict(&cidr, errs);
    }
    let all = list(cidrs.v);
    if all.len() < 2 {
        return;
    }
    let texts = || all.iter().filter_map(Value::as_str);
    let parsed = |c: &&str| net::parse_cidr_sloppy(c);
    if let Some((i, bad)) = texts().enumerate().find(|(_, c)| parsed(c).is_none()) {
        let words = format!(
            "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{i}]: <nil> (invalid CIDR address: {bad})"
        );
        errs.push(Error::internal(&cidrs.path, words));
    }
    let has = |v4: bool| {
        texts().all(|c| parsed(&c).is_some())
            && texts().any(|c| parsed(&c).is_some_and(|(ip, _)| ip.is_ipv4() == v4))
    };
    if !(has(true) && has(false)) || all.len() > 2 {
        errs.push(cidrs.invalid("may specify no more than one CIDR for each IP family"));
    }
    for (i, cidr) in cidrs.each().enumerate() {
        if all[..i].contains(cidr.v) {
            errs.push(cidr.duplicate());
        }
    }
}

fn addresses(object: &Value, errs: &mut Errors) {
    let mut seen: Vec<&Value> = Vec::new();
    for address in At::root(object, "status").items("addresses") {
        if seen.contains(&address.v) {
            let shown = json!({"Type": address.v["type"], "Address": address.v["address"]});
            errs.push(
                address
                    .duplicate()
                    .showing(ordered_json(&shown, &["Type", "Address"])),
            );
        }
        seen.push(address.v);
    }
}

fn amounts(object: &Value, errs: &mut Errors) {
    let status = At::root(object, "status");
    for key in ["capacity", "allocatable"] {
        for (name, v) in map(status.v, key).into_iter().flatten() {
            let path = status.path.child(key).child(name);
            amount(&At { v, path }, name, errs);
        }
    }
}

fn kept_once_set(object: &Value, old: &Value, errs: &mut Errors) {
    let (spec, old) = (At::root(object, "spec"), &old["spec"]);
    let cidrs = spec.get("podCIDRs");
    let (was, now) = (list(&old["podCIDRs"]), list(cidrs.v));
    let changes = match was.len() == now.len() {
        true => was.iter().zip(now).filter(|(a, b)| a != b).count(),
        false => usize::from(!was.is_empty()),
    };
    for _ in 0..changes {
        errs.push(cidrs.forbidden("node updates may not change podCIDR except from \"\" to valid"));
    }
    let id = spec.get("providerID");
    if !text(old, "providerID").is_empty() && text(old, "providerID") != id.str() {
        errs.push(id.forbidden("node updates may not change providerID except from \"\" to valid"));
    }
}

fn state(object: &Value) -> String {
    let ready = list(&object["status"]["conditions"])
        .iter()
        .find(|c| text(c, "type") == "Ready");
    let mut out = match ready.map(|c| text(c, "status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if object["spec"]["unschedulable"] == true {
        out.push_str(",SchedulingDisabled");
    }
    out
}

fn roles(object: &Value) -> String {
    let mut out: Vec<&str> = Vec::new();
    for (key, value) in map(&object["metadata"], "labels").into_iter().flatten() {
        let role = match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => role,
            None if key == "kubernetes.io/role" => value.as_str().unwrap_or_default(),
            None => "",
        };
        if !role.is_empty() && !out.contains(&role) {
            out.push(role);
        }
    }
    out.sort_unstable();
    if out.is_empty() {
        "<none>".to_owned()
    } else {
        out.join(",")
    }
}

fn address(object: &Value, kind: &str) -> Value {
    let found = list(&object["status"]["addresses"])
        .iter()
        .find(|a| text(a, "type") == kind);
    table::or_none(found.map_or("", |a| text(a, "address")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ctx() -> Context {
        Context::default()
    }

    #[test]
    fn defaults_of_a_node() {
        let mut node = json!({"spec": {"podCIDR": "10.3.0.0/24", "podCIDRs": ["10.4.0.0/24", "x"]}, "status": {"capacity": {"cpu": "4"}}});
        Node.default(&ctx(), &mut node);
        assert_eq!(node["spec"]["podCIDRs"], json!(["10.3.0.0/24"]));
        assert_eq!(node["status"]["allocatable"], json!({"cpu": "4"}));
    }

    #[test]
    fn what_a_node_may_not_say_or_change() {
        let meta = json!({"name": "n", "resourceVersion": "1"});
        let node = json!({"metadata": meta, "spec": {"podCIDRs": ["10.1.0.0/24", "10.2.0.0/24"]}});
        let errs = Node.validate_create(&ctx(), &node);
        assert_eq!(
            errs[0].body(),
            "Invalid value: [\"10.1.0.0/24\",\"10.2.0.0/24\"]: may specify no more than one CIDR for each IP family"
        );
        let old = json!({"metadata": meta, "spec": {"providerID": "a"}});
        let new = json!({"metadata": meta, "spec": {"providerID": "b", "taints": [{"key": "a"}]}});
        let fields: Vec<String> = Node
            .validate_update(&ctx(), &new, &old)
            .into_iter()
            .map(|e| e.field)
            .collect();
        assert_eq!(
            fields,
            [
                "metadata.taints[0].effect",
                "spec.providerID",
                "metadata.taints[0].effect"
            ]
        );
    }

    #[test]
    fn a_row_of_a_node() {
        let node = json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/b": "", "kubernetes.io/role": "a"}},
            "spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"kernelVersion": "6", "architecture": "amd64"}, "addresses": [{"type": "InternalIP", "address": "1.2.3.4"}]}});
        let cells = Node.cells(&node, Timestamp::UNIX_EPOCH);
        assert_eq!(
            cells[1..3],
            [json!("Ready,SchedulingDisabled"), json!("a,b")]
        );
        assert_eq!(
            cells[5..9],
            [
                json!("1.2.3.4"),
                json!("<none>"),
                json!("<unknown>"),
                json!("6 (amd64)")
            ]
        );
    }
}
