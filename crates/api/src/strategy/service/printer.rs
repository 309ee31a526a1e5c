//! What `kubectl get services` shows.

use jiff::Timestamp;
use knarr_json::Value;

use crate::{
    strategy::Column,
    table,
    validation::{list, text},
};

pub fn columns() -> Vec<Column> {
    vec![
        table::name(),
        table::column(
            "Type",
            "type determines how the Service is exposed. Defaults to ClusterIP. Valid options are ExternalName, ClusterIP, NodePort, and LoadBalancer.",
        ),
        table::column(
            "Cluster-IP",
            "clusterIP is the IP address of the service and is usually assigned randomly.",
        ),
        table::column(
            "External-IP",
            "externalIPs is a list of IP addresses for which nodes in the cluster will also accept traffic for this service.",
        ),
        table::column(
            "Port(s)",
            "The list of ports that are exposed by this service.",
        ),
        table::age(),
        table::wide(
            "Selector",
            "Route service traffic to pods with label keys and values matching this selector.",
        ),
    ]
}

pub fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let ip = list(&spec["clusterIPs"])
        .first()
        .and_then(Value::as_str)
        .unwrap_or(text(spec, "clusterIP"));
    vec![
        table::name_of(object),
        text(spec, "type").into(),
        table::or_none(ip),
        external(object).into(),
        ports(spec).into(),
        table::age_of(object, now),
        table::labels(&spec["selector"]).into(),
    ]
}

fn external(object: &Value) -> String {
    let spec = &object["spec"];
    let mut ips: Vec<&str> = list(&spec["externalIPs"])
        .iter()
        .filter_map(Value::as_str)
        .collect();
    match text(spec, "type") {
        "ExternalName" => text(spec, "externalName").to_owned(),
        "LoadBalancer" => {
            let points = list(&object["status"]["loadBalancer"]["ingress"]).iter();
            let mut balancer: Vec<&str> = points
                .map(|p| {
                    if text(p, "ip").is_empty() {
                        text(p, "hostname")
                    } else {
                        text(p, "ip")
                    }
                })
                .filter(|a| !a.is_empty())
                .collect();
            balancer.sort_unstable();
            balancer.dedup();
            balancer.append(&mut ips);
            if balancer.is_empty() {
                "<pending>".to_owned()
            } else {
                balancer.join(",")
            }
        }
        _ if ips.is_empty() => "<none>".to_owned(),
        _ => ips.join(","),
    }
}

fn ports(spec: &Value) -> String {
    let all: Vec<String> = list(&spec["ports"])
        .iter()
        .map(|p| {
            let (port, protocol) = (p["port"].as_i64().unwrap_or(0), text(p, "protocol"));
            match p["nodePort"].as_i64().unwrap_or(0) {
                0 => format!("{port}/{protocol}"),
                node => format!("{port}:{node}/{protocol}"),
            }
        })
        .collect();
    if all.is_empty() {
        "<none>".to_owned()
    } else {
        all.join(",")
    }
}
