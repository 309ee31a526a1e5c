//! What the conformance tests of Kubernetes demand of an API server that has nobody beside it: the same requests, the same
//! checks, by a real server over HTTPS. `docs/conformance.md` says which of them are shown where.

#[path = "../common/mod.rs"]
mod common;
mod world;

mod accounts;
mod certificates;
mod chunks;
mod configuration;
mod custom;
mod discovery;
mod events;
mod evictions;
mod field_validation;
mod kinds;
mod kubectl;
mod limits;
mod namespaces;
mod operations;
mod pods;
mod policies;
mod proxy;
mod publishing;
mod quotas;
mod resize;
mod scale;
mod selectable;
mod services;
mod watchers;
mod webhooks;
mod webhooks_custom;
