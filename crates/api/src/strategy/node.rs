//! Nodes.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Column, Context, Strategy, common,
    defaults::{ensure, set},
};
use crate::{
    field::Errors,
    table,
    validation::{At, amount::Amount, list, map, meta, net, ordered_json, taints, text},
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

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        self.check(object, &mut errs);
        let spec = At::root(object, "spec");
        let cidrs = spec.get("podCIDRs");
        for cidr in cidrs.each() {
            net::cidr(&cidr, &mut errs);
        }
        let families: Vec<bool> = list(cidrs.v)
            .iter()
            .filter_map(|c| net::parse_cidr_sloppy(c.as_str().unwrap_or_default()))
            .map(|(ip, _)| ip.is_ipv4())
            .collect();
        let repeated = families.len() > 2 || (families.len() == 2 && families[0] == families[1]);
        if repeated {
            errs.push(cidrs.invalid("may specify no more than one CIDR for each IP family"));
        }
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        // an update is validated twice, as a new node and as a changed one, and both answers are given
        let mut errs = self.validate_create(ctx, object);
        meta::update_core(object, old, &mut errs);
        addresses(object, &mut errs);
        amounts(object, &mut errs);
        kept_once_set(object, old, &mut errs);
        self.check(object, &mut errs);
        errs
    }

    fn warnings(&self, _ctx: &Context, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        if object["spec"]
            .get("configSource")
            .is_some_and(|v| !v.is_null())
        {
            out.push("spec.configSource: the feature is removed since v1.24".to_owned());
        }
        if !text(&object["spec"], "externalID").is_empty() {
            out.push(
                "spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned(),
            );
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
        for (name, amount) in map(status.v, key).into_iter().flatten() {
            let at = At {
                v: amount,
                path: status.path.child(key).child(name),
            };
            let parsed = Amount::of(amount);
            if parsed.nanos < 0 {
                errs.push(at.invalid("must be greater than or equal to 0"));
            } else if !parsed.is_whole() && super::pod::resources::is_integer(name) {
                errs.push(at.invalid("must be an integer"));
            }
        }
    }
}

fn kept_once_set(object: &Value, old: &Value, errs: &mut Errors) {
    let (spec, old) = (At::root(object, "spec"), &old["spec"]);
    let cidrs = spec.get("podCIDRs");
    if !list(&old["podCIDRs"]).is_empty() && list(&old["podCIDRs"]) != list(cidrs.v) {
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
