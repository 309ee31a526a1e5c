//! Labels, annotations and label selectors inside objects.

use knarr_json::Value;

use super::{At, list, ordered_json, text};
use crate::{
    field::{Error, Errors},
    names,
};

/// All keys and values of annotations together may have this many bytes.
const ANNOTATIONS_LIMIT: usize = 256 << 10;

/// A map of labels; errors name the map, not the key.
pub fn labels(at: &At, errs: &mut Errors) {
    for (key, value) in at.v.as_object().into_iter().flatten() {
        label_key(
            &At {
                v: &Value::Null,
                path: at.path.clone(),
            },
            key,
            errs,
        );
        let value = value.as_str().unwrap_or_default();
        for m in names::label_value(value) {
            errs.push(Error::invalid(&at.path, value, m));
        }
    }
}

/// One label key, reported at `at`.
pub fn label_key(at: &At, key: &str, errs: &mut Errors) {
    for m in names::qualified_name(key) {
        errs.push(Error::invalid(&at.path, key, m));
    }
}

/// A map of annotations: keys in any case, and a limit for all of it.
pub fn annotations(at: &At, errs: &mut Errors) {
    let mut total = 0;
    for (key, value) in at.v.as_object().into_iter().flatten() {
        total += key.len() + value.as_str().unwrap_or_default().len();
        for m in names::qualified_name(&key.to_lowercase()) {
            errs.push(Error::invalid(&at.path, key.as_str(), m));
        }
    }
    if total > ANNOTATIONS_LIMIT {
        errs.push(Error::too_long(&at.path, ANNOTATIONS_LIMIT));
    }
}

/// A `LabelSelector`; a missing one is fine here.
pub fn selector(at: &At, errs: &mut Errors) {
    let match_labels = at.get("matchLabels");
    labels(&match_labels, errs);
    for requirement in at.items("matchExpressions") {
        selector_requirement(&requirement, errs);
    }
}

fn selector_requirement(at: &At, errs: &mut Errors) {
    let values = at.get("values");
    match at.text("operator") {
        "In" | "NotIn" => {
            if list(values.v).is_empty() {
                errs.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
            }
        }
        "Exists" | "DoesNotExist" => {
            if !list(values.v).is_empty() {
                errs.push(values.forbidden(
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ));
            }
        }
        other => errs.push(Error::invalid(
            &at.path.child("operator"),
            other,
            "not a valid selector operator",
        )),
    }
    label_key(&at.get("key"), at.text("key"), errs);
    for value in values.each() {
        value.push(names::label_value(value.str()), errs);
    }
}

/// A selector as the original's encoder writes it.
pub fn selector_json(selector: &Value) -> String {
    let mut shown = selector.clone();
    if let Some(map) = shown.as_object_mut() {
        map.retain(|_, v| !super::is_empty(v));
        for requirement in map
            .get_mut("matchExpressions")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(r) = requirement.as_object_mut() {
                r.retain(|k, v| k != "values" || !super::is_empty(v));
                r.entry("key").or_insert_with(|| "".into());
            }
        }
    }
    ordered_json(
        &shown,
        &[
            "matchLabels",
            "matchExpressions",
            "key",
            "operator",
            "values",
        ],
    )
}

/// Whether a selector has no requirement at all.
pub fn selector_is_empty(selector: &Value) -> bool {
    super::is_empty(&selector["matchLabels"]) && super::is_empty(&selector["matchExpressions"])
}

/// The keys that a selector names.
pub fn selector_keys(selector: &Value) -> Vec<&str> {
    let labels = super::map(selector, "matchLabels")
        .into_iter()
        .flat_map(|m| m.keys().map(|k| k.as_str()));
    labels
        .chain(
            list(&selector["matchExpressions"])
                .iter()
                .map(|r| text(r, "key")),
        )
        .collect()
}
