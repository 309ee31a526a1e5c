//! ValidatingAdmissionPolicies asked about a request.

use knarr_api::{Status, status::Cause};
use knarr_cel::{Budget, Value as Cel, budget};
use knarr_json::{Value, json};

use super::{
    super::Attributes,
    conditions,
    config::{Active, Binding, Compiled, Policy},
    matching, params,
    run::{Failure, Run, Subject},
};
use crate::Outcome;

/// Messages that expressions make are no longer, in bytes.
const LONGEST_MESSAGE: usize = 5 * 1024;
/// Values of audit annotations are cut off here, in bytes.
const LONGEST_ANNOTATION: usize = 10 * 1024;

/// A no, with whose it is.
struct Denial {
    /// `ValidatingAdmissionPolicy 'p' with binding 'b'`
    whose: String,
    message: String,
    reason: String,
}

/// What one validation found.
struct Finding {
    message: String,
    reason: String,
}

/// Asks the policies; the first no is what the client gets.
///
/// # Errors
/// The refusal.
pub(super) fn validate(a: &Attributes<'_>, policies: &[Active], object: &Value) -> Outcome<()> {
    let mut denials = Vec::new();
    for active in policies {
        ask(a, active, object, &mut denials)?;
    }
    match denials.into_iter().next() {
        Some(denial) => Err(refusal(a, object, &denial)),
        None => Ok(()),
    }
}

fn of_policy(policy: &Policy) -> String {
    format!("ValidatingAdmissionPolicy '{}'", policy.name)
}

fn of_binding(policy: &Policy, binding: &Binding) -> String {
    format!("{} with binding '{}'", of_policy(policy), binding.name)
}

fn misconfigured(policy: &Policy, whose: String, message: String, denials: &mut Vec<Denial>) {
    if policy.fails {
        let reason = String::new();
        denials.push(Denial {
            whose,
            message,
            reason,
        });
    }
}

fn ask(
    a: &Attributes<'_>,
    active: &Active,
    object: &Value,
    denials: &mut Vec<Denial>,
) -> Outcome<()> {
    let policy = &active.policy;
    let version = match matching::version(a, &policy.matches, object) {
        Ok(Some(version)) => version,
        Ok(None) => return Ok(()),
        Err(status) => {
            let message = format!("failed to configure policy: {}", status.message);
            misconfigured(policy, of_policy(policy), message, denials);
            return Ok(());
        }
    };
    if let Err(why) = params::is_known(a, policy) {
        let message = format!("failed to configure policy: {why}");
        misconfigured(policy, of_policy(policy), message, denials);
        return Ok(());
    }
    let mut subject = None;
    let mut notes: Vec<(String, Vec<String>)> = Vec::new();
    for binding in &active.bindings {
        let params = match bound(a, policy, binding, object) {
            Ok(params) => params,
            Err(why) => {
                let message = format!("failed to configure binding: {why}");
                misconfigured(policy, of_binding(policy, binding), message, denials);
                continue;
            }
        };
        for params in params {
            let subject = subject.get_or_insert_with(|| Subject::new(a, object, version));
            run(a, policy, binding, subject, &params, denials, &mut notes);
        }
    }
    for (key, values) in notes {
        a.call
            .annotate(&format!("{}/{key}", policy.name), values.join(", "));
    }
    Ok(())
}

/// The parameters of a binding; nothing if the binding is not about the request.
fn bound(
    a: &Attributes<'_>,
    policy: &Policy,
    binding: &Binding,
    object: &Value,
) -> Result<Vec<Value>, String> {
    if let Some(matches) = &binding.matches {
        let version = matching::version(a, matches, object).map_err(|s| s.message.clone())?;
        if version.is_none() {
            return Ok(Vec::new());
        }
    }
    params::collect(a, policy, binding)
}

/// Runs a policy with one object as its parameters.
fn run(
    a: &Attributes<'_>,
    policy: &Policy,
    binding: &Binding,
    subject: &Subject,
    params: &Value,
    denials: &mut Vec<Denial>,
    notes: &mut Vec<(String, Vec<String>)>,
) {
    let whose = || of_binding(policy, binding);
    match conditions::hold(&policy.conditions, subject, params) {
        Ok(true) => {}
        Ok(false) => return,
        Err(why) => return failed(a, policy, binding, why, denials),
    }
    let run = Run {
        subject,
        params,
        variables: &policy.variables,
    };
    match findings(policy, &run) {
        Ok(findings) => {
            for (i, finding) in findings.into_iter().enumerate() {
                if let Some(finding) = finding {
                    found(a, policy, binding, i, finding, denials);
                }
            }
        }
        Err(failure) => return failed(a, policy, binding, failure.to_string(), denials),
    }
    for (key, value) in annotations(policy, &run) {
        match value {
            Ok(Some(value)) => note(notes, key, value),
            Ok(None) => {}
            Err(message) if policy.fails => {
                let reason = String::new();
                denials.push(Denial {
                    whose: whose(),
                    message,
                    reason,
                });
            }
            Err(_) => {}
        }
    }
}

fn note(notes: &mut Vec<(String, Vec<String>)>, key: &str, value: String) {
    match notes.iter_mut().find(|(k, _)| k == key) {
        Some((_, values)) if values.contains(&value) => {}
        Some((_, values)) => values.push(value),
        None => notes.push((key.to_owned(), vec![value])),
    }
}

/// A policy that cannot decide.
fn failed(
    a: &Attributes<'_>,
    policy: &Policy,
    binding: &Binding,
    message: String,
    denials: &mut Vec<Denial>,
) {
    if policy.fails {
        let reason = String::new();
        found(a, policy, binding, 0, Finding { message, reason }, denials);
    }
}

/// What each validation says; nothing where it holds.
fn findings(policy: &Policy, run: &Run<'_>) -> Result<Vec<Option<Finding>>, Failure> {
    let expressions: Vec<Option<&Compiled>> = policy
        .validations
        .iter()
        .map(|v| Some(&v.expression))
        .collect();
    let mut budget = Budget::new(budget::PER_REQUEST);
    let answers = run.each(&expressions, &mut budget, |v| v.as_bool() == Some(true))?;
    let wanted = |i: usize| matches!(answers.get(i), Some(Some(Ok(false))));
    let messages: Vec<Option<&Compiled>> = policy
        .validations
        .iter()
        .enumerate()
        .map(|(i, v)| v.message_expression.as_ref().filter(|_| wanted(i)))
        .collect();
    let messages = run.each(&messages, &mut budget, |v| v.as_str().map(str::to_owned));
    let mut out = Vec::new();
    for (i, (validation, answer)) in policy.validations.iter().zip(&answers).enumerate() {
        let finding = match (answer, &messages) {
            (Some(Err(why)), _) => policy.fails.then(|| Finding {
                message: why.clone(),
                reason: String::new(),
            }),
            (Some(Ok(false)), Err(failure)) => policy.fails.then(|| Finding {
                message: format!("failed messageExpression: {failure}"),
                reason: String::new(),
            }),
            (Some(Ok(false)), Ok(messages)) => {
                let made = match messages.get(i) {
                    Some(Some(Ok(Some(text)))) => text.trim(),
                    _ => "",
                };
                let made = if made.len() > LONGEST_MESSAGE || made.contains('\n') {
                    ""
                } else {
                    made
                };
                let message = match (made, validation.message.trim()) {
                    ("", "") => format!("failed expression: {}", validation.expression.text.trim()),
                    ("", message) => message.to_owned(),
                    (made, _) => made.to_owned(),
                };
                let reason = validation.reason.clone().unwrap_or_default();
                Some(Finding { message, reason })
            }
            _ => None,
        };
        out.push(finding);
    }
    Ok(out)
}

/// A value of an audit annotation, if there is one to note, or why it cannot be had.
type Annotation = Result<Option<String>, String>;

fn annotations<'p>(policy: &'p Policy, run: &Run<'_>) -> Vec<(&'p str, Annotation)> {
    let expressions: Vec<Option<&Compiled>> =
        policy.annotations.iter().map(|(_, c)| Some(c)).collect();
    let mut budget = Budget::new(budget::PER_REQUEST);
    let read = |value: &Cel<'_>| {
        value
            .as_str()
            .map(|t| t.trim().to_owned())
            .filter(|t| !t.is_empty())
    };
    let answers = match run.each(&expressions, &mut budget, read) {
        Ok(answers) => answers,
        Err(failure) => return vec![("", Err(failure.to_string()))],
    };
    let cut = |mut text: String| {
        while text.len() > LONGEST_ANNOTATION {
            text.pop();
        }
        text
    };
    let keys = policy.annotations.iter().map(|(key, _)| key.as_str());
    keys.zip(answers.into_iter().flatten())
        .map(|(key, answer)| (key, answer.map(|text| text.map(cut))))
        .collect()
}

/// Does what the binding wants done about a no.
fn found(
    a: &Attributes<'_>,
    policy: &Policy,
    binding: &Binding,
    index: usize,
    finding: Finding,
    denials: &mut Vec<Denial>,
) {
    for action in &binding.actions {
        match action.as_str() {
            "Deny" => denials.push(Denial {
                whose: of_binding(policy, binding),
                message: finding.message.clone(),
                reason: finding.reason.clone(),
            }),
            "Warn" => a.call.warn([format!(
                "Validation failed for {}: {}",
                of_binding(policy, binding),
                finding.message
            )]),
            "Audit" => {
                let failure = json!([{
                    "message": finding.message, "policy": policy.name, "binding": binding.name,
                    "expressionIndex": index, "validationActions": binding.actions,
                }]);
                let key = "validation.policy.admission.k8s.io/validation_failure";
                a.call.annotate(key, failure.to_string());
            }
            _ => {}
        }
    }
}

fn refusal(a: &Attributes<'_>, object: &Value, denial: &Denial) -> Box<Status> {
    refused(
        a,
        object,
        &format!("{} denied request: {}", denial.whose, denial.message),
        &denial.reason,
    )
}

/// A refusal with a reason of its own.
pub(super) fn refused(
    a: &Attributes<'_>,
    object: &Value,
    message: &str,
    reason: &str,
) -> Box<Status> {
    let mut status = a.forbidden(object, message);
    let (reason, code) = match reason {
        "" => ("Invalid", 422),
        "Unauthorized" => ("Unauthorized", 401),
        "Forbidden" => ("Forbidden", 403),
        "RequestEntityTooLarge" => ("RequestEntityTooLarge", 413),
        other => (other, 422),
    };
    status.reason = reason.to_owned();
    status.code = code;
    if let Some(details) = &mut status.details {
        details.causes.push(Cause {
            message: message.to_owned(),
            ..Cause::default()
        });
    }
    status
}
