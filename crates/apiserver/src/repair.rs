//! What is wrong with addresses and node ports that Services have: taken by nobody, taken by several, out of range. It is told
//! in events of the Service, as the original's repair loops tell it, and mended where that is possible without changing
//! the Service.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    ops::RangeInclusive,
    sync::Arc,
};

use http::Method;
use ipnet::IpNet;
use jiff::Timestamp;
use knarr_api::decode::time::{Precision, print};
use knarr_json::{Value, json};
use knarr_store::Range;

use crate::{
    admission::{ipaddress, nodeports},
    poststart::Client,
    reload,
    rest::meta,
    server::Shared,
};

const SERVICES: &str = "/registry/services/specs/";
const CIDRS: &str = "/registry/servicecidrs/";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";

/// Something wrong with what a Service has.
#[derive(Debug, PartialEq)]
pub(crate) struct Fault<'a> {
    /// The Service, or the IPAddress that none has.
    about: &'a Value,
    reason: &'static str,
    action: &'static str,
    note: String,
    /// The address whose object is to be made anew.
    remake: Option<IpAddr>,
}

/// Events that were written, by what they say, with how often it was so.
pub(crate) type Told = HashMap<String, (String, u32)>;

/// Looks at all Services, tells what is wrong and mends it. Marks of ports are set by the caller.
pub(crate) async fn round(shared: &Arc<Shared>, told: &mut Told) {
    let (services, cidrs) = (all(shared, SERVICES), all(shared, CIDRS));
    let objects = all(shared, ipaddress::PREFIX);
    let range = shared.addresses.port_range();
    let mut faults = ports(&services, &nodeports::taken(&shared.store), range);
    faults.extend(addresses(&services, &ranges(&cidrs), &by_address(&objects)));
    report(shared, &faults, told).await;
}

/// Tells that addresses are given back that no Service has.
pub(crate) async fn gives_back(shared: &Arc<Shared>, ips: &[IpAddr], told: &mut Told) {
    let objects = all(shared, ipaddress::PREFIX);
    let (services, by_address) = (all(shared, SERVICES), by_address(&objects));
    let given_back = ips.iter().filter_map(|ip| by_address.get(ip).copied());
    let faults: Vec<Fault> = given_back.map(|o| unused(o, &services)).collect();
    report(shared, &faults, told).await;
}

fn all(shared: &Shared, prefix: &str) -> Vec<Value> {
    let listing = shared.store.list(Range {
        prefix,
        ..Range::default()
    });
    let items = listing.map(|l| l.items).unwrap_or_default();
    let objects = items.iter().map(|s| serde_json::from_slice(&s.json));
    objects.filter_map(Result::ok).collect()
}

fn ranges(cidrs: &[Value]) -> Vec<IpNet> {
    let texts = cidrs.iter().filter_map(|c| c["spec"]["cidrs"].as_array());
    let texts = texts.flatten().filter_map(Value::as_str);
    texts.filter_map(|text| text.parse().ok()).collect()
}

fn by_address(objects: &[Value]) -> HashMap<IpAddr, &Value> {
    let named = |o: &Value| meta::text(o, "name").parse().ok();
    objects
        .iter()
        .filter_map(|o| Some((named(o)?, o)))
        .collect()
}

/// Faults of node ports. The first Service that has a port is the one it belongs to.
fn ports<'a>(
    services: &'a [Value],
    marked: &BTreeSet<u16>,
    range: &RangeInclusive<u16>,
) -> Vec<Fault<'a>> {
    let mut used = BTreeSet::new();
    let mut faults = Vec::new();
    for service in services {
        for port in node_ports(service) {
            let (reason, note) = if !range.contains(&port) {
                let (first, last) = (range.start(), range.end());
                let note = format!(
                    "Port {port} is not within the port range {first}-{last}; please recreate service"
                );
                ("PortOutOfRange", note)
            } else if !used.insert(port) {
                let note = format!(
                    "Port {port} was assigned to multiple services; please recreate service"
                );
                ("PortAlreadyAllocated", note)
            } else if !marked.contains(&port) {
                let note = format!("Port {port} is not allocated; repairing");
                ("PortNotAllocated", note)
            } else {
                continue;
            };
            faults.push(Fault {
                about: service,
                reason,
                action: "PortAllocation",
                note,
                remake: None,
            });
        }
    }
    faults
}

/// Node ports of a Service; one that it has for several protocols counts once.
fn node_ports(service: &Value) -> Vec<u16> {
    let spec = &service["spec"];
    let number = |v: &Value| {
        let port = v.as_u64().and_then(|n| u16::try_from(n).ok());
        port.filter(|port| *port != 0)
    };
    let mut out = Vec::new();
    let mut seen: BTreeSet<(u16, &str)> = BTreeSet::new();
    for port in spec["ports"].as_array().into_iter().flatten() {
        let Some(n) = number(&port["nodePort"]) else {
            continue;
        };
        let known = seen.iter().any(|(seen, _)| *seen == n);
        if !seen.insert((n, port["protocol"].as_str().unwrap_or_default())) || !known {
            out.push(n);
        }
    }
    if let Some(n) = number(&spec["healthCheckNodePort"]) {
        let known = seen.iter().any(|(seen, _)| *seen == n);
        if !known || seen.contains(&(n, "TCP")) {
            out.push(n);
        }
    }
    out
}

/// Faults of cluster IPs.
fn addresses<'a>(
    services: &'a [Value],
    ranges: &[IpNet],
    objects: &HashMap<IpAddr, &'a Value>,
) -> Vec<Fault<'a>> {
    let mut faults = Vec::new();
    for service in services {
        for ip in ipaddress::held_by(service) {
            let in_range = ranges.iter().any(|range| range.contains(&ip));
            let object = objects.get(&ip).copied();
            let Some((reason, note, remake)) = fault_of(service, ip, in_range, object, services)
            else {
                continue;
            };
            faults.push(Fault {
                about: service,
                reason,
                action: "ClusterIPAllocation",
                note,
                remake: remake.then_some(ip),
            });
        }
    }
    faults
}

/// What is wrong with an address of a Service, if anything, and whether its object is to be made anew. A fault without a
/// reason is mended and not told.
fn fault_of(
    service: &Value,
    ip: IpAddr,
    in_range: bool,
    object: Option<&Value>,
    services: &[Value],
) -> Option<(&'static str, String, bool)> {
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let own = (
        meta::text(service, "namespace"),
        meta::text(service, "name"),
    );
    if !in_range {
        let note = format!(
            "Cluster IP [{family}]: {ip} is not within any configured Service CIDR; please recreate service"
        );
        return Some(("ClusterIPOutOfRange", note, false));
    }
    let Some(object) = object else {
        let note = format!("Cluster IP [{family}]: {ip} is not allocated; repairing");
        return Some(("ClusterIPNotAllocated", note, true));
    };
    let parent = parent(object);
    let holder = parent.and_then(|parent| named(services, parent));
    if parent == Some(own) {
        let label = |key: &str| object["metadata"]["labels"][key].as_str();
        let labelled =
            label(FAMILY) == Some(family) && label(MANAGED_BY) == Some(ipaddress::MANAGER);
        return (!labelled).then(|| ("", String::new(), true));
    }
    match holder {
        Some(holder) if ipaddress::held_by(holder).contains(&ip) => {
            let note = format!(
                "Cluster IP [{family}]:{ip} was assigned to multiple services; please recreate service"
            );
            Some(("ClusterIPAlreadyAllocated", note, false))
        }
        // Its holder lets it go, and then there is no object any more.
        Some(_) => None,
        None => {
            let note = format!(
                "the ClusterIP [{family}]: {ip} for Service {}/{} has a wrong reference; repairing",
                own.0, own.1
            );
            Some(("ClusterIPNotAllocated", note, true))
        }
    }
}

/// Namespace and name of the Service that has an address; none when it is no Service.
fn parent(object: &Value) -> Option<(&str, &str)> {
    let of = &object["spec"]["parentRef"];
    let text = |key: &str| of[key].as_str().unwrap_or_default();
    let service = text("group").is_empty() && text("resource") == "services";
    service.then(|| (text("namespace"), text("name")))
}

fn named<'a>(services: &'a [Value], (namespace, name): (&str, &str)) -> Option<&'a Value> {
    let is = |s: &&Value| (meta::text(s, "namespace"), meta::text(s, "name")) == (namespace, name);
    services.iter().find(is)
}

/// Why an address is given back.
fn unused<'a>(object: &'a Value, services: &[Value]) -> Fault<'a> {
    let ip = meta::text(object, "name");
    let (reason, note) = match parent(object) {
        None => {
            let of = &object["spec"]["parentRef"];
            let text = |key: &str| of[key].as_str().unwrap_or_default();
            let of = ["group", "resource", "namespace", "name"]
                .map(text)
                .join(" ");
            let note = format!(
                "IPAddress {ip} appears to have been modified, not referencing a Service &{{{of}}}: cleaning up"
            );
            ("IPAddressNotAllocated", note)
        }
        Some(of) => {
            let place = format!("IPAddress: {ip} for Service {}/{}", of.0, of.1);
            match named(services, of) {
                None => (
                    "IPAddressNotAllocated",
                    format!("{place} appears to have leaked: cleaning up"),
                ),
                Some(_) => (
                    "IPAddressWrongReference",
                    format!("{place} has a wrong reference; cleaning up"),
                ),
            }
        }
    };
    Fault {
        about: object,
        reason,
        action: "IPAddressAllocation",
        note,
        remake: None,
    }
}

async fn report(shared: &Arc<Shared>, faults: &[Fault<'_>], told: &mut Told) {
    let client = Client::new(shared.clone());
    let is_known = |key: &String| faults.iter().any(|fault| *key == identity(fault));
    told.retain(|key, _| is_known(key));
    for fault in faults.iter().filter(|fault| is_there(shared, fault)) {
        if !fault.reason.is_empty()
            && let Err(error) = tell(&client, fault, told).await
        {
            tracing::debug!(error, note = fault.note, "event not recorded");
        }
        if let Some(ip) = fault.remake {
            ipaddress::release(shared, &[ip]).await;
            let of = |key: &str| meta::text(fault.about, key);
            let made = ipaddress::claim(shared, ip, of("namespace"), of("name")).await;
            if let Err(error) = made {
                tracing::warn!(%ip, error, "address of a Service cannot be claimed");
            }
        }
    }
}

/// Whether the faulty object was not deleted meanwhile.
fn is_there(shared: &Shared, fault: &Fault) -> bool {
    let of = |key: &str| meta::text(fault.about, key);
    let key = match of("namespace") {
        "" => format!("{}{}", ipaddress::PREFIX, of("name")),
        namespace => format!("{SERVICES}{namespace}/{}", of("name")),
    };
    let stored = shared.store.get(&key);
    stored.is_some_and(|stored| stored.head.uid == of("uid"))
}

fn identity(fault: &Fault) -> String {
    let uid = meta::text(fault.about, "uid");
    format!("{uid}/{}/{}", fault.reason, fault.note)
}

/// Writes an event, or that it is so again.
async fn tell(client: &Client, fault: &Fault<'_>, told: &mut Told) -> Result<(), String> {
    let at = Timestamp::now();
    let event = event(fault, at, &reload::host_name());
    let path = format!(
        "/apis/events.k8s.io/v1/namespaces/{}/events",
        meta::text(&event, "namespace")
    );
    let key = identity(fault);
    if let Some((name, count)) = told.get_mut(&key) {
        *count += 1;
        let series = json!({"series": {"count": *count, "lastObservedTime": event["eventTime"]}});
        return client.merge(&format!("{path}/{name}"), &series).await;
    }
    client.send(Method::POST, &path, &event).await?;
    told.insert(key, (meta::text(&event, "name").to_owned(), 1));
    Ok(())
}

/// An event as the original's recorder writes it.
fn event(fault: &Fault, at: Timestamp, host: &str) -> Value {
    let of = |key: &str| meta::text(fault.about, key);
    let reporter = match fault.action {
        "PortAllocation" => "portallocator-repair-controller",
        _ => "ipallocator-repair-controller",
    };
    let namespace = Some(of("namespace")).filter(|n| !n.is_empty());
    let mut regarding = json!({
        "apiVersion": fault.about["apiVersion"], "kind": fault.about["kind"],
        "name": of("name"), "uid": of("uid"), "resourceVersion": of("resourceVersion"),
    });
    if let Some(namespace) = namespace {
        regarding["namespace"] = namespace.into();
    }
    let name = format!("{}.{:x}", of("name"), at.as_nanosecond());
    let now = print(at, Precision::Micros);
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": name, "namespace": namespace.unwrap_or("default")},
        "eventTime": now, "reportingController": reporter,
        "reportingInstance": format!("{reporter}-{host}"),
        "action": fault.action, "reason": fault.reason, "note": fault.note,
        "type": "Warning", "regarding": regarding,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, ips: &[&str], ports: Value) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"clusterIP": ips.first(), "clusterIPs": ips, "ports": ports},
        })
    }

    fn said(faults: &[Fault]) -> Vec<String> {
        let one = |f: &Fault| {
            let name = meta::text(f.about, "name");
            format!("{name} {} {} {:?}", f.reason, f.note, f.remake)
        };
        faults.iter().map(one).collect()
    }

    #[test]
    fn ports_belong_to_the_first_that_has_them() {
        let port = |n: u16, protocol: &str| json!({"nodePort": n, "protocol": protocol});
        let services = [
            service(
                "a",
                &[],
                json!([port(30001, "TCP"), port(30001, "UDP"), port(0, "TCP")]),
            ),
            service("b", &[], json!([port(30001, "TCP"), port(29999, "TCP")])),
            service("c", &[], json!([port(30002, "TCP"), port(30003, "TCP")])),
        ];
        let faults = ports(&services, &BTreeSet::from([30001, 30002]), &(30000..=32767));
        let want = [
            "b PortAlreadyAllocated Port 30001 was assigned to multiple services; please recreate service None",
            "b PortOutOfRange Port 29999 is not within the port range 30000-32767; please recreate service None",
            "c PortNotAllocated Port 30003 is not allocated; repairing None",
        ];
        assert_eq!(said(&faults), want);
    }

    #[test]
    fn health_checks_have_ports_of_their_own() {
        let mut one = service("a", &[], json!([{"nodePort": 30001, "protocol": "UDP"}]));
        one["spec"]["healthCheckNodePort"] = 30001.into();
        assert_eq!(node_ports(&one), [30001]);
        one["spec"]["ports"][0]["protocol"] = "TCP".into();
        assert_eq!(node_ports(&one), [30001, 30001]);
    }

    #[test]
    fn addresses_have_one_object_that_says_whose_they_are() {
        let object = |ip: &str, name: &str| ipaddress::object(ip.parse().unwrap(), "n", name);
        let mut foreign = object("10.0.0.4", "x");
        foreign["spec"]["parentRef"]["resource"] = "gateways".into();
        let mut unlabelled = object("10.0.0.6", "f");
        unlabelled["metadata"]["labels"] = json!({});
        let objects = [
            object("10.0.0.1", "a"),
            object("10.0.0.3", "gone"),
            foreign,
            object("10.0.0.5", "a"),
            unlabelled,
        ];
        let services = [
            service("a", &["10.0.0.1", "fd00::1"], Value::Null),
            service("b", &["10.0.0.1"], Value::Null),
            service("c", &["10.0.0.3"], Value::Null),
            service("d", &["10.0.0.4"], Value::Null),
            service("e", &["10.1.0.1"], Value::Null),
            service("f", &["10.0.0.6"], Value::Null),
            service("g", &["10.0.0.5"], Value::Null),
            service("h", &["10.0.0.7"], Value::Null),
            service("none", &["None"], Value::Null),
        ];
        let ranges = [
            "10.0.0.0/24".parse().unwrap(),
            "fd00::/112".parse().unwrap(),
        ];
        let faults = addresses(&services, &ranges, &by_address(&objects));
        let want = [
            "a ClusterIPNotAllocated Cluster IP [IPv6]: fd00::1 is not allocated; repairing Some(fd00::1)",
            "b ClusterIPAlreadyAllocated Cluster IP [IPv4]:10.0.0.1 was assigned to multiple services; please recreate service None",
            "c ClusterIPNotAllocated the ClusterIP [IPv4]: 10.0.0.3 for Service n/c has a wrong reference; repairing Some(10.0.0.3)",
            "d ClusterIPNotAllocated the ClusterIP [IPv4]: 10.0.0.4 for Service n/d has a wrong reference; repairing Some(10.0.0.4)",
            "e ClusterIPOutOfRange Cluster IP [IPv4]: 10.1.0.1 is not within any configured Service CIDR; please recreate service None",
            "f   Some(10.0.0.6)",
            "h ClusterIPNotAllocated Cluster IP [IPv4]: 10.0.0.7 is not allocated; repairing Some(10.0.0.7)",
        ];
        assert_eq!(said(&faults), want);
        let notes: Vec<String> = objects[1..4]
            .iter()
            .map(|o| unused(o, &services).note)
            .collect();
        let want = [
            "IPAddress: 10.0.0.3 for Service n/gone appears to have leaked: cleaning up",
            "IPAddress 10.0.0.4 appears to have been modified, not referencing a Service &{ gateways n x}: cleaning up",
            "IPAddress: 10.0.0.5 for Service n/a has a wrong reference; cleaning up",
        ];
        assert_eq!(notes, want);
    }

    #[test]
    fn events_are_about_what_is_wrong() {
        let services = [service("a", &[], json!([{"nodePort": 1}]))];
        let faults = ports(&services, &BTreeSet::new(), &(30000..=32767));
        let event = event(&faults[0], Timestamp::UNIX_EPOCH, "host");
        assert_eq!(
            event["reportingInstance"],
            "portallocator-repair-controller-host"
        );
        assert_eq!(event["regarding"]["uid"], "a");
        assert_eq!(event["metadata"], json!({"name": "a.0", "namespace": "n"}));
        assert_eq!(event["eventTime"], "1970-01-01T00:00:00.000000Z");
    }
}
