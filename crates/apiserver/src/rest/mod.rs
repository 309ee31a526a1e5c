//! REST over the store: one implementation for all kinds.
//!
//! Reads hand on stored bytes. Writes parse once: decode → default → admission → prepare → validate → encode → commit.

pub mod apply;
pub mod collection;
pub mod create;
pub mod current;
pub mod delete;
pub mod frames;
pub mod get;
pub mod list;
pub mod managed;
pub mod meta;
pub mod page;
pub mod patch;
pub mod present;
pub mod sub;
pub mod update;
pub mod watch;
pub mod websocket;

use std::sync::Arc;

use knarr_api::{Resource, Status, old::Old, registry::Subresource, strategy::Context};
use knarr_json::Value;
use knarr_store::Stored;

use crate::{Outcome, chain::Call, custom, server::Shared};

/// What a request is about: a resource at a version, and where in it.
#[derive(Clone)]
pub(crate) struct Target {
    pub resource: Arc<Resource>,
    /// The version of the request, without the group.
    pub version: String,
    /// Empty across namespaces and for cluster-scoped kinds.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    pub subresource: Option<Subresource>,
    /// The version of old that the request is worded in; `resource` and `version` are those of today.
    pub old: Option<&'static Old>,
}

impl Target {
    /// `v1` or `apps/v1`, as the request says it.
    pub fn api_version(&self) -> String {
        self.resource.api_version(&self.version)
    }

    pub fn key(&self) -> String {
        self.resource.key(&self.namespace, &self.name)
    }

    /// Prefix of the keys of the collection.
    pub fn prefix(&self) -> String {
        let prefix = self.resource.prefix();
        if self.resource.namespaced && !self.namespace.is_empty() {
            format!("{prefix}{}/", self.namespace)
        } else {
            prefix
        }
    }

    /// What strategies are told about a write by this call.
    pub fn context(&self, call: &Call) -> Context {
        Context {
            version: self.version.clone(),
            old: self.old.map(|old| old.version),
            subresource: self
                .subresource
                .as_ref()
                .map(|s| s.name.to_owned())
                .unwrap_or_default(),
            user: call.user.name.clone(),
            admin_access: self.admin_access(call),
            expressions: crate::expressions::compiler(),
        }
    }

    /// Whether claims of devices in this namespace may have what others hold.
    fn admin_access(&self, call: &Call) -> bool {
        const LABEL: &str = "resource.kubernetes.io/admin-access";
        let asks = self.resource.group == "resource.k8s.io" && self.resource.namespaced;
        let namespace = || {
            let key = format!("/registry/namespaces/{}", self.namespace);
            call.shared.store.get(&key)
        };
        asks && namespace().is_some_and(|n| n.head.label(LABEL) == Some("true"))
    }

    pub fn not_found(&self) -> Box<Status> {
        Status::not_found(&self.resource.group, &self.resource.plural, &self.name).into()
    }

    pub fn conflict(&self, why: &str) -> Box<Status> {
        Status::conflict(&self.resource.group, &self.resource.plural, &self.name, why).into()
    }

    /// # Errors
    /// 404.
    pub fn load(&self, call: &Call) -> Outcome<Arc<Stored>> {
        call.shared
            .store
            .get(&self.key())
            .ok_or_else(|| self.not_found())
    }

    /// A stored object that was parsed, at the version of the request. Of built-in kinds only.
    pub fn decoded(&self, mut object: Value) -> Value {
        self.to_version(&mut object);
        object
    }

    /// A stored object decoded, at the version of the request.
    pub fn decode(&self, json: &[u8]) -> Outcome<Value> {
        Ok(self.decoded(parse(json)?))
    }

    /// The `apiVersion` of answers: that of the request.
    pub fn shown_api_version(&self) -> String {
        match self.old {
            Some(old) => old.api_version(),
            None => self.api_version(),
        }
    }

    /// A decoded object as the request words it.
    pub fn shown(&self, mut object: Value) -> Value {
        if let Some(old) = self.old {
            old.age(&mut object);
        }
        object
    }

    /// Group, version and kind of bodies.
    pub fn worded_in(&self) -> (&str, &str, &str) {
        match self.old {
            Some(old) => (old.group, old.version, old.kind),
            None => (&self.resource.group, &self.version, &self.resource.kind),
        }
    }

    /// Brings an object from whatever it is stored at to the version of the request.
    pub fn to_version(&self, object: &mut Value) {
        self.convert(object, self.api_version());
    }

    /// Brings an object of the request to the version it is stored at.
    ///
    /// # Errors
    /// What a conversion webhook answers.
    pub async fn to_storage(&self, shared: &Shared, object: &mut Value) -> Outcome<()> {
        let to = self.resource.storage_api_version();
        if let Some(origin) = &self.resource.custom {
            if object["apiVersion"] != to {
                custom::convert::one(shared, &self.resource, object, &to).await?;
                origin.definition.freshen(object);
            }
            return Ok(());
        }
        self.convert(object, to);
        Ok(())
    }

    /// A stored object as the version of the request has it now.
    ///
    /// # Errors
    /// When stored bytes do not decode, and what a conversion webhook answers.
    pub async fn read(&self, shared: &Shared, stored: &Stored) -> Outcome<Value> {
        if self.resource.custom.is_none() {
            return self.decode(&stored.json);
        }
        let objects = custom::convert::read(shared, self, &[stored]).await?;
        objects
            .into_iter()
            .next()
            .ok_or_else(|| Status::internal("conversion gave no object").into())
    }

    /// A stored object with the bytes that the version of the request has for it now.
    ///
    /// # Errors
    /// As [`Target::read`].
    pub async fn view(&self, shared: &Shared, stored: Arc<Stored>) -> Outcome<Arc<Stored>> {
        if self.resource.custom.is_none() {
            return Ok(stored);
        }
        let views = custom::convert::views(shared, self, vec![stored]).await?;
        views
            .into_iter()
            .next()
            .ok_or_else(|| Status::internal("conversion gave no object").into())
    }

    fn convert(&self, object: &mut Value, to: String) {
        let from = object["apiVersion"].as_str().unwrap_or_default().to_owned();
        if from != to {
            self.resource.strategy.convert(object, &from, &to);
            object["apiVersion"] = Value::from(to);
        }
    }
}

/// What was changed between reading and writing.
pub(crate) const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// Decodes stored bytes.
pub(crate) fn parse(json: &[u8]) -> Outcome<Value> {
    serde_json::from_slice(json).map_err(|e| Status::internal(format!("stored object: {e}")).into())
}

/// The failure of an engine, told to the client; the log has the rest.
pub(crate) fn engine_failure(error: impl std::fmt::Display) -> Box<Status> {
    tracing::error!(%error, "write failed");
    Status::internal(error).into()
}
