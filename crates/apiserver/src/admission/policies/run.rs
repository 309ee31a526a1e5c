//! Expressions of a policy run on a request.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use knarr_cel::{Activation, Budget, EvalError, Fields, Opaque, Value as Cel, authorizer};
use knarr_json::Value;

use super::{
    super::{
        Attributes,
        webhook::{call, matching, matching::Invocation, review},
    },
    authz::Asking,
    config::Compiled,
};

/// What expressions see of a request.
pub(crate) struct Subject {
    pub object: Value,
    pub old: Value,
    request: Value,
    namespace: Value,
    authorizer: authorizer::Scope,
    resource: authorizer::Resource,
}

/// Why an expression gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It failed; others may still run.
    Failed(String),
    /// Nothing more may run.
    OutOfBudget,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Failure::Failed(why) => why,
            Failure::OutOfBudget => {
                "validation failed due to running out of cost budget, no further validation rules will be run"
            }
        })
    }
}

impl Subject {
    /// The request, with its object at a version of its resource.
    pub fn new(a: &Attributes<'_>, object: &Value, version: &str) -> Self {
        let invocation = Invocation {
            version: version.to_owned(),
        };
        let (object, old) = call::versioned(a, object, &invocation);
        Subject {
            request: request(a, &object, version),
            namespace: namespace(a),
            authorizer: authorizer::Scope::new(Arc::new(Asking::new(a))),
            resource: authorizer::Resource {
                group: a.group().to_owned(),
                resource: a.resource().to_owned(),
                subresource: a.subresource.to_owned(),
                namespace: a.place().to_owned(),
                name: matching::name(a, &object).to_owned(),
                field_selector: None,
                label_selector: None,
            },
            object,
            old,
        }
    }

    /// Everything that may be asked but the variables.
    fn activation<'a>(&'a self, params: &'a Value) -> Activation<'a> {
        let check = authorizer::ResourceCheck {
            scope: self.authorizer.clone(),
            resource: self.resource.clone(),
        };
        Activation::new()
            .with("object", Ok(Cel::untyped(&self.object)))
            .with("oldObject", Ok(Cel::untyped(&self.old)))
            .with("request", Ok(Cel::untyped(&self.request)))
            .with("namespaceObject", Ok(Cel::untyped(&self.namespace)))
            .with("params", Ok(Cel::untyped(params)))
            .with(
                "authorizer",
                Ok(Cel::Opaque(Opaque::Authorizer(self.authorizer.clone()))),
            )
            .with(
                "authorizer.requestResource",
                Ok(Cel::Opaque(Opaque::ResourceCheck(Arc::new(check)))),
            )
    }
}

/// What `request` is: a review's request without the objects.
fn request(a: &Attributes<'_>, object: &Value, version: &str) -> Value {
    let name = matching::name(a, object);
    let nothing = (&Value::Null, &Value::Null);
    let mut review = review::request(
        a,
        version,
        name,
        nothing,
        super::super::webhook::config::Version::V1,
        "",
    );
    let mut request = review["request"].take();
    if let Some(fields) = request.as_object_mut() {
        fields.remove("object");
        fields.remove("oldObject");
    }
    request
}

/// The namespace of the request, without what is not for policies; null for what is in none.
fn namespace(a: &Attributes<'_>) -> Value {
    if a.namespace().is_empty() || a.is_of("", "namespaces") {
        return Value::Null;
    }
    let key = format!("/registry/namespaces/{}", a.namespace());
    let Some(stored) = a.call.shared.store.get(&key) else {
        return Value::Null;
    };
    let mut namespace: Value = serde_json::from_slice(&stored.json).unwrap_or_default();
    if let Some(metadata) = namespace["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.remove("ownerReferences");
        metadata.remove("selfLink");
    }
    namespace
}

/// The variables of a policy: each is computed when it is first asked for, and only once.
struct Variables<'a> {
    subject: &'a Subject,
    params: &'a Value,
    compiled: &'a BTreeMap<String, Compiled>,
    known: Mutex<HashMap<String, Result<Cel<'a>, EvalError>>>,
}

impl<'a> Fields<'a> for Variables<'a> {
    fn field(&'a self, name: &str, budget: &mut Budget) -> Option<Result<Cel<'a>, EvalError>> {
        let compiled = self.compiled.get(name)?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = known.get(name) {
            return Some(value.clone());
        }
        // Computing it may ask for others.
        drop(known);
        let value = self.compute(name, compiled, budget);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(name.to_owned(), value.clone());
        Some(value)
    }
}

impl<'a> Variables<'a> {
    fn compute(
        &'a self,
        name: &str,
        compiled: &'a Compiled,
        budget: &mut Budget,
    ) -> Result<Cel<'a>, EvalError> {
        let program = compiled.program.as_ref().map_err(|why| {
            EvalError::other(format!(
                "composited variable {name:?} fails to compile: {why}"
            ))
        })?;
        let activation = self
            .subject
            .activation(self.params)
            .with_fields("variables", self);
        program
            .evaluate_within(&activation, budget)
            .map_err(|error| match error {
                EvalError::CostLimit => EvalError::CostLimit,
                error => EvalError::other(format!(
                    "composited variable {name:?} fails to evaluate: {error}"
                )),
            })
    }
}

/// What a policy's expressions run with: the request, parameters, variables that are computed once, a budget for all.
pub(crate) struct Run<'r> {
    pub subject: &'r Subject,
    pub params: &'r Value,
    pub variables: &'r BTreeMap<String, Compiled>,
}

impl Run<'_> {
    /// Runs expressions one after the other, sharing variables. What `read` makes of a value is kept.
    pub fn each<T>(
        &self,
        expressions: &[Option<&Compiled>],
        budget: &mut Budget,
        read: impl Fn(&Cel<'_>) -> T,
    ) -> Result<Vec<Option<Result<T, String>>>, Failure> {
        let variables = Variables {
            subject: self.subject,
            params: self.params,
            compiled: self.variables,
            known: Mutex::default(),
        };
        evaluate(&variables, expressions, budget, read)
    }

    /// Runs one expression.
    pub fn one<T>(
        &self,
        expression: &Compiled,
        budget: &mut Budget,
        read: impl Fn(&Cel<'_>) -> T,
    ) -> Result<T, Failure> {
        let mut all = self.each(&[Some(expression)], budget, read)?;
        match all.pop().flatten() {
            Some(Ok(value)) => Ok(value),
            Some(Err(why)) => Err(Failure::Failed(why)),
            None => Err(Failure::Failed("nothing was evaluated".to_owned())),
        }
    }
}

fn evaluate<'a, T>(
    variables: &'a Variables<'a>,
    expressions: &[Option<&Compiled>],
    budget: &mut Budget,
    read: impl Fn(&Cel<'_>) -> T,
) -> Result<Vec<Option<Result<T, String>>>, Failure> {
    let activation = variables
        .subject
        .activation(variables.params)
        .with_fields("variables", variables);
    let mut out = Vec::with_capacity(expressions.len());
    for expression in expressions {
        let Some(expression) = expression else {
            out.push(None);
            continue;
        };
        let program = match &expression.program {
            Ok(program) => program,
            Err(why) => {
                out.push(Some(Err(format!("compilation error: {why}"))));
                continue;
            }
        };
        let answer = program.evaluate(&activation, budget);
        if budget.is_exhausted() {
            return Err(Failure::OutOfBudget);
        }
        let failed = |error| {
            format!(
                "expression '{}' resulted in error: {error}",
                expression.text
            )
        };
        out.push(Some(answer.map(|value| read(&value)).map_err(failed)));
    }
    Ok(out)
}
