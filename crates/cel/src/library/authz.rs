//! Asking about permissions.

use std::sync::Arc;

use super::{Answer, Native, no_overload};
use crate::{
    authorizer::{Resource, ResourceCheck, Scope, Target},
    value::{Opaque, Value},
};

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "path" => |args| match args {
            [
                Value::Opaque(Opaque::Authorizer(scope)),
                Value::String(path),
            ] => Ok(Value::Opaque(Opaque::PathCheck(
                scope.clone(),
                path.as_str().into(),
            ))),
            _ => no_overload(),
        },
        "group" => |args| match args {
            [
                Value::Opaque(Opaque::Authorizer(scope)),
                Value::String(group),
            ] => Ok(Value::Opaque(Opaque::GroupCheck(
                scope.clone(),
                group.as_str().into(),
            ))),
            _ => no_overload(),
        },
        "serviceAccount" => |args| match args {
            [
                Value::Opaque(Opaque::Authorizer(scope)),
                Value::String(namespace),
                Value::String(name),
            ] => Ok(Value::Opaque(Opaque::Authorizer(Scope {
                authorizer: scope.authorizer.clone(),
                service_account: Some((namespace.as_str().into(), name.as_str().into())),
            }))),
            _ => no_overload(),
        },
        "resource" => |args| match args {
            [
                Value::Opaque(Opaque::GroupCheck(scope, group)),
                Value::String(resource),
            ] => {
                let resource = Resource {
                    group: group.to_string(),
                    resource: resource.as_str().to_owned(),
                    ..Resource::default()
                };
                Ok(resource_check(scope.clone(), resource))
            }
            _ => no_overload(),
        },
        "subresource" => |args| narrowed(args, |r, text| r.subresource = text),
        "namespace" => |args| narrowed(args, |r, text| r.namespace = text),
        "name" => |args| narrowed(args, |r, text| r.name = text),
        "fieldSelector" => |args| narrowed(args, |r, text| r.field_selector = Some(text)),
        "labelSelector" => |args| narrowed(args, |r, text| r.label_selector = Some(text)),
        "check" => check,
        "allowed" => |args| answer(args, |d| Value::Bool(d.allowed)),
        "reason" => |args| answer(args, |d| Value::from(d.reason.clone())),
        "errored" => |args| answer(args, |d| Value::Bool(d.error.is_some())),
        "error" => |args| answer(args, |d| Value::from(d.error.clone().unwrap_or_default())),
        _ => return None,
    })
}

fn resource_check<'a>(scope: Scope, resource: Resource) -> Value<'a> {
    Value::Opaque(Opaque::ResourceCheck(Arc::new(ResourceCheck {
        scope,
        resource,
    })))
}

fn narrowed<'a>(args: &[Value<'a>], set: fn(&mut Resource, String)) -> Answer<'a> {
    let [
        Value::Opaque(Opaque::ResourceCheck(check)),
        Value::String(text),
    ] = args
    else {
        return no_overload();
    };
    let mut resource = check.resource.clone();
    set(&mut resource, text.as_str().to_owned());
    Ok(resource_check(check.scope.clone(), resource))
}

fn check<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let (scope, target, verb) = match args {
        [
            Value::Opaque(Opaque::PathCheck(scope, path)),
            Value::String(verb),
        ] => (scope, Target::Path(path.to_string()), verb),
        [
            Value::Opaque(Opaque::ResourceCheck(check)),
            Value::String(verb),
        ] => (&check.scope, Target::Resource(check.resource.clone()), verb),
        _ => return no_overload(),
    };
    let decision = scope.ask(verb.as_str(), target);
    Ok(Value::Opaque(Opaque::Decision(Arc::new(decision))))
}

fn answer<'a>(
    args: &[Value<'a>],
    of: fn(&crate::authorizer::Decision) -> Value<'static>,
) -> Answer<'a> {
    match args {
        [Value::Opaque(Opaque::Decision(decision))] => Ok(of(decision)),
        _ => no_overload(),
    }
}
