//! Field ownership: `metadata.managedFields` for every write, and server-side apply.
//!
//! Pure functions over decoded objects and their types. The API server calls [`update`] for every create, update and patch
//! after decoding and defaulting and before admission; [`apply`] in place of a patch for server-side apply; and
//! [`keep_times`] right before the store, so that a write that only moves times of managedFields is none.
//!
//! The rules are those of Kubernetes: see [`typed`] for what is owned how.

mod apply;
mod atomics;
mod element;
mod indexed;
mod managed;
mod merge;
mod set;
mod shape;
pub mod typed;
mod update;

#[cfg(test)]
mod tests;

pub use apply::{apply, check};
pub use atomics::atomics;
pub use element::Element;
pub use managed::{Managed, Operation};
pub use set::Set;
pub use update::{keep_times, update};

use std::sync::LazyLock;

use knarr_json::Value;

use crate::schema::{Schemas, Type};

/// What a write is done on.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub schemas: &'a Schemas,
    /// The type of the object at the version of the request.
    pub ty: &'a Type,
    /// `apps/v1`: group and version of the request.
    pub api_version: &'a str,
    pub kind: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    /// Where replicas are that the subresource `scale` writes: `spec.replicas`.
    pub replicas: &'a str,
    /// What this kind of write cannot change, whatever it sends: see [`reset_fields`].
    pub reset: &'a Set,
    pub now: jiff::Timestamp,
    /// Brings an object to another version of its group; `None` when that is not served.
    pub convert: &'a dyn Fn(&Value, &str) -> Option<Value>,
}

impl Scope<'_> {
    fn at_version(&self, object: &Value, api_version: &str) -> Option<(Type, Value)> {
        if api_version == self.api_version {
            return Some((self.ty.clone(), object.clone()));
        }
        let ty = Type::Struct(self.schemas.by_api_version(api_version, self.kind)?);
        Some((ty, (self.convert)(object, api_version)?))
    }

    fn time(&self) -> String {
        self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

/// Whether `value` has only what its type has.
pub fn fits(ty: &Type, value: &Value) -> bool {
    typed::invalid(ty, value).is_none()
}

/// What never belongs to anybody: identity and what the server decides.
static STRIPPED: LazyLock<Set> = LazyLock::new(|| {
    Set::of_fields([
        "apiVersion",
        "kind",
        "metadata",
        "metadata.name",
        "metadata.namespace",
        "metadata.creationTimestamp",
        "metadata.selfLink",
        "metadata.uid",
        "metadata.clusterName",
        "metadata.generation",
        "metadata.managedFields",
        "metadata.resourceVersion",
    ])
});

/// The fields that a write to the object (`subresource` empty) or to one of its subresources leaves as they are.
/// `has_status` tells whether the kind has a status subresource.
pub fn reset_fields(kind: &str, subresource: &str, has_status: bool, custom: bool) -> &'static Set {
    static NONE: LazyLock<Set> = LazyLock::new(Set::default);
    static STATUS: LazyLock<Set> = LazyLock::new(|| Set::of_fields(["status"]));
    static SPEC: LazyLock<Set> = LazyLock::new(|| Set::of_fields(["spec"]));
    static ALL_BUT_STATUS: LazyLock<Set> = LazyLock::new(|| Set::of_fields(["metadata", "spec"]));
    static OF_PODS: LazyLock<Set> = LazyLock::new(|| {
        Set::of_fields([
            "spec",
            "metadata.deletionTimestamp",
            "metadata.ownerReferences",
        ])
    });
    static OF_DEPLOYMENTS: LazyLock<Set> =
        LazyLock::new(|| Set::of_fields(["spec", "metadata.labels"]));
    match (subresource, kind) {
        ("status", _) if custom => &ALL_BUT_STATUS,
        ("status", "Pod") => &OF_PODS,
        ("status", "ResourceClaim" | "VolumeAttachment") => &ALL_BUT_STATUS,
        ("status", "Deployment") => &OF_DEPLOYMENTS,
        ("status", _) => &SPEC,
        _ if has_status => &STATUS,
        _ => &NONE,
    }
}

/// The manager of a write: the `fieldManager` option, or else what the User-Agent begins with.
pub fn manager_name(option: &str, user_agent: &str) -> String {
    if !option.is_empty() {
        return option.to_owned();
    }
    let prefix = user_agent.split('/').next().unwrap_or_default();
    let mut name = String::new();
    for c in prefix.chars().filter(|c| !c.is_control()) {
        if name.len() + c.len_utf8() > 128 {
            break;
        }
        name.push(c);
    }
    name
}
