//! What a Service may say.

use knarr_json::{Value, json};

use super::{
    externally_accessible,
    families::{family, wrong_family},
    needs_health_port,
};
use crate::{
    field::{Error, Errors, Path},
    names,
    validation::{At, has, labels, list, meta, net, ordered_json, ports},
};

const ONLY_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

pub(super) fn headless(spec: &Value) -> bool {
    list(&spec["clusterIPs"]).len() == 1 && spec["clusterIPs"][0] == "None"
}

/// Checks a whole Service.
pub fn service(object: &Value, _old: Option<&Value>, errs: &mut Errors) {
    meta::create(object, true, meta::label, errs);
    let spec = At::root(object, "spec");
    by_type(&spec, errs);
    let ports = spec.get("ports");
    let mut seen: Vec<&str> = Vec::new();
    for port in ports.each() {
        service_port(&port, list(ports.v).len() > 1, &mut seen, errs);
    }
    labels::labels(&spec.get("selector"), errs);
    session_affinity(&spec, errs);
    if spec.text("type") != "ExternalName" {
        cluster_ips(&spec, errs);
    }
    for ip in spec.items("externalIPs") {
        if let Some(parsed) = net::ip_strict(&ip, errs) {
            net::endpoint_ip(&ip, parsed, errs);
        }
    }
    let kind = spec.get("type");
    if !["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"].contains(&kind.str()) {
        errs.push(kind.not_supported(&["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]));
    }
    ports_together(&spec, errs);
    balancer_fields(object, &spec, errs);
    traffic(&spec, errs);
}

fn by_type(spec: &At, errs: &mut Errors) {
    let kind = spec.text("type");
    let none = headless(spec.v);
    if list(&spec.v["ports"]).is_empty() && !none && kind != "ExternalName" {
        errs.push(spec.get("ports").required(""));
    }
    match kind {
        "LoadBalancer" => {
            for port in spec.items("ports") {
                if port.int("port") == Some(10250) {
                    let words = "may not expose port 10250 externally since it is used by kubelet";
                    errs.push(Error::invalid(&port.path, 10250, words));
                }
            }
        }
        "ExternalName" => external_name(spec, errs),
        _ => {}
    }
    if none && ["LoadBalancer", "NodePort"].contains(&kind) {
        let words = format!("may not be set to 'None' for {kind} services");
        errs.push(Error::invalid(
            &spec.path.child("clusterIPs").index(0),
            "None",
            words,
        ));
    }
}

fn external_name(spec: &At, errs: &mut Errors) {
    for key in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if has(spec.v, key) {
            errs.push(
                spec.get(key)
                    .forbidden("may not be set for ExternalName services"),
            );
        }
    }
    let name = spec.get("externalName");
    let target = name.str().strip_suffix('.').unwrap_or(name.str());
    if target.is_empty() {
        errs.push(name.required(""));
    } else {
        for m in names::dns1123_subdomain(target) {
            errs.push(Error::invalid(&name.path, target, m));
        }
    }
}

fn service_port<'a>(port: &At<'a>, needs_name: bool, seen: &mut Vec<&'a str>, errs: &mut Errors) {
    let name = port.get("name");
    if !name.str().is_empty() {
        name.push(names::dns1123_label(name.str()), errs);
        if seen.contains(&name.str()) {
            errs.push(name.duplicate());
        }
        seen.push(name.str());
    } else if needs_name {
        errs.push(name.required(""));
    }
    let number = port.int("port").unwrap_or(0);
    for m in names::port_number(number) {
        errs.push(Error::invalid(&port.path.child("port"), number, m));
    }
    ports::protocol(port, errs);
    ports::number_or_name(&port.get("targetPort"), errs);
    if let Some(app) = port.some("appProtocol") {
        app.push(names::qualified_name(app.str()), errs);
    }
}

fn session_affinity(spec: &At, errs: &mut Errors) {
    let affinity = spec.get("sessionAffinity");
    let config = spec.get("sessionAffinityConfig");
    match affinity.str() {
        "" => errs.push(affinity.required("")),
        "None" => {
            if !config.v.is_null() {
                errs.push(config.forbidden("must not be set when session affinity is None"));
            }
        }
        "ClientIP" => {
            let timeout = config.get("clientIP").get("timeoutSeconds");
            match timeout.v.as_i64() {
                None => errs.push(timeout.required("when session affinity type is ClientIP")),
                Some(n) if !(1..=86400).contains(&n) => {
                    errs.push(timeout.invalid("must be greater than 0 and less than 86400"));
                }
                Some(_) => {}
            }
        }
        _ => errs.push(affinity.not_supported(&["ClientIP", "None"])),
    }
}

/// `clusterIP`, `clusterIPs` and the fields about their families. These are checked before addresses are given out, too.
pub(super) fn cluster_ips(spec: &At, errs: &mut Errors) {
    let ips = spec.get("clusterIPs");
    let one = spec.text("clusterIP");
    match (one, list(ips.v)) {
        ("", []) => {}
        (_, []) => errs.push(ips.required("")),
        ("", _) => errs.push(ips.invalid("must be empty when `clusterIP` is not specified")),
        (one, many) if many[0] != one => {
            errs.push(ips.invalid("first value must match `clusterIP`"))
        }
        _ => {}
    }
    let mut seen: Vec<&str> = Vec::new();
    for f in spec.items("ipFamilies") {
        if !["IPv4", "IPv6"].contains(&f.str()) {
            errs.push(f.not_supported(&["IPv4", "IPv6"]));
        }
        if seen.contains(&f.str()) {
            errs.push(f.duplicate());
        }
        seen.push(f.str());
    }
    let policy = spec.get("ipFamilyPolicy");
    const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    if !policy.v.is_null() && !POLICIES.contains(&policy.str()) {
        errs.push(policy.not_supported(&POLICIES));
    }
    addresses(&ips, &seen, errs);
}

fn addresses(ips: &At, families: &[&str], errs: &mut Errors) {
    let all = list(ips.v);
    let mut broken = false;
    for (i, ip) in ips.each().enumerate() {
        if i == 0 && ip.str() == "None" {
            if all.len() > 1 {
                errs.push(ips.invalid("'None' must be the first and only value"));
                broken = true;
            }
            continue;
        }
        let had = errs.len();
        net::ip_strict(&ip, errs);
        broken |= errs.len() > had;
    }
    if all.len() > 2 {
        errs.push(ips.invalid("may only hold up to 2 values"));
    }
    if broken {
        return;
    }
    let of = |i: usize| all.get(i).and_then(Value::as_str).and_then(family);
    if all.len() > 1 && of(0) == of(1) {
        errs.push(ips.invalid("may specify no more than one IP for each IP family"));
    }
    for (i, ip) in all
        .iter()
        .filter_map(Value::as_str)
        .enumerate()
        .take(families.len())
    {
        if family(ip).is_some_and(|f| f != families[i]) {
            errs.push(wrong_family(i, ip, families[i]));
        }
    }
}

/// Ports that must not repeat each other.
fn ports_together(spec: &At, errs: &mut Errors) {
    if spec.text("type") == "ClusterIP" {
        for port in spec
            .items("ports")
            .filter(|p| p.int("nodePort").unwrap_or(0) != 0)
        {
            errs.push(
                port.get("nodePort")
                    .forbidden("may not be used when `type` is 'ClusterIP'"),
            );
        }
    }
    let mut seen: Vec<(&str, i64)> = Vec::new();
    for port in spec
        .items("ports")
        .filter(|p| p.int("nodePort").unwrap_or(0) != 0)
    {
        let this = (port.text("protocol"), port.int("nodePort").unwrap_or(0));
        if seen.contains(&this) {
            errs.push(port.get("nodePort").duplicate());
        }
        seen.push(this);
    }
    seen.clear();
    for port in spec.items("ports") {
        let this = (port.text("protocol"), port.int("port").unwrap_or(0));
        if seen.contains(&this) {
            let key = json!({"Name": "", "Protocol": this.0, "AppProtocol": null, "Port": this.1, "TargetPort": 0, "NodePort": 0});
            let order = [
                "Name",
                "Protocol",
                "AppProtocol",
                "Port",
                "TargetPort",
                "NodePort",
            ];
            errs.push(port.duplicate().showing(ordered_json(&key, &order)));
        }
        seen.push(this);
    }
}

fn balancer_fields(object: &Value, spec: &At, errs: &mut Errors) {
    let balanced = spec.text("type") == "LoadBalancer";
    source_ranges(object, spec, balanced, errs);
    let allocate = spec.get("allocateLoadBalancerNodePorts");
    match (balanced, allocate.v.is_null()) {
        (false, false) => errs.push(allocate.forbidden(ONLY_BALANCER)),
        // the original leaves `spec` out of this path
        (true, true) => errs.push(Error::required(
            &Path::new("allocateLoadBalancerNodePorts"),
            "",
        )),
        _ => {}
    }
    balancer_class(spec, errs);
}

/// `loadBalancerClass`; an update is told of it twice.
pub(super) fn balancer_class(spec: &At, errs: &mut Errors) {
    let Some(class) = spec.some("loadBalancerClass") else {
        return;
    };
    if spec.text("type") == "LoadBalancer" {
        class.push(names::qualified_name(class.str()), errs);
    } else {
        errs.push(class.forbidden(ONLY_BALANCER));
    }
}

fn source_ranges(object: &Value, spec: &At, balanced: bool, errs: &mut Errors) {
    let ranges = spec.get_as("loadBalancerSourceRanges", "LoadBalancerSourceRanges");
    if !list(ranges.v).is_empty() {
        if !balanced {
            errs.push(ranges.forbidden(ONLY_BALANCER));
        }
        for range in ranges.each() {
            net::cidr_text(&range, range.str().trim(), true, errs);
        }
        return;
    }
    let path = Path::new("metadata")
        .child("annotations")
        .key(SOURCE_RANGES);
    let Some(annotation) = object["metadata"]["annotations"].get(SOURCE_RANGES) else {
        return;
    };
    let at = At {
        v: annotation,
        path,
    };
    if !balanced {
        errs.push(at.forbidden(ONLY_BALANCER));
    }
    for range in at
        .str()
        .split(',')
        .map(str::trim)
        .filter(|_| !at.str().trim().is_empty())
    {
        net::cidr_text(&at, range, true, errs);
    }
}

fn traffic(spec: &At, errs: &mut Errors) {
    const POLICIES: [&str; 2] = ["Cluster", "Local"];
    let external = spec.get("externalTrafficPolicy");
    match (externally_accessible(spec.v), external.str()) {
        (false, "") => {}
        (false, _) => {
            errs.push(external.invalid("may only be set for externally-accessible services"))
        }
        (true, "") => errs.push(external.required("")),
        (true, p) if POLICIES.contains(&p) => {}
        (true, _) => errs.push(external.not_supported(&POLICIES)),
    }
    let health = spec.get("healthCheckNodePort");
    let number = health.v.as_i64().unwrap_or(0);
    match (needs_health_port(spec.v), number) {
        (false, 0) => {}
        (false, _) => {
            errs.push(health.invalid("may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"));
        }
        // the server allocates one
        (true, 0) => {}
        (true, n) => health.push(names::port_number(n), errs),
    }
    let internal = spec.get("internalTrafficPolicy");
    if internal.v.is_null() {
        if ["NodePort", "LoadBalancer", "ClusterIP"].contains(&spec.text("type")) {
            errs.push(internal.required(""));
        }
    } else if !POLICIES.contains(&internal.str()) {
        errs.push(internal.not_supported(&POLICIES));
    }
    const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    if let Some(d) = spec
        .some("trafficDistribution")
        .filter(|d| !DISTRIBUTIONS.contains(&d.str()))
    {
        errs.push(d.not_supported(&DISTRIBUTIONS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::{Context, Service, Strategy};

    fn wrong(name: &str, spec: Value) -> Vec<String> {
        let mut object = json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec});
        let ctx = Context::default();
        Service.default(&ctx, &mut object);
        Service.prepare_create(&ctx, &mut object);
        Service
            .validate_create(&ctx, &object)
            .iter()
            .map(|e| format!("{}: {}", e.field, e.body()))
            .collect()
    }

    #[test]
    fn services_that_are_refused() {
        for (spec, want) in [
            (json!({"ports": [{"port": 80}]}), None),
            (json!({"clusterIP": "None"}), None),
            (json!({}), Some("spec.ports: Required value")),
            (
                json!({"ports": [{"port": 80}, {"name": "b", "port": 81}]}),
                Some("spec.ports[0].name: Required value"),
            ),
            (
                json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 1}]}),
                Some(
                    "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
                ),
            ),
            (
                json!({"type": "ExternalName"}),
                Some("spec.externalName: Required value"),
            ),
            (
                json!({"ports": [{"port": 80, "nodePort": 30012}]}),
                Some(
                    "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
                ),
            ),
            (
                json!({"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]}),
                Some(
                    "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":80,\"TargetPort\":0,\"NodePort\":0}",
                ),
            ),
            (
                json!({"ports": [{"port": 80}], "externalTrafficPolicy": "Local"}),
                Some(
                    "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
                ),
            ),
            (
                json!({"ports": [{"port": 80}], "sessionAffinity": "Sticky"}),
                Some(
                    "spec.sessionAffinity: Unsupported value: \"Sticky\": supported values: \"ClientIP\", \"None\"",
                ),
            ),
        ] {
            let errs = wrong("s", spec.clone());
            assert_eq!(errs.first().map(String::as_str), want, "{spec}");
            assert!(errs.len() <= 1, "{spec}: {errs:?}");
        }
        assert_eq!(
            wrong("has.dots", json!({"clusterIP": "None"})),
            ["metadata.name: Invalid value: \"has.dots\": must not contain dots"]
        );
    }
}
