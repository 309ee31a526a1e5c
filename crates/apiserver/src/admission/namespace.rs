//! NamespaceLifecycle: objects are made only in namespaces that live; the system's own namespaces stay.

use knarr_api::{Status, status::Cause};

use super::Action;
use crate::{Outcome, chain::Call, rest::Target};

/// Namespaces that nobody may delete.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub fn admit(call: &Call, target: &Target, action: Action) -> Outcome<()> {
    let resource = &target.resource;
    if !resource.namespaced || action != Action::Create || resource.group == "authorization.k8s.io"
    {
        return Ok(());
    }
    let name = &target.namespace;
    let Some(namespace) = call
        .shared
        .store
        .get(&format!("/registry/namespaces/{name}"))
    else {
        return Err(Status::not_found("", "namespaces", name).into());
    };
    if !namespace.head.deleting {
        return Ok(());
    }
    let why =
        format!("unable to create new content in namespace {name} because it is being terminated");
    let mut status = Status::forbidden(&resource.group, &resource.plural, &target.name, &why);
    if let Some(details) = &mut status.details {
        details.causes.push(Cause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {name} is being terminated"),
            field: "metadata.namespace".into(),
        });
    }
    Err(status.into())
}

pub fn may_delete(_call: &Call, target: &Target) -> Outcome<()> {
    let is_namespace = target.resource.group.is_empty() && target.resource.plural == "namespaces";
    if is_namespace && IMMORTAL.contains(&target.name.as_str()) {
        let why = "this namespace may not be deleted";
        return Err(Status::forbidden("", "namespaces", &target.name, why).into());
    }
    Ok(())
}
