//! Custom resources: definitions become resources of the registry while the server runs.
//!
//! What controllers do in the original belongs to the server here: it accepts names, says what is established, deletes what
//! is left when a definition goes. [`load`] brings up what the store has before the server is ready; [`start`] follows
//! changes.

mod apiservices;
mod conditions;
pub mod convert;
mod finalize;
mod install;
mod names;
mod reconcile;
mod requests;

use jiff::Timestamp;
use knarr_api::{Resource, Status, status::Details};
use knarr_json::{Value, json};

pub(crate) use reconcile::{load, start};

use crate::{Outcome, chain::Call, respond, rest::meta};

/// Where definitions are stored.
const PREFIX: &str = "/registry/customresourcedefinitions/";
/// Where the API has them.
const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// Keeps a definition until its objects are gone.
const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// What every request for a custom resource must satisfy.
///
/// # Errors
/// 404 for subresources that the version does not have, 405 for what nobody can do to a custom resource.
pub(crate) fn admit(call: &Call, resource: &Resource) -> Outcome<()> {
    let info = &call.info;
    let verb = info.verb.as_str();
    let subresource = info.subresource.as_str();
    if !subresource.is_empty()
        && resource
            .subresource_at(subresource, &info.version)
            .is_none()
    {
        return Err(Status::not_found(&resource.group, &resource.plural, &info.name).into());
    }
    let offered = match resource.subresource(subresource) {
        Some(sub) => sub.verbs.contains(&verb),
        None => resource.verbs.contains(&verb),
    };
    if offered || verb.is_empty() {
        return Ok(());
    }
    // Only a definition that is going does not take what others do.
    let going = subresource.is_empty() && matches!(verb, "create" | "update" | "patch");
    let message = if going && verb == "create" {
        "create not allowed while custom resource definition is terminating".to_owned()
    } else if going {
        return Ok(());
    } else {
        let kind = format!("{}.{}", resource.plural, resource.group);
        format!("{verb} is not supported on resources of kind {kind:?}")
    };
    let mut status = respond::general(405, "MethodNotAllowed", &message);
    status.details = Some(Details {
        group: resource.group.clone(),
        kind: resource.plural.clone(),
        ..Details::default()
    });
    Err(status.into())
}

/// A definition that someone deletes: it stays until its objects are gone. Pure.
pub(crate) fn marked_for_deletion(old: &Value, now: Timestamp) -> Value {
    let mut object = old.clone();
    let mut finalizers = meta::finalizers(old);
    if !finalizers.iter().any(|f| f == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
    }
    meta::set_finalizers(&mut object, finalizers);
    meta::of(&mut object).insert("deletionTimestamp", meta::time(now).into());
    let condition = json!({
        "type": "Terminating", "status": "True", "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    });
    conditions::set(&mut object, condition, now);
    object
}
