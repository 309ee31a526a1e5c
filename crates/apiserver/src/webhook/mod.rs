//! Requests to HTTPS servers of others: admission webhooks and whoever else is named by a `clientConfig`.
//!
//! A `clientConfig` is a URL or a reference to a Service. Connections are kept and shared by everyone who names the same
//! place with the same authorities; HTTP/2 is spoken where the server offers it.

mod client;
mod place;
mod tls;

pub(crate) use client::{Clients, Failure, connect_words, dial_words};
pub(crate) use place::{ClientConfig, resolve};
pub(crate) use tls::roots;
