//! Warnings about pods and pod templates: what is deprecated, ignored or surely not meant.

use serde_json::Value;

use crate::{
    field::Path,
    names,
    validation::{At, amount::Amount, text},
};

/// Annotations that once were the way to say something.
const OLD_ANNOTATIONS: [(&str, &str); 4] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "seccomp.security.alpha.kubernetes.io/pod",
        "non-functional in v1.27+; use the \"seccompProfile\" field instead",
    ),
];

/// Volume sources that no longer work.
const OLD_VOLUMES: [(&str, &str); 9] = [
    (
        "gitRepo",
        "deprecated in v1.11, and disabled by default in v1.33+",
    ),
    (
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Node labels that have new names.
const OLD_NODE_LABELS: [(&str, &str); 5] = [
    (
        "beta.kubernetes.io/arch",
        "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
    ),
    (
        "beta.kubernetes.io/os",
        "deprecated since v1.14; use \"kubernetes.io/os\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
];

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Warnings about a pod.
pub fn pod(object: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let wrong = names::dns1123_label(text(&object["metadata"], "name"));
    if !wrong.is_empty() {
        out.push(format!(
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
                wrong.join(" ")
            ));
    }
    let (meta, spec) = (At::root(object, "metadata"), At::root(object, "spec"));
    both(&meta, &spec, None, &mut out);
    out
}

/// Warnings about the template of a workload.
pub fn template(template: &At, old: Option<&Value>) -> Vec<String> {
    let mut out = Vec::new();
    both(
        &template.get("metadata"),
        &template.get("spec"),
        old,
        &mut out,
    );
    out
}

fn both(meta: &At, spec: &At, old: Option<&Value>, out: &mut Vec<String>) {
    node_labels(spec, out);
    annotations(meta, old, out);
    volumes(spec, out);
    repeated_references(spec, out);
    for key in ["initContainers", "containers", "ephemeralContainers"] {
        for c in spec.items(key) {
            fractions(&c, out);
            repeated_variables(&c, out);
        }
    }
    repeated_ports(spec, out);
    if spec
        .int("terminationGracePeriodSeconds")
        .is_some_and(|s| s < 0)
    {
        let path = spec.path.child("terminationGracePeriodSeconds");
        out.push(format!(
            "{path}: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
}

fn node_labels(spec: &At, out: &mut Vec<String>) {
    let mut tell = |path: Path, key: &str| {
        if let Some((_, words)) = OLD_NODE_LABELS.iter().find(|(k, _)| *k == key) {
            out.push(format!("{path}: {words}"));
        }
    };
    for (key, at) in spec.get("nodeSelector").entries() {
        tell(at.path, key);
    }
    let affinity = spec.get("affinity").get("nodeAffinity");
    let required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution");
    let preferred = affinity
        .items("preferredDuringSchedulingIgnoredDuringExecution")
        .map(|p| p.get("preference"));
    for term in required.items("nodeSelectorTerms").chain(preferred) {
        for e in term.items("matchExpressions") {
            tell(e.path.child("key"), e.text("key"));
        }
    }
    for c in spec.items("topologySpreadConstraints") {
        let key = c.get("topologyKey");
        tell(key.path.clone(), key.str());
    }
}

fn annotations(meta: &At, old: Option<&Value>, out: &mut Vec<String>) {
    let all = meta.get("annotations");
    let before = |key: &str| old.is_some_and(|o| o["metadata"]["annotations"].get(key).is_some());
    for (key, at) in all.entries() {
        if key.starts_with(APP_ARMOR) && !before(key) {
            out.push(format!(
                "{}: deprecated since v1.30; use the \"appArmorProfile\" field instead",
                at.path
            ));
        }
    }
    for (key, words) in OLD_ANNOTATIONS {
        if all.v.get(key).is_some() {
            out.push(format!("{}: {words}", all.path.key(key)));
        }
    }
}

fn volumes(spec: &At, out: &mut Vec<String>) {
    for v in spec.items("volumes") {
        for (key, words) in &OLD_VOLUMES {
            if v.has(key) {
                let shown = if *key == "storageos" {
                    "storageOS"
                } else {
                    key
                };
                out.push(format!("{}: {words}", v.path.child(shown)));
            }
        }
    }
}

/// Host aliases and pull secrets that say the same twice.
fn repeated_references(spec: &At, out: &mut Vec<String>) {
    let mut seen: Vec<&str> = Vec::new();
    for alias in spec.items("hostAliases") {
        let ip = alias.get("ip");
        if seen.contains(&ip.str()) {
            out.push(format!("{}: duplicate ip {:?}", ip.path, ip.str()));
        }
        seen.push(ip.str());
    }
    let mut names: Vec<&str> = Vec::new();
    for secret in spec.items("imagePullSecrets") {
        let name = secret.get("name");
        if name.str().is_empty() {
            out.push(format!(
                "{}: invalid empty name {:?}",
                name.path,
                name.str()
            ));
        } else if names.contains(&name.str()) {
            out.push(format!("{}: duplicate name {:?}", name.path, name.str()));
        }
        names.push(name.str());
    }
}

fn fractions(c: &At, out: &mut Vec<String>) {
    for which in ["limits", "requests"] {
        let all = c.get("resources").get(which);
        for name in ["memory", "ephemeral-storage"] {
            let Some(quantity) = all.v.get(name) else {
                continue;
            };
            let amount = Amount::of(quantity);
            if !amount.is_whole() {
                let path = all.path.key(name);
                out.push(format!(
                    "{path}: fractional byte value {:?} is invalid, must be an integer",
                    amount.to_string()
                ));
            }
        }
    }
}

fn repeated_variables(c: &At, out: &mut Vec<String>) {
    let mut seen: Vec<&str> = Vec::new();
    for e in c.items("env") {
        let name = e.text("name");
        // one that refers to its predecessor is meant
        let refers = e.text("value").contains(&format!("$({name})"));
        if seen.contains(&name) && !refers {
            out.push(format!(
                "{}: hides previous definition of {name:?}, which may be dropped when using apply",
                e.path
            ));
        }
        seen.push(name);
    }
}

/// Number in the container, number on the host, protocol, address on the host.
type Port<'a> = (i64, i64, &'a str, &'a str);

fn repeated_ports(spec: &At, out: &mut Vec<String>) {
    let mut seen: Vec<(Port, Path)> = Vec::new();
    for key in ["initContainers", "containers", "ephemeralContainers"] {
        for c in spec.items(key) {
            if key == "initContainers" && !super::resources::is_sidecar(c.v) {
                continue;
            }
            for p in c.items("ports") {
                let this = (
                    p.int("containerPort").unwrap_or(0),
                    p.int("hostPort").unwrap_or(0),
                    p.text("protocol"),
                    p.text("hostIP"),
                );
                match seen.iter().find(|(s, _)| *s == this) {
                    Some((_, first)) => out.push(format!(
                        "{}: duplicate port definition with {first}",
                        p.path
                    )),
                    None => seen.push((this, p.path)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_warned_about() {
        let pod = |spec: Value| json!({"metadata": {"name": "p"}, "spec": spec});
        for (spec, want) in [
            (
                json!({"containers": [{"name": "c", "env": [{"name": "A"}, {"name": "A"}]}]}),
                "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
            ),
            (
                json!({"containers": [{"name": "c", "ports": [{"containerPort": 1}, {"containerPort": 1}]}]}),
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
            ),
            (
                json!({"volumes": [{"name": "v", "rbd": {}}]}),
                "spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+",
            ),
            (
                json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}),
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            ),
            (
                json!({"containers": [{"resources": {"requests": {"memory": "100m"}}}]}),
                "spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            ),
        ] {
            assert_eq!(super::pod(&pod(spec)), [want]);
        }
        let dotted = json!({"metadata": {"name": "a.b"}, "spec": {}});
        assert!(
            super::pod(&dotted)[0].ends_with("a DNS label is recommended: [must not contain dots]")
        );
    }
}
