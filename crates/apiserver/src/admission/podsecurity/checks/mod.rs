//! The pod security standards: each check finds what a pod may not do at a level and version. Pure.

mod baseline;
mod restricted;

use std::collections::BTreeSet;

use knarr_json::Value;

use super::policy::{Level, Rule};

/// What a pod does that it may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub reason: String,
    pub detail: String,
}

/// A pod, or the template of one.
#[derive(Clone, Copy)]
pub struct Pod<'a> {
    pub metadata: &'a Value,
    pub spec: &'a Value,
}

type Found = Option<Violation>;

fn found(reason: &str, detail: String) -> Found {
    Some(Violation {
        reason: reason.to_owned(),
        detail,
    })
}

/// All violations of a rule: those of the baseline first, each level's in the order of their checks' names.
pub fn evaluate(rule: Rule, pod: Pod<'_>) -> Vec<Violation> {
    if rule.level == Level::Privileged {
        return Vec::new();
    }
    let (v, restricted) = (rule.version, rule.level == Level::Restricted);
    // Where the stricter level has a check of its own for the same, only that is told.
    let baseline_unless = |minor: u32| !(restricted && v.has(minor));
    let mut out = vec![
        baseline::app_armor(pod),
        baseline_unless(22)
            .then(|| baseline::capabilities(pod))
            .flatten(),
        baseline::host_namespaces(pod),
        baseline_unless(0)
            .then(|| baseline::host_paths(pod))
            .flatten(),
        baseline::host_ports(pod),
        v.has(34).then(|| baseline::probe_hosts(pod)).flatten(),
        baseline::privileged(pod),
        baseline_unless(35)
            .then(|| baseline::proc_mount_baseline(pod, v))
            .flatten(),
        baseline::selinux(pod, v),
        baseline_unless(19)
            .then(|| baseline::seccomp_baseline(pod, v))
            .flatten(),
        baseline::sysctls(pod, v),
        baseline::windows_host_process(pod),
    ];
    if restricted {
        // Windows knows neither capabilities nor seccomp.
        let linux = !(v.has(25) && pod.spec["os"]["name"] == "windows");
        out.extend([
            (v.has(8) && linux)
                .then(|| restricted::escalation(pod))
                .flatten(),
            (v.has(22) && linux)
                .then(|| restricted::capabilities_restricted(pod))
                .flatten(),
            v.has(35).then(|| proc_mount(pod)).flatten(),
            restricted::volumes(pod),
            restricted::non_root(pod, v),
            v.has(23).then(|| restricted::user_zero(pod, v)).flatten(),
            (v.has(19) && linux)
                .then(|| restricted::seccomp_restricted(pod))
                .flatten(),
        ]);
    }
    out.into_iter().flatten().collect()
}

fn quoted<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    let items: Vec<String> = items
        .into_iter()
        .map(|item| format!("\"{}\"", item.as_ref()))
        .collect();
    items.join(", ")
}

fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

/// `container "a"` or `containers "a", "b"`.
fn named(containers: &[&str]) -> String {
    let word = plural(containers.len(), "container", "containers");
    format!("{word} {}", quoted(containers))
}

fn containers(pod: Pod<'_>) -> impl Iterator<Item = &Value> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    lists
        .into_iter()
        .flat_map(move |list| pod.spec[list].as_array().into_iter().flatten())
}

fn name(container: &Value) -> &str {
    container["name"].as_str().unwrap_or_default()
}

/// Names of the containers that do something.
fn who<'a>(pod: Pod<'a>, does: impl Fn(&'a Value) -> bool) -> Vec<&'a str> {
    containers(pod).filter(|c| does(c)).map(name).collect()
}

/// The pod itself and its containers, as those that set something.
fn setters(by_pod: bool, by_containers: &[&str]) -> Option<String> {
    let mut parts = Vec::new();
    if by_pod {
        parts.push("pod".to_owned());
    }
    if !by_containers.is_empty() {
        parts.push(named(by_containers));
    }
    (!parts.is_empty()).then(|| parts.join(" and "))
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// Pods in a user namespace of their own are root in nothing else.
fn has_own_users(pod: Pod<'_>) -> bool {
    pod.spec["hostUsers"] == false
}

fn adding<'a>(pod: Pod<'a>, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let added = |c: &'a Value| texts(&c["securityContext"]["capabilities"]["add"]);
    let by = who(pod, |c| added(c).any(|cap| !allowed.contains(&cap)));
    let caps = containers(pod).flat_map(added);
    (by, caps.filter(|cap| !allowed.contains(cap)).collect())
}

fn proc_mount(pod: Pod<'_>) -> Found {
    let bad = |c: &Value| {
        let kind = c["securityContext"]["procMount"].as_str()?;
        (kind != "Default").then(|| kind.to_owned())
    };
    let by = who(pod, |c| bad(c).is_some());
    if by.is_empty() {
        return None;
    }
    let kinds: BTreeSet<String> = containers(pod).filter_map(bad).collect();
    let detail = format!(
        "{} must not set securityContext.procMount to {}",
        named(&by),
        quoted(kinds)
    );
    found("procMount", detail)
}

fn seccomp_kind(holder: &Value) -> Option<&str> {
    let profile = &holder["securityContext"]["seccompProfile"];
    profile
        .is_object()
        .then(|| profile["type"].as_str().unwrap_or_default())
}

fn is_bad_seccomp(holder: &Value) -> bool {
    seccomp_kind(holder).is_some_and(|k| !matches!(k, "RuntimeDefault" | "Localhost"))
}

fn seccomp_set_wrong(pod: Pod<'_>) -> Found {
    let by = setters(is_bad_seccomp(pod.spec), &who(pod, is_bad_seccomp))?;
    let holders = std::iter::once(pod.spec).chain(containers(pod));
    let kinds: BTreeSet<&str> = holders
        .filter(|h| is_bad_seccomp(h))
        .filter_map(seccomp_kind)
        .collect();
    let detail = format!(
        "{by} must not set securityContext.seccompProfile.type to {}",
        quoted(kinds)
    );
    found("seccompProfile", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::podsecurity::policy::Version;
    use knarr_json::json;

    fn told(level: Level, version: Version, spec: Value) -> String {
        let metadata = json!({});
        let pod = Pod {
            metadata: &metadata,
            spec: &spec,
        };
        let found = evaluate(Rule { level, version }, pod);
        let shown: Vec<String> = found
            .iter()
            .map(|v| format!("{} ({})", v.reason, v.detail))
            .collect();
        shown.join(", ")
    }

    #[test]
    fn a_plain_pod_is_no_restricted_one() {
        let plain = || json!({"containers": [{"name": "c"}, {"name": "d"}]});
        assert_eq!(told(Level::Baseline, Version::Latest, plain()), "");
        assert_eq!(
            told(Level::Restricted, Version::Latest, plain()),
            "allowPrivilegeEscalation != false (containers \"c\", \"d\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers \"c\", \"d\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or containers \"c\", \"d\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or containers \"c\", \"d\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
        );
        assert_eq!(
            told(Level::Restricted, Version::Minor(7), plain()),
            "runAsNonRoot != true (pod or containers \"c\", \"d\" must set securityContext.runAsNonRoot=true)"
        );
        let good = json!({
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        });
        assert_eq!(told(Level::Restricted, Version::Latest, good), "");
    }

    #[test]
    fn the_baseline_forbids_what_reaches_the_host() {
        let one =
            |context: Value| json!({"containers": [{"name": "c", "securityContext": context}]});
        let table = [
            (
                json!({"hostNetwork": true, "hostIPC": true}),
                "host namespaces (hostNetwork=true, hostIPC=true)",
            ),
            (
                json!({"volumes": [{"name": "a", "hostPath": {}}, {"name": "b", "hostPath": {}}]}),
                "hostPath volumes (volumes \"a\", \"b\")",
            ),
            (
                json!({"containers": [{"name": "c", "ports": [{"hostPort": 80}, {"hostPort": 443}]}]}),
                "hostPort (container \"c\" uses hostPorts 443, 80)",
            ),
            (
                one(json!({"privileged": true})),
                "privileged (container \"c\" must not set securityContext.privileged=true)",
            ),
            (
                one(json!({"capabilities": {"add": ["SYS_TIME", "CHOWN"]}})),
                "non-default capabilities (container \"c\" must not include \"SYS_TIME\" in securityContext.capabilities.add)",
            ),
            (
                one(json!({"procMount": "Unmasked"})),
                "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
            ),
            (
                json!({"securityContext": {"seLinuxOptions": {"type": "x", "user": "u"}}}),
                "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"x\"; user may not be set)",
            ),
            (
                one(json!({"seccompProfile": {"type": "Unconfined"}})),
                "seccompProfile (container \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
            ),
            (
                json!({"securityContext": {"sysctls": [{"name": "kernel.shm_rmid_forced"}, {"name": "kernel.msgmax"}]}}),
                "forbidden sysctls (kernel.msgmax)",
            ),
            (
                json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
                "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\")",
            ),
            (
                json!({"containers": [{"name": "c", "livenessProbe": {"httpGet": {"host": "h"}}}]}),
                "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"h\")",
            ),
        ];
        for (spec, wanted) in table {
            assert_eq!(told(Level::Baseline, Version::Latest, spec), wanted);
        }
    }

    #[test]
    fn versions_differ() {
        let users = json!({"hostUsers": false, "containers": [{"name": "c", "securityContext": {"procMount": "Unmasked"}}]});
        assert_eq!(told(Level::Baseline, Version::Minor(35), users.clone()), "");
        assert_ne!(told(Level::Baseline, Version::Minor(34), users), "");
        let sysctl = json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}});
        assert_eq!(
            told(Level::Baseline, Version::Minor(32), sysctl.clone()),
            ""
        );
        assert_ne!(told(Level::Baseline, Version::Minor(31), sysctl), "");
    }
}
