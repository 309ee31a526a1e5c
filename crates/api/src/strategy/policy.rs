//! NetworkPolicies and PodDisruptionBudgets.

use jiff::Timestamp;
use knarr_json::{Value, json};

use super::{
    Column, Context, Strategy, common,
    defaults::{each, ensure, set_text},
    workload::{at_most_all, int_or_percent},
};
use crate::{
    field::{Error, Errors},
    table,
    validation::{At, labels, list, meta, net, ports, status},
};

/// `networking.k8s.io/v1/NetworkPolicy`.
pub struct NetworkPolicy;

impl Strategy for NetworkPolicy {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        let spec = ensure(object, "spec");
        for key in ["ingress", "egress"] {
            for rule in each(spec, key) {
                for port in each(rule, "ports") {
                    set_text(port, "protocol", "TCP");
                }
            }
        }
        if list(&spec["policyTypes"]).is_empty() {
            let egress = !list(&spec["egress"]).is_empty();
            spec["policyTypes"] = if egress {
                json!(["Ingress", "Egress"])
            } else {
                json!(["Ingress"])
            };
        }
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, true, meta::subdomain, &mut errs);
        policy(&At::root(object, "spec"), &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        policy(&At::root(object, "spec"), &mut errs);
        errs
    }

    fn warnings(&self, _ctx: &Context, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut out = Vec::new();
        let spec = At::root(object, "spec");
        for (key, peers) in DIRECTIONS {
            for peer in spec.items(key).flat_map(|rule| rule.items(peers)) {
                let block = peer.get("ipBlock");
                net::cidr_warning(&block.get("cidr"), &mut out);
                for except in block.items("except") {
                    net::cidr_warning(&except, &mut out);
                }
            }
        }
        out
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Pod-Selector",
                "podSelector selects the pods to which this NetworkPolicy object applies. The array of rules is applied to any pods selected by this field. An empty selector matches all pods in the policy's namespace. Multiple network policies can select the same set of pods. In this case, the ingress rules for each are combined additively. This field is optional. If it is not specified, it defaults to an empty selector.",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let selector = table::selector(&object["spec"]["podSelector"]);
        vec![
            table::name_of(object),
            selector.into(),
            table::age_of(object, now),
        ]
    }
}

/// Lists of rules, and where each has its peers.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

fn policy(spec: &At, errs: &mut Errors) {
    labels::selector(&spec.get("podSelector"), errs);
    for (key, peers) in DIRECTIONS {
        for rule in spec.items(key) {
            for port in rule.items("ports") {
                policy_port(&port, errs);
            }
            for peer in rule.items(peers) {
                policy_peer(&peer, errs);
            }
        }
    }
    let types = spec.get("policyTypes");
    if list(types.v).len() > 2 {
        errs.push(types.invalid("may not specify more than two policyTypes"));
        return;
    }
    for kind in types
        .each()
        .filter(|t| !["Ingress", "Egress"].contains(&t.str()))
    {
        errs.push(kind.not_supported(&["Ingress", "Egress"]));
    }
}

fn policy_port(at: &At, errs: &mut Errors) {
    let protocol = at.get("protocol");
    if !protocol.v.is_null() && !["TCP", "UDP", "SCTP"].contains(&protocol.str()) {
        errs.push(protocol.not_supported(&["TCP", "UDP", "SCTP"]));
    }
    let (port, end) = (at.get("port"), at.get("endPort"));
    if port.v.is_null() {
        if !end.v.is_null() {
            errs.push(end.invalid("may not be specified when `port` is not specified"));
        }
        return;
    }
    if port.v.is_string() && !end.v.is_null() {
        errs.push(end.invalid("may not be specified when `port` is non-numeric"));
    }
    ports::number_or_name(&port, errs);
    if let (Some(first), Some(last)) = (port.v.as_i64(), end.v.as_i64()) {
        if last < first {
            errs.push(Error::invalid(
                &end.path,
                first,
                "must be greater than or equal to `port`",
            ));
        }
        ports::number(&end, errs);
    }
}

fn policy_peer(peer: &At, errs: &mut Errors) {
    let (pods, namespaces, block) = (
        peer.some("podSelector"),
        peer.some("namespaceSelector"),
        peer.some("ipBlock"),
    );
    for selector in [&pods, &namespaces].into_iter().flatten() {
        labels::selector(selector, errs);
    }
    let others = pods.is_some() || namespaces.is_some();
    if let Some(block) = &block {
        ip_block(block, errs);
    }
    if !others && block.is_none() {
        errs.push(peer.required("must specify a peer"));
    } else if others && block.is_some() {
        errs.push(peer.forbidden("may not specify both ipBlock and another peer"));
    }
}

fn ip_block(block: &At, errs: &mut Errors) {
    let cidr = block.get("cidr");
    if cidr.str().is_empty() {
        errs.push(cidr.required(""));
        return;
    }
    net::cidr_strict(&cidr, errs);
    let range = |text: &str| {
        let (ip, bits) = net::parse_cidr_sloppy(text)?;
        Some(ipnet::IpNet::new(ip, bits).ok()?.trunc())
    };
    let Some(whole) = range(cidr.str()) else {
        return;
    };
    for except in block.items("except") {
        net::cidr_strict(&except, errs);
        let part = range(except.str());
        if part
            .is_some_and(|p| !whole.contains(&p.network()) || p.prefix_len() <= whole.prefix_len())
        {
            errs.push(except.invalid("must be a strict subset of `cidr`"));
        }
    }
}

/// `policy/v1/PodDisruptionBudget`.
pub struct PodDisruptionBudget;

impl Strategy for PodDisruptionBudget {
    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        budget(&At::root(object, "spec"), &mut errs);
        if errs.is_empty() {
            meta::create(object, true, meta::path_segment, &mut errs);
        }
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        if ctx.subresource == "status" {
            let s = At::root(object, "status");
            status::conditions(&s.get("conditions"), &mut errs);
            status::counts(
                &s,
                &[
                    "disruptionsAllowed",
                    "currentHealthy",
                    "desiredHealthy",
                    "expectedPods",
                ],
                &mut errs,
            );
        } else {
            budget(&At::root(object, "spec"), &mut errs);
        }
        errs
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Min Available",
                "The minimum number of pods that must be available.",
            ),
            table::column(
                "Max Unavailable",
                "The maximum number of pods that may be unavailable.",
            ),
            table::count(
                "Allowed Disruptions",
                "Calculated number of pods that may be disrupted at this time.",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let shown = |v: &Value| match v {
            Value::Null => "N/A".to_owned(),
            Value::String(s) => s.to_string(),
            other => other.to_string(),
        };
        vec![
            table::name_of(object),
            shown(&spec["minAvailable"]).into(),
            shown(&spec["maxUnavailable"]).into(),
            status["disruptionsAllowed"].as_i64().unwrap_or(0).into(),
            table::age_of(object, now),
        ]
    }
}

fn budget(spec: &At, errs: &mut Errors) {
    let (min, max) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if !min.v.is_null() && !max.v.is_null() {
        let selector = if spec.has("selector") {
            labels::selector_json(&spec.v["selector"])
        } else {
            "null".to_owned()
        };
        let shown = format!(
            "{{\"MinAvailable\":{},\"Selector\":{selector},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}",
            min.v,
            max.v,
            spec.v
                .get("unhealthyPodEvictionPolicy")
                .unwrap_or(&Value::Null)
        );
        errs.push(
            spec.invalid("minAvailable and maxUnavailable cannot be both set")
                .showing(shown),
        );
    }
    for at in [&min, &max] {
        int_or_percent(at, errs);
        at_most_all(at, errs);
    }
    labels::selector(&spec.get("selector"), errs);
    const POLICIES: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];
    if let Some(policy) = spec
        .some("unhealthyPodEvictionPolicy")
        .filter(|p| !POLICIES.contains(&p.str()))
    {
        errs.push(policy.not_supported(&POLICIES));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_ports_of_policies() {
        let wrong = |ingress: Value| {
            let mut object = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"podSelector": {}, "ingress": [ingress]}});
            NetworkPolicy.default(&Context::default(), &mut object);
            let errs = NetworkPolicy.validate_create(&Context::default(), &object);
            errs.iter()
                .map(|e| format!("{} {}", e.field, e.detail))
                .collect::<Vec<_>>()
        };
        for (rule, want) in [
            (
                json!({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}),
                vec![],
            ),
            (
                json!({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}]}),
                vec!["spec.ingress[0].from[0].ipBlock.except[0] must be a strict subset of `cidr`"],
            ),
            (
                json!({"from": [{}]}),
                vec!["spec.ingress[0].from[0] must specify a peer"],
            ),
            (
                json!({"ports": [{"endPort": 100}]}),
                vec![
                    "spec.ingress[0].ports[0].endPort may not be specified when `port` is not specified",
                ],
            ),
            (
                json!({"ports": [{"port": "http", "endPort": 1}]}),
                vec![
                    "spec.ingress[0].ports[0].endPort may not be specified when `port` is non-numeric",
                ],
            ),
        ] {
            assert_eq!(wrong(rule), want);
        }
    }
}
