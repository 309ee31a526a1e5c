//! MutatingAdmissionPolicies at work on a request's object.

use std::sync::Arc;

use knarr_api::{
    fields::{self, typed},
    patch::json,
    schema::Type,
};
use knarr_cel::{Budget, budget};
use knarr_json::{Value, json};

use super::{
    super::{
        Attributes, Reinvocation,
        webhook::{self, matching::Invocation},
    },
    conditions,
    config::{Active, Binding, Mutation, Policy},
    made, matching, params,
    run::{Run, Subject},
    validating,
};
use crate::Outcome;

/// Lets the policies change the object, one after the other.
///
/// # Errors
/// What the first that fails, and may not, says.
pub(super) fn mutate(
    a: &Attributes<'_>,
    policies: &[Active],
    object: &mut Value,
    round: &mut Reinvocation,
) -> Outcome<()> {
    round.resume(object);
    let mut errors = Vec::new();
    for active in policies {
        let policy = &active.policy;
        let mut wrong = |binding: Option<&Binding>, why: String| {
            if policy.fails {
                errors.push(worded(policy, binding, &why));
            }
        };
        let version = match matching::version(a, &policy.matches, object) {
            Ok(Some(version)) => version,
            Ok(None) => continue,
            Err(status) => {
                wrong(None, status.message.clone());
                continue;
            }
        };
        if let Err(why) = params::is_known(a, policy) {
            wrong(None, why);
            continue;
        }
        for binding in &active.bindings {
            let params = match bound(a, policy, binding, object) {
                Ok(params) => params,
                Err(why) => {
                    wrong(Some(binding), why);
                    continue;
                }
            };
            for params in &params {
                if let Err(why) = invoke(a, policy, binding, version, params, object, round) {
                    wrong(Some(binding), why);
                }
            }
        }
    }
    round.leave(object);
    match errors.first() {
        Some(message) => Err(validating::refused(a, object, message, "")),
        None => Ok(()),
    }
}

fn worded(policy: &Policy, binding: Option<&Binding>, why: &str) -> String {
    match binding {
        Some(binding) => format!(
            "policy '{}' with binding '{}' denied request: {why}",
            policy.name, binding.name
        ),
        None => format!("policy {:?} denied request: {why}", policy.name),
    }
}

fn bound(
    a: &Attributes<'_>,
    policy: &Policy,
    binding: &Binding,
    object: &Value,
) -> Result<Vec<Value>, String> {
    if let Some(matches) = &binding.matches
        && matching::version(a, matches, object)
            .map_err(|s| s.message.clone())?
            .is_none()
    {
        return Ok(Vec::new());
    }
    params::collect(a, policy, binding)
}

/// Runs the mutations of a policy with one object as its parameters.
fn invoke(
    a: &Attributes<'_>,
    policy: &Policy,
    binding: &Binding,
    version: &str,
    params: &Value,
    object: &mut Value,
    round: &mut Reinvocation,
) -> Result<(), String> {
    if object.is_null() {
        return Ok(());
    }
    let mut subject = Subject::new(a, object, version);
    if !conditions::hold(&policy.conditions, &subject, params)? {
        return Ok(());
    }
    let meta = &params["metadata"];
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let uid: Arc<str> = format!(
        "{}/{}/{}/{}",
        policy.name,
        binding.name,
        text(&meta["namespace"]),
        text(&meta["name"])
    )
    .into();
    if !round.asks(&uid) {
        return Ok(());
    }
    let invocation = Invocation {
        version: version.to_owned(),
    };
    let mut changed = false;
    let mut failure = None;
    for mutation in &policy.mutations {
        match mutated(a, policy, mutation, &subject, params) {
            Ok(Some(new)) => {
                let before = subject.object.clone();
                subject.object = webhook::adopted(a, new, &mut before.clone(), &invocation)
                    .map_err(|s| s.message.clone())?;
                changed |= subject.object != before;
            }
            Ok(None) => {}
            Err(why) => failure = failure.or(Some(why)),
        }
    }
    if changed {
        *object = subject.object;
        if version != a.target.version && a.kind.kind == a.target.resource.kind {
            a.target.to_version(object);
        }
        round.changed();
    }
    if policy.reinvoked {
        round.may_ask_again(&uid);
    }
    failure.map_or(Ok(()), Err)
}

/// The object as a mutation makes it; none if it leaves it as it is.
fn mutated(
    a: &Attributes<'_>,
    policy: &Policy,
    mutation: &Mutation,
    subject: &Subject,
    params: &Value,
) -> Result<Option<Value>, String> {
    let run = Run {
        subject,
        params,
        variables: &policy.variables,
    };
    let mut budget = Budget::new(budget::PER_REQUEST);
    if mutation.json_patch {
        let operations = run
            .one(&mutation.expression, &mut budget, made::operations)
            .map_err(|f| f.to_string())??;
        return patched(&subject.object, &operations);
    }
    let configuration = run
        .one(&mutation.expression, &mut budget, made::configuration)
        .map_err(|f| f.to_string())??;
    applied(a, &subject.object, configuration).map(Some)
}

fn patched(object: &Value, operations: &[Value]) -> Result<Option<Value>, String> {
    match json::apply(object, operations) {
        Ok(new) => Ok(Some(new)),
        // A test that fails means that there is nothing to do.
        Err(failure) if failure.to_string().contains("testing value") => Ok(None),
        Err(failure) => Err(format!("JSON Patch: {failure}")),
    }
}

/// Merges a configuration into the object, by the types of its kind.
fn applied(a: &Attributes<'_>, object: &Value, mut configuration: Value) -> Result<Value, String> {
    let schemas = a.call.shared.schemas.load();
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default();
    configuration["apiVersion"] = json!(api_version);
    configuration["kind"] = json!(kind);
    let found = schemas.by_api_version(api_version, kind);
    let ty = found.map(Type::Struct).ok_or_else(|| {
        format!("Resource kind {api_version}, Kind={kind} not found. There can be a delay between when CustomResourceDefinitions are created and when they are available.")
    })?;
    if let Some(why) = typed::invalid(&ty, &configuration) {
        return Err(format!(
            "error applying patch: failed to convert patch object to typed object: {why}"
        ));
    }
    let atomics = fields::atomics(&ty, &configuration);
    if !atomics.is_empty() {
        return Err(format!(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
            atomics.join(", ")
        ));
    }
    Ok(typed::merge(&ty, object, &configuration))
}
