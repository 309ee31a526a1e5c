//! What load balancers say of a Service, and what its author is warned of.

use serde_json::Value;

use super::validate::headless;
use crate::{
    field::Errors,
    names,
    validation::{At, list, net, text},
};

/// Checks a load balancer's status.
pub fn status(object: &Value, _old: &Value, errs: &mut Errors) {
    let ingress = At::root(object, "status")
        .get("loadBalancer")
        .get("ingress");
    if text(&object["spec"], "type") != "LoadBalancer" {
        if !list(ingress.v).is_empty() {
            errs.push(ingress.forbidden("may only be used when `spec.type` is 'LoadBalancer'"));
        }
        return;
    }
    for point in ingress.each() {
        ingress_point(&point, errs);
    }
}

fn ingress_point(point: &At, errs: &mut Errors) {
    let (ip, mode, host) = (point.get("ip"), point.get("ipMode"), point.get("hostname"));
    if !ip.str().is_empty() {
        net::ip_strict(&ip, errs);
    }
    match (ip.str().is_empty(), mode.str()) {
        (true, "") => {}
        (true, _) => errs.push(mode.forbidden("may not be specified when `ip` is not set")),
        (false, "") => errs.push(mode.required("must be specified when `ip` is set")),
        (false, "VIP" | "Proxy") => {}
        (false, _) => errs.push(mode.not_supported(&["Proxy", "VIP"])),
    }
    if !host.str().is_empty() {
        host.push(names::dns1123_subdomain(host.str()), errs);
        if net::parse_ip_sloppy(host.str()).is_some() {
            errs.push(host.invalid("must be a DNS name, not an IP address"));
        }
    }
}

/// Warnings about what is ignored or deprecated.
pub fn warnings(object: &Value, _old: Option<&Value>) -> Vec<String> {
    let spec = &object["spec"];
    let mut out = Vec::new();
    if object["metadata"]["annotations"]
        .get("service.kubernetes.io/topology-aware-hints")
        .is_some()
    {
        out.push(
            "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead"
                .to_owned(),
        );
    }
    if headless(spec) {
        if !text(spec, "loadBalancerIP").is_empty() {
            out.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
        if !list(&spec["externalIPs"]).is_empty() {
            out.push("spec.externalIPs is ignored for headless services".to_owned());
        }
        if text(spec, "sessionAffinity") != "None" {
            out.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
    }
    if !text(spec, "externalName").is_empty() && text(spec, "type") != "ExternalName" {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if text(spec, "trafficDistribution") == "PreferClose" {
        out.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""
                .to_owned(),
        );
    }
    out
}
