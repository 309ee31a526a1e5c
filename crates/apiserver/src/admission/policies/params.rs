//! Parameters of policies: objects of any kind that bindings name.

use std::sync::Arc;

use knarr_api::{Resource, selector::LabelSelector};
use knarr_json::Value;
use knarr_store::{Range, Stored};

use super::{
    super::Attributes,
    config::{Binding, ParamRef, Policy},
};
use crate::rest::Target;

/// The objects that a policy is run with, one after the other; null for a policy or binding without parameters.
///
/// # Errors
/// Why they cannot be found, in the words of the original.
pub(super) fn collect(
    a: &Attributes<'_>,
    policy: &Policy,
    binding: &Binding,
) -> Result<Vec<Value>, String> {
    let (Some((api_version, kind)), Some(params)) = (&policy.param_kind, &binding.params) else {
        return Ok(vec![Value::Null]);
    };
    let target = target(a, api_version, kind)
        .ok_or_else(|| format!("paramKind kind `{api_version}, Kind={kind}` not known"))?;
    let target = placed(a, params, target)?;
    let found = if !params.name.is_empty() {
        if params.selector.is_some() {
            return Err("paramRef.name and paramRef.selector are mutually exclusive".to_owned());
        }
        let target = Target {
            name: params.name.clone(),
            ..target
        };
        let stored = a.call.shared.store.get(&target.key());
        stored
            .into_iter()
            .filter_map(|s| read(&target, &s))
            .collect()
    } else if let Some(selector) = &params.selector {
        selected(a, &target, selector.as_ref().map_err(Clone::clone)?)
    } else {
        return Err("one of name or selector must be provided".to_owned());
    };
    if found.is_empty() && params.must_be_found {
        return Err(
            "no params found for policy binding with `Deny` parameterNotFoundAction".to_owned(),
        );
    }
    Ok(found)
}

/// Whether the kind of a policy's parameters is known.
pub(super) fn is_known(a: &Attributes<'_>, policy: &Policy) -> Result<(), String> {
    match &policy.param_kind {
        Some((api_version, kind)) if target(a, api_version, kind).is_none() => Err(format!(
            "failed to find resource referenced by paramKind: '{api_version}, Kind={kind}'"
        )),
        _ => Ok(()),
    }
}

fn target(a: &Attributes<'_>, api_version: &str, kind: &str) -> Option<Target> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let registry = a.call.shared.registry.load();
    let resource: &Arc<Resource> = registry.by_kind(group, kind)?;
    resource
        .versions
        .iter()
        .any(|v| v == version)
        .then(|| Target {
            resource: resource.clone(),
            version: version.to_owned(),
            namespace: String::new(),
            name: String::new(),
            subresource: None,
            old: None,
        })
}

/// In the namespace that the binding names, or that of the request.
fn placed(a: &Attributes<'_>, params: &ParamRef, target: Target) -> Result<Target, String> {
    if !target.resource.namespaced {
        return match params.namespace.is_empty() {
            true => Ok(target),
            false => Err(
                "paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
                    .to_owned(),
            ),
        };
    }
    let namespace = match params.namespace.as_str() {
        "" => a.place(),
        given => given,
    };
    if namespace.is_empty() {
        let why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
        return Err(why.to_owned());
    }
    Ok(Target {
        namespace: namespace.to_owned(),
        ..target
    })
}

fn selected(a: &Attributes<'_>, target: &Target, selector: &LabelSelector) -> Vec<Value> {
    let prefix = target.prefix();
    let range = Range {
        prefix: &prefix,
        ..Range::default()
    };
    let Ok(listing) = a.call.shared.store.list(range) else {
        return Vec::new();
    };
    let chosen = listing.items.iter().filter(|s| selector.matches(&s.head));
    chosen.filter_map(|s| read(target, s)).collect()
}

fn read(target: &Target, stored: &Stored) -> Option<Value> {
    target.decode(&stored.json).ok()
}
