//! Kinds that need no code of their own: metadata is checked, status is kept apart.

use jiff::Timestamp;
use knarr_json::Value;

use super::{Column, Context, Strategy, common};
use crate::{
    field::Errors,
    table,
    validation::meta::{self, NameRule},
};

/// A strategy made of settings.
#[derive(Clone, Copy)]
pub struct Plain {
    pub namespaced: bool,
    pub name: NameRule,
    /// Whether the kind has a status that only `/status` writes.
    pub status: bool,
    pub generation: bool,
    pub create_on_update: bool,
    pub unconditional_update: bool,
}

impl Plain {
    pub const NAMESPACED: Plain = Plain {
        namespaced: true,
        name: meta::subdomain,
        status: false,
        generation: false,
        create_on_update: false,
        unconditional_update: true,
    };
    pub const CLUSTER: Plain = Plain {
        namespaced: false,
        ..Plain::NAMESPACED
    };

    /// The kind has a `/status`, and its generation counts changes of its spec.
    pub const fn with_status(self) -> Self {
        Plain {
            status: true,
            generation: true,
            ..self
        }
    }

    /// The kind has a `/status` and counts no generations.
    pub const fn with_uncounted_status(self) -> Self {
        Plain {
            status: true,
            generation: false,
            ..self
        }
    }

    pub const fn named(self, name: NameRule) -> Self {
        Plain { name, ..self }
    }
}

impl Strategy for Plain {
    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        if self.status {
            common::reset(object, "status");
        }
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, self.namespaced, self.name, &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        if self.status {
            common::split_status(&ctx.subresource, object, old);
        }
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        errs
    }

    fn has_generation(&self) -> bool {
        self.generation
    }

    fn create_on_update(&self) -> bool {
        self.create_on_update
    }

    fn unconditional_update(&self) -> bool {
        self.unconditional_update
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        (self.name)(name, prefix)
    }

    fn columns(&self) -> Vec<Column> {
        vec![table::name(), table::age()]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![table::name_of(object), table::age_of(object, now)]
    }
}
