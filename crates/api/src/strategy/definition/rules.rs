//! `x-kubernetes-validations` as far as they can be checked without reading their expressions.

use super::path::find;
use crate::{field::Errors, validation::At};

const REASONS: &[&str] = &[
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
];

/// Checks the rules of one schema.
pub fn validate(schema: &At, errors: &mut Errors) {
    for rule in schema.items("x-kubernetes-validations") {
        one(schema, &rule, errors);
    }
}

fn has_lines(text: &str) -> bool {
    text.contains(['\n', '\r'])
}

fn one(schema: &At, rule: &At, errors: &mut Errors) {
    let text = rule.text("rule").trim();
    let message = rule.get("message");
    let trimmed = message.str().trim();
    if text.is_empty() {
        errors.push(rule.get("rule").required("rule is not specified"));
    } else if !message.str().is_empty() && trimmed.is_empty() {
        errors.push(message.invalid("must be non-empty if specified"));
    } else if has_lines(trimmed) {
        errors.push(message.invalid("must not contain line breaks"));
    } else if has_lines(text) && trimmed.is_empty() {
        errors.push(message.required("message must be specified if rule contains line breaks"));
    }
    let expression = rule.get("messageExpression");
    if !expression.str().is_empty() && expression.str().trim().is_empty() {
        errors.push(expression.required("messageExpression must be non-empty if specified"));
    }
    let reason = rule.get("reason");
    if rule.has("reason") && !REASONS.contains(&reason.str()) {
        errors.push(reason.not_supported(REASONS));
    }
    let path = rule.get("fieldPath");
    if path.str().is_empty() {
        return;
    }
    if path.str().trim().is_empty() {
        errors.push(path.invalid("must be non-empty if specified"));
    }
    if has_lines(path.str()) {
        errors.push(path.invalid("must not contain line breaks"));
    }
    if find(path.str(), schema.v, true).is_err() {
        errors.push(path.invalid("must be a valid path"));
    }
}
