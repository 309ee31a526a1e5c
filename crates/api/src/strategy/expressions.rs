//! CEL expressions inside objects: where they are compiled when an object is checked.
//!
//! This crate knows where expressions are and what they may refer to, not the language: who has a compiler gives it with the
//! [`super::Context`]. Without one, expressions are taken as they are.

use std::fmt;

use crate::{field::Error, validation::At};

/// What an expression is for, which decides its variables and its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// `matchConditions` of a webhook or policy: a boolean.
    MatchCondition,
    /// A variable of a policy: of any type, seen by what follows.
    Variable,
    /// `validations[].expression`: a boolean.
    Validation,
    /// `validations[].messageExpression`: a string; has no authorizer.
    Message,
    /// `auditAnnotations[].valueExpression`: a string or null.
    AuditAnnotation,
    /// `mutations[].applyConfiguration.expression`: an `Object`.
    ApplyConfiguration,
    /// `mutations[].jsonPatch.expression`: a list of `JSONPatch`.
    JsonPatch,
    /// `selectors[].cel.expression` of a device: a boolean about `device`.
    Device,
}

/// One expression with what it may refer to.
#[derive(Debug, Clone, Copy)]
pub struct Expression<'a> {
    pub text: &'a str,
    pub used: Use,
    /// Whether there is a `params`.
    pub has_params: bool,
    /// Name and expression of the variables before this one.
    pub variables: &'a [(&'a str, &'a str)],
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    Required(String),
    /// It does not compile, or to another type than is needed.
    Invalid(String),
    /// It may cost too much.
    Forbidden(String),
    Internal(String),
}

/// A compiler of CEL.
pub trait Compiler: Sync {
    /// # Errors
    /// What is wrong with it.
    fn check(&self, expression: &Expression<'_>) -> Result<(), Wrong>;
}

/// The compiler at hand, if there is one.
#[derive(Clone, Copy, Default)]
pub struct Expressions(pub Option<&'static dyn Compiler>);

impl fmt::Debug for Expressions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expressions({})", self.0.is_some())
    }
}

impl Expressions {
    /// Checks the expression that stands at `at`.
    pub fn check(self, at: &At, expression: &Expression<'_>) -> Option<Error> {
        let wrong = self.0?.check(expression).err()?;
        Some(match wrong {
            Wrong::Required(words) => at.required(&words),
            Wrong::Invalid(words) => at.invalid(words),
            Wrong::Forbidden(words) => at.forbidden(words),
            Wrong::Internal(words) => Error::internal(&at.path, words),
        })
    }
}
