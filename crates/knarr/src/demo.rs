//! `knarr up --demo`: a Deployment, a Service and an Ingress that answer without any registry.

use std::{io::Cursor, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use knarr_runtime::{Embedded, images::ImageBuilder};
use kube::Api;

use crate::{apply, cluster::Cluster};

/// Name that the image of the carried program goes by.
pub const IMAGE: &str = "knarr.io/demo:latest";
const HOST: &str = "demo.localhost";
const MANIFESTS: &str = include_str!("demo.yaml");
const PATIENCE: Duration = Duration::from_secs(60);

/// Puts the carried program into the image store.
pub async fn import(runtime: &Embedded) -> Result<()> {
    let images = runtime.image_store().clone();
    let imported = tokio::task::spawn_blocking(move || {
        let archive = ImageBuilder::new(IMAGE)
            .file(knarr_demo::PATH, 0o755, knarr_demo::PROGRAM)
            .entrypoint([knarr_demo::PATH])
            .build()?;
        images.import(Cursor::new(archive), Some(IMAGE))
    });
    imported.await?.context("demo image").map(drop)
}

/// Applies the demo and waits until it answers to its probes.
pub async fn deploy(cluster: &Cluster) -> Result<()> {
    import(&cluster.runtime).await?;
    apply::apply(&cluster.client, &apply::parse(MANIFESTS)?).await?;
    let api: Api<Deployment> = Api::default_namespaced(cluster.client.clone());
    let available = kube::runtime::wait::await_condition(api, "demo", |d: Option<&Deployment>| {
        d.and_then(|d| d.status.as_ref())
            .and_then(|s| s.available_replicas)
            .unwrap_or(0)
            >= 2
    });
    let waited = tokio::time::timeout(PATIENCE, available).await;
    waited.context("the demo's pods are not ready; `kubectl describe pods` says why")??;
    Ok(())
}

/// Lines that tell the user where the demo answers.
pub fn how_to_reach(http_port: u16) -> String {
    let port = if http_port == 80 {
        String::new()
    } else {
        format!(":{http_port}")
    };
    format!("  curl http://{HOST}{port}/              the demo, through its Ingress")
}
