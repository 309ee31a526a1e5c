//! What the cluster gives to a Service: address families, cluster IPs, node ports.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use knarr_api::{Status, field, strategy::service::families};
use knarr_json::Value;

use super::{
    addresses::{Addresses, Held, Lease, Refused},
    claims::Claims,
};
use crate::{
    Outcome,
    rest::{Target, meta},
};

const ALLOCATED_IP: &str = "provided IP is already allocated";
const ALLOCATED_PORT: &str = "provided port is already allocated";

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

fn number(port: &Value, key: &str) -> i64 {
    port[key].as_i64().unwrap_or(0)
}

fn protocol(port: &Value) -> &str {
    port["protocol"].as_str().unwrap_or("TCP")
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
    dry_run: bool,
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
    cluster_ips(addresses, spec, &held, dry_run, leases).map_err(&invalid)?;
    let before = old.is_some().then_some(&held);
    node_ports(addresses, spec, before, leases, &invalid)?;
    let had_health_port = old.is_some_and(|o| needs_health_port(&o["spec"]));
    if !had_health_port {
        health_port(addresses, spec, &held, leases)?;
    }
    let now = Held::of(service);
    leases.extend(held.difference(&now).cloned().map(|h| addresses.let_go(h)));
    Ok(())
}

/// Claims in the store what was newly taken. Gives the place of what was drawn and somebody else has.
///
/// # Errors
/// 422 when somebody else has what was asked for; 500 when it cannot be claimed.
pub async fn claim(
    target: &Target,
    asked: &Value,
    service: &Value,
    leases: &[Lease],
    claims: &mut Claims,
) -> Outcome<Option<usize>> {
    let name = meta::text(service, "name");
    let taken: Vec<(usize, Held)> = leases
        .iter()
        .enumerate()
        .filter_map(|(i, lease)| Some((i, lease.taken()?)))
        .collect();
    let mut lost = None;
    for (_, held) in &taken {
        if let Held::Address(ip) = held {
            let made = claims.address(*ip, &target.namespace, name).await;
            if !made.map_err(Status::internal)? {
                lost = Some(held.clone());
                break;
            }
        }
    }
    if lost.is_none() {
        let ports: Vec<u16> = taken.iter().filter_map(|(_, h)| h.port()).collect();
        let claimed = claims.ports(&ports).await.map_err(Status::internal)?;
        lost = claimed.map(Held::Port);
    }
    let Some(lost) = lost else {
        return Ok(None);
    };
    if let Some(refusal) = somebodys(target, asked, name, &lost) {
        return Err(refusal);
    }
    Ok(taken.into_iter().find(|(_, h)| *h == lost).map(|(i, _)| i))
}

/// The refusal for an address or port that was asked for; none for one that was drawn.
fn somebodys(target: &Target, asked: &Value, name: &str, held: &Held) -> Option<Box<Status>> {
    let spec = &asked["spec"];
    let path = field::Path::new("spec");
    let error = match held {
        Held::Address(ip) => {
            let ips = &spec["clusterIPs"];
            let text = ip.to_string();
            if !texts(ips).contains(&text.as_str()) {
                return None;
            }
            let why = format!("failed to allocate IP {text}: {ALLOCATED_IP}");
            field::Error::invalid(&path.child("clusterIPs"), ips.clone(), why)
        }
        Held::Port(port) if spec["healthCheckNodePort"] == *port => {
            return Some(health_port_refused(*port, ALLOCATED_PORT));
        }
        Held::Port(port) => {
            let ports = spec["ports"].as_array()?;
            let at = ports.iter().position(|p| p["nodePort"] == *port)?;
            let path = path.child("ports").index(at).child("nodePort");
            field::Error::invalid(&path, *port, ALLOCATED_PORT)
        }
    };
    let resource = &target.resource;
    Some(Status::invalid(&resource.group, &resource.kind, name, &[error]).into())
}

fn health_port_refused(port: u16, why: &str) -> Box<Status> {
    Status::internal(format!(
        "failed to allocate requested HealthCheck NodePort {port}: {why}"
    ))
    .into()
}

fn cluster_ips(
    addresses: &Addresses,
    spec: &mut Value,
    held: &HashSet<Held>,
    dry_run: bool,
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
                    // A rehearsal takes nothing, and so collides with nothing.
                    Err(_) if dry_run => continue,
                    Err(_) => ALLOCATED_IP.to_owned(),
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

/// Node ports of a Service while they are settled.
struct NodePorts<'a> {
    addresses: &'a Addresses,
    held: &'a HashSet<Held>,
    leases: &'a mut Vec<Lease>,
    /// Whether ports that do not ask for a number get one.
    draws: bool,
}

type Why = Box<Status>;

impl NodePorts<'_> {
    /// Takes a certain number that ports `i` asks for.
    fn take(&mut self, i: usize, asked: i64) -> Result<(), field::Error> {
        let path = field::Path::new("spec").child("ports").index(i);
        let at = path.child("nodePort");
        let range = self.addresses.port_range();
        let outside = || {
            let (first, last) = (range.start(), range.end());
            format!(
                "provided port is not in the valid range. The range of valid ports is {first}-{last}"
            )
        };
        let port =
            u16::try_from(asked).map_err(|_| field::Error::invalid(&at, asked, outside()))?;
        match self.addresses.take(Held::Port(port)) {
            Ok(lease) => self.leases.push(lease),
            Err(Refused::OutOfRange(_)) => {
                return Err(field::Error::invalid(&at, asked, outside()));
            }
            Err(Refused::Taken) => {
                return Err(field::Error::invalid(&at, asked, ALLOCATED_PORT));
            }
        }
        Ok(())
    }

    fn draw(&mut self) -> Result<i64, Why> {
        let (number, lease) = self
            .addresses
            .draw_port()
            .ok_or_else(|| Status::internal("failed to allocate a nodePort: range is full"))?;
        self.leases.push(lease);
        Ok(i64::from(number))
    }

    /// Of a new Service: ports of the same number share a node port, whatever their protocols.
    fn init(&mut self, ports: &mut [Value], invalid: &Invalid<'_>) -> Result<(), Why> {
        let mut by_port: HashMap<i64, i64> = HashMap::new();
        for i in 0..ports.len() {
            let (port, asked) = (number(&ports[i], "port"), number(&ports[i], "nodePort"));
            if asked == 0 && !self.draws {
                continue;
            }
            let settled = match by_port.get(&port) {
                Some(shared) if asked == 0 || asked == *shared => *shared,
                Some(_) => {
                    self.take(i, asked).map_err(invalid)?;
                    asked
                }
                None => {
                    let wanted = ports
                        .iter()
                        .filter(|p| number(p, "port") == port)
                        .map(|p| number(p, "nodePort"))
                        .find(|n| *n != 0);
                    let first = match wanted {
                        Some(wanted) => {
                            self.take(i, wanted).map_err(invalid)?;
                            wanted
                        }
                        None => self.draw()?,
                    };
                    by_port.insert(port, first);
                    first
                }
            };
            ports[i]["nodePort"] = settled.into();
        }
        Ok(())
    }

    /// Of a changed Service: each port has its own, and the same one only for another protocol.
    fn update(&mut self, ports: &mut [Value], invalid: &Invalid<'_>) -> Result<(), Why> {
        let mut own: HashSet<(String, i64)> = HashSet::new();
        for (i, port) in ports.iter_mut().enumerate() {
            let mut settled = number(port, "nodePort");
            if settled == 0 {
                if !self.draws {
                    continue;
                }
                settled = self.draw()?;
                port["nodePort"] = settled.into();
            } else if !self.has(settled) && !own.iter().any(|(_, n)| *n == settled) {
                self.take(i, settled).map_err(invalid)?;
            }
            let protocol = protocol(port).to_owned();
            if !own.insert((protocol.clone(), settled)) {
                let words = format!("duplicate nodePort: {{{protocol} {settled}}}");
                return Err(Status::failure(500, "", words).into());
            }
        }
        Ok(())
    }

    fn has(&self, wanted: i64) -> bool {
        u16::try_from(wanted).is_ok_and(|n| self.held.contains(&Held::Port(n)))
    }
}

/// Makes an answer of an error.
type Invalid<'a> = dyn Fn(field::Error) -> Why + 'a;

fn node_ports(
    addresses: &Addresses,
    spec: &mut Value,
    held: Option<&HashSet<Held>>,
    leases: &mut Vec<Lease>,
    invalid: &Invalid<'_>,
) -> Result<(), Why> {
    let draws = needs_node_ports(spec);
    if !may_have_node_ports(spec) {
        return Ok(());
    }
    let Some(ports) = spec.get_mut("ports").and_then(Value::as_array_mut) else {
        return Ok(());
    };
    let none = HashSet::new();
    let mut settling = NodePorts {
        addresses,
        held: held.unwrap_or(&none),
        leases,
        draws,
    };
    match held {
        None => settling.init(ports, invalid),
        Some(_) => settling.update(ports, invalid),
    }
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
            let wanted = Held::Port(port);
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
                Err(_) => ALLOCATED_PORT.to_owned(),
            };
            Err(health_port_refused(port, &why))
        }
        None => {
            let (port, drawn) = addresses.draw_port().ok_or_else(|| {
                Box::new(Status::internal(
                    "failed to allocate a HealthCheck NodePort: range is full",
                ))
            })?;
            leases.push(drawn);
            spec["healthCheckNodePort"] = port.into();
            Ok(())
        }
    }
}
