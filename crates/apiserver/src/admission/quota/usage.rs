//! How much of what a quota counts an object uses. Pure.

use knarr_api::{Quantity, quantity::Format};
use knarr_json::Value;

use super::super::amounts::{self, Amounts};

/// What is counted in its own way; everything else is counted by the piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    Pod,
    Service,
    Claim,
    DeviceClaim,
    /// By `count/NAME`, and by an older name.
    Piece {
        name: String,
        alias: Option<&'static str>,
    },
}

const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";
const DEVICES_SUFFIX: &str = ".deviceclass.resource.k8s.io/devices";
/// Most devices that a claim for all of a kind can get.
const MOST_DEVICES: i64 = 32;

/// Resources of pods that are counted without prefix.
const POD: [&str; 11] = [
    "count/pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
const SERVICE: [&str; 4] = [
    "count/services",
    "services",
    "services.nodeports",
    "services.loadbalancers",
];
const CLAIM: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];

impl Counted {
    /// None for what quotas leave alone.
    pub fn of(group: &str, resource: &str) -> Option<Self> {
        Some(match (group, resource) {
            ("", "events" | "bindings" | "componentstatuses") | ("events.k8s.io", "events") => {
                return None;
            }
            ("authentication.k8s.io" | "authorization.k8s.io", _) => return None,
            ("", "pods") => Counted::Pod,
            ("", "services") => Counted::Service,
            ("", "persistentvolumeclaims") => Counted::Claim,
            ("resource.k8s.io", "resourceclaims") => Counted::DeviceClaim,
            _ => {
                let alias = match (group, resource) {
                    ("", "configmaps") => Some("configmaps"),
                    ("", "secrets") => Some("secrets"),
                    ("", "resourcequotas") => Some("resourcequotas"),
                    ("", "replicationcontrollers") => Some("replicationcontrollers"),
                    _ => None,
                };
                let name = format!("count/{}", knarr_api::status::qualified(group, resource));
                Counted::Piece { name, alias }
            }
        })
    }

    /// Whether a quota on this name is one on such objects.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Counted::Pod => {
                POD.contains(&name)
                    || name.starts_with("hugepages-")
                    || name
                        .strip_prefix("requests.")
                        .is_some_and(|rest| rest.starts_with("hugepages-") || is_extended(rest))
            }
            Counted::Service => SERVICE.contains(&name),
            Counted::Claim => {
                name == "count/persistentvolumeclaims"
                    || CLAIM.contains(&name)
                    || name
                        .split_once(CLASS_SUFFIX)
                        .is_some_and(|(_, rest)| CLAIM.contains(&rest))
            }
            Counted::DeviceClaim => {
                name == "count/resourceclaims.resource.k8s.io" || name.ends_with(DEVICES_SUFFIX)
            }
            Counted::Piece { name: own, alias } => name == own || Some(name) == *alias,
        }
    }

    pub fn usage(&self, object: &Value) -> Amounts {
        match self {
            Counted::Pod => pod(object),
            Counted::Service => service(&object["spec"]),
            Counted::Claim => claim(object),
            Counted::DeviceClaim => devices(&object["spec"]),
            Counted::Piece { name, alias } => {
                let names = std::iter::once(name.as_str()).chain(*alias);
                names.map(|name| (name.to_owned(), pieces(1))).collect()
            }
        }
    }
}

fn pieces(n: i64) -> Quantity {
    Quantity::from_units(n, Format::DecimalSi)
}

/// A resource of neither Kubernetes' own nor the original's prefix: a device, mostly.
pub fn is_extended(name: &str) -> bool {
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    !native && !name.starts_with("requests.")
}

fn pod(pod: &Value) -> Amounts {
    let mut used = Amounts::from([("count/pods".to_owned(), pieces(1))]);
    let phase = pod["status"]["phase"].as_str();
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return used;
    }
    used.insert("pods".into(), pieces(1));
    let spec = &pod["spec"];
    let requests = amounts::with_overhead(spec, "requests");
    let limits = amounts::with_overhead(spec, "limits");
    used.extend(compute(&requests, &limits));
    used
}

/// Requests and limits under the names that quotas have for them.
pub fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut used = Amounts::new();
    for (name, quantity) in requests {
        let plain = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        if plain || name.starts_with("hugepages-") {
            used.insert(name.clone(), quantity.clone());
        }
        if plain || name.starts_with("hugepages-") || is_extended(name) {
            used.insert(format!("requests.{name}"), quantity.clone());
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(limit) = limits.get(name) {
            used.insert(format!("limits.{name}"), limit.clone());
        }
    }
    used
}

fn service(spec: &Value) -> Amounts {
    let ports = spec["ports"].items();
    let count = |n: usize| pieces(i64::try_from(n).unwrap_or(i64::MAX));
    let explicit = ports
        .iter()
        .filter(|p| p["nodePort"].as_u64().is_some_and(|n| n > 0));
    let (node_ports, balancers) = match spec["type"].as_str() {
        Some("NodePort") => (count(ports.len()), 0),
        Some("LoadBalancer") if spec["allocateLoadBalancerNodePorts"] == false => {
            (count(explicit.count()), 1)
        }
        Some("LoadBalancer") => (count(ports.len()), 1),
        _ => (pieces(0), 0),
    };
    Amounts::from([
        ("count/services".to_owned(), pieces(1)),
        ("services".to_owned(), pieces(1)),
        ("services.nodeports".to_owned(), node_ports),
        ("services.loadbalancers".to_owned(), pieces(balancers)),
    ])
}

fn claim(claim: &Value) -> Amounts {
    let mut used = Amounts::from([
        ("count/persistentvolumeclaims".to_owned(), pieces(1)),
        ("persistentvolumeclaims".to_owned(), pieces(1)),
    ]);
    let old = &claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    let class = old.as_str().or(claim["spec"]["storageClassName"].as_str());
    let class = class.filter(|c| !c.is_empty());
    if let Some(class) = class {
        used.insert(
            format!("{class}{CLASS_SUFFIX}persistentvolumeclaims"),
            pieces(1),
        );
    }
    let whole = |list: &Value| {
        let storage = amounts::read(list).remove("storage")?;
        Some(Quantity::from_units(storage.value(), storage.format()))
    };
    let allocated = whole(&claim["status"]["allocatedResources"]);
    if let Some(mut storage) = whole(&claim["spec"]["resources"]["requests"]) {
        if let Some(more) = allocated.filter(|a| *a > storage) {
            storage = more;
        }
        used.insert("requests.storage".into(), storage.clone());
        if let Some(class) = class {
            used.insert(format!("{class}{CLASS_SUFFIX}requests.storage"), storage);
        }
    }
    used
}

fn devices(spec: &Value) -> Amounts {
    let mut used = Amounts::from([("count/resourceclaims.resource.k8s.io".to_owned(), pieces(1))]);
    let count = |request: &Value| match request["allocationMode"].as_str() {
        Some("All") => MOST_DEVICES,
        _ => request["count"].as_i64().unwrap_or(1),
    };
    let class = |request: &Value| request["deviceClassName"].as_str().map(str::to_owned);
    let requests = spec["devices"]["requests"].as_array();
    for request in requests.into_iter().flatten() {
        let mut most = Amounts::new();
        let alternatives = request["firstAvailable"].as_array().into_iter().flatten();
        for one in alternatives.chain([&request["exactly"]]) {
            if let Some(class) = class(one) {
                let name = format!("{class}{DEVICES_SUFFIX}");
                let wanted = pieces(count(one));
                let held = most.entry(name).or_insert_with(|| pieces(0));
                if wanted > *held {
                    *held = wanted;
                }
            }
        }
        amounts::add(&mut used, &most);
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn objects_use_what_they_name() {
        let counted = |group: &str, resource: &str| Counted::of(group, resource).unwrap();
        let pod = json!({"spec": {"containers": [{"resources": {"requests": {"cpu": "1", "example.com/gpu": "2", "hugepages-2Mi": "2Mi"}, "limits": {"cpu": "2"}}}]}});
        let table = [
            (
                counted("", "pods"),
                pod,
                "count/pods=1,cpu=1,hugepages-2Mi=2Mi,limits.cpu=2,pods=1,requests.cpu=1,requests.example.com/gpu=2,requests.hugepages-2Mi=2Mi",
            ),
            (
                counted("", "pods"),
                json!({"spec": {}, "status": {"phase": "Failed"}}),
                "count/pods=1",
            ),
            (
                counted("", "services"),
                json!({"spec": {"type": "LoadBalancer", "ports": [{}, {}]}}),
                "count/services=1,services=1,services.loadbalancers=1,services.nodeports=2",
            ),
            (
                counted("", "persistentvolumeclaims"),
                json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1500m"}}}}),
                "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/requests.storage=2,persistentvolumeclaims=1,requests.storage=2",
            ),
            (
                counted("", "secrets"),
                json!({}),
                "count/secrets=1,secrets=1",
            ),
            (
                counted("apps", "deployments"),
                json!({}),
                "count/deployments.apps=1",
            ),
            (
                counted("resource.k8s.io", "resourceclaims"),
                json!({"spec": {"devices": {"requests": [{"exactly": {"deviceClassName": "gpu", "count": 2}}, {"firstAvailable": [{"deviceClassName": "gpu"}, {"deviceClassName": "tpu", "allocationMode": "All"}]}]}}}),
                "count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=3,tpu.deviceclass.resource.k8s.io/devices=32",
            ),
        ];
        for (counted, object, wanted) in table {
            let used = counted.usage(&object);
            assert_eq!(amounts::shown(&used), wanted);
            assert!(used.keys().all(|name| counted.has(name)), "{counted:?}");
        }
        assert!(Counted::of("", "events").is_none());
        assert!(!counted("", "pods").has("services"));
    }
}
