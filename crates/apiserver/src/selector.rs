//! The part of a collection that a request asks for.

use knarr_api::{
    Head, Status,
    selector::{FieldSelector, LabelSelector},
    strategy::selectable_value,
};
use knarr_json::Value;
use knarr_store::Stored;

use crate::{
    Outcome,
    chain::{self, Call},
    rest::Target,
};

/// Conditions looked at from which on a choice takes long: some milliseconds.
const LONG: usize = 500_000;
/// An object that is parsed to be looked at counts as so many conditions.
const PARSED: usize = 200;

/// Whether a field can be selected. A kind without namespaces that names its fields itself does not name the namespace.
fn is_known(target: &Target, field: &str) -> bool {
    let resource = &target.resource;
    let strategy = &resource.strategy;
    match field {
        "metadata.name" => true,
        "metadata.namespace" => {
            resource.namespaced || (resource.custom.is_none() && strategy.field_names().is_empty())
        }
        _ => strategy.selectable(&target.version, field),
    }
}

/// Label and field selectors of a request.
#[derive(Clone)]
pub struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    /// Only this name, from the path of an old-style watch.
    name: Option<String>,
    /// Fields of a custom resource are selected, which are looked up in the object as the version of the request has it.
    pub in_object: bool,
}

impl Selection {
    /// # Errors
    /// 400 for selectors that cannot be parsed and fields that cannot be selected.
    pub(crate) fn new(call: &Call, target: &Target) -> Outcome<Self> {
        let text = |key: &str| call.query.get(key).unwrap_or_default();
        let bad = |why: String| Box::new(Status::bad_request(why));
        let labels = LabelSelector::parse(text("labelSelector")).map_err(bad)?;
        let mut fields = FieldSelector::parse(text("fieldSelector")).map_err(bad)?;
        let strategy = &target.resource.strategy;
        fields.rename(|field| strategy.field_today(field));
        if let Some(field) = fields.fields().find(|f| !is_known(target, f)) {
            return Err(bad(strategy.unknown_field(field)));
        }
        let in_object =
            target.resource.custom.is_some() && fields.fields_beyond_metadata().next().is_some();
        Ok(Selection {
            labels,
            fields,
            name: None,
            in_object,
        })
    }

    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything() && self.name.is_none()
    }

    /// Does `work`, which looks at so many objects, where it keeps nobody waiting: a request may have thousands of conditions.
    pub(crate) fn choose<T>(&self, objects: usize, work: impl FnOnce() -> T) -> T {
        let parsed = if self.in_object { PARSED } else { 0 };
        let conditions = parsed + self.labels.requirements.len() + self.fields.terms.len();
        if objects.saturating_mul(conditions) < LONG {
            return work();
        }
        chain::aside(work)
    }

    /// Whether an object with this head, of a kind that is built in, is selected.
    pub fn selects(&self, head: &Head) -> bool {
        self.labels.matches(head) && self.fields.matches(head)
    }

    /// Whether an object is selected. That of a custom resource is to be given as the version of the request has it.
    pub fn matches(&self, stored: &Stored) -> bool {
        let head = &stored.head;
        self.name.as_ref().is_none_or(|n| *n == head.name)
            && self.labels.matches(head)
            && if self.in_object {
                self.matches_object(stored)
            } else {
                self.fields.matches(head)
            }
    }

    fn matches_object(&self, stored: &Stored) -> bool {
        let object: Value = serde_json::from_slice(&stored.json).unwrap_or_default();
        self.fields.matches_by(|field| match field {
            "metadata.name" => stored.head.name.clone(),
            "metadata.namespace" => stored.head.namespace.clone(),
            field => selectable_value(&object, field),
        })
    }
}
