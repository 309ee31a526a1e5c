//! The rules of schemas: `x-kubernetes-validations`.
//!
//! [`check`] says what is wrong with the rules of a CustomResourceDefinition's schema; [`Validator`] applies them to custom resources.

mod check;
mod compile;
mod field_path;
mod validate;

use knarr_json::Value as Json;

pub use check::check;
pub use validate::Validator;

/// Something wrong at a place: what a field error is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// Path as errors show it; `<nil>` for the root of an object.
    pub field: String,
    pub reason: Reason,
    /// The value that the error shows; none where it shows none (`field: Invalid value: detail`).
    pub value: Option<Json>,
    /// How the value is shown, where `value` alone does not say it.
    pub shown: Option<String>,
    pub detail: String,
}

/// Kinds of field errors that rules lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Invalid,
    Forbidden,
    Required,
    Duplicate,
    NotSupported,
    Internal,
}

impl Violation {
    fn new(field: &str, reason: Reason, value: Option<Json>, detail: impl Into<String>) -> Self {
        Violation {
            field: if field.is_empty() { "<nil>" } else { field }.to_owned(),
            reason,
            value,
            shown: None,
            detail: detail.into(),
        }
    }
}

/// One entry of `x-kubernetes-validations`.
#[derive(Debug, Clone, Default)]
struct Rule {
    rule: String,
    message: String,
    message_expression: String,
    reason: Option<String>,
    field_path: String,
    optional_old_self: Option<bool>,
}

impl Rule {
    /// The rules right at a schema node.
    fn of(schema: &Json) -> Vec<Rule> {
        let rules = schema
            .get("x-kubernetes-validations")
            .and_then(Json::as_array);
        rules.into_iter().flatten().map(Rule::read).collect()
    }

    fn read(rule: &Json) -> Rule {
        let text = |name: &str| {
            rule.get(name)
                .and_then(Json::as_str)
                .unwrap_or("")
                .to_owned()
        };
        Rule {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: rule.get("reason").and_then(Json::as_str).map(str::to_owned),
            field_path: text("fieldPath"),
            optional_old_self: rule.get("optionalOldSelf").and_then(Json::as_bool),
        }
    }

    fn is_optional(&self) -> bool {
        self.optional_old_self == Some(true)
    }

    /// What stands for the rule in errors.
    fn shown(&self) -> &str {
        match self.message.is_empty() {
            true => self.rule.trim(),
            false => self.message.trim(),
        }
    }

    /// The rule as errors show it: a Go struct as JSON.
    fn as_value(&self) -> String {
        let text = |s: &str| escaped(&Json::from(s).to_string());
        format!(
            "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
            text(&self.rule),
            text(&self.message),
            text(&self.message_expression),
            self.reason.as_deref().map_or("null".to_owned(), text),
            text(&self.field_path),
            self.optional_old_self
                .map_or("null".to_owned(), |b| b.to_string()),
        )
    }
}

/// Go's JSON writes what could be HTML by numbers.
fn escaped(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

fn flag(schema: &Json, name: &str) -> bool {
    schema.get(name).and_then(Json::as_bool).unwrap_or(false)
}

/// Whether old and new lists can be told apart element by element.
fn list_correlates(schema: &Json) -> bool {
    schema.get("x-kubernetes-list-type").and_then(Json::as_str) == Some("map")
}

/// Whether old and new maps can be told apart entry by entry.
fn map_correlates(schema: &Json) -> bool {
    schema.get("x-kubernetes-map-type").and_then(Json::as_str) != Some("atomic")
}
