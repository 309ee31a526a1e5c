//! How controllers write, and what the API server's refusals mean to them.

use kube::{
    Error,
    api::{DeleteParams, PatchParams, PostParams, Preconditions},
};

/// The name under which controllers own fields.
pub const MANAGER: &str = "kube-controller-manager";

/// Parameters of a create or an update.
pub fn post() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.into()),
        ..PostParams::default()
    }
}

/// Parameters of a patch.
pub fn patch() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.into()),
        ..PatchParams::default()
    }
}

/// Parameters that delete only the object with this uid, whatever its name belongs to by then.
pub fn delete(uid: Option<String>) -> DeleteParams {
    let preconditions = Preconditions {
        uid,
        resource_version: None,
    };
    DeleteParams {
        preconditions: Some(preconditions),
        ..DeleteParams::default()
    }
}

/// The object is not there (any more).
pub fn gone(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 404)
}

/// Somebody else wrote first, or the name is taken.
pub fn conflict(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 409)
}

/// The name is taken.
pub fn exists(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.is_already_exists())
}

/// The object does not validate.
pub fn invalid(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 422)
}

/// Nothing can be made in the namespace because it is being deleted.
pub fn namespace_going(error: &Error) -> bool {
    let Error::Api(status) = error else {
        return false;
    };
    status
        .details
        .as_ref()
        .is_some_and(|d| d.causes.iter().any(|c| c.reason == "NamespaceTerminating"))
}

/// What the API server said, without the wrapping.
pub fn words(error: &Error) -> String {
    match error {
        Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
