//! What changes of a ResourceClaim's status need beyond the right to write it: who allocates and reserves needs
//! `resourceclaims/binding`, who tells of a driver's devices needs `resourceclaims/driver` for that driver. Nothing is served
//! under these names, they are only asked for.

use std::collections::{BTreeSet, HashMap};

use knarr_api::{
    field::{Error, Errors, Path},
    names,
};
use knarr_json::Value;

use super::{Attributes, Decision, refusal};
use crate::{UserInfo, chain::Call, user};

/// Which node a service account's token is bound to.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// Names what the call's user may not change in the status of a claim.
pub(crate) async fn check(call: &Call, new: &Value, old: &Value) -> Errors {
    let (new, old) = (&new["status"], &old["status"]);
    let mut errors = Errors::new();
    let base = Attributes::of(call);
    if binds(new, old) {
        let ask = Attributes {
            subresource: "binding".into(),
            namespace: String::new(),
            name: String::new(),
            ..base.clone()
        };
        if let Err(why) = may(call, &ask).await {
            let words = format!(
                "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"{}\" permission: {why}",
                ask.verb
            );
            errors.push(Error::forbidden(&Path::new("status"), words));
        }
    }
    let verbs = verbs(&base.verb, &base.user, node_of(new));
    for driver in changed_drivers(new, old) {
        if let Err(why) = may_one_of(call, &base, &verbs, driver).await {
            let words = format!(
                "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{}]\" permission: {why}",
                verbs.join(" ")
            );
            errors.push(Error::forbidden(
                &Path::new("status").child("devices"),
                words,
            ));
        }
    }
    errors
}

/// Asks for one verb after the other; what is told is why the first was refused.
async fn may_one_of(
    call: &Call,
    base: &Attributes,
    verbs: &[String],
    driver: &str,
) -> Result<(), String> {
    let mut first = Ok(());
    for verb in verbs {
        let ask = Attributes {
            verb: verb.clone(),
            subresource: "driver".into(),
            name: driver.to_owned(),
            ..base.clone()
        };
        match may(call, &ask).await {
            Ok(()) => return Ok(()),
            refused if first.is_ok() => first = refused,
            Err(_) => {}
        }
    }
    first
}

async fn may(call: &Call, ask: &Attributes) -> Result<(), String> {
    let said = call.shared.authorizer.decide(ask).await;
    if said.allowed {
        return Ok(());
    }
    let parts = [said.error, said.reason];
    let told: Vec<String> = parts.into_iter().filter(|t| !t.is_empty()).collect();
    let why = Decision {
        reason: told.join(": "),
        ..Decision::default()
    };
    Err(refusal(ask, &why).message)
}

/// Whether a claim is allocated or reserved otherwise than before.
fn binds(new: &Value, old: &Value) -> bool {
    ["allocation", "reservedFor"]
        .iter()
        .any(|key| new[*key] != old[*key])
}

/// Drivers of which devices were added, changed or taken away.
fn changed_drivers<'a>(new: &'a Value, old: &'a Value) -> BTreeSet<&'a str> {
    let mut before: HashMap<[&str; 4], &Value> = devices(old).map(|d| (identity(d), d)).collect();
    let mut changed: BTreeSet<&str> = devices(new)
        .filter(|d| before.remove(&identity(d)) != Some(d))
        .map(driver)
        .collect();
    changed.extend(before.into_values().map(driver));
    changed
}

fn devices(status: &Value) -> impl Iterator<Item = &Value> {
    status["devices"].as_array().into_iter().flatten()
}

fn identity(device: &Value) -> [&str; 4] {
    ["driver", "pool", "device", "shareID"].map(|key| device[key].as_str().unwrap_or_default())
}

fn driver(device: &Value) -> &str {
    device["driver"].as_str().unwrap_or_default()
}

/// The node that the claim's devices are on, when they are on one and it is told by name; empty otherwise.
fn node_of(status: &Value) -> &str {
    let one = |list: &'_ Value| list.as_array().filter(|all| all.len() == 1).is_some();
    let terms = &status["allocation"]["nodeSelector"]["nodeSelectorTerms"];
    let (term, field) = (&terms[0], &terms[0]["matchFields"][0]);
    let expressions = term["matchExpressions"].as_array();
    let named = one(terms)
        && one(&term["matchFields"])
        && expressions.is_none_or(|all| all.is_empty())
        && field["key"] == "metadata.name"
        && field["operator"] == "In"
        && one(&field["values"]);
    match named {
        true => field["values"][0].as_str().unwrap_or_default(),
        false => "",
    }
}

/// Verbs of which one is needed to tell of devices on `node`.
fn verbs(verb: &str, user: &UserInfo, node: &str) -> Vec<String> {
    let arbitrary = format!("arbitrary-node:{verb}");
    match runs_on(user, node) {
        true => vec![format!("associated-node:{verb}"), arbitrary],
        false => vec![arbitrary],
    }
}

/// Whether the user is a service account whose pod is on this node.
fn runs_on(user: &UserInfo, node: &str) -> bool {
    let told = user.extra.get(NODE_NAME).map(Vec::as_slice);
    !node.is_empty()
        && user::service_account(&user.name).is_some()
        && told == Some(&[node.to_owned()])
        && names::dns1123_subdomain(node).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn drivers_answer_for_their_own_devices() {
        let device = |driver: &str, name: &str, data: i64| json!({"driver": driver, "pool": "p", "device": name, "data": data});
        for (old, new, want) in [
            (
                json!([device("a", "1", 0)]),
                json!([device("a", "1", 0)]),
                vec![],
            ),
            (json!([]), json!([device("a", "1", 0)]), vec!["a"]),
            (json!([device("a", "1", 0)]), Value::Null, vec!["a"]),
            (
                json!([device("a", "1", 0), device("b", "1", 0)]),
                json!([device("b", "1", 1), device("a", "1", 0)]),
                vec!["b"],
            ),
            (
                json!([device("b", "1", 0)]),
                json!([device("a", "1", 0)]),
                vec!["a", "b"],
            ),
        ] {
            let (old, new) = (json!({"devices": old}), json!({"devices": new}));
            let changed: Vec<&str> = changed_drivers(&new, &old).into_iter().collect();
            assert_eq!(changed, want, "{old} {new}");
        }
    }

    #[test]
    fn only_what_is_bound_counts_as_binding() {
        let was = json!({"allocation": {"a": 1}, "reservedFor": [1]});
        assert!(!binds(&was, &was));
        assert!(binds(&json!({"allocation": {"a": 1}}), &was));
        assert!(binds(&json!({"reservedFor": [1]}), &was));
        let more = json!({"allocation": {"a": 1}, "reservedFor": [1], "devices": []});
        assert!(!binds(&more, &was));
    }

    #[test]
    fn a_driver_on_the_node_needs_less() {
        let on = |key: &str, values: &[&str]| json!({"allocation": {"nodeSelector": {"nodeSelectorTerms": [{"matchFields": [{"key": key, "operator": "In", "values": values}]}]}}});
        let account = |nodes: &[&str]| {
            let mut user = UserInfo::new::<&str>("system:serviceaccount:n:a", []);
            let nodes = nodes.iter().map(|n| (*n).to_owned()).collect();
            user.extra.insert(NODE_NAME.into(), nodes);
            user
        };
        let mut someone = account(&["one"]);
        someone.name = "someone".into();
        for (status, user, near) in [
            (on("metadata.name", &["one"]), account(&["one"]), true),
            (on("metadata.name", &["two"]), account(&["one"]), false),
            (
                on("metadata.name", &["one", "two"]),
                account(&["one"]),
                false,
            ),
            (on("metadata.zone", &["one"]), account(&["one"]), false),
            (
                on("metadata.name", &["one"]),
                account(&["one", "two"]),
                false,
            ),
            (on("metadata.name", &["one"]), someone, false),
            (json!({}), account(&["one"]), false),
        ] {
            let all = verbs("patch", &user, node_of(&status));
            assert_eq!(all.len() == 2, near, "{status} {user:?}");
            assert_eq!(all.last().unwrap(), "arbitrary-node:patch");
        }
    }
}
