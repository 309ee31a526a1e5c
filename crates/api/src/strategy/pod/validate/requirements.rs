//! Resources of containers and of pods as a whole.

use serde_json::Value;

use super::Pod;
use crate::{
    field::{Error, Errors},
    names,
    strategy::pod::resources::{aggregate, is_integer, is_pod_level},
    validation::{At, amount::Amount, list, map},
};

const STANDARD: [&str; 14] = [
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
    "storage",
];

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether a request may be lower than the limit.
fn overcommits(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// Requests and limits of a container.
pub fn container(resources: &At, pod: &Pod, errs: &mut Errors) {
    quantities(resources, &container_name, errs);
    let names = |key: &str| map(resources.v, key).into_iter().flat_map(|m| m.keys());
    let has_huge = names("limits")
        .chain(names("requests"))
        .any(|n| is_huge_page(n));
    let has_basic = names("limits")
        .chain(names("requests"))
        .any(|n| n == "cpu" || n == "memory");
    if has_huge && !has_basic {
        errs.push(resources.forbidden("HugePages require cpu or memory"));
    }
    claims(resources, pod, errs);
}

/// Limits, then requests, each checked by name, by amount and against each other.
fn quantities(resources: &At, check_name: &dyn Fn(&At, &str, &mut Errors), errs: &mut Errors) {
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    for (name, at) in limits.entries() {
        check_name(&at, name, errs);
        amount(&at, name, errs);
    }
    for (name, at) in requests.entries() {
        check_name(&at, name, errs);
        amount(&at, name, errs);
        let request = Amount::of(at.v);
        match limits.v.get(name).map(Amount::of) {
            Some(limit) if request.nanos != limit.nanos && !overcommits(name) => {
                let words = format!("must be equal to {name} limit of {limit}");
                errs.push(Error::invalid(&requests.path, request.to_string(), words));
            }
            Some(limit) if request > limit => {
                let words = format!("must be less than or equal to {name} limit of {limit}");
                errs.push(Error::invalid(&requests.path, request.to_string(), words));
            }
            None if !overcommits(name) => {
                errs.push(limits.required("Limit must be set for non overcommitable resources"));
            }
            _ => {}
        }
    }
}

fn container_name(at: &At, name: &str, errs: &mut Errors) {
    let wrong = names::qualified_name(name);
    if !wrong.is_empty() {
        for m in wrong {
            errs.push(Error::invalid(&at.path, name, m));
        }
        return;
    }
    if name.contains('/') {
        let extended = !is_native(name) && !name.starts_with("requests.");
        if !is_native(name) && !extended {
            errs.push(Error::invalid(
                &at.path,
                name,
                "doesn't follow extended resource name standard",
            ));
        }
        return;
    }
    if !STANDARD.contains(&name) && !is_huge_page(name) {
        errs.push(Error::invalid(
            &at.path,
            name,
            "must be a standard resource type or fully qualified",
        ));
    }
    if !["cpu", "memory", "ephemeral-storage"].contains(&name) && !is_huge_page(name) {
        errs.push(Error::invalid(
            &at.path,
            name,
            "must be a standard resource for containers",
        ));
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
    if !amount.is_whole() && is_integer(name) {
        errs.push(Error::invalid(
            &at.path,
            amount.to_string(),
            "must be an integer",
        ));
    }
}

fn claims(resources: &At, pod: &Pod, errs: &mut Errors) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for claim in resources.items("claims") {
        let name = claim.get("name");
        let this = (name.str(), claim.text("request"));
        if name.str().is_empty() {
            errs.push(name.required(""));
        } else if seen.contains(&this) {
            errs.push(Error::duplicate(&claim.path, this.0));
        } else if !pod.claims.contains(&name.str()) {
            let mut known: Vec<&str> = pod.claims.clone();
            known.sort_unstable();
            let words = if known.is_empty() {
                "must be one of the names in pod.spec.resourceClaims which is empty".to_owned()
            } else {
                format!(
                    "must be one of the names in pod.spec.resourceClaims: [{}]",
                    known.join(" ")
                )
            };
            errs.push(Error::not_found(&claim.path, name.str()).with_detail(words));
        }
        seen.push(this);
    }
}

/// What a pod as a whole requests, and how that relates to its containers.
pub fn pod(spec: &At, pod: &Pod, errs: &mut Errors) {
    let Some(resources) = spec.some("resources") else {
        return;
    };
    if pod.os == "windows" {
        errs.push(resources.forbidden("may not be set for a windows pod"));
        return;
    }
    if !list(&resources.v["claims"]).is_empty() {
        errs.push(
            resources
                .get("claims")
                .forbidden("claims may not be set for Resources at pod-level"),
        );
    }
    let name = |at: &At, name: &str, errs: &mut Errors| {
        if !is_pod_level(name) {
            errs.push(Error::not_supported(
                &at.path,
                name,
                &["cpu", "hugepages-", "memory"],
            ));
        }
    };
    quantities(&resources, &name, errs);
    claims(&resources, pod, errs);
    against_containers(spec, &resources, errs);
}

fn against_containers(spec: &At, resources: &At, errs: &mut Errors) {
    let requests = resources.get("requests");
    for (name, total) in aggregate(spec.v, "requests") {
        let Some(whole) = requests.v.get(&name).map(Amount::of) else {
            continue;
        };
        if total > whole {
            let words =
                format!("must be greater than or equal to aggregate container requests of {total}");
            errs.push(Error::invalid(
                &requests.path.key(&name),
                whole.to_string(),
                words,
            ));
        }
    }
    container_limits(&spec.v["containers"], "containers", resources, errs);
    container_limits(&spec.v["initContainers"], "initContainers", resources, errs);
}

fn container_limits(containers: &Value, list_name: &str, resources: &At, errs: &mut Errors) {
    for (i, c) in list(containers).iter().enumerate() {
        for (name, limit) in map(&c["resources"], "limits").into_iter().flatten() {
            let Some(whole) = resources.v["limits"].get(name).map(Amount::of) else {
                continue;
            };
            let limit = Amount::of(limit);
            if limit > whole {
                let path = resources
                    .path
                    .child(list_name)
                    .index(i)
                    .key(name)
                    .child("limits");
                let words = format!("must be less than or equal to pod limits of {whole}");
                errs.push(Error::invalid(&path, limit.to_string(), words));
            }
        }
    }
}

/// The list `resizePolicy` of a container.
pub fn resize_policy(all: &At, pod: &Pod, errs: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for policy in all.each() {
        let (name, restart) = (policy.get("resourceName"), policy.get("restartPolicy"));
        if seen.contains(&name.str()) {
            errs.push(Error::duplicate(&policy.path, name.str()));
        }
        seen.push(name.str());
        match name.str() {
            "cpu" | "memory" => {}
            "" => errs.push(name.required("")),
            _ => errs.push(name.not_supported(&["cpu", "memory"])),
        }
        match restart.str() {
            "NotRequired" | "RestartContainer" => {}
            "" => errs.push(restart.required("")),
            _ => errs.push(restart.not_supported(&["NotRequired", "RestartContainer"])),
        }
        if pod.restart_policy == "Never" && restart.str() == "RestartContainer" {
            errs.push(restart.invalid("must be 'NotRequired' when `restartPolicy` is 'Never'"));
        }
    }
}
