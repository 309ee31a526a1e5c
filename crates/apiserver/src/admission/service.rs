//! What the cluster gives to a Service: address families, cluster IPs, node ports.

use std::{collections::HashSet, net::IpAddr};

use knarr_api::{Status, field, strategy::service::families};
use serde_json::{Value, json};

use super::addresses::{Addresses, Held, Lease, Refused};
use crate::{
    Outcome,
    rest::{Target, meta},
};

fn is_external(spec: &Value) -> bool {
    spec["type"] == "ExternalName"
}

fn is_headless(spec: &Value) -> bool {
    spec["clusterIPs"][0] == "None"
        || (spec["clusterIPs"][0].is_null() && spec["clusterIP"] == "None")
}

fn needs_node_ports(spec: &Value) -> bool {
    match spec["type"].as_str() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

fn may_have_node_ports(spec: &Value) -> bool {
    matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer"))
}

fn needs_health_port(spec: &Value) -> bool {
    spec["type"] == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local"
}

fn texts(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Settles families and their policy. The strategy has carried over before what an update left out.
///
/// # Errors
/// 422 for families that the cluster does not have.
pub fn families(
    addresses: &Addresses,
    target: &Target,
    service: &mut Value,
    old: Option<&Value>,
) -> Outcome<()> {
    if !service["spec"].is_object() {
        return Ok(());
    }
    let errors = families::init(service, old, &addresses.families());
    if errors.is_empty() {
        return Ok(());
    }
    let (resource, name) = (&target.resource, meta::text(service, "name"));
    Err(Status::invalid(&resource.group, &resource.kind, name, &errors).into())
}

fn node_port(port: &Value) -> u64 {
    port["nodePort"].as_u64().unwrap_or(0)
}

fn protocol(port: &Value) -> &str {
    port["protocol"].as_str().unwrap_or("TCP")
}

fn carry_ports(spec: &mut Value, old: &Value) {
    let before: Vec<Value> = old["ports"].as_array().cloned().unwrap_or_default();
    let given = |spec: &Value| -> HashSet<u64> {
        spec["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .map(node_port)
            .filter(|n| *n > 0)
            .collect()
    };
    let used = given(spec);
    for port in spec["ports"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter(|p| p.is_object() && node_port(p) == 0)
    {
        let same = before.iter().find(|b| {
            node_port(b) > 0
                && protocol(b) == protocol(port)
                && b["port"] == port["port"]
                && !used.contains(&node_port(b))
        });
        let named = before.iter().find(|b| {
            node_port(b) > 0
                && protocol(b) == protocol(port)
                && b["name"] == port["name"]
                && !used.contains(&node_port(b))
        });
        if let Some(found) = same.or(named) {
            port["nodePort"] = found["nodePort"].clone();
        }
    }
}

/// Allocates what the Service needs and does not have, checks what it asked for, and plans to free what it lets go.
///
/// # Errors
/// 422 with a cause for what cannot be had.
pub fn allocate(
    addresses: &Addresses,
    target: &Target,
    service: &mut Value,
    old: Option<&Value>,
    leases: &mut Vec<Lease>,
) -> Outcome<()> {
    if !service["spec"].is_object() {
        return Ok(());
    }
    let held = old.map(Held::of).unwrap_or_default();
    let name = meta::text(service, "name").to_owned();
    let invalid = |error: field::Error| {
        let resource = &target.resource;
        Box::new(Status::invalid(
            &resource.group,
            &resource.kind,
            &name,
            &[error],
        ))
    };
    let spec = &mut service["spec"];
    cluster_ips(addresses, spec, &held, leases).map_err(invalid)?;
    node_ports(addresses, spec, &held, leases).map_err(invalid)?;
    health_port(addresses, spec, &held, leases)?;
    let now = Held::of(service);
    leases.extend(held.difference(&now).cloned().map(|h| addresses.let_go(h)));
    Ok(())
}

fn cluster_ips(
    addresses: &Addresses,
    spec: &mut Value,
    held: &HashSet<Held>,
    leases: &mut Vec<Lease>,
) -> Result<(), field::Error> {
    if is_external(spec) || is_headless(spec) {
        return Ok(());
    }
    let path = field::Path::new("spec").child("clusterIPs");
    let families: Vec<String> = texts(&spec["ipFamilies"])
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut ips: Vec<String> = texts(&spec["clusterIPs"])
        .into_iter()
        .map(str::to_owned)
        .collect();
    for (i, family) in families.iter().enumerate() {
        match ips.get(i).filter(|ip| !ip.is_empty()).cloned() {
            Some(text) => {
                let Ok(ip) = text.parse::<IpAddr>() else {
                    continue;
                };
                if held.contains(&Held::Address(ip)) {
                    continue;
                }
                let why = match addresses.take(Held::Address(ip)) {
                    Ok(lease) => {
                        leases.push(lease);
                        continue;
                    }
                    Err(Refused::OutOfRange(range)) => {
                        format!(
                            "the provided IP ({text}) is not in the valid range. The range of valid IPs is {range}"
                        )
                    }
                    Err(_) => "provided IP is already allocated".to_owned(),
                };
                let shown: Value = ips.clone().into();
                return Err(field::Error::invalid(
                    &path,
                    shown,
                    format!("failed to allocate IP {text}: {why}"),
                ));
            }
            None => {
                let Some((ip, lease)) = addresses.draw_address(family) else {
                    return Err(field::Error::invalid(
                        &path,
                        Value::Null,
                        "failed to allocate a serviceIP: range is full",
                    ));
                };
                leases.push(lease);
                ips.truncate(i);
                ips.push(ip.to_string());
            }
        }
    }
    if let Some(first) = ips.first() {
        spec["clusterIP"] = first.as_str().into();
        spec["clusterIPs"] = ips.into();
    }
    Ok(())
}

fn node_ports(
    addresses: &Addresses,
    spec: &mut Value,
    held: &HashSet<Held>,
    leases: &mut Vec<Lease>,
) -> Result<(), field::Error> {
    if !may_have_node_ports(spec) {
        return Ok(());
    }
    let draws = needs_node_ports(spec);
    let path = field::Path::new("spec").child("ports");
    let mut ports: Vec<Value> = spec["ports"].as_array().cloned().unwrap_or_default();
    for i in 0..ports.len() {
        let proto = protocol(&ports[i]).to_owned();
        let asked = ports[i]["nodePort"].as_i64().unwrap_or(0);
        if asked != 0 {
            let at = path.index(i).child("nodePort");
            let range = addresses.port_range();
            let outside = || {
                format!(
                    "provided port is not in the valid range. The range of valid ports is {}-{}",
                    range.start(),
                    range.end()
                )
            };
            let port =
                u16::try_from(asked).map_err(|_| field::Error::invalid(&at, asked, outside()))?;
            let wanted = Held::port(&proto, port);
            if held.contains(&wanted) {
                continue;
            }
            let lease = addresses.take(wanted).map_err(|refused| match refused {
                Refused::OutOfRange(_) => field::Error::invalid(&at, asked, outside()),
                _ => field::Error::invalid(&at, asked, "provided port is already allocated"),
            })?;
            leases.push(lease);
        } else if draws {
            // The same port of another protocol shares the number when it can.
            let sibling = ports.iter().enumerate().find(|(j, p)| {
                *j != i && p["port"] == ports[i]["port"] && protocol(p) != proto && node_port(p) > 0
            });
            let shared = sibling.and_then(|(_, p)| u16::try_from(node_port(p)).ok());
            if let Some((n, lease)) =
                shared.and_then(|n| addresses.take(Held::port(&proto, n)).ok().map(|l| (n, l)))
            {
                leases.push(lease);
                ports[i]["nodePort"] = n.into();
                continue;
            }
            let Some((n, drawn)) = addresses.draw_port(&[&proto]) else {
                return Err(field::Error::internal(
                    &path.index(i).child("nodePort"),
                    "failed to allocate a nodePort: range is full",
                ));
            };
            leases.extend(drawn);
            ports[i]["nodePort"] = n.into();
        }
    }
    if !ports.is_empty() {
        spec["ports"] = ports.into();
    }
    Ok(())
}

fn health_port(
    addresses: &Addresses,
    spec: &mut Value,
    held: &HashSet<Held>,
    leases: &mut Vec<Lease>,
) -> Outcome<()> {
    if !needs_health_port(spec) {
        return Ok(());
    }
    match spec["healthCheckNodePort"]
        .as_u64()
        .and_then(|n| u16::try_from(n).ok())
        .filter(|n| *n > 0)
    {
        Some(port) => {
            let wanted = Held::port("TCP", port);
            if held.contains(&wanted) {
                return Ok(());
            }
            let why = match addresses.take(wanted) {
                Ok(lease) => {
                    leases.push(lease);
                    return Ok(());
                }
                Err(Refused::OutOfRange(range)) => {
                    format!(
                        "provided port is not in the valid range. The range of valid ports is {range}"
                    )
                }
                Err(_) => "provided port is already allocated".to_owned(),
            };
            Err(Status::internal(format!(
                "failed to allocate requested HealthCheck NodePort {port}: {why}"
            ))
            .into())
        }
        None => {
            let (port, drawn) = addresses.draw_port(&["TCP"]).ok_or_else(|| {
                Box::new(Status::internal(
                    "failed to allocate a HealthCheck NodePort: range is full",
                ))
            })?;
            leases.extend(drawn);
            spec["healthCheckNodePort"] = port.into();
            Ok(())
        }
    }
}
