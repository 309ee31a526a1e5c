//! Warnings about pods and pod templates: what is deprecated, ignored or surely not meant.

mod ports;
mod volumes;

use knarr_json::Value;

use super::apparmor;
use crate::{
    names,
    validation::{At, amount::Amount, canonical},
};

/// Annotations that once were the way to say something.
const OLD_ANNOTATIONS: [(&str, &str); 3] = [
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

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Warnings about a pod.
pub fn pod(object: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let (meta, spec) = (At::root(object, "metadata"), At::root(object, "spec"));
    app_armor(&meta, &spec, true, &mut out);
    let wrong = names::dns1123_label(meta.text("name"));
    if !wrong.is_empty() {
        out.push(format!(
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
                wrong.join(" ")
            ));
    }
    both(&meta, &spec, false, &mut out);
    out
}

/// Warnings about the template of a workload.
pub fn template(template: &At) -> Vec<String> {
    let mut out = Vec::new();
    both(
        &template.get("metadata"),
        &template.get("spec"),
        true,
        &mut out,
    );
    out
}

/// Warnings about the status of a pod.
pub fn status(object: &Value) -> Vec<String> {
    let status = At::root(object, "status");
    ["podIPs", "hostIPs"]
        .into_iter()
        .flat_map(|key| status.items(key))
        .filter_map(|ip| canonical::ip(&ip.get("ip")))
        .collect()
}

/// Containers of all sorts, init containers first.
fn containers<'a>(spec: &At<'a>) -> impl Iterator<Item = At<'a>> + use<'a> {
    ["initContainers", "containers", "ephemeralContainers"]
        .map(|key| spec.items(key))
        .into_iter()
        .flatten()
}

fn both(meta: &At, spec: &At, is_template: bool, out: &mut Vec<String>) {
    node_labels(spec, out);
    spread(spec, out);
    let annotations = meta.get("annotations");
    for (key, words) in OLD_ANNOTATIONS {
        if annotations.v.get(key).is_some() {
            out.push(format!("{}: {words}", annotations.path.key(key)));
        }
    }
    volumes::old(spec, out);
    volumes::overlaps(spec, out);
    repeated_references(spec, out);
    fractions(&spec.get("overhead"), out);
    seccomp(&annotations, SECCOMP_POD, &spec.get("securityContext"), out);
    if is_template {
        app_armor(meta, spec, false, out);
    }
    let mut keys = annotations
        .v
        .as_object()
        .into_iter()
        .flat_map(|all| all.keys());
    let told = keys.any(|key| key.starts_with(SECCOMP));
    for c in containers(spec) {
        if told {
            let key = format!("{SECCOMP}{}", c.text("name"));
            seccomp(&annotations, &key, &c.get("securityContext"), out);
        }
        for which in ["limits", "requests"] {
            fractions(&c.get("resources").get(which), out);
        }
        repeated_variables(&c, out);
    }
    ports::overlaps(spec, out);
    ports::names(spec, out);
    let grace = spec.get("terminationGracePeriodSeconds");
    if grace.v.as_i64().is_some_and(|s| s < 0) {
        out.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            grace.path
        ));
    }
    affinity(spec, out);
    let servers = spec.get("dnsConfig").items("nameservers");
    let aliases = spec.items("hostAliases").map(|a| a.get("ip"));
    out.extend(servers.chain(aliases).filter_map(|ip| canonical::ip(&ip)));
}

/// What a new name of a node's label is.
pub fn node_label(key: &str) -> Option<&'static str> {
    OLD_NODE_LABELS
        .iter()
        .find(|(k, _)| *k == key)
        .map(|(_, words)| *words)
}

fn node_labels(spec: &At, out: &mut Vec<String>) {
    for (key, at) in spec.get("nodeSelector").entries() {
        if let Some(words) = node_label(key) {
            out.push(format!("{}: {words}", at.path));
        }
    }
    let affinity = spec.get("affinity").get("nodeAffinity");
    let required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution");
    for term in required.items("nodeSelectorTerms") {
        node_term(&term, false, out);
    }
    for term in affinity.items("preferredDuringSchedulingIgnoredDuringExecution") {
        node_term(&term.get("preference"), true, out);
    }
}

/// A term of a selector of nodes; values that are no labels are only told of where nothing refuses them.
pub fn node_term(term: &At, values: bool, out: &mut Vec<String>) {
    for e in term.items("matchExpressions") {
        let key = e.get("key");
        if let Some(words) = node_label(key.str()) {
            out.push(format!("{}: {} is {words}", key.path, key.str()));
        }
        for value in e.items("values").filter(|_| values) {
            for m in names::label_value(value.str()) {
                out.push(format!("{}: {} is invalid, {m}", value.path, value.str()));
            }
        }
    }
}

fn matches_nothing(holder: &At, out: &mut Vec<String>) {
    let selector = holder.get("labelSelector");
    if selector.v.is_null() {
        out.push(format!(
            "{}: a null labelSelector results in matching no pod",
            selector.path
        ));
    }
}

fn spread(spec: &At, out: &mut Vec<String>) {
    for c in spec.items("topologySpreadConstraints") {
        let key = c.get("topologyKey");
        if let Some(words) = node_label(key.str()) {
            out.push(format!("{}: {} is {words}", key.path, key.str()));
        }
        matches_nothing(&c, out);
    }
}

fn affinity(spec: &At, out: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pods = spec.get("affinity").get(kind);
        for term in pods.items("requiredDuringSchedulingIgnoredDuringExecution") {
            matches_nothing(&term, out);
        }
        for term in pods.items("preferredDuringSchedulingIgnoredDuringExecution") {
            matches_nothing(&term.get("podAffinityTerm"), out);
        }
    }
}

fn app_armor(meta: &At, spec: &At, is_pod: bool, out: &mut Vec<String>) {
    let annotations = meta.get("annotations");
    for key in apparmor::outdated(annotations.v, spec.v, is_pod) {
        out.push(format!(
            "{}: deprecated since v1.30; use the \"appArmorProfile\" field instead",
            annotations.path.key(&key)
        ));
    }
}

fn seccomp(annotations: &At, key: &str, context: &At, out: &mut Vec<String>) {
    if annotations.v.get(key).is_some() && !context.has("seccompProfile") {
        out.push(format!(
            "{}: non-functional in v1.27+; use the \"seccompProfile\" field instead",
            annotations.path.key(key)
        ));
    }
}

/// Host aliases and pull secrets that say the same twice.
fn repeated_references(spec: &At, out: &mut Vec<String>) {
    for (key, field) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
        let mut seen: Vec<&str> = Vec::new();
        for value in spec.items(key).map(|item| item.get(field)) {
            if seen.contains(&value.str()) {
                out.push(format!(
                    "{}: duplicate {field} {:?}",
                    value.path,
                    value.str()
                ));
            }
            seen.push(value.str());
        }
    }
    for name in spec.items("imagePullSecrets").map(|s| s.get("name")) {
        if name.str().is_empty() {
            out.push(format!("{}: invalid empty name \"\"", name.path));
        }
    }
}

/// Parts of a byte in a list of amounts.
fn fractions(all: &At, out: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        let Some(quantity) = all.v.get(name) else {
            continue;
        };
        out.extend(fraction(&At {
            v: quantity,
            path: all.path.key(name),
        }));
    }
}

/// Parts of a byte.
pub fn fraction(at: &At) -> Option<String> {
    let amount = Amount::of(at.v);
    (!amount.is_whole_in_milli()).then(|| {
        format!(
            "{}: fractional byte value {:?} is invalid, must be an integer",
            at.path,
            amount.to_string()
        )
    })
}

fn repeated_variables(c: &At, out: &mut Vec<String>) {
    let mut seen: Vec<&str> = Vec::new();
    for e in c.items("env") {
        let name = e.text("name");
        // one that adds to its predecessor is meant
        let adds = || {
            let reference = format!("$({name})");
            !e.has("valueFrom")
                && e.text("value").contains(&reference)
                && e.text("value") != reference
        };
        if seen.contains(&name) && !adds() {
            out.push(format!(
                "{}: hides previous definition of {name:?}, which may be dropped when using apply",
                e.path
            ));
        }
        seen.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

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
                json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostIP": "1.2.3.4", "protocol": "TCP"}]}]}),
                "spec.containers[0].ports[0]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:1 Protocol:TCP HostIP:1.2.3.4}",
            ),
            (
                json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]}]}),
                "spec.containers[0].ports[1]: duplicate port name \"a\" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]",
            ),
            (
                json!({"topologySpreadConstraints": [{"topologyKey": "z"}]}),
                "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
            ),
            (
                json!({"volumes": [{"name": "v", "configMap": {"name": "m", "items": [{"path": "a"}, {"path": "a/b"}]}}]}),
                "volume \"v\" (ConfigMap \"m\"): overlapping paths: \"a/b\" with \"a\"",
            ),
            (
                json!({"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"secret": {"name": "s", "items": [{"path": "t"}]}}]}}]}),
                "volume \"v\" (Projected): overlapping paths: \"t\" (Secret \"s\") with \"t\" (ServiceAccountToken)",
            ),
            (
                json!({"dnsConfig": {"nameservers": ["FD00::1"]}}),
                "spec.dnsConfig.nameservers[0]: IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")",
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
