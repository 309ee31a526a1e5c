//! The trait that the kubelet sees.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::{Embedded, blocking};
use crate::types::{
    ContainerConfig, ContainerStats, ContainerStatus, Error, Event, ExecConfig, ExecOutput, Image,
    LinuxResources, Progress, RegistryAuth, Result, Runtime, SandboxConfig, SandboxStatus, Streams,
};

#[async_trait]
impl Runtime for Embedded {
    fn version(&self) -> String {
        format!("knarr://{}", env!("CARGO_PKG_VERSION"))
    }

    async fn run_sandbox(&self, config: &SandboxConfig) -> Result<String> {
        self.make_sandbox(config).await
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        match self.sandbox(id) {
            Ok(sandbox) => self.halt(&sandbox).await,
            Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        self.delete_sandbox(id).await
    }

    async fn sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        Ok(self
            .inner
            .sandboxes
            .lock()
            .values()
            .map(|s| s.status())
            .collect())
    }

    async fn create_container(&self, sandbox_id: &str, config: &ContainerConfig) -> Result<String> {
        self.make_container(sandbox_id, config).await
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        self.launch(id).await
    }

    async fn stop_container(&self, id: &str, timeout: Duration) -> Result<()> {
        self.halt_container(id, timeout).await
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        self.delete_container(id).await
    }

    async fn containers(&self) -> Result<Vec<ContainerStatus>> {
        Ok(self
            .inner
            .containers
            .lock()
            .values()
            .map(|c| c.status())
            .collect())
    }

    async fn container_status(&self, id: &str) -> Result<ContainerStatus> {
        Ok(self.container(id)?.status())
    }

    async fn update_resources(&self, id: &str, resources: &LinuxResources) -> Result<()> {
        self.set_resources(id, resources).await
    }

    async fn reopen_log(&self, id: &str) -> Result<()> {
        self.reopen(id).await
    }

    async fn stats(&self) -> Result<Vec<ContainerStats>> {
        self.usage().await
    }

    async fn exec(&self, id: &str, config: &ExecConfig) -> Result<Streams> {
        self.exec_streams(id, config).await
    }

    async fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutput> {
        self.exec_collect(id, command, timeout).await
    }

    async fn attach(&self, id: &str, config: &ExecConfig) -> Result<Streams> {
        self.attach_streams(id, config).await
    }

    async fn port_forward(&self, sandbox_id: &str, port: u16) -> Result<tokio::net::TcpStream> {
        self.connect_port(sandbox_id, port).await
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    async fn image_status(&self, reference: &str) -> Result<Option<Image>> {
        self.inner.images.find(reference)
    }

    async fn images(&self) -> Result<Vec<Image>> {
        Ok(self.inner.images.list())
    }

    async fn pull_image(
        &self,
        reference: &str,
        auth: Option<&RegistryAuth>,
        progress: Option<Progress>,
    ) -> Result<Image> {
        self.inner
            .puller
            .pull(&self.inner.images, reference, auth, progress)
            .await
    }

    async fn remove_image(&self, reference: &str) -> Result<()> {
        let (images, reference) = (self.inner.images.clone(), reference.to_owned());
        blocking(move || images.remove(&reference).map_err(anyhow::Error::from)).await
    }
}
