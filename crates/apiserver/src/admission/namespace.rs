//! NamespaceLifecycle: objects are made only in namespaces that live; the system's own namespaces stay. And the two older
//! answers to a namespace that is not there: NamespaceExists refuses, NamespaceAutoProvision makes it.

use http::{Method, StatusCode};
use knarr_api::{Status, status::Cause};
use knarr_json::{Value, json};

use super::{Attributes, Operation};
use crate::{Outcome, poststart::Client};

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
    let Some(namespace) = stored(a) else {
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

fn stored(a: &Attributes<'_>) -> Option<std::sync::Arc<knarr_store::Stored>> {
    let key = format!("/registry/namespaces/{}", a.namespace());
    a.call.shared.store.get(&key)
}

/// Whether the request is about something in a namespace that is not there.
fn lacks_namespace(a: &Attributes<'_>) -> bool {
    !a.namespace().is_empty() && !a.is_of("", "namespaces") && stored(a).is_none()
}

/// NamespaceExists.
///
/// # Errors
/// 404.
pub fn exists(a: &Attributes<'_>) -> Outcome<()> {
    if lacks_namespace(a) {
        return Err(Status::not_found("", "namespaces", a.namespace()).into());
    }
    Ok(())
}

/// NamespaceAutoProvision.
///
/// # Errors
/// What the creation of the namespace answers.
pub async fn provide(a: &Attributes<'_>) -> Outcome<()> {
    if a.operation != Operation::Create || a.dry_run || !lacks_namespace(a) {
        return Ok(());
    }
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": a.namespace()}});
    let (code, answer) = Client::new(a.call.shared.clone())
        .request(Method::POST, "/api/v1/namespaces", &namespace)
        .await
        .map_err(Status::internal)?;
    if code.is_success() || code == StatusCode::CONFLICT {
        return Ok(());
    }
    Err(serde_json::from_str(&answer)
        .unwrap_or_else(|_| Status::internal(answer))
        .into())
}

fn may_delete(a: &Attributes<'_>) -> Outcome<()> {
    if a.operation == Operation::Delete && IMMORTAL.contains(&a.name()) {
        let why = "this namespace may not be deleted";
        return Err(Status::forbidden("", "namespaces", a.name(), why).into());
    }
    Ok(())
}
