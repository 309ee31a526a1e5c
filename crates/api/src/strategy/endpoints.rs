//! Endpoints and EndpointSlices.

use jiff::Timestamp;
use knarr_json::Value;

use super::{
    Column, Context, Strategy,
    defaults::{each, set, set_text},
    topology,
};
use crate::{
    field::{Error, Errors},
    names, table,
    validation::{At, immutable, list, meta, net, ports, text},
};

/// `v1/Endpoints`.
pub struct Endpoints;

impl Strategy for Endpoints {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        for subset in each(object, "subsets") {
            for port in each(subset, "ports") {
                set_text(port, "protocol", "TCP");
            }
        }
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        subsets(object, &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        subsets(object, &mut errs);
        errs
    }

    fn warnings(&self, _ctx: &Context, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        if manager(object, "endpoints.kubernetes.io/managed-by") == "endpoint-controller" {
            return out;
        }
        for subset in At::root(object, "subsets").each() {
            for key in ["addresses", "notReadyAddresses"] {
                for address in subset.items(key) {
                    net::ip_warning(&address.get("ip"), &mut out);
                }
            }
        }
        out
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn deprecated(&self) -> Option<&'static str> {
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Endpoints",
                "The set of all endpoints is the union of all subsets. Addresses are placed into subsets according to the IPs they share. A single address with multiple ports, some of which are ready and some of which are not (because they come from different containers) will result in the address being displayed in different subsets for the different ports. No address will appear in both Addresses and NotReadyAddresses in the same subset. Sets of addresses and ports that comprise a service.",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let mut all: Vec<String> = Vec::new();
        for subset in list(&object["subsets"]) {
            let ips = || list(&subset["addresses"]).iter().map(|a| text(a, "ip"));
            if list(&subset["ports"]).is_empty() {
                all.extend(ips().map(str::to_owned));
            }
            for port in list(&subset["ports"]) {
                let port = port["port"].as_i64().unwrap_or(0);
                all.extend(ips().map(|ip| {
                    if ip.contains(':') {
                        format!("[{ip}]:{port}")
                    } else {
                        format!("{ip}:{port}")
                    }
                }));
            }
        }
        let none = if list(&object["subsets"]).is_empty() {
            "<none>"
        } else {
            ""
        };
        vec![
            table::name_of(object),
            first_three(&all, none).into(),
            table::age_of(object, now),
        ]
    }
}

/// At most three of a list, and how many more there are.
fn first_three(all: &[String], none: &str) -> String {
    if all.is_empty() {
        return none.to_owned();
    }
    let shown = all[..all.len().min(3)].join(",");
    if all.len() > 3 {
        format!("{shown} + {} more...", all.len() - 3)
    } else {
        shown
    }
}

fn subsets(object: &Value, errs: &mut Errors) {
    for subset in At::root(object, "subsets").each() {
        if list(&subset.v["addresses"]).is_empty()
            && list(&subset.v["notReadyAddresses"]).is_empty()
        {
            errs.push(subset.required("must specify `addresses` or `notReadyAddresses`"));
        }
        for key in ["addresses", "notReadyAddresses"] {
            for address in subset.items(key) {
                endpoint_address(&address, errs);
            }
        }
        let needs_names = list(&subset.v["ports"]).len() > 1;
        for port in subset.items("ports") {
            endpoint_port(&port, needs_names, errs);
        }
    }
}

fn endpoint_address(address: &At, errs: &mut Errors) {
    let (host, node) = (address.get("hostname"), address.get("nodeName"));
    let ip = address.get("ip");
    let parsed = net::ip_strict(&ip, errs);
    if !host.str().is_empty() {
        host.push(names::dns1123_label(host.str()), errs);
    }
    if !node.v.is_null() {
        node.push(names::dns1123_subdomain(node.str()), errs);
    }
    if let Some(parsed) = parsed {
        net::endpoint_ip(&ip, parsed, errs);
    }
}

fn endpoint_port(port: &At, needs_name: bool, errs: &mut Errors) {
    let name = port.get("name");
    if !name.str().is_empty() {
        name.push(names::dns1123_label(name.str()), errs);
    } else if needs_name {
        errs.push(name.required(""));
    }
    ports::number(&port.get("port"), errs);
    ports::protocol(port, errs);
    if let Some(app) = port.some("appProtocol") {
        app.push(names::qualified_name(app.str()), errs);
    }
}

/// Who writes an object, by a label.
fn manager<'a>(object: &'a Value, label: &str) -> &'a str {
    text(&object["metadata"]["labels"], label)
}

/// Controllers that write addresses as they should be: there is nothing to tell them.
const CONTROLLERS: [&str; 2] = [
    "endpointslice-controller.k8s.io",
    "endpointslicemirroring-controller.k8s.io",
];

/// `discovery.k8s.io/v1/EndpointSlice`.
pub struct EndpointSlice;

const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];

impl Strategy for EndpointSlice {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        for port in each(object, "ports") {
            set(port, "name", "");
            set(port, "protocol", "TCP");
        }
    }

    fn prepare_create(&self, ctx: &Context, object: &mut Value) {
        topology::drop(ctx, object, None);
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        topology::drop(ctx, object, Some(old));
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        slice(object, None, &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        slice(object, Some(old), &mut errs);
        meta::update_core(object, old, &mut errs);
        immutable(
            &At::root(object, "addressType"),
            &old["addressType"],
            &mut errs,
        );
        errs
    }

    fn warnings(&self, _ctx: &Context, object: &Value, _old: Option<&Value>) -> Vec<String> {
        if text(object, "addressType") == "FQDN" {
            return vec!["spec.addressType: FQDN endpoints are deprecated".to_owned()];
        }
        let mut out = Vec::new();
        let manager = manager(object, "endpointslice.kubernetes.io/managed-by");
        if CONTROLLERS.contains(&manager) {
            return out;
        }
        for endpoint in At::root(object, "endpoints").each() {
            for address in endpoint.items("addresses") {
                net::ip_warning(&address, &mut out);
            }
        }
        out
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn generation_changed(&self, object: &Value, old: &Value) -> bool {
        ["addressType", "endpoints", "ports"]
            .iter()
            .any(|k| object[*k] != old[*k])
            || object["metadata"]["labels"] != old["metadata"]["labels"]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "AddressType",
                "addressType specifies the type of address carried by this EndpointSlice. All addresses in this slice must be the same type. This field is immutable after creation. The following address types are currently supported: * IPv4: Represents an IPv4 Address. * IPv6: Represents an IPv6 Address. * FQDN: Represents a Fully Qualified Domain Name.",
            ),
            table::column(
                "Ports",
                "ports specifies the list of network ports exposed by each endpoint in this slice. Each port must have a unique name. Each slice may include a maximum of 100 ports.",
            ),
            table::column(
                "Endpoints",
                "endpoints is a list of unique endpoints in this slice. Each slice may include a maximum of 1000 endpoints.",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let ports: Vec<String> = list(&object["ports"])
            .iter()
            .map(|p| {
                p["port"]
                    .as_i64()
                    .map_or_else(|| "*".to_owned(), |n| n.to_string())
            })
            .collect();
        let addresses: Vec<String> = list(&object["endpoints"])
            .iter()
            .flat_map(|e| list(&e["addresses"]))
            .map(|a| a.as_str().unwrap_or_default().to_owned())
            .collect();
        vec![
            table::name_of(object),
            text(object, "addressType").into(),
            first_three(&ports, "<unset>").into(),
            first_three(&addresses, "<unset>").into(),
            table::age_of(object, now),
        ]
    }
}

fn slice(object: &Value, old: Option<&Value>, errs: &mut Errors) {
    let kind = At::root(object, "addressType");
    match kind.str() {
        "" => errs.push(kind.required("")),
        k if TYPES.contains(&k) => {}
        _ => errs.push(kind.not_supported(&TYPES)),
    }
    let endpoints = At::root(object, "endpoints");
    let count = list(endpoints.v).len();
    if count > 1000 {
        errs.push(Error::too_many(&endpoints.path, count, 1000));
    } else {
        for endpoint in endpoints.each() {
            // what an older release let in may stay
            let known = old.is_some_and(|o| list(&o["endpoints"]).contains(endpoint.v));
            if !known {
                slice_endpoint(&endpoint, kind.str(), errs);
            }
        }
    }
    slice_ports(&At::root(object, "ports"), errs);
}

fn slice_endpoint(endpoint: &At, kind: &str, errs: &mut Errors) {
    let addresses = endpoint.get("addresses");
    match list(addresses.v).len() {
        0 => errs.push(addresses.required("must contain at least 1 address")),
        n if n > 100 => errs.push(Error::too_many(&addresses.path, n, 100)),
        _ => {}
    }
    for address in addresses.each() {
        slice_address(&address, &addresses, kind, errs);
    }
    let (node, host) = (endpoint.get("nodeName"), endpoint.get("hostname"));
    if !node.v.is_null() {
        node.push(names::dns1123_subdomain(node.str()), errs);
    }
    if !host.v.is_null() {
        host.push(names::dns1123_label(host.str()), errs);
    }
    let hints = endpoint.get("hints");
    hint_names(&hints.get("forZones"), names::label_value, errs);
    hint_names(&hints.get("forNodes"), names::dns1123_subdomain, errs);
}

fn slice_address(address: &At, all: &At, kind: &str, errs: &mut Errors) {
    if kind == "FQDN" {
        domain(address, errs);
        return;
    }
    if !["IPv4", "IPv6"].contains(&kind) {
        return;
    }
    let before = errs.len();
    let Some(ip) = net::ip_canonical(address, errs) else {
        return;
    };
    if errs.len() > before {
        return;
    }
    if ip.is_ipv4() != (kind == "IPv4") {
        errs.push(Error::invalid(
            &all.path,
            address.str(),
            format!("must be an {kind} address"),
        ));
    } else {
        net::endpoint_ip(address, ip, errs);
    }
}

/// A fully qualified domain name. What is wrong is told of the name without the dot at its end.
fn domain(address: &At, errs: &mut Errors) {
    if address.str().is_empty() {
        errs.push(address.required(""));
        return;
    }
    let name = address.str().strip_suffix('.').unwrap_or(address.str());
    let mut invalid = |value: &str, words: String| {
        errs.push(Error::invalid(&address.path, value, words));
    };
    let wrong = names::dns1123_subdomain(name);
    if !wrong.is_empty() {
        invalid(name, wrong.join(","));
    } else if !name.contains('.') {
        let words = "should be a domain with at least two segments separated by dots";
        invalid(name, words.to_owned());
    } else if let Some(label) = name.split('.').find(|l| l.len() > 63) {
        invalid(label, names::max_length(63));
    }
}

fn hint_names(hints: &At, rule: fn(&str) -> Vec<String>, errs: &mut Errors) {
    let count = list(hints.v).len();
    if count > 8 {
        errs.push(Error::too_many(&hints.path, count, 8));
        return;
    }
    let mut seen: Vec<&str> = Vec::new();
    for hint in hints.each() {
        let name = hint.get("name");
        if seen.contains(&name.str()) {
            errs.push(name.duplicate());
        } else {
            seen.push(name.str());
        }
        name.push(rule(name.str()), errs);
    }
}

fn slice_ports(all: &At, errs: &mut Errors) {
    let count = list(all.v).len();
    if count > 100 {
        errs.push(Error::too_many(&all.path, count, 100));
        return;
    }
    let mut seen: Vec<&str> = Vec::new();
    for port in all.each() {
        let name = port.get("name");
        if !name.str().is_empty() {
            name.push(names::dns1123_label(name.str()), errs);
        }
        if seen.contains(&name.str()) {
            errs.push(name.duplicate());
        } else {
            seen.push(name.str());
        }
        ports::protocol(&port, errs);
        if let Some(app) = port.some("appProtocol") {
            app.push(names::qualified_name(app.str()), errs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn addresses_fit_the_type_of_a_slice() {
        for (kind, address, want) in [
            ("IPv4", "10.1.1.1", None),
            (
                "IPv4",
                "2001:db8::1",
                Some(
                    "endpoints[0].addresses: Invalid value: \"2001:db8::1\": must be an IPv4 address",
                ),
            ),
            (
                "IPv4",
                "127.0.0.1",
                Some(
                    "endpoints[0].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                ),
            ),
            (
                "IPv6",
                "2001:DB8:0::1",
                Some(
                    "endpoints[0].addresses[0]: Invalid value: \"2001:DB8:0::1\": must be in canonical form (\"2001:db8::1\")",
                ),
            ),
            ("FQDN", "a.b", None),
        ] {
            let object = json!({"metadata": {"name": "s", "namespace": "n"}, "addressType": kind, "endpoints": [{"addresses": [address]}]});
            let errs = EndpointSlice.validate_create(&Context::default(), &object);
            assert_eq!(
                errs.first().map(ToString::to_string).as_deref(),
                want,
                "{kind} {address}"
            );
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let all: Vec<String> = (1..=5).map(|n| n.to_string()).collect();
        assert_eq!(first_three(&all, ""), "1,2,3 + 2 more...");
        assert_eq!(first_three(&[], "<unset>"), "<unset>");
    }
}
