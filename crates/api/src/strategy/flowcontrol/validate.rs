//! What FlowSchemas and PriorityLevelConfigurations may say.

use knarr_json::Value;

use super::{fixed, rules};
use crate::{
    field::{Error, Errors},
    names,
    validation::{At, go, text},
};

const MOST_QUEUES: i64 = 10_000_000;
/// Bits of a request's hash that shuffle sharding may use.
const HASH_BITS: f64 = 60.0;

const SCHEMA_LAYOUT: &str = "PriorityLevelConfiguration{Name''} MatchingPrecedence0 DistinguisherMethod*{Type''} Rules[Subjects[Kind'' User*{Name''} Group*{Name''} ServiceAccount*{Namespace'' Name''}] ResourceRules[Verbs. APIGroups. Resources. ClusterScope! Namespaces.] NonResourceRules[Verbs. NonResourceURLs.]]";
const LEVEL_LAYOUT: &str = "Type'' Limited*{NominalConcurrencyShares0 LimitResponse{Type'' Queuing*{Queues0 HandSize0 QueueLengthLimit0}} LendablePercent. BorrowingLimitPercent.} Exempt*{NominalConcurrencyShares. LendablePercent.}";

pub fn schema(object: &Value, errs: &mut Errors) {
    let spec = At::root(object, "spec");
    let name = text(&object["metadata"], "name");
    let precedence = spec.get("matchingPrecedence");
    match precedence.v.as_i64().unwrap_or(0) {
        ..=0 => errs.push(precedence.invalid("must be a positive value")),
        10_001.. => errs.push(precedence.invalid("must not be greater than 10000")),
        1 if name != "exempt" => errs.push(
            precedence.invalid("only the schema named 'exempt' may have matchingPrecedence 1"),
        ),
        _ => {}
    }
    const METHODS: [&str; 2] = ["ByNamespace", "ByUser"];
    if let Some(method) = spec.some("distinguisherMethod")
        && !METHODS.contains(&method.text("type"))
    {
        let shown = go::dump(method.v, "Type''");
        let error = Error::not_supported(&method.path.child("type"), method.text("type"), &METHODS);
        errs.push(error.showing(shown));
    }
    let level = spec.get("priorityLevelConfiguration").get("name");
    if level.str().is_empty() {
        errs.push(level.required("must reference a priority level"));
    } else {
        level.push(names::dns1123_subdomain(level.str()), errs);
    }
    for rule in spec.items("rules") {
        rules::rule(&rule, errs);
    }
    if fixed::mandatory("FlowSchema", name).is_some_and(|fixed| !same(&fixed, spec.v)) {
        let words = format!("spec of '{name}' must equal the fixed value");
        errs.push(spec.invalid(words).showing(go::dump(spec.v, SCHEMA_LAYOUT)));
    }
}

/// Whether two specs say the same; a field that is false or absent says nothing.
fn same(a: &Value, b: &Value) -> bool {
    fn plain(v: &Value) -> Value {
        match v {
            Value::Object(map) => map
                .iter()
                .filter(|(_, v)| !v.is_null() && **v != Value::Bool(false))
                .map(|(k, v)| (k.clone(), plain(v)))
                .collect(),
            Value::Array(items) => items.iter().map(plain).collect(),
            other => other.clone(),
        }
    }
    plain(a) == plain(b)
}

/// The list `conditions` of both kinds: each type is there once.
pub fn conditions(status: &At, errs: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for condition in status.items("conditions") {
        let kind = condition.get("type");
        if seen.contains(&kind.str()) {
            errs.push(kind.duplicate());
        }
        seen.push(kind.str());
        if kind.str().is_empty() {
            errs.push(kind.required("must not be empty"));
        }
    }
}

pub fn level(object: &Value, errs: &mut Errors) {
    let spec = At::root(object, "spec");
    let name = text(&object["metadata"], "name");
    let kind = spec.get("type");
    if (name == "exempt") != (kind.str() == "Exempt") {
        let words = "must be 'Exempt' if and only if `name` is 'exempt'";
        errs.push(Error::invalid(&kind.path, kind.str(), words));
    }
    match kind.str() {
        "Exempt" => {
            if let Some(limited) = spec.some("limited") {
                errs.push(limited.forbidden("must be nil if the type is not Limited"));
            }
            if let Some(exempt) = spec.some("exempt") {
                shares(&exempt, errs);
                percent(&exempt, errs);
            }
        }
        "Limited" => {
            if let Some(exempt) = spec.some("exempt") {
                errs.push(exempt.forbidden("must be nil if the type is Limited"));
            }
            match spec.some("limited") {
                Some(at) => limited(&at, errs),
                None => errs.push(
                    spec.get("limited")
                        .required("must not be empty when type is Limited"),
                ),
            }
        }
        other => errs.push(Error::not_supported(
            &kind.path,
            other,
            &["Exempt", "Limited"],
        )),
    }
    mandatory(name, &spec, errs);
}

fn mandatory(name: &str, spec: &At, errs: &mut Errors) {
    let Some(fixed) = fixed::mandatory("PriorityLevelConfiguration", name) else {
        return;
    };
    let mut have = spec.v.clone();
    let mut words = format!("spec of '{name}' must equal the fixed value");
    if name == "exempt" {
        // What the exempt level lends is the administrator's.
        have["exempt"] = fixed["exempt"].clone();
        words = "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value".into();
    }
    if !same(&fixed, &have) {
        errs.push(spec.invalid(words).showing(go::dump(spec.v, LEVEL_LAYOUT)));
    }
}

fn shares(at: &At, errs: &mut Errors) {
    let shares = at.get("nominalConcurrencyShares");
    if shares.v.as_i64().is_some_and(|n| n < 0) {
        errs.push(shares.invalid("must be a non-negative integer"));
    }
}

fn percent(at: &At, errs: &mut Errors) {
    let lendable = at.get("lendablePercent");
    if lendable.v.as_i64().is_some_and(|n| !(0..=100).contains(&n)) {
        errs.push(lendable.invalid("must be between 0 and 100, inclusive"));
    }
}

fn limited(at: &At, errs: &mut Errors) {
    shares(at, errs);
    let response = at.get("limitResponse");
    let kind = response.get("type");
    match (kind.str(), response.some("queuing")) {
        ("Reject", Some(queuing)) => {
            errs.push(
                queuing.forbidden("must be nil if limited.limitResponse.type is not Limited"),
            );
        }
        ("Reject", None) => {}
        ("Queue", Some(queuing)) => queues(&queuing, errs),
        ("Queue", None) => {
            errs.push(
                response
                    .get("queuing")
                    .required("must not be empty if limited.limitResponse.type is Limited"),
            );
        }
        (other, _) => errs.push(Error::not_supported(
            &kind.path,
            other,
            &["Queue", "Reject"],
        )),
    }
    percent(at, errs);
    let borrowed = at.get("borrowingLimitPercent");
    if borrowed.v.as_i64().is_some_and(|n| n < 0) {
        errs.push(borrowed.invalid("if specified, must be a non-negative integer"));
    }
}

fn queues(at: &At, errs: &mut Errors) {
    let limit = at.get("queueLengthLimit");
    if limit.v.as_i64().unwrap_or(0) <= 0 {
        errs.push(limit.invalid("must be positive"));
    }
    let (queues, hand) = (at.get("queues"), at.get("handSize"));
    let count = queues.v.as_i64().unwrap_or(0);
    let size = hand.v.as_i64().unwrap_or(0);
    if count <= 0 {
        errs.push(queues.invalid("must be positive"));
    } else if count > MOST_QUEUES {
        errs.push(queues.invalid(format!("must not be greater than {MOST_QUEUES}")));
    }
    if size <= 0 {
        errs.push(hand.invalid("must be positive"));
    } else if size > count {
        errs.push(hand.invalid(format!("should not be greater than queues ({count})")));
    } else if entropy(count, size) > HASH_BITS {
        errs.push(hand.invalid(format!(
            "required entropy bits of deckSize {count} and handSize {size} should not be greater than 60"
        )));
    }
}

/// Bits needed to deal a hand out of a deck.
fn entropy(deck: i64, hand: i64) -> f64 {
    (0..hand.min(100))
        .map(|i| ((deck - i) as f64).log2())
        .sum::<f64>()
        .ceil()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::{Context, FlowSchema, PriorityLevelConfiguration, Strategy};

    #[test]
    fn the_objects_of_every_cluster_are_valid() {
        let ctx = Context::default();
        let all = [
            (&FlowSchema as &dyn Strategy, fixed::schemas()),
            (&PriorityLevelConfiguration, fixed::levels()),
        ];
        for (strategy, objects) in all {
            for mut object in objects {
                strategy.default(&ctx, &mut object);
                let errs = strategy.validate_create(&ctx, &object);
                assert!(errs.is_empty(), "{object}: {errs:?}");
            }
        }
    }
}
