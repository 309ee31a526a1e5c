//! What a pod can learn about itself: `fieldRef` and `resourceFieldRef`. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::{ObjectFieldSelector, Pod, ResourceFieldSelector};

use crate::{
    quantity::{milli, units},
    resources::{limit, request},
};

/// What is known of the pod beyond its object.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub pod_ips: Vec<IpAddr>,
    pub node_ips: Vec<IpAddr>,
    /// Thousandths.
    pub node_cpu: i64,
    /// Allocatable bytes.
    pub node_memory: i64,
    pub node_disk: i64,
}

fn joined(ips: &[IpAddr]) -> String {
    ips.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

fn first(ips: &[IpAddr]) -> String {
    ips.first().map(ToString::to_string).unwrap_or_default()
}

/// The value of a field of the pod.
///
/// # Errors
/// When there is no such field.
pub fn field(pod: &Pod, selector: &ObjectFieldSelector, facts: &Facts) -> Result<String, String> {
    let path = selector.field_path.as_str();
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    if let Some((map, key)) = subscript(path) {
        let values = match map {
            "metadata.labels" => meta.labels.as_ref(),
            "metadata.annotations" => meta.annotations.as_ref(),
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(values.and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    let host_network = spec.is_some_and(|s| s.host_network == Some(true));
    let pod_ips = if host_network {
        &facts.node_ips
    } else {
        &facts.pod_ips
    };
    Ok(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => format_map(meta.labels.as_ref()),
        "metadata.annotations" => format_map(meta.annotations.as_ref()),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec
            .and_then(|s| s.service_account_name.clone())
            .unwrap_or_default(),
        "status.hostIP" => first(&facts.node_ips),
        "status.hostIPs" => joined(&facts.node_ips),
        "status.podIP" => first(pod_ips),
        "status.podIPs" => joined(pod_ips),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// `metadata.labels['key']` as (`metadata.labels`, `key`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// One `key="value"` line per entry, sorted, values quoted.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", quote(v)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Quotes as Go's `%q` does.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                out.push_str(&format!("\\x{:02x}", c as u32))
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The value of a container's request or limit, in units of the divisor, rounded up.
///
/// # Errors
/// When there is no such container or resource.
pub fn resource(
    pod: &Pod,
    container: &str,
    selector: &ResourceFieldSelector,
    facts: &Facts,
) -> Result<String, String> {
    let name = selector
        .container_name
        .as_deref()
        .filter(|n| !n.is_empty())
        .unwrap_or(container);
    let spec = pod.spec.clone().unwrap_or_default();
    let mut all = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers);
    let found = all
        .find(|c| c.name == name)
        .ok_or_else(|| format!("container {name} not found"))?;
    let (what, resource) = selector
        .resource
        .split_once('.')
        .unwrap_or(("", &selector.resource));
    let r = found.resources.as_ref();
    let quantity = match what {
        "limits" => limit(r, resource),
        "requests" => request(r, resource),
        _ => {
            return Err(format!(
                "unsupported container resource : {}",
                selector.resource
            ));
        }
    };
    let is_cpu = resource == "cpu";
    let scaled = |q: &_| if is_cpu { milli(q) } else { units(q) };
    // A container without a limit may use the whole node.
    let value = quantity
        .and_then(scaled)
        .filter(|v| *v > 0)
        .unwrap_or(match (what, resource) {
            ("limits", "cpu") => facts.node_cpu,
            ("limits", "memory") => facts.node_memory,
            ("limits", "ephemeral-storage") => facts.node_disk,
            _ => 0,
        });
    let one = if is_cpu { 1000 } else { 1 };
    let divisor = selector
        .divisor
        .as_ref()
        .and_then(scaled)
        .filter(|d| *d > 0)
        .unwrap_or(one);
    Ok((value / divisor + i64::from(value % divisor > 0)).to_string())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"b": "2", "a": "x\"y\n"}},
            "spec": {"nodeName": "n", "serviceAccountName": "sa", "containers": [
                {"name": "c", "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "64Mi"}}}]}}))
        .expect("a pod")
    }

    #[test]
    fn fields() {
        let facts = Facts {
            pod_ips: vec![IpAddr::from([10, 0, 0, 5]), "fd00::5".parse().expect("ip")],
            ..Facts::default()
        };
        let cases = [
            ("metadata.name", Ok("p")),
            ("metadata.labels", Ok("a=\"x\\\"y\\n\"\nb=\"2\"")),
            ("metadata.labels['b']", Ok("2")),
            ("metadata.annotations['none']", Ok("")),
            ("spec.nodeName", Ok("n")),
            ("status.podIP", Ok("10.0.0.5")),
            ("status.podIPs", Ok("10.0.0.5,fd00::5")),
            ("spec.other", Err("unsupported fieldPath: spec.other")),
        ];
        for (path, want) in cases {
            let selector = ObjectFieldSelector {
                field_path: path.into(),
                ..ObjectFieldSelector::default()
            };
            assert_eq!(
                field(&pod(), &selector, &facts)
                    .as_deref()
                    .map_err(String::as_str),
                want,
                "{path}"
            );
        }
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let facts = Facts {
            node_cpu: 2000,
            node_memory: 1 << 30,
            ..Facts::default()
        };
        let cases = [
            ("requests.cpu", "1m", "250"),
            ("requests.cpu", "", "1"),
            ("limits.cpu", "", "2"),
            ("limits.memory", "1Mi", "64"),
            ("limits.memory", "", "67108864"),
            ("limits.memory", "1Gi", "1"),
        ];
        for (name, divisor, want) in cases {
            let divisor = (!divisor.is_empty()).then(|| Quantity(divisor.into()));
            let selector = ResourceFieldSelector {
                resource: name.into(),
                divisor,
                container_name: None,
            };
            assert_eq!(
                resource(&pod(), "c", &selector, &facts).as_deref(),
                Ok(want),
                "{name}"
            );
        }
    }
}
