//! Services.

pub mod families;
mod printer;
mod status;
mod update;
mod validate;

use jiff::Timestamp;
use knarr_json::{Value, json};

use super::{
    Column, Context, Strategy, common,
    defaults::{each, ensure, set, set_text},
};
use crate::{
    field::Errors,
    validation::{is_empty, list, meta, text},
};

/// `v1/Service`. Cluster IPs and node ports are allocated by admission, after [`families::init`] said which families.
pub struct Service;

const CLASS: &str = "spec.clusterIP";

impl Strategy for Service {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        let spec = ensure(object, "spec");
        session_affinity(spec);
        set_text(spec, "type", "ClusterIP");
        for port in each(spec, "ports") {
            set_text(port, "protocol", "TCP");
            let number = port["port"].clone();
            let target = &port["targetPort"];
            if target.is_null() || *target == 0 || *target == "" {
                port["targetPort"] = number;
            }
        }
        traffic(spec);
        let balanced = text(spec, "type") == "LoadBalancer";
        let status = ensure(object, "status");
        let balancer = ensure(status, "loadBalancer");
        if balanced {
            for ingress in each(balancer, "ingress") {
                if !text(ingress, "ip").is_empty() {
                    set(ingress, "ipMode", "VIP");
                }
            }
        }
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        object["status"] = json!({"loadBalancer": {}});
        normalize_cluster_ips(ensure(object, "spec"), None);
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        validate::service(object, None, &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        if ctx.subresource == "status" {
            common::keep(object, old, "spec");
            return;
        }
        common::keep(object, old, "status");
        let spec = ensure(object, "spec");
        keep_allocated(spec, &old["spec"]);
        normalize_cluster_ips(spec, Some(&old["spec"]));
        drop_by_type(spec, &old["spec"]);
        if text(spec, "type") != "LoadBalancer" {
            object["status"]["loadBalancer"] = json!({});
        }
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        if ctx.subresource == "status" {
            status::status(object, old, &mut errs);
        } else {
            update::update(object, old, &mut errs);
            validate::service(object, Some(old), &mut errs);
        }
        errs
    }

    fn warnings(&self, ctx: &Context, object: &Value, _old: Option<&Value>) -> Vec<String> {
        if ctx.subresource == "status" {
            status::status_warnings(object)
        } else {
            status::warnings(object)
        }
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn returns_deleted(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::label(name, prefix)
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let spec = &object["spec"];
        vec![
            (CLASS, text(spec, "clusterIP").to_owned()),
            ("spec.type", text(spec, "type").to_owned()),
        ]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &[CLASS, "spec.type"]
    }

    fn columns(&self) -> Vec<Column> {
        printer::columns()
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        printer::cells(object, now)
    }
}

fn session_affinity(spec: &mut Value) {
    set_text(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => common::clear(spec, "sessionAffinityConfig"),
        "ClientIP" => {
            let client = ensure(ensure(spec, "sessionAffinityConfig"), "clientIP");
            set(client, "timeoutSeconds", 10800);
        }
        _ => {}
    }
}

/// Whether traffic from outside the cluster can reach the Service by itself.
pub(super) fn externally_accessible(spec: &Value) -> bool {
    match text(spec, "type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !list(&spec["externalIPs"]).is_empty(),
        _ => false,
    }
}

fn traffic(spec: &mut Value) {
    if externally_accessible(spec) {
        set_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if ["ClusterIP", "NodePort", "LoadBalancer"].contains(&text(spec, "type")) {
        set(spec, "internalTrafficPolicy", "Cluster");
    }
    if text(spec, "type") == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
}

/// Keeps `clusterIP` and `clusterIPs` in step: old clients know only the first, new ones write both.
pub(super) fn normalize_cluster_ips(spec: &mut Value, old: Option<&Value>) {
    let one = text(spec, "clusterIP").to_owned();
    let Some(old) = old else {
        if !one.is_empty() && list(&spec["clusterIPs"]).is_empty() {
            spec["clusterIPs"] = json!([one]);
        }
        return;
    };
    let old_one = text(old, "clusterIP");
    if list(&spec["clusterIPs"]).is_empty()
        && !list(&old["clusterIPs"]).is_empty()
        && one == old_one
    {
        common::keep(spec, old, "clusterIPs");
    }
    if one == old_one || list(&spec["clusterIPs"]) != list(&old["clusterIPs"]) {
        return;
    }
    if one.is_empty() {
        common::clear(spec, "clusterIPs");
    } else {
        spec["clusterIPs"] = json!([one]);
    }
}

pub(super) fn needs_cluster_ip(spec: &Value) -> bool {
    text(spec, "type") != "ExternalName"
}

fn needs_node_ports(spec: &Value) -> bool {
    may_have_node_ports(spec)
        && (text(spec, "type") == "NodePort" || spec["allocateLoadBalancerNodePorts"] != false)
}

fn may_have_node_ports(spec: &Value) -> bool {
    ["NodePort", "LoadBalancer"].contains(&text(spec, "type"))
}

fn needs_health_port(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}

/// An update that leaves out what the server once allocated means to keep it.
fn keep_allocated(spec: &mut Value, old: &Value) {
    if needs_cluster_ip(spec) && needs_cluster_ip(old) {
        if is_empty(&spec["clusterIP"]) {
            common::keep(spec, old, "clusterIP");
        }
        if is_empty(&spec["clusterIPs"]) {
            common::keep(spec, old, "clusterIPs");
        }
    }
    if needs_node_ports(spec) && needs_node_ports(old) {
        keep_node_ports(spec, old);
    }
    if needs_health_port(spec)
        && needs_health_port(old)
        && spec["healthCheckNodePort"].as_i64().unwrap_or(0) == 0
    {
        common::keep(spec, old, "healthCheckNodePort");
    }
}

/// Ports are known by their names, whatever else of them changes.
fn keep_node_ports(spec: &mut Value, old: &Value) {
    let number = |p: &Value| p["nodePort"].as_i64().unwrap_or(0);
    let mut used: Vec<i64> = list(&spec["ports"]).iter().map(number).collect();
    for port in each(spec, "ports").filter(|p| number(p) == 0) {
        let same = |o: &&Value| text(o, "name") == text(port, "name");
        let kept = list(&old["ports"]).iter().rfind(same).map_or(0, number);
        if kept != 0 && !used.contains(&kept) {
            port["nodePort"] = kept.into();
            used.push(kept);
        }
    }
}

/// Drops what the old type had and the new one cannot have, unless the client changed it on purpose.
fn drop_by_type(spec: &mut Value, old: &Value) {
    if needs_cluster_ip(old) && !needs_cluster_ip(spec) {
        let same = |key: &str| spec[key] == old[key];
        if same("clusterIP") && same("clusterIPs") {
            common::clear(spec, "clusterIP");
            common::clear(spec, "clusterIPs");
        }
        for key in ["ipFamilies", "ipFamilyPolicy"] {
            if spec[key] == old[key] {
                common::clear(spec, key);
            }
        }
    }
    if may_have_node_ports(old) && !may_have_node_ports(spec) {
        drop_node_ports(spec, old);
    }
    if needs_health_port(old)
        && !needs_health_port(spec)
        && spec["healthCheckNodePort"] == old["healthCheckNodePort"]
    {
        common::clear(spec, "healthCheckNodePort");
    }
    if text(old, "type") == "LoadBalancer" && text(spec, "type") != "LoadBalancer" {
        for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if spec[key] == old[key] {
                common::clear(spec, key);
            }
        }
    }
    if externally_accessible(old)
        && !externally_accessible(spec)
        && spec["externalTrafficPolicy"] == old["externalTrafficPolicy"]
    {
        common::clear(spec, "externalTrafficPolicy");
    }
    if text(spec, "type") == "ExternalName" {
        common::clear(spec, "internalTrafficPolicy");
    }
}

fn drop_node_ports(spec: &mut Value, old: &Value) {
    let old_ports: Vec<i64> = list(&old["ports"])
        .iter()
        .map(|p| p["nodePort"].as_i64().unwrap_or(0))
        .collect();
    let changed = list(&spec["ports"]).iter().any(|p| {
        p["nodePort"]
            .as_i64()
            .is_some_and(|n| n != 0 && !old_ports.contains(&n))
    });
    if !changed {
        for port in each(spec, "ports") {
            common::clear(port, "nodePort");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(spec: Value) -> Value {
        json!({"metadata": {"name": "s", "namespace": "n", "resourceVersion": "1"}, "spec": spec})
    }

    #[test]
    fn defaults_by_type() {
        let ctx = Context::default();
        let mut s = of(json!({"ports": [{"port": 80}], "sessionAffinity": "ClientIP"}));
        Service.default(&ctx, &mut s);
        assert_eq!(
            s["spec"]["ports"][0],
            json!({"port": 80, "protocol": "TCP", "targetPort": 80})
        );
        assert_eq!(
            s["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"],
            10800
        );
        assert_eq!(s["spec"]["internalTrafficPolicy"], "Cluster");
        assert!(s["status"]["loadBalancer"].is_object());
        let mut s = of(json!({"type": "ExternalName", "externalName": "a.b"}));
        Service.default(&ctx, &mut s);
        assert!(s["spec"]["internalTrafficPolicy"].is_null());
    }

    #[test]
    fn an_update_keeps_and_drops_by_type() {
        let old = of(
            json!({"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "externalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}),
        );
        let mut new = of(
            json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080}]}),
        );
        Service.prepare_update(&Context::default(), &mut new, &old);
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.0.0.1"]));
        assert_eq!(new["spec"]["ports"][0]["nodePort"], 30080);
        let mut new = old.clone();
        new["spec"]["type"] = json!("ClusterIP");
        Service.prepare_update(&Context::default(), &mut new, &old);
        assert!(new["spec"]["ports"][0]["nodePort"].is_null());
        assert!(new["spec"]["externalTrafficPolicy"].is_null());
        let mut new = old.clone();
        new["spec"]["type"] = json!("ExternalName");
        Service.prepare_update(&Context::default(), &mut new, &old);
        assert!(new["spec"].get("clusterIP").is_none() && new["spec"].get("ipFamilies").is_none());
    }
}
