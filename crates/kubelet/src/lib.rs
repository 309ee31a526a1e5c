//! The node agent: registers the node and runs one task per pod that brings what runs to what is wanted.
//!
//! Start with [`Kubelet`]. What runs is made by a [`knarr_runtime::Runtime`]; what is wanted comes from informers and,
//! for static pods, from files. Deciding code (`plan`, `status`, `resources`, …) is pure; I/O sits around it.

mod config;
mod machine;
mod node;
mod quantity;
mod resources;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;

pub use config::Config;

/// A node agent.
pub struct Kubelet {
    config: Arc<Config>,
}

impl Kubelet {
    pub fn new(config: Config) -> Self {
        Kubelet { config: Arc::new(config) }
    }

    /// Runs until the task is dropped. Pods live on when it ends; the next run adopts them.
    ///
    /// # Errors
    /// When directories cannot be made or the listener's address is taken.
    pub async fn run(self) -> anyhow::Result<()> {
        let config = self.config;
        let nodes = config.informers.selected::<Node>(&format!("metadata.name={}", config.node_name));
        node::run(config, nodes).await;
        Ok(())
    }
}
