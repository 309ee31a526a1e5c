//! Names of resources: of which there are basic ones, ones that quotas count, and those that clusters add.

use super::{At, amount::Amount};
use crate::{
    field::{Error, Errors},
    names,
};

/// Resources that need no domain in their names.
pub const STANDARD: [&str; 20] = [
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
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

/// Resources without a domain, and those of Kubernetes' own.
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a request may be lower than the limit.
pub fn overcommits(name: &str) -> bool {
    is_native(name) && !name.starts_with("hugepages-")
}

/// What a container has without any device.
pub fn is_basic(name: &str) -> bool {
    ["cpu", "memory", "ephemeral-storage"].contains(&name) || name.starts_with("hugepages-")
}

/// Resources of devices: `example.com/gpu`.
pub fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Resources that are only counted in whole units.
pub fn is_integer(name: &str) -> bool {
    match name {
        "pods"
        | "services"
        | "replicationcontrollers"
        | "resourcequotas"
        | "secrets"
        | "configmaps"
        | "persistentvolumeclaims"
        | "services.nodeports"
        | "services.loadbalancers" => true,
        _ => is_extended(name),
    }
}

/// A name that is qualified, or known.
pub fn resource_name(at: &At, name: &str, errs: &mut Errors) {
    let wrong = names::qualified_name(name);
    let known = name.contains('/')
        || STANDARD.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-");
    if wrong.is_empty() && !known {
        errs.push(Error::invalid(
            &at.path,
            name,
            "must be a standard resource type or fully qualified",
        ));
    }
    for m in wrong {
        errs.push(Error::invalid(&at.path, name, m));
    }
}

/// An amount of a resource: not negative, and whole where only whole units are counted.
pub fn amount(at: &At, name: &str, errs: &mut Errors) {
    let amount = Amount::of(at.v);
    if amount.nanos < 0 {
        errs.push(Error::invalid(
            &at.path,
            amount.to_string(),
            "must be greater than or equal to 0",
        ));
    }
    if !amount.is_whole_in_milli() && is_integer(name) {
        errs.push(Error::invalid(
            &at.path,
            amount.to_string(),
            "must be an integer",
        ));
    }
}
