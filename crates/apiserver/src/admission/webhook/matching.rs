//! Whether a webhook is asked about a request, and about which version of its object.

use knarr_api::{Status, selector::LabelSelector};
use knarr_json::Value;

use super::{
    super::{
        Attributes,
        policies::{conditions, run::Subject},
    },
    config::{Hook, Selector},
};
use crate::{Outcome, rest::meta};

/// A webhook that is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The version that it has rules for; that of the request unless `matchPolicy` is `Equivalent`.
    pub version: String,
}

/// Configurations of admission are admitted without being asked about themselves.
pub fn is_exempt(a: &Attributes<'_>) -> bool {
    a.kind.group == "admissionregistration.k8s.io"
        && matches!(
            a.kind.kind,
            "ValidatingWebhookConfiguration"
                | "MutatingWebhookConfiguration"
                | "ValidatingAdmissionPolicy"
                | "ValidatingAdmissionPolicyBinding"
                | "MutatingAdmissionPolicy"
                | "MutatingAdmissionPolicyBinding"
        )
}

/// # Errors
/// 404 for a namespace that is not there, 500 for a selector that cannot be read: only of webhooks that concern the request.
pub fn invocation(a: &Attributes<'_>, hook: &Hook, object: &Value) -> Outcome<Option<Invocation>> {
    let Some(version) = version(a, hook) else {
        return Ok(None);
    };
    if !namespace_selected(a, &hook.namespaces, object)?
        || !object_selected(a, &hook.objects, object)?
    {
        return Ok(None);
    }
    if !conditions_hold(a, hook, object, version)? {
        return Ok(None);
    }
    Ok(Some(Invocation {
        version: version.to_owned(),
    }))
}

/// Whether the `matchConditions` hold. Where they cannot be evaluated, a webhook whose failures are ignored is not asked.
fn conditions_hold(
    a: &Attributes<'_>,
    hook: &Hook,
    object: &Value,
    version: &str,
) -> Outcome<bool> {
    if hook.conditions.is_empty() {
        return Ok(true);
    }
    let subject = Subject::new(a, object, version);
    match conditions::hold(&hook.conditions, &subject, &Value::Null) {
        Ok(hold) => Ok(hold),
        Err(_) if hook.ignores_failures => Ok(false),
        Err(why) => Err(a.forbidden(object, &why)),
    }
}

/// The version of the resource that a rule of the webhook names.
fn version<'a>(a: &Attributes<'a>, hook: &Hook) -> Option<&'a str> {
    let resource = &a.target.resource;
    // A namespace is no member of itself.
    let namespaced = !a.namespace().is_empty();
    let by = |version: &str| {
        let named = (a.group(), version, a.resource());
        hook.rules
            .iter()
            .any(|rule| rule.matches(a.operation, named, a.subresource, namespaced))
    };
    let own = a.target.version.as_str();
    if by(own) {
        return Some(own);
    }
    if !hook.equivalent {
        return None;
    }
    let others = resource.versions.iter().filter(|v| *v != own);
    others.map(String::as_str).find(|version| by(version))
}

fn unreadable(why: &str) -> Box<Status> {
    Status::internal(why).into()
}

/// Whether the namespace of a request is selected.
///
/// # Errors
/// 404 for a namespace that is not there, 500 for a selector that cannot be read.
pub fn namespace_selected(
    a: &Attributes<'_>,
    namespaces: &Selector,
    object: &Value,
) -> Outcome<bool> {
    let is_namespace = a.is_of("", "namespaces");
    if a.namespace().is_empty() && !is_namespace {
        return Ok(true);
    }
    let selector = namespaces.as_ref().map_err(|why| unreadable(why))?;
    if selector.is_everything() {
        return Ok(true);
    }
    // A namespace that is written is judged by what is written.
    if is_namespace && a.subresource.is_empty() && !object.is_null() {
        return Ok(selector.matches_labels(&object["metadata"]["labels"]));
    }
    let name = a.place();
    let stored = a
        .call
        .shared
        .store
        .get(&format!("/registry/namespaces/{name}"));
    match stored {
        Some(stored) => Ok(selector.matches(&stored.head)),
        None => Err(Status::not_found("", "namespaces", name).into()),
    }
}

/// Whether the object of a request, or the one before, is selected.
///
/// # Errors
/// 500 for a selector that cannot be read.
pub fn object_selected(a: &Attributes<'_>, objects: &Selector, object: &Value) -> Outcome<bool> {
    let selector = objects.as_ref().map_err(|why| unreadable(why))?;
    let selects = |object: &Value| matches_object(selector, object);
    Ok(selector.is_everything() || selects(object) || a.old.is_some_and(selects))
}

/// What has no metadata, such as the options of an exec, is never selected.
fn matches_object(selector: &LabelSelector, object: &Value) -> bool {
    object["metadata"].is_object() && selector.matches_labels(&object["metadata"]["labels"])
}

/// Whether the name of an object is still to come.
pub fn name<'a>(a: &Attributes<'a>, object: &'a Value) -> &'a str {
    match a.name() {
        "" => meta::text(object, "name"),
        name => name,
    }
}
