//! ValidatingAdmissionPolicies and MutatingAdmissionPolicies.

use jiff::Timestamp;
use knarr_json::Value;

use super::{conditions::conditions, matching};
use crate::{
    field::{Error, Errors},
    names,
    strategy::{
        Column, Context, Strategy, common,
        defaults::{at, ensure, set},
        expressions::{Expression, Use},
    },
    table,
    validation::{At, list, meta, status, text},
};

/// `admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy`.
pub struct ValidatingAdmissionPolicy;
/// `admissionregistration.k8s.io/v1/MutatingAdmissionPolicy`.
pub struct MutatingAdmissionPolicy;

const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
const MOST_ANNOTATIONS: usize = 20;
const LONGEST_VALUE: usize = 5 * 1024;
/// Words that CEL keeps for itself.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A policy while it is checked.
struct Check<'a> {
    ctx: &'a Context,
    spec: At<'a>,
    old: &'a Value,
    has_params: bool,
    variables: Vec<(&'a str, &'a str)>,
    errs: &'a mut Errors,
}

static NONE: Value = Value::Null;

impl<'a> Check<'a> {
    fn new(
        ctx: &'a Context,
        object: &'a Value,
        old: Option<&'a Value>,
        errs: &'a mut Errors,
    ) -> Self {
        let spec = At::root(object, "spec");
        Check {
            ctx,
            has_params: spec.has("paramKind"),
            spec,
            old: old.map_or(&NONE, |o| &o["spec"]),
            variables: Vec::new(),
            errs,
        }
    }

    fn compile(&mut self, at: &At<'a>, text: &'a str, used: Use) {
        let expression = Expression {
            text,
            used,
            has_params: self.has_params,
            variables: &self.variables,
        };
        self.errs
            .extend(self.ctx.expressions.check(at, &expression));
    }

    /// What both kinds of policy have, up to their variables.
    fn common(&mut self, mutating: bool) {
        let failure = self.spec.get("failurePolicy");
        matching::one_of_if_set(&failure, &matching::FAILURE_POLICIES, self.errs);
        if let Some(kind) = self.spec.some("paramKind") {
            matching::param_kind(&kind, self.errs);
        }
        let constraints = self.spec.get("matchConstraints");
        if constraints.v.is_null() {
            self.errs.push(constraints.required(""));
        } else {
            matching::resources(&constraints, self.errs);
            let rules = constraints.get("resourceRules");
            if list(rules.v).is_empty() {
                self.errs.push(rules.required(""));
            }
            if mutating {
                self.no_deletes(&rules);
            }
        }
        let known = if self.old["paramKind"] == self.spec.v["paramKind"] {
            &self.old["matchConditions"]
        } else {
            &NONE
        };
        let all = self.spec.get("matchConditions");
        conditions(self.ctx, &all, self.has_params, known, self.errs);
        let variables: Vec<At<'a>> = self.spec.items("variables").collect();
        for variable in variables {
            self.variable(&variable);
        }
    }

    /// There is nothing to change in an object that is deleted.
    fn no_deletes(&mut self, rules: &At) {
        let path = rules.path.child("operations");
        let all = list(rules.v).iter().flat_map(|r| list(&r["operations"]));
        for operation in all.filter(|o| *o == "DELETE") {
            let supported = ["*", "CONNECT", "CREATE", "UPDATE"];
            let error = Error::not_supported(&path, operation.clone(), &supported);
            self.errs.push(error);
        }
    }

    fn variable(&mut self, variable: &At<'a>) {
        let (name, text) = (variable.get("name"), variable.get("expression"));
        if name.str().trim().is_empty() {
            self.errs.push(name.required("name is not specified"));
        } else if !is_identifier(name.str()) {
            self.errs
                .push(name.invalid("name is not a valid CEL identifier"));
        }
        if text.str().trim().is_empty() {
            self.errs.push(text.required("expression is not specified"));
        } else {
            self.compile(&text, text.str(), Use::Variable);
        }
        self.variables.push((name.str(), text.str()));
    }

    fn validation(&mut self, at: &At<'a>) {
        let text = at.get("expression");
        if text.str().trim().is_empty() {
            self.errs.push(text.required("expression is not specified"));
        } else {
            self.compile(&text, text.str(), Use::Validation);
        }
        let message = at.get("messageExpression");
        if !message.str().is_empty() {
            if message.str().trim().is_empty() {
                self.errs
                    .push(message.invalid("must be non-empty if specified"));
            } else {
                self.compile(&message, message.str(), Use::Message);
            }
        }
        let words = at.get("message");
        let trimmed = words.str().trim();
        if !words.str().is_empty() && trimmed.is_empty() {
            self.errs
                .push(words.invalid("message must be non-empty if specified"));
        } else if trimmed.contains(['\n', '\r']) {
            self.errs
                .push(words.invalid("message must not contain line breaks"));
        }
        matching::one_of_if_set(&at.get("reason"), &REASONS, self.errs);
    }

    fn annotation(&mut self, at: &At<'a>, name: &str) {
        let key = at.get("key");
        if name.is_empty() {
            self.errs
                .push(key.invalid("requires metadata.name be non-empty"));
        } else {
            let full = format!("{name}/{}", key.str());
            for m in names::qualified_name(&full) {
                self.errs.push(Error::invalid(&key.path, full.as_str(), m));
            }
        }
        let value = at.get("valueExpression");
        let trimmed = value.str().trim();
        if trimmed.is_empty() {
            self.errs
                .push(value.required("valueExpression is not specified"));
        } else if trimmed.len() > LONGEST_VALUE {
            let words = format!("must not exceed {LONGEST_VALUE} bytes in length");
            self.errs.push(value.required(&words));
        } else {
            self.compile(&value, trimmed, Use::AuditAnnotation);
        }
    }

    fn validating(&mut self, name: &str) {
        let (validations, annotations) = (
            self.spec.get("validations"),
            self.spec.get("auditAnnotations"),
        );
        let count = list(annotations.v).len();
        if list(validations.v).is_empty() && count == 0 {
            let words = "validations or auditAnnotations must contain at least one item";
            self.errs.push(validations.required(words));
            self.errs.push(annotations.required(words));
            return;
        }
        for at in validations.each() {
            self.validation(&at);
        }
        if count > MOST_ANNOTATIONS {
            let words = format!("must not have more than {MOST_ANNOTATIONS} auditAnnotations");
            self.errs.push(annotations.invalid(words));
        }
        let mut seen: Vec<&str> = Vec::new();
        for at in annotations.each() {
            self.annotation(&at, name);
            let key = at.get("key");
            if seen.contains(&key.str()) {
                self.errs.push(key.duplicate());
            }
            seen.push(key.str());
        }
    }

    fn mutating(&mut self) {
        let mutations = self.spec.get("mutations");
        if list(mutations.v).is_empty() {
            self.errs
                .push(mutations.required("mutations must contain at least one item"));
        }
        for at in mutations.each() {
            self.mutation(&at);
        }
        let again = self.spec.get("reinvocationPolicy");
        if again.str().is_empty() {
            self.errs.push(again.required(""));
        } else {
            matching::one_of_if_set(&again, &["IfNeeded", "Never"], self.errs);
        }
    }

    fn mutation(&mut self, at: &At<'a>) {
        let kind = at.get("patchType");
        let (own, other, used) = match kind.str() {
            "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Use::ApplyConfiguration),
            "JSONPatch" => ("jsonPatch", "applyConfiguration", Use::JsonPatch),
            "" => {
                self.errs.push(kind.required(""));
                return;
            }
            _ => {
                let supported = ["ApplyConfiguration", "JSONPatch"];
                self.errs.push(kind.not_supported(&supported));
                return;
            }
        };
        match at.some(own) {
            None => {
                let words = format!("must be specified when patchType is {}", kind.str());
                self.errs.push(at.get(own).required(&words));
            }
            Some(source) => {
                let text = source.get("expression");
                if text.str().trim().is_empty() {
                    self.errs.push(text.required(""));
                } else {
                    self.compile(&text, text.str(), used);
                }
            }
        }
        if at.has(other) {
            let words = format!("must not be specified when patchType is {}", kind.str());
            let path = at.path.child(other);
            self.errs
                .push(Error::invalid(&path, format!("{{{other}}}"), words));
        }
    }
}

fn is_identifier(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter)
        && name.chars().all(|c| letter(c) || c.is_ascii_digit())
        && !RESERVED.contains(&name)
}

fn default(object: &mut Value) {
    let spec = ensure(object, "spec");
    set(spec, "failurePolicy", "Fail");
    if let Some(constraints) = at(spec, "matchConstraints") {
        matching::default(constraints, &["resourceRules", "excludeResourceRules"]);
    }
}

fn columns(counted: &'static str, words: &'static str) -> Vec<Column> {
    vec![
        table::name(),
        table::count(counted, words),
        table::column(
            "ParamKind",
            "ParamKind specifies the kind of resources used to parameterize this policy",
        ),
        table::age(),
    ]
}

fn cells(object: &Value, counted: &str, now: Timestamp) -> Vec<Value> {
    vec![
        table::name_of(object),
        list(&object["spec"][counted]).len().into(),
        matching::shown_param_kind(&object["spec"]).into(),
        table::age_of(object, now),
    ]
}

impl Strategy for ValidatingAdmissionPolicy {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        default(object);
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
    }

    fn validate_create(&self, ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        let mut check = Check::new(ctx, object, None, &mut errs);
        check.common(false);
        check.validating(text(&object["metadata"], "name"));
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        if ctx.subresource == "status" {
            let at = At::root(object, "status");
            for warning in at.get("typeChecking").items("expressionWarnings") {
                for key in ["warning", "fieldRef"] {
                    if warning.text(key).trim().is_empty() {
                        errs.push(warning.get(key).required(""));
                    }
                }
            }
            status::conditions(&at.get("conditions"), &mut errs);
        } else {
            meta::create(object, false, meta::subdomain, &mut errs);
            let mut check = Check::new(ctx, object, Some(old), &mut errs);
            check.common(false);
            check.validating(text(&object["metadata"], "name"));
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
        columns(
            "Validations",
            "Validations indicates the number of validation rules defined in this configuration",
        )
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        cells(object, "validations", now)
    }
}

impl Strategy for MutatingAdmissionPolicy {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        default(object);
    }

    fn validate_create(&self, ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        let mut check = Check::new(ctx, object, None, &mut errs);
        check.common(true);
        check.mutating();
        errs
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        let mut check = Check::new(ctx, object, Some(old), &mut errs);
        check.common(true);
        check.mutating();
        errs
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> Vec<Column> {
        columns(
            "Mutations",
            "Mutation indicates the number of mutations rules defined in this configuration",
        )
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        cells(object, "mutations", now)
    }
}

#[cfg(test)]
mod tests {
    use super::is_identifier;

    #[test]
    fn identifiers_are_no_words_of_the_language() {
        for (name, fine) in [
            ("a_1", true),
            ("_", true),
            ("1a", false),
            ("in", false),
            ("a-b", false),
            ("", false),
        ] {
            assert_eq!(is_identifier(name), fine, "{name}");
        }
    }
}
