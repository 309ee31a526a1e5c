//! NamespaceLifecycle: objects are made only in namespaces that live; the system's own namespaces stay.

use knarr_api::{Status, status::Cause};
use knarr_json::Value;

use super::{Attributes, Operation};
use crate::Outcome;

/// Namespaces that nobody may delete.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// # Errors
/// 403 for the end of a namespace that must stay and for creates in one that ends, 404 for a namespace that is not there.
pub fn admit(a: &Attributes<'_>, object: &Value) -> Outcome<()> {
    if a.is_of("", "namespaces") {
        return may_delete(a);
    }
    let name = a.namespace();
    if name.is_empty() || a.operation != Operation::Create || a.is_access_review() {
        return Ok(());
    }
    let stored = a
        .call
        .shared
        .store
        .get(&format!("/registry/namespaces/{name}"));
    let Some(namespace) = stored else {
        return Err(Status::not_found("", "namespaces", name).into());
    };
    if !namespace.head.deleting {
        return Ok(());
    }
    let why =
        format!("unable to create new content in namespace {name} because it is being terminated");
    let mut status = a.forbidden(object, &why);
    if let Some(details) = &mut status.details {
        details.causes.push(Cause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {name} is being terminated"),
            field: "metadata.namespace".into(),
        });
    }
    Err(status)
}

fn may_delete(a: &Attributes<'_>) -> Outcome<()> {
    if a.operation == Operation::Delete && IMMORTAL.contains(&a.name()) {
        let why = "this namespace may not be deleted";
        return Err(Status::forbidden("", "namespaces", a.name(), why).into());
    }
    Ok(())
}
