//! The part of a collection that a request asks for.

use knarr_api::{
    Head, Status,
    selector::{FieldSelector, LabelSelector},
};

use crate::{Outcome, chain::Call, rest::Target};

/// Label and field selectors of a request.
#[derive(Clone)]
pub struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    /// Only this name, from the path of an old-style watch.
    name: Option<String>,
}

impl Selection {
    /// # Errors
    /// 400 for selectors that cannot be parsed and fields that cannot be selected.
    pub(crate) fn new(call: &Call, target: &Target) -> Outcome<Self> {
        let text = |key: &str| call.query.get(key).unwrap_or_default();
        let bad = |why: String| Box::new(Status::bad_request(why));
        let labels = LabelSelector::parse(text("labelSelector")).map_err(bad)?;
        let fields = FieldSelector::parse(text("fieldSelector")).map_err(bad)?;
        let strategy = &target.resource.strategy;
        if let Some(field) = fields.unknown(strategy.field_names()) {
            return Err(bad(strategy.unknown_field(field)));
        }
        Ok(Selection {
            labels,
            fields,
            name: None,
        })
    }

    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything() && self.name.is_none()
    }

    pub fn matches(&self, head: &Head) -> bool {
        self.name.as_ref().is_none_or(|n| *n == head.name)
            && self.labels.matches(head)
            && self.fields.matches(head)
    }
}
