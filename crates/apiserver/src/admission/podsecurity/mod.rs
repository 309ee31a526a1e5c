//! PodSecurity: labels of a namespace say what its pods may do.

mod checks;
mod policy;

use std::collections::{BTreeMap, HashSet};

use knarr_api::Status;
use knarr_json::Value;
use knarr_store::Range;

use self::{
    checks::{Pod, Violation, evaluate},
    policy::{Policy, Rule},
};
use super::{Attributes, Operation};
use crate::Outcome;

const ANNOTATION: &str = "pod-security.kubernetes.io/";
/// Pods of a namespace that are looked at when it becomes stricter.
const MOST_CHECKED: usize = 3000;
/// Subresources of pods that hold no pod that could be wrong.
const IGNORED: [&str; 8] = [
    "exec",
    "attach",
    "binding",
    "eviction",
    "log",
    "portforward",
    "proxy",
    "status",
];

/// What holds where a namespace says nothing, and who is not judged.
#[derive(Default)]
pub(crate) struct Settings {
    defaults: Policy,
    usernames: Vec<String>,
    runtime_classes: Vec<String>,
    namespaces: Vec<String>,
}

impl Settings {
    /// From a `PodSecurityConfiguration`.
    ///
    /// # Errors
    /// For a level or version that is none.
    pub fn of(configuration: &Value) -> Result<Self, String> {
        let defaults = &configuration["defaults"];
        let (defaults, errors) = Policy::of(Policy::default(), |label| {
            defaults[label.strip_prefix(ANNOTATION)?].as_str()
        });
        if !errors.is_empty() {
            return Err(knarr_api::field::aggregate(&errors));
        }
        let names = |key: &str| -> Vec<String> {
            let list = configuration["exemptions"][key].as_array();
            let list = list.into_iter().flatten().filter_map(Value::as_str);
            list.map(str::to_owned).collect()
        };
        Ok(Settings {
            defaults,
            usernames: names("usernames"),
            runtime_classes: names("runtimeClasses"),
            namespaces: names("namespaces"),
        })
    }

    /// Why a request is not judged.
    fn exempts(&self, a: &Attributes<'_>, pod: Option<&Value>) -> Option<&'static str> {
        let has = |list: &[String], name: &str| list.iter().any(|n| n == name);
        let class = pod.and_then(|pod| pod["spec"]["runtimeClassName"].as_str());
        if has(&self.namespaces, a.namespace()) {
            Some("namespace")
        } else if has(&self.usernames, &a.call.user.name) {
            Some("user")
        } else if class.is_some_and(|class| has(&self.runtime_classes, class)) {
            Some("runtimeClass")
        } else {
            None
        }
    }
}

/// Where objects of a kind have their pods' metadata and spec; none for kinds without pods.
fn template(group: &str, resource: &str) -> Option<&'static str> {
    Some(match (group, resource) {
        ("", "pods") => "",
        ("", "podtemplates") => "/template",
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => "/spec/template",
        ("batch", "cronjobs") => "/spec/jobTemplate/spec/template",
        _ => return None,
    })
}

/// # Errors
/// 403 for a pod that does what its namespace forbids, 422 for labels of a namespace that cannot be read.
pub fn validate(a: &Attributes<'_>, object: &Value) -> Outcome<()> {
    if a.is("", "namespaces") {
        return namespace(a, object);
    }
    let Some(path) = template(a.group(), a.resource()) else {
        return Ok(());
    };
    let is_pod = path.is_empty();
    let passes = match is_pod {
        true => IGNORED.contains(&a.subresource),
        false => !a.subresource.is_empty(),
    };
    if passes {
        return Ok(());
    }
    let settings = &a.call.shared.admission.settings.pod_security;
    if let Some(why) = settings.exempts(a, object.pointer(path)) {
        a.call.annotate(&format!("{ANNOTATION}exempt"), why);
        return Ok(());
    }
    let key = format!("/registry/namespaces/{}", a.namespace());
    let Some(stored) = a.call.shared.store.get(&key) else {
        let why = format!("failed to lookup namespace {}", a.namespace());
        return if is_pod {
            Err(Status::internal(why).into())
        } else {
            Ok(())
        };
    };
    // Most namespaces say nothing.
    let labels = &stored.head.labels;
    let (policy, errors) = match labels.iter().any(|(key, _)| key.starts_with(ANNOTATION)) {
        true => Policy::of(settings.defaults, |label| stored.head.label(label)),
        false => (settings.defaults, Vec::new()),
    };
    if errors.is_empty() && policy.is_privileged() {
        if is_pod {
            a.call.annotate(
                &format!("{ANNOTATION}enforce-policy"),
                policy.enforce.to_string(),
            );
        }
        return Ok(());
    }
    if is_pod
        && a.operation == Operation::Update
        && !a.old.is_none_or(|old| is_significant(object, old))
    {
        return Ok(());
    }
    if !errors.is_empty() {
        let why = format!(
            "Failed to parse policy: {}",
            knarr_api::field::aggregate(&errors)
        );
        a.call.annotate(&format!("{ANNOTATION}error"), why);
    }
    let Some(pod) = object.pointer(path).filter(|pod| pod["spec"].is_object()) else {
        return Ok(());
    };
    judge(a, object, &policy, pod, is_pod)
}

/// Every violation in one text.
fn details(found: &[Violation]) -> String {
    let shown: Vec<String> = found
        .iter()
        .map(|v| format!("{} ({})", v.reason, v.detail))
        .collect();
    shown.join(", ")
}

fn judge(
    a: &Attributes<'_>,
    object: &Value,
    policy: &Policy,
    pod: &Value,
    enforce: bool,
) -> Outcome<()> {
    let check = |rule: Rule| {
        evaluate(
            rule,
            Pod {
                metadata: &pod["metadata"],
                spec: &pod["spec"],
            },
        )
    };
    let note = |key: &str, value: String| a.call.annotate(&format!("{ANNOTATION}{key}"), value);
    let would = |rule: Rule, found: &[Violation]| {
        format!("would violate PodSecurity \"{rule}\": {}", details(found))
    };
    let audited = check(policy.audit);
    if !audited.is_empty() {
        note("audit-violations", would(policy.audit, &audited));
    }
    if enforce {
        note("enforce-policy", policy.enforce.to_string());
        let found = check(policy.enforce);
        if !found.is_empty() {
            let why = format!(
                "violates PodSecurity \"{}\": {}",
                policy.enforce,
                details(&found)
            );
            return Err(a.forbidden(object, &why));
        }
    }
    let found = check(policy.warn);
    if !found.is_empty() {
        a.call.warn([would(policy.warn, &found)]);
    }
    Ok(())
}

/// Whether an update of a pod can change what it may do: images, old annotations, new ephemeral containers.
fn is_significant(pod: &Value, old: &Value) -> bool {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let list = |pod: &Value, key: &str| pod["spec"][key].as_array().cloned().unwrap_or_default();
    let annotated =
        |key: &str| pod["metadata"]["annotations"][key] != old["metadata"]["annotations"][key];
    let changed = |container: &Value, before: &Value| {
        let name = container["name"].as_str().unwrap_or_default();
        container["image"] != before["image"] || annotated(&format!("{CONTAINER}{name}"))
    };
    if annotated(POD) {
        return true;
    }
    for key in ["containers", "initContainers"] {
        let (now, before) = (list(pod, key), list(old, key));
        if now.len() != before.len() || now.iter().zip(&before).any(|(n, b)| changed(n, b)) {
            return true;
        }
    }
    let before = list(old, "ephemeralContainers");
    list(pod, "ephemeralContainers").iter().any(|container| {
        let known = before.iter().find(|b| b["name"] == container["name"]);
        known.is_none_or(|known| changed(container, known))
    })
}

fn namespace(a: &Attributes<'_>, object: &Value) -> Outcome<()> {
    let settings = &a.call.shared.admission.settings.pod_security;
    let of = |namespace: &Value| policy_of(settings.defaults, namespace);
    let (new, errors) = of(object);
    let old = a.old.map(of);
    let known = old.as_ref().is_some_and(|(_, before)| *before == errors);
    if !errors.is_empty() && !known {
        let name = a.shown_name(object);
        return Err(Status::invalid("", "Namespace", name, &errors).into());
    }
    if let Some((old, _)) = old
        && new.enforce.is_stricter_than(&old.enforce)
        && !settings.namespaces.iter().any(|n| n == a.name())
    {
        a.call.warn(check_existing(a, new.enforce));
    }
    Ok(())
}

fn policy_of(default: Policy, namespace: &Value) -> (Policy, knarr_api::field::Errors) {
    let labels = &namespace["metadata"]["labels"];
    Policy::of(default, |label| labels.get(label).and_then(Value::as_str))
}

/// Which pods of the namespace would not be let in any more: one warning per kind of violation.
fn check_existing(a: &Attributes<'_>, rule: Rule) -> Vec<String> {
    let name = a.name();
    let listing = a.call.shared.store.list(Range {
        prefix: &format!("/registry/pods/{name}/"),
        ..Range::default()
    });
    let items = listing.map(|l| l.items).unwrap_or_default();
    let pods: Vec<Value> = items
        .iter()
        .filter_map(|stored| serde_json::from_slice(&stored.json).ok())
        .collect();
    warnings(name, rule, &pods)
}

fn warnings(namespace: &str, rule: Rule, pods: &[Value]) -> Vec<String> {
    let ordered = by_controller(pods);
    // The first pod by name, and how many there are.
    let mut kinds: BTreeMap<String, (&str, usize)> = BTreeMap::new();
    for pod in ordered.iter().take(MOST_CHECKED) {
        let found = evaluate(
            rule,
            Pod {
                metadata: &pod["metadata"],
                spec: &pod["spec"],
            },
        );
        if found.is_empty() {
            continue;
        }
        let reasons: Vec<&str> = found.iter().map(|v| v.reason.as_str()).collect();
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let entry = kinds.entry(reasons.join(", ")).or_insert((name, 0));
        entry.0 = entry.0.min(name);
        entry.1 += 1;
    }
    let mut out = Vec::new();
    if ordered.len() > MOST_CHECKED {
        out.push(format!(
            "new PodSecurity enforce level only checked against the first {MOST_CHECKED} of {} existing pods",
            ordered.len()
        ));
    }
    if !kinds.is_empty() {
        out.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{rule}\""
        ));
    }
    let mut told: Vec<String> = kinds
        .into_iter()
        .map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            n => format!("{name} (and {} other pods): {reasons}", n - 1),
        })
        .collect();
    told.sort();
    out.extend(told);
    out
}

/// One pod of each controller first, as the others are mostly like it.
fn by_controller(pods: &[Value]) -> Vec<&Value> {
    let mut seen: HashSet<&str> = HashSet::new();
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for pod in pods {
        let owners = pod["metadata"]["ownerReferences"].as_array();
        let controller = owners
            .into_iter()
            .flatten()
            .find(|o| o["controller"] == true);
        match controller.and_then(|o| o["uid"].as_str()) {
            Some(uid) if !seen.insert(uid) => rest.push(pod),
            _ => first.push(pod),
        }
    }
    first.extend(rest);
    first
}

#[cfg(test)]
mod tests {
    use super::{policy::Level, *};
    use knarr_json::json;

    #[test]
    fn only_some_updates_matter() {
        let old = json!({"spec": {"containers": [{"name": "c", "image": "a"}]}});
        let with = |path: &str, value: Value| {
            let mut pod = old.clone();
            *pod.pointer_mut(path).unwrap() = value;
            is_significant(&pod, &old)
        };
        assert!(!is_significant(&old, &old));
        assert!(with("/spec/containers/0/image", json!("b")));
        assert!(!with(
            "/spec/containers/0",
            json!({"name": "c", "image": "a", "resources": {}})
        ));
        let mut debugged = old.clone();
        debugged["spec"]["ephemeralContainers"] = json!([{"name": "d"}]);
        assert!(is_significant(&debugged, &old));
    }

    #[test]
    fn pods_that_would_go_are_counted() {
        let pod = |name: &str, host: bool| json!({"metadata": {"name": name, "ownerReferences": [{"controller": true, "uid": "u"}]}, "spec": {"hostPID": host}});
        let rule = Rule {
            level: Level::Baseline,
            ..Rule::default()
        };
        let pods = [pod("b", true), pod("a", true), pod("c", false)];
        assert_eq!(
            warnings("n", rule, &pods),
            [
                "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
                "a (and 1 other pod): host namespaces"
            ]
        );
        assert!(warnings("n", rule, &pods[2..]).is_empty());
    }
}
