//! What the baseline forbids: what reaches the host or is known to lead there.

use std::collections::BTreeSet;

use knarr_json::Value;

use super::{
    super::policy::Version, Found, Pod, adding, containers, found, has_own_users, name, named,
    plural, proc_mount, quoted, seccomp_set_wrong, setters, who,
};

pub fn app_armor(pod: Pod<'_>) -> Found {
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

pub fn capabilities(pod: Pod<'_>) -> Found {
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

pub fn host_namespaces(pod: Pod<'_>) -> Found {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|key| pod.spec[*key] == true)
        .map(|key| format!("{key}=true"))
        .collect();
    (!shared.is_empty()).then(|| found("host namespaces", shared.join(", ")))?
}

pub fn host_paths(pod: Pod<'_>) -> Found {
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

pub fn host_ports(pod: Pod<'_>) -> Found {
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

pub fn probe_hosts(pod: Pod<'_>) -> Found {
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

pub fn privileged(pod: Pod<'_>) -> Found {
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

pub fn proc_mount_baseline(pod: Pod<'_>, version: Version) -> Found {
    if version.has(35) && has_own_users(pod) {
        return None;
    }
    proc_mount(pod)
}

pub fn selinux(pod: Pod<'_>, version: Version) -> Found {
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

pub fn seccomp_baseline(pod: Pod<'_>, version: Version) -> Found {
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

pub fn sysctls(pod: Pod<'_>, version: Version) -> Found {
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

pub fn windows_host_process(pod: Pod<'_>) -> Found {
    let of_host =
        |holder: &Value| holder["securityContext"]["windowsOptions"]["hostProcess"] == true;
    let by = setters(of_host(pod.spec), &who(pod, of_host))?;
    let detail = format!("{by} must not set securityContext.windowsOptions.hostProcess=true");
    found("hostProcess", detail)
}
