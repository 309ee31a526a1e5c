//! The rules of schemas: `x-kubernetes-validations`.
//!
//! [`check`] says what is wrong with the rules of a CustomResourceDefinition's schema; [`Validator`] applies them to custom resources.

use serde_json::Value as Json;

use crate::Budget;

/// Something wrong at a place: what a field error is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// Path as errors show it, below the path that was given.
    pub field: String,
    pub reason: Reason,
    /// The value that the error shows; none where it shows none (`field: Invalid value: detail`).
    pub value: Option<Json>,
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

/// All rules of one schema, compiled.
#[derive(Debug)]
pub struct Validator {}

impl Validator {
    /// Compiles the rules of a schema; none if it has no rules. What does not compile is reported when values are validated.
    pub fn new(_schema: &Json) -> Option<Validator> {
        None
    }

    /// What the rules say against `object`. `old` is the object before, if there was one: rules that use `oldSelf` run only then.
    /// The whole costs no more than the budget ([`crate::budget::PER_REQUEST`]).
    /// Violations that the object had before, in parts that have not changed, come as the second list: they are warnings.
    pub fn validate(
        &self,
        _path: &str,
        _object: &Json,
        _old: Option<&Json>,
        _budget: &mut Budget,
    ) -> (Vec<Violation>, Vec<Violation>) {
        (Vec::new(), Vec::new())
    }
}

/// What is wrong with the rules of a CustomResourceDefinition's schema (`openAPIV3Schema`) found at `path`
/// (`spec.validation.openAPIV3Schema`), the total cost included.
pub fn check(_schema: &Json, _path: &str) -> Vec<Violation> {
    Vec::new()
}
