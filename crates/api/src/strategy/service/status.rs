//! What load balancers say of a Service, and what its author is warned of.

use knarr_json::Value;

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

/// Warnings about what load balancers say.
pub fn status_warnings(object: &Value) -> Vec<String> {
    let status = At::root(object, "status");
    let mut out = Vec::new();
    for point in status.get("loadBalancer").items("ingress") {
        net::ip_warning(&point.get("ip"), &mut out);
    }
    out
}

/// Warnings about what is ignored, deprecated or written oddly.
pub fn warnings(object: &Value) -> Vec<String> {
    let at = At::root(object, "spec");
    let spec = at.v;
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
    let none = text(spec, "type") == "ClusterIP" && text(spec, "clusterIP") == "None";
    let external = !list(&spec["externalIPs"]).is_empty();
    let elsewhere = text(spec, "type") == "ExternalName";
    if !none {
        for ip in at.items("clusterIPs") {
            net::ip_warning(&ip, &mut out);
        }
    } else {
        let ignored = [
            ("loadBalancerIP", !text(spec, "loadBalancerIP").is_empty()),
            ("externalIPs", external),
            ("SessionAffinity", text(spec, "sessionAffinity") != "None"),
        ];
        for (field, _) in ignored.into_iter().filter(|(_, set)| *set) {
            out.push(format!("spec.{field} is ignored for headless services"));
        }
    }
    for ip in at.items("externalIPs") {
        net::ip_warning(&ip, &mut out);
    }
    if external && !none && !elsewhere {
        out.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
                .to_owned(),
        );
    }
    net::ip_warning(&at.get("loadBalancerIP"), &mut out);
    for range in at.items("loadBalancerSourceRanges") {
        net::cidr_warning(&range, &mut out);
    }
    if elsewhere && external {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !elsewhere && !text(spec, "externalName").is_empty() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn what_is_ignored_or_goes_out_of_use() {
        for (spec, want) in [
            (
                json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "sessionAffinity": "None"}),
                vec![],
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "None", "sessionAffinity": "ClientIP", "externalIPs": ["192.0.2.1"]}),
                vec![
                    "spec.externalIPs is ignored for headless services",
                    "spec.SessionAffinity is ignored for headless services",
                ],
            ),
            (
                json!({"type": "ClusterIP", "externalIPs": ["2001:DB8::1"]}),
                vec![
                    "spec.externalIPs[0]: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")",
                    "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
                ],
            ),
            (
                json!({"type": "ExternalName", "externalName": "a.b", "externalIPs": ["192.0.2.1"]}),
                vec!["spec.externalIPs is ignored when spec.type is \"ExternalName\""],
            ),
        ] {
            assert_eq!(warnings(&json!({"spec": spec})), want, "{spec}");
        }
    }
}
