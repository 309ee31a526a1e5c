//! What the variables of an expression stand for.

use crate::{Budget, EvalError, Value};

/// The values of variables.
#[derive(Default)]
pub struct Activation<'a> {
    values: Vec<(&'a str, Result<Value<'a>, EvalError>)>,
    fields: Vec<(&'a str, &'a dyn Fields<'a>)>,
}

/// Fields that are computed when they are asked for: the variables of a policy.
pub trait Fields<'a>: Sync {
    /// The value of the field `name`; none if there is no such field.
    fn field(&'a self, name: &str, budget: &mut Budget) -> Option<Result<Value<'a>, EvalError>>;
}

impl<'a> Activation<'a> {
    pub fn new() -> Self {
        Self::default()
    }

    /// A variable and its value; an error is one where the variable is used.
    pub fn with(mut self, name: &'a str, value: Result<Value<'a>, EvalError>) -> Self {
        self.values.push((name, value));
        self
    }

    /// A variable whose fields are computed when they are asked for.
    pub fn with_fields(mut self, name: &'a str, fields: &'a dyn Fields<'a>) -> Self {
        self.fields.push((name, fields));
        self
    }

    pub(crate) fn value(&self, name: &str) -> Option<Result<Value<'a>, EvalError>> {
        let found = self.values.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| value.clone())
    }

    pub(crate) fn fields(&self, name: &str) -> Option<&'a dyn Fields<'a>> {
        let found = self.fields.iter().find(|(n, _)| *n == name);
        found.map(|(_, fields)| *fields)
    }
}
