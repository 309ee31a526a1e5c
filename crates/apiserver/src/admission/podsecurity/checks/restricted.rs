//! What the restricted level demands on top of the baseline: to give up what a pod does not need.

use std::collections::BTreeSet;

use knarr_json::Value;

use super::{
    super::policy::Version, Found, Pod, adding, found, has_own_users, name, named, plural, quoted,
    seccomp_kind, seccomp_set_wrong, setters, texts, who,
};

pub fn escalation(pod: Pod<'_>) -> Found {
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

pub fn capabilities_restricted(pod: Pod<'_>) -> Found {
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

pub fn volumes(pod: Pod<'_>) -> Found {
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

pub fn non_root(pod: Pod<'_>, version: Version) -> Found {
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

pub fn user_zero(pod: Pod<'_>, version: Version) -> Found {
    if version.has(35) && has_own_users(pod) {
        return None;
    }
    let root = |holder: &Value| holder["securityContext"]["runAsUser"] == 0;
    let by = setters(root(pod.spec), &who(pod, root))?;
    found("runAsUser=0", format!("{by} must not set runAsUser=0"))
}

pub fn seccomp_restricted(pod: Pod<'_>) -> Found {
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
