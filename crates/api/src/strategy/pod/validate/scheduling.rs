//! Where a pod may be scheduled: affinity, topology spread, gates.

use std::collections::HashMap;

use knarr_json::Value;

use crate::{
    field::{Error, Errors},
    names,
    validation::{At, labels, list, text},
};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// The field `affinity`.
pub fn affinity(affinity: &At, errs: &mut Errors) {
    let node = affinity.get("nodeAffinity");
    if let Some(required) = node.some(REQUIRED) {
        node_selector(&required, errs);
    }
    for term in node.items(PREFERRED) {
        weight(&term, errs);
        node_term(&term.get("preference"), false, errs);
    }
    for key in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.get(key);
        for term in pods.items(REQUIRED) {
            pod_term(&term, errs);
        }
        for term in pods.items(PREFERRED) {
            weight(&term, errs);
            pod_term(&term.get("podAffinityTerm"), errs);
        }
    }
}

fn weight(term: &At, errs: &mut Errors) {
    let n = term.int("weight").unwrap_or(0);
    if !(1..=100).contains(&n) {
        errs.push(Error::invalid(
            &term.path.child("weight"),
            n,
            "must be in the range 1-100",
        ));
    }
}

/// A selector of nodes: terms of which one must hold.
pub fn node_selector(selector: &At, errs: &mut Errors) {
    let terms = selector.get("nodeSelectorTerms");
    if list(terms.v).is_empty() {
        errs.push(terms.required("must have at least one node selector term"));
    }
    for term in terms.each() {
        node_term(&term, true, errs);
    }
}

/// A term; values of preferences, which can be passed over, may be any text.
fn node_term(term: &At, strict: bool, errs: &mut Errors) {
    for expression in term.items("matchExpressions") {
        node_expression(&expression, errs);
        for value in expression.items("values").filter(|_| strict) {
            value.push(names::label_value(value.str()), errs);
        }
    }
    for field in term.items("matchFields") {
        node_field(&field, errs);
    }
}

fn node_expression(e: &At, errs: &mut Errors) {
    let values = e.get("values");
    let count = list(values.v).len();
    match e.text("operator") {
        "In" | "NotIn" if count == 0 => {
            errs.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if count > 0 => {
            errs.push(
                values.forbidden(
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ),
            );
        }
        "Gt" | "Lt" if count != 1 => {
            errs.push(
                values.required("must be specified single value when `operator` is 'Lt' or 'Gt'"),
            );
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errs.push(Error::invalid(
            &e.path.child("operator"),
            other,
            "not a valid selector operator",
        )),
    }
    labels::label_key(&e.get("key"), e.text("key"), errs);
}

fn node_field(f: &At, errs: &mut Errors) {
    let values = f.get("values");
    match f.text("operator") {
        "In" | "NotIn" => {
            if list(values.v).len() != 1 {
                let words = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errs.push(values.required(words));
            }
        }
        other => errs.push(Error::invalid(
            &f.path.child("operator"),
            other,
            "not a valid selector operator",
        )),
    }
    if f.text("key") == "metadata.name" {
        for value in values.each() {
            value.push(names::dns1123_subdomain(value.str()), errs);
        }
    } else {
        errs.push(Error::invalid(
            &f.path.child("key"),
            f.text("key"),
            "not a valid field selector key",
        ));
    }
}

fn pod_term(term: &At, errs: &mut Errors) {
    labels::selector(&term.get("labelSelector"), errs);
    labels::selector(&term.get("namespaceSelector"), errs);
    for namespace in term.items("namespaces") {
        // shown without its index and in the singular
        for m in names::dns1123_label(namespace.str()) {
            errs.push(Error::invalid(
                &term.path.child("namespace"),
                namespace.str(),
                m,
            ));
        }
    }
    match_label_keys(term, errs);
    let key = term.get("topologyKey");
    if key.str().is_empty() {
        errs.push(key.required("can not be empty"));
    }
    labels::label_key(&key, key.str(), errs);
}

fn match_label_keys(term: &At, errs: &mut Errors) {
    let (same, other) = (term.get("matchLabelKeys"), term.get("mismatchLabelKeys"));
    for keys in [&same, &other] {
        label_keys(keys, term, errs);
    }
    keys_told_twice(term, &term.path, errs);
    for (i, key) in list(same.v).iter().enumerate() {
        if list(other.v).contains(key) {
            let words = "exists in both matchLabelKeys and mismatchLabelKeys";
            errs.push(Error::invalid(&same.path.index(i), key.clone(), words));
        }
    }
}

/// Label keys that the selector speaks of already: by now the pod's own values of them are part of it. `path` is the list's.
fn keys_told_twice(term: &At, path: &crate::field::Path, errs: &mut Errors) {
    let keys = list(&term.v["matchLabelKeys"]);
    let selector = &term.v["labelSelector"];
    let mut seen: Vec<&str> = crate::validation::map(selector, "matchLabels")
        .into_iter()
        .flat_map(|m| m.keys().map(|k| k.as_str()))
        .collect();
    for e in list(&selector["matchExpressions"]) {
        let key = text(e, "key");
        if let Some(i) = keys.iter().rposition(|k| k == key)
            && seen.contains(&key)
        {
            let words = "exists in both matchLabelKeys and labelSelector";
            errs.push(Error::invalid(&path.index(i), key, words));
        }
        seen.push(key);
    }
}

fn label_keys(keys: &At, term: &At, errs: &mut Errors) {
    if list(keys.v).is_empty() {
        return;
    }
    if !term.has("labelSelector") {
        errs.push(keys.forbidden("must not be specified when labelSelector is not set"));
        return;
    }
    for key in keys.each() {
        labels::label_key(&key, key.str(), errs);
    }
}

/// The list `topologySpreadConstraints`.
pub fn spread(all: &At, errs: &mut Errors) {
    let of = |o: &Value| {
        (
            text(o, "topologyKey").to_owned(),
            text(o, "whenUnsatisfiable").to_owned(),
        )
    };
    // How many there still are of each.
    let mut left = HashMap::new();
    for o in list(all.v) {
        *left.entry(of(o)).or_insert(0) += 1;
    }
    for c in all.each() {
        let (key, when) = (c.get("topologyKey"), c.get("whenUnsatisfiable"));
        let skew = c.int("maxSkew").unwrap_or(0);
        if skew <= 0 {
            errs.push(Error::invalid(
                &c.path.child("maxSkew"),
                skew,
                "must be greater than zero",
            ));
        }
        if key.str().is_empty() {
            errs.push(key.required("can not be empty"));
        }
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&when.str()) {
            errs.push(Error::not_supported(
                &when.path,
                when.str(),
                &["DoNotSchedule", "ScheduleAnyway"],
            ));
        }
        let this = (key.str(), when.str());
        let same = left.entry(of(c.v)).or_insert(1);
        *same -= 1;
        if *same > 0 {
            let path = c.path.child("{topologyKey, whenUnsatisfiable}");
            errs.push(Error::duplicate(
                &path,
                format!("{{{}, {}}}", this.0, this.1),
            ));
        }
        min_domains(&c, errs);
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if let Some(p) = c
                .some(policy)
                .filter(|p| !["Honor", "Ignore"].contains(&p.str()))
            {
                errs.push(p.not_supported(&["Honor", "Ignore"]));
            }
        }
        let keys = c.get("matchLabelKeys");
        label_keys(&keys, &c, errs);
        keys_told_twice(&c, &keys.path, errs);
        labels::selector(&c.get("labelSelector"), errs);
    }
}

fn min_domains(c: &At, errs: &mut Errors) {
    let Some(n) = c.int("minDomains") else { return };
    let at = c.get("minDomains");
    if n <= 0 {
        errs.push(at.invalid("must be greater than zero"));
    }
    let when = c.text("whenUnsatisfiable");
    if when != "DoNotSchedule" {
        errs.push(at.invalid(format!(
            "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}"
        )));
    }
}

/// The list `schedulingGates`.
pub fn gates(all: &At, errs: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for gate in all.each() {
        let name = gate.text("name");
        for m in names::qualified_name(name) {
            errs.push(Error::invalid(&gate.path, name, m));
        }
        if seen.contains(&name) {
            errs.push(Error::duplicate(&gate.path, name));
        }
        seen.push(name);
    }
}
