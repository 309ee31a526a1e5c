//! The namespace that the load works in.

use anyhow::Result;
use bytes::Bytes;
use http::Method;
use tokio::sync::Mutex;

use super::{
    Options,
    connection::{Sender, Target},
    objects,
};

pub const NAMESPACE: &str = "knarr-load";
pub const JSON: &str = "application/json";

pub struct Api {
    pub target: Target,
    /// For what is not measured.
    control: Mutex<Sender>,
    connections: usize,
}

impl Api {
    pub async fn new(options: &Options) -> Result<Api> {
        let target = Target::new(options).await?;
        let control = Mutex::new(target.connect(false).await?);
        Ok(Api {
            target,
            control,
            connections: options.connections,
        })
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Bytes> {
        let mut control = self.control.lock().await;
        control
            .call(method, path, body.map(|bytes| (JSON, bytes)))
            .await
    }

    /// Makes the namespace and what a pod needs there.
    pub async fn begin(&self) -> Result<()> {
        let namespace = objects::plain("Namespace", NAMESPACE);
        self.call(Method::POST, "/api/v1/namespaces", Some(namespace))
            .await?;
        let account = objects::plain("ServiceAccount", "default");
        // A controller may have been faster.
        let _ = self
            .call(Method::POST, &path("serviceaccounts"), Some(account))
            .await;
        Ok(())
    }

    /// Removes everything.
    pub async fn end(&self) -> Result<()> {
        for kind in ["pods", "configmaps"] {
            self.clear(kind).await?;
        }
        let namespace = format!("/api/v1/namespaces/{NAMESPACE}");
        self.call(Method::DELETE, &namespace, None).await?;
        Ok(())
    }

    pub async fn clear(&self, kind: &str) -> Result<()> {
        let now = Bytes::from_static(b"{\"gracePeriodSeconds\":0}");
        self.call(Method::DELETE, &path(kind), Some(now)).await?;
        Ok(())
    }

    /// One sender for each request in flight.
    pub async fn senders(&self, in_flight: usize) -> Result<Vec<Sender>> {
        let mut shared = Vec::new();
        for _ in 0..self.connections.min(in_flight) {
            shared.push(self.target.connect(true).await?);
        }
        let mut senders = Vec::with_capacity(in_flight);
        for n in 0..in_flight {
            let on_shared = shared.get(n % shared.len().max(1)).and_then(Sender::share);
            senders.push(match on_shared {
                Some(sender) => sender,
                None => self.target.connect(false).await?,
            });
        }
        Ok(senders)
    }
}

/// Path of a collection in the namespace.
pub fn path(kind: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/{kind}")
}
