//! Webhooks and policies of admission: their configuration.

mod binding;
mod client;
mod conditions;
mod matching;
mod policy;
mod webhook;

pub use binding::PolicyBinding;
pub use client::{service, url};
pub use policy::{MutatingAdmissionPolicy, ValidatingAdmissionPolicy};
pub use webhook::WebhookConfiguration;
