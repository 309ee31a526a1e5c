//! The kinds that walk through all operations, with an object of each and what may be changed of it.

use knarr_json::{Value, json};

mod core;
mod devices;
mod machinery;
mod networking;
mod storage;
mod workloads;

pub use self::{
    core::kinds as core, devices::kinds as devices, machinery::kinds as machinery,
    networking::kinds as networking, storage::kinds as storage, workloads::kinds as workloads,
};

pub struct Kind {
    /// `/api/v1` or `/apis/GROUP/VERSION`.
    pub api: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub namespaced: bool,
    pub names: [&'static str; 3],
    /// An object without its name.
    pub object: Box<dyn Fn(&str) -> Value>,
    /// What an update changes.
    pub change: Value,
    pub status: Option<Value>,
    /// Whether a write of the status takes annotations.
    pub metadata_by_status: bool,
}

impl Kind {
    fn new(api: &'static str, kind: &'static str, plural: &'static str, object: Value) -> Self {
        Kind {
            api,
            kind,
            plural,
            namespaced: true,
            names: ["first", "second", "third"],
            object: Box::new(move |_| match &object {
                Value::Null => json!({}),
                object => object.clone(),
            }),
            change: json!({"metadata": {"labels": {"changed": "yes"}}}),
            status: None,
            metadata_by_status: true,
        }
    }

    fn cluster(mut self) -> Self {
        self.namespaced = false;
        self
    }

    fn change(mut self, change: Value) -> Self {
        self.change = change;
        self
    }

    fn status(mut self, status: Value) -> Self {
        self.status = Some(status);
        self
    }

    /// A status that has conditions as its list.
    fn conditions(self) -> Self {
        self.status(json!({"conditions": [condition()]}))
    }

    fn metadata_apart(mut self) -> Self {
        self.metadata_by_status = false;
        self
    }

    fn names(mut self, names: [&'static str; 3]) -> Self {
        self.names = names;
        self
    }

    fn each(mut self, object: impl Fn(&str) -> Value + 'static) -> Self {
        self.object = Box::new(object);
        self
    }

    pub fn version(&self) -> &'static str {
        let version = self.api.strip_prefix("/apis/");
        version.unwrap_or("v1")
    }

    /// Where its objects are.
    pub fn path(&self) -> String {
        let (api, plural) = (self.api, self.plural);
        match self.namespaced {
            true => format!("{api}/namespaces/default/{plural}"),
            false => format!("{api}/{plural}"),
        }
    }
}

fn condition() -> Value {
    json!({"type": "StatusUpdate", "status": "True", "reason": "Walk", "message": "as told"})
}

/// The same where the time of the last transition is required.
fn dated() -> Value {
    let mut condition = condition();
    condition["lastTransitionTime"] = json!("2026-01-01T00:00:00Z");
    condition
}

/// What pods are made from.
pub fn template() -> Value {
    json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}
