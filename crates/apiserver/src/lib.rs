//! The API server: the HTTP chain, one stage per file, and one REST implementation for every kind.
//!
//! A request passes `chain` → `request` (what it asks for) → [`authn`] → [`authz`] → `route`, which leads to discovery, a
//! review, a proxy or [`rest`]; writes pass [`admission`] there. [`ApiServer::service`] is the chain without sockets for
//! components of the same process, [`ApiServer::serve`] the same over HTTPS.

mod accept;
mod admission;
mod aggregation;
mod audit;
mod authn;
mod authz;
mod body;
mod chain;
mod codec;
mod components;
mod compress;
mod config;
mod custom;
mod derived;
mod discovery;
mod expire;
mod expression;
mod expressions;
mod flow;
#[cfg(test)]
mod fuzz;
mod heads;
mod health;
mod leaks;
mod metrics;
mod outbound;
mod poststart;
mod proxy;
mod query;
mod reload;
mod repair;
mod request;
mod respond;
mod rest;
mod reviews;
mod route;
mod selector;
mod serve;
mod server;
mod tls;
mod user;
mod warnings;
mod webhook;
mod zpages;

pub use aggregation::ProxyClient;
pub use audit::{
    AuditConfig, BatchConfig as AuditBatch, DeliveryConfig as AuditDelivery, LogConfig,
    Mode as AuditMode, Throttle as AuditThrottle, WebhookConfig,
    policy::{Policy as AuditPolicy, parse as parse_audit_policy},
};
pub use authn::{
    AuthenticationConfig,
    config::{Anonymous, FrontProxy, TokenWebhook},
    jwt::config as authentication_file,
    static_tokens::parse as parse_token_file,
    token::TokenConfig,
};
pub use authz::config as authorization;
pub use authz::config::AuthorizationConfig;
pub use body::{BoxError, ResponseBody};
pub use config::{AdmissionConfig, Config, ExtensionAuthentication, KubeletClient};
pub use flow::FlowConfig;
pub use heads::head_of;
pub use serve::Tls;
pub use server::{ApiServer, StartError};
pub use tls::{Sni, TlsOptions};
pub use user::UserInfo;

use knarr_api::Status;

/// What a stage gives, or the Status that answers the request instead.
pub(crate) type Outcome<T> = Result<T, Box<Status>>;

/// The version of Kubernetes whose API this is.
pub const KUBERNETES_VERSION: &str = "v1.36.2+knarr";
