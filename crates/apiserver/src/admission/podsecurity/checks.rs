//! The pod security standards: each check finds what a pod may not do at a level and version. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::policy::{Level, Rule, Version};

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
        app_armor(pod),
        baseline_unless(22).then(|| capabilities(pod)).flatten(),
        host_namespaces(pod),
        baseline_unless(0).then(|| host_paths(pod)).flatten(),
        host_ports(pod),
        v.has(34).then(|| probe_hosts(pod)).flatten(),
        privileged(pod),
        baseline_unless(35)
            .then(|| proc_mount_baseline(pod, v))
            .flatten(),
        selinux(pod, v),
        baseline_unless(19)
            .then(|| seccomp_baseline(pod, v))
            .flatten(),
        sysctls(pod, v),
        windows_host_process(pod),
    ];
    if restricted {
        // Windows knows neither capabilities nor seccomp.
        let linux = !(v.has(25) && pod.spec["os"]["name"] == "windows");
        out.extend([
            (v.has(8) && linux).then(|| escalation(pod)).flatten(),
            (v.has(22) && linux)
                .then(|| capabilities_restricted(pod))
                .flatten(),
            v.has(35).then(|| proc_mount(pod)).flatten(),
            volumes(pod),
            non_root(pod, v),
            v.has(23).then(|| user_zero(pod, v)).flatten(),
            (v.has(19) && linux)
                .then(|| seccomp_restricted(pod))
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

fn app_armor(pod: Pod<'_>) -> Found {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let bad = |holder: &Value| {
        let kind = holder["securityContext"]["appArmorProfile"]["type"].as_str()?;
        (!matches!(kind, "RuntimeDefault" | "Localhost")).then(|| kind.to_owned())
    };
    let by_pod = bad(pod.spec);
    let by = who(pod, |c| bad(c).is_some());
    let mut values: BTreeSet<String> = containers(pod).filter_map(bad).collect();
    values.extend(by_pod.clone());
    let annotations = pod.metadata["annotations"].as_object();
    let allowed = |v: &str| matches!(v, "" | "runtime/default") || v.starts_with("localhost/");
    let noted: BTreeSet<String> = annotations
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k, v.as_str()?)))
        .filter(|(k, v)| k.starts_with(ANNOTATION) && !allowed(v))
        .map(|(k, v)| format!("{k}={v:?}"))
        .collect();
    let mut parts: Vec<String> = setters(by_pod.is_some(), &by).into_iter().collect();
    if !noted.is_empty() {
        parts.push(plural(noted.len(), "annotation", "annotations").to_owned());
    }
    if parts.is_empty() {
        return None;
    }
    let values: Vec<String> = values.into_iter().chain(noted).collect();
    let reason = plural(
        values.len(),
        "forbidden AppArmor profile",
        "forbidden AppArmor profiles",
    );
    let detail = format!(
        "{} must not set AppArmor profile type to {}",
        parts.join(" and "),
        quoted(values)
    );
    found(reason, detail)
}

fn adding<'a>(pod: Pod<'a>, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let added = |c: &'a Value| texts(&c["securityContext"]["capabilities"]["add"]);
    let by = who(pod, |c| added(c).any(|cap| !allowed.contains(&cap)));
    let caps = containers(pod).flat_map(added);
    (by, caps.filter(|cap| !allowed.contains(cap)).collect())
}

fn capabilities(pod: Pod<'_>) -> Found {
    const ALLOWED: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let (by, caps) = adding(pod, &ALLOWED);
    if by.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not include {} in securityContext.capabilities.add",
        named(&by),
        quoted(caps)
    );
    found("non-default capabilities", detail)
}

fn host_namespaces(pod: Pod<'_>) -> Found {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|key| pod.spec[*key] == true)
        .map(|key| format!("{key}=true"))
        .collect();
    (!shared.is_empty()).then(|| found("host namespaces", shared.join(", ")))?
}

fn host_paths(pod: Pod<'_>) -> Found {
    let volumes = pod.spec["volumes"].as_array().into_iter().flatten();
    let of_host: Vec<&str> = volumes
        .filter(|v| v["hostPath"].is_object())
        .map(name)
        .collect();
    if of_host.is_empty() {
        return None;
    }
    let word = plural(of_host.len(), "volume", "volumes");
    found("hostPath volumes", format!("{word} {}", quoted(of_host)))
}

fn host_ports(pod: Pod<'_>) -> Found {
    let ports = |c: &Value| -> Vec<String> {
        let ports = c["ports"].as_array().into_iter().flatten();
        let ports = ports.filter_map(|p| p["hostPort"].as_u64());
        ports.filter(|p| *p != 0).map(|p| p.to_string()).collect()
    };
    let by = who(pod, |c| !ports(c).is_empty());
    if by.is_empty() {
        return None;
    }
    let all: BTreeSet<String> = containers(pod).flat_map(ports).collect();
    let count = all.len();
    let detail = format!(
        "{} {} {} {}",
        named(&by),
        plural(by.len(), "uses", "use"),
        plural(count, "hostPort", "hostPorts"),
        all.into_iter().collect::<Vec<_>>().join(", ")
    );
    found("hostPort", detail)
}

fn probe_hosts(pod: Pod<'_>) -> Found {
    let hosts = |c: &Value| -> Vec<String> {
        let handlers = [
            &c["livenessProbe"],
            &c["readinessProbe"],
            &c["startupProbe"],
            &c["lifecycle"]["postStart"],
            &c["lifecycle"]["preStop"],
        ];
        handlers
            .into_iter()
            .flat_map(|h| [&h["httpGet"]["host"], &h["tcpSocket"]["host"]])
            .filter_map(Value::as_str)
            .filter(|host| !host.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let by: BTreeSet<&str> = who(pod, |c| !hosts(c).is_empty()).into_iter().collect();
    if by.is_empty() {
        return None;
    }
    let by: Vec<&str> = by.into_iter().collect();
    let all: BTreeSet<String> = containers(pod).flat_map(hosts).collect();
    let detail = format!(
        "{} {} {} {}",
        named(&by),
        plural(by.len(), "uses", "use"),
        plural(
            all.len(),
            "probe or lifecycle host",
            "probe or lifecycle hosts"
        ),
        quoted(all)
    );
    found("probe or lifecycle host", detail)
}

fn privileged(pod: Pod<'_>) -> Found {
    let by = who(pod, |c| c["securityContext"]["privileged"] == true);
    if by.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not set securityContext.privileged=true",
        named(&by)
    );
    found("privileged", detail)
}

fn proc_mount_baseline(pod: Pod<'_>, version: Version) -> Found {
    if version.has(35) && has_own_users(pod) {
        return None;
    }
    proc_mount(pod)
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

fn selinux(pod: Pod<'_>, version: Version) -> Found {
    let allowed = |kind: &str| {
        matches!(
            kind,
            "" | "container_t" | "container_init_t" | "container_kvm_t"
        ) || (kind == "container_engine_t" && version.has(31))
    };
    let text = |holder: &Value, key: &str| {
        let text = holder["securityContext"]["seLinuxOptions"][key].as_str();
        text.unwrap_or_default().to_owned()
    };
    let set = |holder: &Value, key: &str| !text(holder, key).is_empty();
    let bad = |holder: &Value| {
        !allowed(&text(holder, "type")) || set(holder, "user") || set(holder, "role")
    };
    let by = setters(bad(pod.spec), &who(pod, bad))?;
    let holders = || std::iter::once(pod.spec).chain(containers(pod));
    let types: BTreeSet<String> = holders()
        .map(|h| text(h, "type"))
        .filter(|t| !allowed(t))
        .collect();
    let mut wrong = Vec::new();
    if !types.is_empty() {
        let word = plural(types.len(), "type", "types");
        wrong.push(format!("{word} {}", quoted(types)));
    }
    for key in ["user", "role"] {
        if holders().any(|h| set(h, key)) {
            wrong.push(format!("{key} may not be set"));
        }
    }
    let detail = format!(
        "{by} set forbidden securityContext.seLinuxOptions: {}",
        wrong.join("; ")
    );
    found("seLinuxOptions", detail)
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

fn seccomp_baseline(pod: Pod<'_>, version: Version) -> Found {
    if version.has(19) {
        return seccomp_set_wrong(pod);
    }
    // Before there was a field, there were annotations.
    let annotations = &pod.metadata["annotations"];
    let allowed =
        |v: &str| matches!(v, "runtime/default" | "docker/default") || v.starts_with("localhost/");
    let keys = std::iter::once("seccomp.security.alpha.kubernetes.io/pod".to_owned()).chain(
        containers(pod)
            .map(|c| format!("container.seccomp.security.alpha.kubernetes.io/{}", name(c))),
    );
    let bad: BTreeSet<String> = keys
        .filter_map(|key| {
            let value = annotations[&key].as_str()?;
            (!allowed(value)).then(|| format!("{key}={value:?}"))
        })
        .collect();
    if bad.is_empty() {
        return None;
    }
    let word = plural(bad.len(), "annotation", "annotations");
    let shown: Vec<String> = bad.into_iter().collect();
    found(
        "seccompProfile",
        format!("forbidden {word} {}", shown.join(", ")),
    )
}

fn seccomp_restricted(pod: Pod<'_>) -> Found {
    if let Some(wrong) = seccomp_set_wrong(pod) {
        return Some(wrong);
    }
    if seccomp_kind(pod.spec).is_some() {
        return None;
    }
    let silent = who(pod, |c| seccomp_kind(c).is_none());
    if silent.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        named(&silent)
    );
    found("seccompProfile", detail)
}

fn sysctls(pod: Pod<'_>, version: Version) -> Found {
    let since = |name: &str| match name {
        "kernel.shm_rmid_forced"
        | "net.ipv4.ip_local_port_range"
        | "net.ipv4.tcp_syncookies"
        | "net.ipv4.ping_group_range"
        | "net.ipv4.ip_unprivileged_port_start" => Some(0),
        "net.ipv4.ip_local_reserved_ports" => Some(27),
        "net.ipv4.tcp_keepalive_time"
        | "net.ipv4.tcp_fin_timeout"
        | "net.ipv4.tcp_keepalive_intvl"
        | "net.ipv4.tcp_keepalive_probes" => Some(29),
        "net.ipv4.tcp_rmem" | "net.ipv4.tcp_wmem" => Some(32),
        _ => None,
    };
    let list = pod.spec["securityContext"]["sysctls"].as_array();
    let bad: Vec<&str> = list
        .into_iter()
        .flatten()
        .map(name)
        .filter(|name| !since(name).is_some_and(|minor| version.has(minor)))
        .collect();
    (!bad.is_empty()).then(|| found("forbidden sysctls", bad.join(", ")))?
}

fn windows_host_process(pod: Pod<'_>) -> Found {
    let of_host =
        |holder: &Value| holder["securityContext"]["windowsOptions"]["hostProcess"] == true;
    let by = setters(of_host(pod.spec), &who(pod, of_host))?;
    let detail = format!("{by} must not set securityContext.windowsOptions.hostProcess=true");
    found("hostProcess", detail)
}

fn escalation(pod: Pod<'_>) -> Found {
    let by = who(pod, |c| {
        c["securityContext"]["allowPrivilegeEscalation"] != false
    });
    if by.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must set securityContext.allowPrivilegeEscalation=false",
        named(&by)
    );
    found("allowPrivilegeEscalation != false", detail)
}

fn capabilities_restricted(pod: Pod<'_>) -> Found {
    let drops =
        |c: &Value| texts(&c["securityContext"]["capabilities"]["drop"]).any(|d| d == "ALL");
    let keeping = who(pod, |c| !drops(c));
    let (by, caps) = adding(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!(
            "{} must set securityContext.capabilities.drop=[\"ALL\"]",
            named(&keeping)
        ));
    }
    if !by.is_empty() {
        details.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            named(&by),
            quoted(caps)
        ));
    }
    (!details.is_empty()).then(|| found("unrestricted capabilities", details.join("; ")))?
}

fn volumes(pod: Pod<'_>) -> Found {
    const ALLOWED: [&str; 9] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let mut names = Vec::new();
    let mut kinds = BTreeSet::new();
    for volume in pod.spec["volumes"].as_array().into_iter().flatten() {
        let sources = volume.as_object().into_iter().flatten();
        let mut sources = sources.filter(|(key, v)| *key != "name" && v.is_object());
        let kind = sources.next().map_or("unknown", |(key, _)| key.as_str());
        if !ALLOWED.contains(&kind) {
            names.push(name(volume));
            kinds.insert(kind);
        }
    }
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {} {}",
        plural(names.len(), "volume", "volumes"),
        quoted(&names),
        plural(names.len(), "uses", "use"),
        plural(
            kinds.len(),
            "restricted volume type",
            "restricted volume types"
        ),
        quoted(kinds)
    );
    found("restricted volume types", detail)
}

fn non_root(pod: Pod<'_>, version: Version) -> Found {
    const REASON: &str = "runAsNonRoot != true";
    if version.has(35) && has_own_users(pod) {
        return None;
    }
    let said = |holder: &Value| holder["securityContext"]["runAsNonRoot"].as_bool();
    let wrong = setters(
        said(pod.spec) == Some(false),
        &who(pod, |c| said(c) == Some(false)),
    );
    if let Some(by) = wrong {
        let detail = format!("{by} must not set securityContext.runAsNonRoot=false");
        return found(REASON, detail);
    }
    if said(pod.spec) == Some(true) {
        return None;
    }
    let silent = who(pod, |c| said(c).is_none());
    if silent.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.runAsNonRoot=true",
        named(&silent)
    );
    found(REASON, detail)
}

fn user_zero(pod: Pod<'_>, version: Version) -> Found {
    if version.has(35) && has_own_users(pod) {
        return None;
    }
    let root = |holder: &Value| holder["securityContext"]["runAsUser"] == 0;
    let by = setters(root(pod.spec), &who(pod, root))?;
    found("runAsUser=0", format!("{by} must not set runAsUser=0"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
