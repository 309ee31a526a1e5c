//! What the status of a pod may say.

use knarr_json::Value;

use super::{annotations, health, immutable_text};
use crate::{
    field::{Error, Errors},
    names,
    strategy::pod::resources::is_sidecar,
    validation::{At, list, net, text},
};

/// Checks an update of `/status`.
pub fn status(object: &Value, old: &Value, errs: &mut Errors) {
    let (status, was) = (At::root(object, "status"), &old["status"]);
    annotations::update(object, old, errs);
    conditions(&status, errs);
    nominated(object, &status, was, errs);
    observed(&status, errs);
    immutable_text(&status.get("qosClass"), text(was, "qosClass"), errs);
    restarts(&status, old, errs);
    claims(&status, &object["spec"], errs);
    pod_ips(&status, was, errs);
    host_ips(&status, was, errs);
    health::users(&status, &object["spec"], errs);
    health::devices(&status, &object["spec"], errs);
}

/// Types of conditions other than the system's own, which the original writes with a capital, and what they were seen of.
fn conditions(status: &At, errs: &mut Errors) {
    for c in status.items("conditions") {
        observed(&c, errs);
        let kind = c.get_as("type", "Type");
        kind.push(names::qualified_name(kind.str()), errs);
    }
}

/// The generation that a status, or a condition in it, was worked out from.
fn observed(at: &At, errs: &mut Errors) {
    const KEY: &str = "observedGeneration";
    if at.int(KEY).is_some_and(|n| n < 0) {
        errs.push(at.get(KEY).invalid("must be a non-negative integer"));
    }
}

fn nominated(object: &Value, status: &At, was: &Value, errs: &mut Errors) {
    let name = status.get("nominatedNodeName");
    if name.str() == text(was, "nominatedNodeName") || name.str().is_empty() {
        return;
    }
    name.push(names::dns1123_subdomain(name.str()), errs);
    if !text(&object["spec"], "nodeName").is_empty() {
        errs.push(name.forbidden("may not be set on pods that are already bound to a node"));
    }
}

/// A container that ended and is not restarted stays ended.
fn restarts(status: &At, old: &Value, errs: &mut Errors) {
    let spec = &old["spec"];
    let policy = text(spec, "restartPolicy");
    if policy != "Always" && !restarts_all(spec) {
        for (statuses, containers) in [
            ("containerStatuses", "containers"),
            ("initContainerStatuses", "initContainers"),
        ] {
            transitions(status, old, statuses, errs, |name, code| {
                let c = list(&spec[containers])
                    .iter()
                    .find(|c| text(c, "name") == name);
                (code != 0 && policy == "OnFailure") || c.is_some_and(|c| restarts_itself(c, code))
            });
        }
    }
    transitions(status, old, "ephemeralContainerStatuses", errs, |_, _| {
        false
    });
}

fn transitions(
    status: &At,
    old: &Value,
    key: &str,
    errs: &mut Errors,
    restarts: impl Fn(&str, i64) -> bool,
) {
    let new = status.get(key);
    for (i, before) in list(&old["status"][key]).iter().enumerate() {
        let ended = &before["state"]["terminated"];
        let name = text(before, "name");
        if !ended.is_object() || restarts(name, ended["exitCode"].as_i64().unwrap_or(0)) {
            continue;
        }
        let revived =
            |now: &&Value| text(now, "name") == name && !now["state"]["terminated"].is_object();
        for _ in list(new.v).iter().filter(revived) {
            errs.push(Error::forbidden(
                &new.path.index(i).child("state"),
                "may not be transitioned to non-terminated state",
            ));
        }
    }
}

/// Whether a container's own policy, or one of its rules, starts it again after it ended so.
fn restarts_itself(c: &Value, code: i64) -> bool {
    let matched = list(&c["restartPolicyRules"])
        .iter()
        .any(|rule| rule_matches(rule, code));
    matched
        || is_sidecar(c)
        || match text(c, "restartPolicy") {
            "Always" => true,
            "OnFailure" => code != 0,
            _ => false,
        }
}

fn rule_matches(rule: &Value, code: i64) -> bool {
    let codes = &rule["exitCodes"];
    let listed = list(&codes["values"])
        .iter()
        .any(|v| v.as_i64() == Some(code));
    match text(codes, "operator") {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    }
}

/// Whether some container's end may start all of them again.
fn restarts_all(spec: &Value) -> bool {
    ["containers", "initContainers"].iter().any(|key| {
        list(&spec[*key])
            .iter()
            .flat_map(|c| list(&c["restartPolicyRules"]))
            .any(|rule| text(rule, "action") == "RestartAllContainers")
    })
}

/// What became of the pod's claims.
fn claims(status: &At, spec: &Value, errs: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for claim in status.items("resourceClaimStatuses") {
        let name = claim.get("name");
        let known = list(&spec["resourceClaims"])
            .iter()
            .any(|c| text(c, "name") == name.str());
        if !known {
            errs.push(Error::invalid(
                &name.path,
                name.str(),
                "must match the name of an entry in `spec.resourceClaims`",
            ));
        }
        if seen.contains(&name.str()) {
            errs.push(name.duplicate());
        }
        seen.push(name.str());
        if let Some(made) = claim.some("resourceClaimName") {
            for m in names::dns1123_subdomain(made.str()) {
                errs.push(Error::invalid(&name.path, made.str(), m));
            }
        }
    }
}

/// Addresses of the pod: one per family.
fn pod_ips(status: &At, was: &Value, errs: &mut Errors) {
    let ips = status.get("podIPs");
    each_ip(&ips, &was["podIPs"], errs);
    families(&ips, errs);
}

fn host_ips(status: &At, was: &Value, errs: &mut Errors) {
    let ips = status.get("hostIPs");
    let Some(first) = ips.each().next() else {
        return;
    };
    if first.text("ip") != status.text("hostIP") {
        errs.push(Error::invalid(
            &first.path.child("ip"),
            first.text("ip"),
            "must be equal to `hostIP`",
        ));
    }
    each_ip(&ips, &was["hostIPs"], errs);
    families(&ips, errs);
}

/// What was there before stays, however it is written. Errors name the entry, not its field.
fn each_ip(ips: &At, was: &Value, errs: &mut Errors) {
    let known = |ip: &At| list(was).iter().any(|o| text(o, "ip") == ip.text("ip"));
    for ip in ips.each().filter(|ip| !known(ip)) {
        let at = At {
            v: ip.get("ip").v,
            path: ip.path.clone(),
        };
        net::ip_strict(&at, errs);
    }
}

/// Several addresses are one of each family, so that none is there twice.
fn families(ips: &At, errs: &mut Errors) {
    if list(ips.v).len() < 2 {
        return;
    }
    let parsed: Vec<_> = list(ips.v)
        .iter()
        .map(|ip| net::parse_ip_sloppy(text(ip, "ip")))
        .collect();
    if let Some(i) = parsed.iter().position(Option::is_none) {
        let words = format!("failed to check for dual stack with error:invalid IP[{i}]: <nil>");
        errs.push(Error::internal(&ips.path, words));
    }
    let all: Option<Vec<_>> = parsed.into_iter().collect();
    let both = all
        .is_some_and(|all| all.iter().any(|ip| ip.is_ipv4()) && all.iter().any(|ip| ip.is_ipv6()));
    if !both || list(ips.v).len() > 2 {
        let shown: Vec<String> = list(ips.v).iter().map(shown_ip).collect();
        let words = "may specify no more than one IP for each IP family";
        errs.push(ips.invalid(words).showing(format!("[{}]", shown.join(","))));
    }
}

fn shown_ip(ip: &Value) -> String {
    format!("{{\"IP\":{}}}", Value::from(text(ip, "ip")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn statuses_that_are_refused() {
        let old = json!({"spec": {"restartPolicy": "Never", "nodeName": "n"}, "status": {"qosClass": "BestEffort",
            "podIPs": [{"ip": "010.0.0.9"}],
            "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 0}}}]}});
        for (change, want) in [
            (json!({}), vec![]),
            (json!({"qosClass": "Guaranteed"}), vec!["status.qosClass"]),
            (
                json!({"containerStatuses": [{"name": "c", "state": {"running": {}}}]}),
                vec!["status.containerStatuses[0].state"],
            ),
            (
                json!({"podIPs": [{"ip": "nowhere"}]}),
                vec!["status.podIPs[0]"],
            ),
            (
                json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]}),
                vec!["status.podIPs"],
            ),
            (
                json!({"hostIPs": [{"ip": "1.2.3.4"}]}),
                vec!["status.hostIPs[0].ip"],
            ),
            (
                json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}]}),
                vec!["status.podIPs"],
            ),
            (
                json!({"podIPs": [{"ip": "010.0.0.9"}, {"ip": "fd00::9"}]}),
                vec![],
            ),
            (
                json!({"observedGeneration": -1, "conditions": [{"type": "a b", "observedGeneration": -1}]}),
                vec![
                    "status.conditions[0].observedGeneration",
                    "status.conditions[0].Type",
                    "status.observedGeneration",
                ],
            ),
            (
                json!({"nominatedNodeName": "m"}),
                vec!["status.nominatedNodeName"],
            ),
        ] {
            let mut new = old.clone();
            for (key, value) in change.as_object().unwrap() {
                new["status"][key] = value.clone();
            }
            let mut errs = Errors::new();
            status(&new, &old, &mut errs);
            assert_eq!(
                errs.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(),
                want,
                "{change}"
            );
        }
    }
}
