//! Security contexts of pods and containers, and what an operating system does not have.

use super::{Pod, volume};
use crate::{
    field::{Error, Errors},
    names,
    validation::{At, go, list},
};

const PROFILE_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

fn id(at: &At, errs: &mut Errors) {
    if at
        .v
        .as_i64()
        .is_some_and(|n| !(0..=i64::from(i32::MAX)).contains(&n))
    {
        errs.push(at.invalid("must be between 0 and 2147483647, inclusive"));
    }
}

/// A container's security context.
pub fn container(sc: &At, pod: &Pod, errs: &mut Errors) {
    if sc.v.is_null() {
        return;
    }
    id(&sc.get("runAsUser"), errs);
    id(&sc.get("runAsGroup"), errs);
    if let Some(mount) = sc.some("procMount") {
        choice(sc, "procMount", &["Default", "Unmasked"], errs);
        if mount.str() == "Unmasked" && pod.host_users {
            errs.push(mount.invalid("`hostUsers` must be false to use `Unmasked`"));
        }
    }
    seccomp(&sc.get("seccompProfile"), errs);
    escalation(sc, errs);
    windows_options(&sc.get("windowsOptions"), errs);
    app_armor(&sc.get("appArmorProfile"), errs);
}

/// What a container may become has to fit what it is.
fn escalation(sc: &At, errs: &mut Errors) {
    const LAYOUT: &str = "Capabilities*{Add. Drop.} Privileged. SELinuxOptions=seLinuxOptions*{User'' Role'' Type'' Level''} WindowsOptions*{GMSACredentialSpecName=gmsaCredentialSpecName. GMSACredentialSpec=gmsaCredentialSpec. RunAsUserName. HostProcess.} RunAsUser. RunAsGroup. RunAsNonRoot. ReadOnlyRootFilesystem. AllowPrivilegeEscalation. ProcMount. SeccompProfile*{Type'' LocalhostProfile.} AppArmorProfile*{Type'' LocalhostProfile.}";
    if sc.v["allowPrivilegeEscalation"] != false {
        return;
    }
    let mut refuse = |what: &str| {
        let words = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
        errs.push(sc.invalid(words).showing(go::dump(sc.v, LAYOUT)));
    };
    if sc.flag("privileged") {
        refuse("`privileged` to true");
    }
    for _ in list(&sc.v["capabilities"]["add"])
        .iter()
        .filter(|c| *c == "CAP_SYS_ADMIN")
    {
        refuse("`capabilities.Add` CAP_SYS_ADMIN");
    }
}

/// A pod's security context, and the host namespaces beside it in the spec.
pub fn pod(spec: &At, errs: &mut Errors) {
    let sc = spec.get("securityContext");
    if sc.v.is_null() {
        return;
    }
    for key in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(&sc.get(key), errs);
    }
    for group in sc.items("supplementalGroups") {
        id(&group, errs);
    }
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        let path = sc.path.child("shareProcessNamespace");
        errs.push(Error::invalid(
            &path,
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        ));
    }
    sysctls(&sc.get("sysctls"), spec, errs);
    choice(
        &sc,
        "fsGroupChangePolicy",
        &["Always", "OnRootMismatch"],
        errs,
    );
    seccomp(&sc.get("seccompProfile"), errs);
    windows_options(&sc.get("windowsOptions"), errs);
    app_armor(&sc.get("appArmorProfile"), errs);
    choice(&sc, "supplementalGroupsPolicy", &["Merge", "Strict"], errs);
    choice(
        &sc,
        "seLinuxChangePolicy",
        &["MountOption", "Recursive"],
        errs,
    );
}

fn choice(at: &At, key: &str, supported: &[&str], errs: &mut Errors) {
    if let Some(value) = at.some(key).filter(|v| !supported.contains(&v.str())) {
        errs.push(value.not_supported(supported));
    }
}

fn sysctls(all: &At, spec: &At, errs: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for s in all.each() {
        let name = s.get("name");
        if name.str().is_empty() {
            errs.push(name.required(""));
        } else if !is_sysctl(name.str()) {
            errs.push(name.invalid(
                "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
            ));
        } else if seen.contains(&name.str()) {
            errs.push(name.duplicate());
        }
        for (key, is_in) in [
            ("hostNetwork", is_of_network as fn(&str) -> bool),
            ("hostIPC", is_of_ipc),
        ] {
            if spec.flag(key) && is_in(&separated_by_dots(name.str())) {
                errs.push(name.invalid(format!("may not be specified when '{key}' is true")));
                break;
            }
        }
        seen.push(name.str());
    }
}

/// Names whose first separator is a slash have slashes for dots, and dots inside their parts.
fn separated_by_dots(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(i) if name.as_bytes()[i] == b'/' => name
            .chars()
            .map(|c| match c {
                '/' => '.',
                '.' => '/',
                c => c,
            })
            .collect(),
        _ => name.to_owned(),
    }
}

fn is_of_network(name: &str) -> bool {
    name.starts_with("net.")
}

fn is_of_ipc(name: &str) -> bool {
    name == "kernel.sem"
        || ["kernel.shm", "kernel.msg", "fs.mqueue."]
            .iter()
            .any(|p| name.starts_with(p))
}

fn is_sysctl(name: &str) -> bool {
    name.len() <= 253
        && name.split(['.', '/']).all(|part| {
            let edge =
                |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            let inner = part
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_');
            edge(part.bytes().next()) && edge(part.bytes().last()) && inner
        })
}

fn seccomp(profile: &At, errs: &mut Errors) {
    if profile.v.is_null() {
        return;
    }
    let (kind, local) = (profile.get("type"), profile.get("localhostProfile"));
    match kind.str() {
        "" => errs.push(kind.required("type is required when seccompProfile is set")),
        k if PROFILE_TYPES.contains(&k) => {}
        _ => errs.push(kind.not_supported(&PROFILE_TYPES)),
    }
    match (kind.str() == "Localhost", local.v.is_null()) {
        (true, true) => errs.push(local.required("must be set when seccomp type is Localhost")),
        (true, false) => volume::descending(local.str(), &local.path, errs),
        (false, false) => {
            let shown = go::dump(profile.v, "Type'' LocalhostProfile.");
            errs.push(
                local
                    .invalid("can only be set when seccomp type is Localhost")
                    .showing(shown),
            );
        }
        (false, true) => {}
    }
}

fn app_armor(profile: &At, errs: &mut Errors) {
    if profile.v.is_null() {
        return;
    }
    let (kind, local) = (profile.get("type"), profile.get("localhostProfile"));
    match kind.str() {
        "Localhost" => {
            if local.str().is_empty() {
                errs.push(local.required("must be set when AppArmor type is Localhost"));
            } else if local.str().trim() != local.str() {
                errs.push(local.invalid("must not be padded with whitespace"));
            }
            if local.str().len() > 4095 {
                errs.push(Error::too_long(&local.path, 4095));
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if !local.v.is_null() {
                errs.push(local.invalid("can only be set when AppArmor type is Localhost"));
            }
        }
        "" => errs.push(kind.required("type is required when appArmorProfile is set")),
        _ => errs.push(kind.not_supported(&PROFILE_TYPES)),
    }
}

fn windows_options(options: &At, errs: &mut Errors) {
    if let Some(name) = options.some("gmsaCredentialSpecName") {
        name.push(names::dns1123_subdomain(name.str()), errs);
    }
    if let Some(spec) = options.some("gmsaCredentialSpec") {
        if spec.str().is_empty() {
            errs.push(spec.invalid("gmsaCredentialSpec cannot be an empty string"));
        } else if spec.str().len() > 64 << 10 {
            errs.push(spec.invalid("gmsaCredentialSpec size must be under 64 KiB"));
        }
    }
    let Some(user) = options.some("runAsUserName") else {
        return;
    };
    if user.str().is_empty() {
        errs.push(user.invalid("runAsUserName cannot be an empty string"));
    } else {
        for words in windows_user(user.str()) {
            errs.push(user.invalid(words));
        }
    }
}

/// What is wrong with a name of a user of Windows: `DOMAIN\\USER` or `USER`.
fn windows_user(name: &str) -> Vec<String> {
    const MARKS: &str = "\"/\\:;|=,+*?<>@[]";
    let say = |words: &str| format!("runAsUserName{words}");
    if name.bytes().any(|c| c.is_ascii_control()) {
        return vec![say(" cannot contain control characters")];
    }
    let (domain, user) = match name.split('\\').collect::<Vec<_>>()[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec![say(" cannot contain more than one backslash")],
    };
    let mut out = Vec::new();
    if domain.is_some_and(|d| d.len() >= 256) {
        out.push(say("'s Domain length must be under 256 characters"));
    }
    if domain.is_some_and(|d| !is_net_bios(d) && !is_windows_domain(d)) {
        out.push(say(
            "'s Domain doesn't match the NetBios nor the DNS format",
        ));
    }
    if user.is_empty() {
        out.push(say("'s User cannot be empty"));
    } else if user.len() > 104 {
        out.push(say("'s User length must not be longer than 104 characters"));
    }
    if !user.is_empty() && user.bytes().all(|c| c == b'.' || c == b' ') {
        out.push(say("'s User cannot contain only periods or spaces"));
    }
    if user.contains(|c| MARKS.contains(c)) {
        out.push(say(&format!(
            "'s User cannot contain the following characters: {MARKS}"
        )));
    }
    out
}

fn is_net_bios(domain: &str) -> bool {
    (1..=15).contains(&domain.chars().count())
        && !domain.starts_with('.')
        && !domain.contains(|c| "\\/:*?\"<>|".contains(c))
}

fn is_windows_domain(domain: &str) -> bool {
    domain.split('.').all(|label| {
        let b = label.as_bytes();
        (1..=63).contains(&b.len())
            && b.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-')
            && b[0] != b'-'
            && b[b.len() - 1] != b'-'
    })
}

/// Containers of all sorts with their paths, init containers first.
fn every_container<'a>(spec: &At<'a>) -> impl Iterator<Item = At<'a>> {
    ["initContainers", "containers", "ephemeralContainers"]
        .map(|l| spec.items(l))
        .into_iter()
        .flatten()
}

/// Windows host processes: all containers or none, on the host's network.
pub fn host_process(spec: &At, errs: &mut Errors) {
    let of = |sc: &At| sc.v["windowsOptions"]["hostProcess"].as_bool();
    let pod = of(&spec.get("securityContext"));
    let (mut all, mut host) = (0, 0);
    for c in every_container(spec) {
        all += 1;
        let own = of(&c.get("securityContext"));
        if let (Some(pod), Some(own)) = (pod, own)
            && pod != own
        {
            let words =
                format!("pod hostProcess value must be identical if both are specified, was {pod}");
            let path = c
                .path
                .child("securityContext")
                .child("windowsOptions")
                .child("hostProcess");
            errs.push(Error::invalid(&path, own, words));
        }
        if own.or(pod) == Some(true) {
            host += 1;
        }
    }
    if host == 0 {
        return;
    }
    if host != all {
        let words = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errs.push(Error::invalid(&spec.path, "", words));
    }
    if !spec.flag("hostNetwork") {
        let words = "hostNetwork must be true if pod contains any hostProcess containers";
        errs.push(Error::invalid(
            &spec.path.child("hostNetwork"),
            false,
            words,
        ));
    }
}

/// A pod with users of its own has no namespace of the host.
pub fn host_users(spec: &At, errs: &mut Errors) {
    if spec.v["hostUsers"] != false {
        return;
    }
    for (key, shown) in [
        ("hostNetwork", "hostNetwork"),
        ("hostPID", "HostPID"),
        ("hostIPC", "HostIPC"),
    ] {
        if spec.flag(key) {
            errs.push(Error::forbidden(
                &spec.path.child(shown),
                "when `hostUsers` is false",
            ));
        }
    }
}

/// What the pod's operating system does not have.
pub fn os(spec: &At, errs: &mut Errors) {
    let Some(os) = spec.some("os") else { return };
    match os.text("name") {
        "" => errs.push(os.get("name").required("")),
        "linux" => {
            let contexts = std::iter::once(spec.get("securityContext"))
                .chain(every_container(spec).map(|c| c.get("securityContext")));
            for sc in contexts.filter(|sc| sc.has("windowsOptions")) {
                errs.push(
                    sc.get("windowsOptions")
                        .forbidden("windows options cannot be set for a linux pod"),
                );
            }
        }
        "windows" => windows(spec, errs),
        other => errs.push(Error::not_supported(&os.path, other, &["linux", "windows"])),
    }
}

fn windows(spec: &At, errs: &mut Errors) {
    const WORDS: &str = "cannot be set for a windows pod";
    let mut refuse = |at: &At, keys: &[&str]| {
        for key in keys {
            let field = at.get(key);
            if !field.v.is_null()
                && *field.v != false
                && !field.v.as_array().is_some_and(|a| a.is_empty())
                || field.v.is_boolean() && *key != "hostPID" && *key != "hostIPC"
            {
                errs.push(field.forbidden(WORDS));
            }
        }
    };
    let sc = spec.get("securityContext");
    refuse(&sc, &["appArmorProfile", "seLinuxOptions"]);
    refuse(spec, &["hostUsers", "hostPID", "hostIPC"]);
    refuse(
        &sc,
        &[
            "seccompProfile",
            "fsGroup",
            "fsGroupChangePolicy",
            "sysctls",
        ],
    );
    refuse(spec, &["shareProcessNamespace"]);
    refuse(
        &sc,
        &[
            "runAsUser",
            "runAsGroup",
            "supplementalGroups",
            "supplementalGroupsPolicy",
            "seLinuxChangePolicy",
        ],
    );
    for c in every_container(spec) {
        let keys = [
            "seLinuxOptions",
            "appArmorProfile",
            "seccompProfile",
            "capabilities",
            "readOnlyRootFilesystem",
            "privileged",
            "allowPrivilegeEscalation",
            "procMount",
            "runAsUser",
            "runAsGroup",
        ];
        refuse(&c.get("securityContext"), &keys);
    }
}
