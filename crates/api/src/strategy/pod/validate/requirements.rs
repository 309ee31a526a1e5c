//! Resources of containers and of pods as a whole.

use knarr_json::Value;

use super::Pod;
use crate::{
    field::{Error, Errors},
    names,
    strategy::pod::resources::{aggregate, is_pod_level},
    validation::{
        At,
        amount::Amount,
        list, map,
        resources::{amount, is_basic, is_extended, is_native, overcommits, resource_name},
    },
};

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
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

/// What a pod needs beside its containers.
pub fn overhead(overhead: &At, errs: &mut Errors) {
    let limits = At {
        v: overhead.v,
        path: overhead.path.child("limits"),
    };
    each_amount(&limits, &container_name, errs);
    let any = |basic: fn(&str) -> bool| overhead.entries().any(|(name, _)| basic(name));
    if any(is_huge_page) && !any(|n| n == "cpu" || n == "memory") {
        errs.push(overhead.forbidden("HugePages require cpu or memory"));
    }
}

type CheckName<'a> = &'a dyn Fn(&At, &str, &mut Errors);

/// Checks every amount of a list by name and by value.
fn each_amount(amounts: &At, check_name: CheckName, errs: &mut Errors) {
    for (name, at) in amounts.entries() {
        check_name(&at, name, errs);
        amount(&at, name, errs);
        pages(&at, name, errs);
    }
}

/// Huge pages are had by the page.
fn pages(at: &At, name: &str, errs: &mut Errors) {
    let Some(size) = name.strip_prefix("hugepages-") else {
        return;
    };
    let size = Amount::parse(size).filter(|s| s.nanos > 0 && s.is_whole());
    let amount = Amount::of(at.v);
    if size.is_none_or(|size| amount.rounded_up() % size.rounded_up() != 0) {
        let words = format!("{amount} is not positive integer multiple of {name}");
        errs.push(Error::invalid(&at.path, amount.to_string(), words));
    }
}

/// Limits, then requests, each checked by name, by amount and against each other.
fn quantities(resources: &At, check_name: CheckName, errs: &mut Errors) {
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    each_amount(&limits, check_name, errs);
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
        pages(&at, name, errs);
    }
}

/// A name that containers can ask for.
pub fn container_name(at: &At, name: &str, errs: &mut Errors) {
    resource_name(at, name, errs);
    let wrong = if !name.contains('/') {
        (!is_basic(name)).then_some("must be a standard resource for containers")
    } else {
        (!is_native(name) && !is_extended(name))
            .then_some("doesn't follow extended resource name standard")
    };
    if let Some(words) = wrong {
        errs.push(Error::invalid(&at.path, name, words));
    }
}

/// Claims of the pod that a container uses, whole or one request of them.
fn claims(resources: &At, pod: &Pod, errs: &mut Errors) {
    let mut seen: Vec<String> = Vec::new();
    for claim in resources.items("claims") {
        let (name, request) = (claim.text("name"), claim.get("request"));
        if name.is_empty() {
            errs.push(claim.required(""));
            continue;
        }
        if seen.iter().any(|s| s == name) {
            errs.push(Error::duplicate(&claim.path, name));
        } else if request.str().is_empty() {
            for _ in seen.iter().filter(|s| s.split('/').next() == Some(name)) {
                errs.push(Error::duplicate(&claim.path, name));
            }
            seen.push(name.to_owned());
        } else {
            request.push(names::dns1123_label(request.str()), errs);
            let this = format!("{name}/{}", request.str());
            if seen.contains(&this) {
                errs.push(Error::duplicate(&claim.path, this.as_str()));
            }
            seen.push(this);
        }
        if !pod.claims.contains(&name) {
            errs.push(Error::not_found(&claim.path, name).with_detail(known_claims(pod)));
        }
    }
}

fn known_claims(pod: &Pod) -> String {
    let words = "must be one of the names in pod.spec.resourceClaims";
    let mut known: Vec<&str> = pod.claims.clone();
    known.sort_unstable();
    known.dedup();
    if known.is_empty() {
        format!("{words} which is empty")
    } else {
        format!("{words}: {}", known.join(", "))
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
        let before = errs.len();
        resource_name(at, name, errs);
        if errs.len() == before && !is_pod_level(name) {
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

/// The list `resizePolicy` of a container. The original leaves the index out of most paths.
pub fn resize_policy(all: &At, pod: &Pod, errs: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for policy in all.each() {
        let (name, restart) = (policy.text("resourceName"), policy.text("restartPolicy"));
        if seen.contains(&name) {
            errs.push(Error::duplicate(&policy.path, name));
        }
        seen.push(name);
        for (value, supported) in [
            (name, ["cpu", "memory"]),
            (restart, ["NotRequired", "RestartContainer"]),
        ] {
            if value.is_empty() {
                errs.push(all.required(""));
            } else if !supported.contains(&value) {
                errs.push(Error::not_supported(&all.path, value, &supported));
            }
        }
        if pod.restart_policy == "Never" && restart != "NotRequired" {
            let words = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errs.push(Error::invalid(&all.path, restart, words));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    fn wrong(resources: Value) -> Vec<String> {
        let pod = Pod {
            volumes: Default::default(),
            claims: vec!["b", "a", "a"],
            grace_period: None,
            restart_policy: "Never",
            host_users: true,
            os: "",
        };
        let mut errs = Errors::new();
        let at = At::new(&resources, "r");
        container(&at, &pod, &mut errs);
        resize_policy(&at.get("resizePolicy"), &pod, &mut errs);
        errs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn resources_that_are_refused() {
        let cases: &[(Value, &[&str])] = &[
            (
                json!({"limits": {"pods": "1"}}),
                &[
                    "r.limits[pods]: Invalid value: \"pods\": must be a standard resource for containers",
                ],
            ),
            (
                json!({"limits": {"gpu": "1"}}),
                &[
                    "r.limits[gpu]: Invalid value: \"gpu\": must be a standard resource type or fully qualified",
                    "r.limits[gpu]: Invalid value: \"gpu\": must be a standard resource for containers",
                ],
            ),
            (
                json!({"limits": {"requests.example.com/x": "1"}, "requests": {"requests.example.com/x": "1"}}),
                &[
                    "r.limits[requests.example.com/x]: Invalid value: \"requests.example.com/x\": doesn't follow extended resource name standard",
                    "r.requests[requests.example.com/x]: Invalid value: \"requests.example.com/x\": doesn't follow extended resource name standard",
                ],
            ),
            (
                json!({"limits": {"hugepages-2Mi": "3Mi", "cpu": "1"}}),
                &[
                    "r.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                ],
            ),
            (
                json!({"limits": {"hugepages-2Mi": "4Mi"}}),
                &["r: Forbidden: HugePages require cpu or memory"],
            ),
            (
                json!({"claims": [{"name": "a", "request": "r"}, {"name": "a"}, {"name": "c"}, {}]}),
                &[
                    "r.claims[1]: Duplicate value: \"a\"",
                    "r.claims[2]: Not found: \"c\": must be one of the names in pod.spec.resourceClaims: a, b",
                    "r.claims[3]: Required value",
                ],
            ),
            (
                json!({"resizePolicy": [{"resourceName": "disk", "restartPolicy": "RestartContainer"}]}),
                &[
                    "r.resizePolicy: Unsupported value: \"disk\": supported values: \"cpu\", \"memory\"",
                    "r.resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when `restartPolicy` is 'Never'",
                ],
            ),
        ];
        for (resources, want) in cases {
            assert_eq!(wrong(resources.clone()), *want, "{resources}");
        }
    }
}
