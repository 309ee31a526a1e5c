//! What the status of a pod may say.

use serde_json::Value;

use super::immutable_text;
use crate::{
    field::{Error, Errors},
    names,
    strategy::pod::resources::is_sidecar,
    validation::{At, list, net, text},
};

/// Checks an update of `/status`.
pub fn status(object: &Value, old: &Value, errs: &mut Errors) {
    let (status, was) = (At::root(object, "status"), &old["status"]);
    nominated(object, &status, was, errs);
    immutable_text(&status.get("qosClass"), text(was, "qosClass"), errs);
    let policy = text(&old["spec"], "restartPolicy");
    transitions(
        &status.get("containerStatuses"),
        &was["containerStatuses"],
        policy,
        errs,
    );
    init_transitions(
        &status.get("initContainerStatuses"),
        was,
        &old["spec"],
        policy,
        errs,
    );
    transitions(
        &status.get("ephemeralContainerStatuses"),
        &was["ephemeralContainerStatuses"],
        "Never",
        errs,
    );
    pod_ips(&status, errs);
    host_ips(&status, errs);
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
fn transitions(new: &At, old: &Value, policy: &str, errs: &mut Errors) {
    if policy == "Always" {
        return;
    }
    for before in list(old) {
        let ended = &before["state"]["terminated"];
        if !ended.is_object()
            || (policy == "OnFailure" && ended["exitCode"].as_i64().unwrap_or(0) != 0)
        {
            continue;
        }
        revived(new, before, errs);
    }
}

fn revived(new: &At, before: &Value, errs: &mut Errors) {
    for now in new.each().filter(|n| n.v["name"] == before["name"]) {
        if !now.v["state"]["terminated"].is_object() {
            errs.push(Error::forbidden(
                &now.path.child("state"),
                "may not be transitioned to non-terminated state",
            ));
        }
    }
}

fn init_transitions(new: &At, was: &Value, spec: &Value, policy: &str, errs: &mut Errors) {
    for before in list(&was["initContainerStatuses"]) {
        let ended = &before["state"]["terminated"];
        let spec = list(&spec["initContainers"])
            .iter()
            .find(|c| c["name"] == before["name"]);
        let failed = ended["exitCode"].as_i64().unwrap_or(0) != 0;
        if !ended.is_object()
            || spec.is_some_and(is_sidecar)
            || policy == "Always"
            || (failed && policy != "Never")
        {
            continue;
        }
        revived(new, before, errs);
    }
}

fn pod_ips(status: &At, errs: &mut Errors) {
    let ips = status.get("podIPs");
    let mut families = Vec::new();
    for ip in ips.each() {
        let at = At {
            v: &ip.v["ip"],
            path: ip.path.clone(),
        };
        families.extend(net::ip_strict(&at, errs).map(|ip| ip.is_ipv4()));
    }
    if families.len() > 2 || (families.len() == 2 && families[0] == families[1]) {
        let shown: Vec<String> = list(ips.v)
            .iter()
            .map(|ip| format!("{{\"IP\":{}}}", ip["ip"]))
            .collect();
        let words = "may specify no more than one IP for each IP family";
        errs.push(ips.invalid(words).showing(format!("[{}]", shown.join(","))));
    }
}

fn host_ips(status: &At, errs: &mut Errors) {
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
    for ip in ips.each() {
        net::ip_strict(&ip.get("ip"), errs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn statuses_that_are_refused() {
        let old = json!({"spec": {"restartPolicy": "Never", "nodeName": "n"}, "status": {"qosClass": "BestEffort",
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
