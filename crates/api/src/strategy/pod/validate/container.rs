//! Containers: ordinary, init and ephemeral ones.

use knarr_json::Value;

use super::{Pod, env, mounts, probe, requirements, security};
use crate::{
    field::{Error, Errors},
    names,
    strategy::pod::resources::is_sidecar,
    validation::{At, list, one_of, ports, text},
};

/// The list `containers` of a pod.
pub fn ordinary(all: &At, pod: &Pod, errs: &mut Errors) {
    if list(all.v).is_empty() {
        errs.push(all.required(""));
        return;
    }
    let mut seen: Vec<&str> = Vec::new();
    for c in all.each() {
        common(&c, pod, errs);
        if seen.contains(&c.text("name")) {
            errs.push(c.get("name").duplicate());
        }
        seen.push(c.text("name"));
        probe::lifecycle(&c.get("lifecycle"), pod, errs);
        probe::all(&c, pod, errs);
        restart_rules(&c, errs);
    }
    host_ports(list(all.v).iter().enumerate(), all, errs);
}

/// The list `initContainers`; names must differ from those of ordinary containers too.
pub fn init(all: &At, ordinary: &At, pod: &Pod, errs: &mut Errors) {
    let mut seen: Vec<&str> = list(ordinary.v).iter().map(|c| text(c, "name")).collect();
    for c in all.each() {
        common(&c, pod, errs);
        let sidecar = is_sidecar(c.v);
        restart_rules(&c, errs);
        if seen.contains(&c.text("name")) && !c.text("name").is_empty() {
            errs.push(c.get("name").duplicate());
        }
        seen.push(c.text("name"));
        // one runs after the other, so each is looked at alone, and the original takes each for the first
        host_ports(std::iter::once((0, c.v)), all, errs);
        if sidecar {
            probe::lifecycle(&c.get("lifecycle"), pod, errs);
            probe::all(&c, pod, errs);
        } else {
            for key in [
                "lifecycle",
                "livenessProbe",
                "readinessProbe",
                "startupProbe",
            ] {
                if c.has(key) {
                    errs.push(c.get(key).forbidden(
                        "may not be set for init containers without restartPolicy=Always",
                    ));
                }
            }
        }
    }
}

/// What a container that only visits cannot have.
const NOT_EPHEMERAL: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];
const EPHEMERAL: &str = "cannot be set for an Ephemeral Container";

/// The list `ephemeralContainers`.
pub fn ephemeral(all: &At, others: [&At; 2], pod: &Pod, errs: &mut Errors) {
    let mut seen: Vec<&str> = others
        .iter()
        .flat_map(|l| list(l.v))
        .map(|c| text(c, "name"))
        .collect();
    let known: Vec<&str> = seen.clone();
    for c in all.each() {
        common(&c, pod, errs);
        trimmed_image(&c, errs);
        if seen.contains(&c.text("name")) {
            errs.push(c.get("name").duplicate());
        }
        seen.push(c.text("name"));
        let target = c.get("targetContainerName");
        if !target.str().is_empty() && !known.contains(&target.str()) {
            errs.push(Error::not_found(&target.path, target.str()));
        }
        for key in NOT_EPHEMERAL {
            if !crate::validation::is_empty(c.get(key).v) {
                errs.push(c.get(key).forbidden(EPHEMERAL));
            }
        }
        for mount in c.items("volumeMounts") {
            for key in ["subPath", "subPathExpr"] {
                if !mount.text(key).is_empty() {
                    errs.push(mount.get(key).forbidden(EPHEMERAL));
                }
            }
        }
    }
}

/// What is checked of containers of every sort.
fn common(c: &At, pod: &Pod, errs: &mut Errors) {
    let name = c.get("name");
    if name.str().is_empty() {
        errs.push(name.required(""));
    } else {
        name.push(names::dns1123_label(name.str()), errs);
    }
    if c.text("image").is_empty() {
        errs.push(c.get("image").required(""));
    }
    one_of(
        c,
        "terminationMessagePolicy",
        &["File", "FallbackToLogsOnError"],
        errs,
    );
    container_ports(&c.get("ports"), errs);
    env::variables(&c.get("env"), errs);
    env::sources(&c.get("envFrom"), errs);
    mounts::mounts(c, pod, errs);
    mounts::devices(c, pod, errs);
    one_of(
        c,
        "imagePullPolicy",
        &["Always", "IfNotPresent", "Never"],
        errs,
    );
    requirements::container(&c.get("resources"), pod, errs);
    requirements::resize_policy(&c.get("resizePolicy"), pod, errs);
    security::container(&c.get("securityContext"), pod, errs);
}

fn container_ports(all: &At, errs: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for port in all.each() {
        let name = port.get("name");
        if !name.str().is_empty() {
            let wrong = names::port_name(name.str());
            if wrong.is_empty() && seen.contains(&name.str()) {
                errs.push(name.duplicate());
            } else if wrong.is_empty() {
                seen.push(name.str());
            }
            name.push(wrong, errs);
        }
        match port.int("containerPort").unwrap_or(0) {
            0 => errs.push(port.get("containerPort").required("")),
            _ => ports::number(&port.get("containerPort"), errs),
        }
        if port.int("hostPort").unwrap_or(0) != 0 {
            ports::number(&port.get("hostPort"), errs);
        }
        ports::protocol(&port, errs);
    }
}

/// Two containers cannot have the same port of the host.
fn host_ports<'a>(
    containers: impl Iterator<Item = (usize, &'a Value)>,
    all: &At,
    errs: &mut Errors,
) {
    let mut seen: Vec<String> = Vec::new();
    for (i, v) in containers {
        let path = all.path.index(i);
        for port in (At { v, path }).items("ports") {
            let number = port.int("hostPort").unwrap_or(0);
            if number == 0 {
                continue;
            }
            let this = format!("{}/{}/{number}", port.text("protocol"), port.text("hostIP"));
            if seen.contains(&this) {
                errs.push(Error::duplicate(&port.path.child("hostPort"), this));
            } else {
                seen.push(this);
            }
        }
    }
}

/// A container's own restart policy, and the rules that need one.
fn restart_rules(c: &At, errs: &mut Errors) {
    const POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
    let (policy, rules) = (c.get("restartPolicy"), c.get("restartPolicyRules"));
    if policy.v.is_null() {
        if !list(rules.v).is_empty() {
            errs.push(policy.required("must specify restartPolicy when restart rules are used"));
        }
    } else if !POLICIES.contains(&policy.str()) {
        errs.push(policy.not_supported(&POLICIES));
    }
    if list(rules.v).len() > 20 {
        errs.push(Error::too_many(&rules.path, list(rules.v).len(), 20));
    }
    for rule in rules.each() {
        restart_rule(&rule, errs);
    }
}

fn restart_rule(rule: &At, errs: &mut Errors) {
    const ACTIONS: [&str; 2] = ["Restart", "RestartAllContainers"];
    let action = rule.text("action");
    if !ACTIONS.contains(&action) {
        let path = rule.path.child("action");
        errs.push(Error::not_supported(&path, action, &ACTIONS));
    }
    let Some(codes) = rule.some("exitCodes") else {
        errs.push(rule.get("exitCodes").required("must be specified"));
        return;
    };
    let operator = codes.text("operator");
    if !["In", "NotIn"].contains(&operator) {
        let path = codes.path.child("operator");
        errs.push(Error::not_supported(&path, operator, &["In", "NotIn"]));
    }
    let values = codes.get("values");
    if list(values.v).len() > 255 {
        errs.push(Error::too_many(&values.path, list(values.v).len(), 255));
    }
}

/// Pods, unlike templates, may not have blanks around their images.
pub fn trimmed_image(c: &At, errs: &mut Errors) {
    let image = c.get("image");
    if image.str().trim() != image.str() {
        errs.push(image.invalid("must not have leading or trailing whitespace"));
    }
}

/// Whether any container of a spec satisfies a condition.
pub fn any(spec: &Value, holds: impl Fn(&Value) -> bool) -> bool {
    ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .any(|l| list(&spec[*l]).iter().any(&holds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn rules_of_restarting() {
        let codes = json!({"operator": "In", "values": [1]});
        let cases: &[(Value, &[&str])] = &[
            (
                json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "RestartAllContainers", "exitCodes": codes}, {"action": "Restart", "exitCodes": codes}]}),
                &[],
            ),
            (
                json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "X", "exitCodes": codes}, {"action": "Restart"}]}),
                &[
                    "c.restartPolicyRules[0].action: Unsupported value: \"X\": supported values: \"Restart\", \"RestartAllContainers\"",
                    "c.restartPolicyRules[1].exitCodes: Required value: must be specified",
                ],
            ),
            (
                json!({"restartPolicyRules": [{"action": "Restart", "exitCodes": codes}]}),
                &[
                    "c.restartPolicy: Required value: must specify restartPolicy when restart rules are used",
                ],
            ),
        ];
        for (container, want) in cases {
            let mut errs = Errors::new();
            restart_rules(&At::new(container, "c"), &mut errs);
            let told: Vec<String> = errs.iter().map(ToString::to_string).collect();
            assert_eq!(told, *want, "{container}");
        }
    }
}
