//! `knarr apiserver`: API server and store alone, without controllers or a node.

use anyhow::Result;
use clap::Args;
use ipnet::IpNet;

use crate::{
    control_plane::{self, ControlPlane},
    paths::Paths,
    up::wait_for_signal,
};

#[derive(Args)]
pub struct Options {
    /// Port of the API server.
    #[arg(long, default_value_t = 6443)]
    secure_port: u16,
    /// Ranges of Service addresses, one per family.
    #[arg(long, value_delimiter = ',', default_value = "10.96.0.0/12")]
    service_cidr: Vec<IpNet>,
    /// Domain of cluster names.
    #[arg(long, default_value = "cluster.local")]
    cluster_domain: String,
    /// Serve API versions that Kubernetes serves no more (extensions/v1beta1, apps/v1beta1, …), with a warning. `knarr up`
    /// does unless told not to; alone, the API server is the original's to the letter unless told so.
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, value_name = "true|false")]
    legacy_api_versions: bool,
    #[command(flatten)]
    etcd: crate::etcd::Flags,
    #[command(flatten)]
    plugins: crate::plugins::Flags,
    #[command(flatten)]
    security: crate::security::Flags,
    #[command(flatten)]
    serving: crate::serving::Flags,
}

pub async fn run(paths: Paths, options: Options) -> Result<()> {
    let _lock = paths.lock()?;
    let plane = ControlPlane::start(
        &paths,
        &control_plane::Options {
            port: options.secure_port,
            service_cidrs: options.service_cidr,
            node_name: crate::node::default_name()?,
            node_ips: knarr_network::node_addresses(),
            cluster_domain: options.cluster_domain,
            // The name that holds in every cluster: alone, a server need not serve its domain.
            issuer: "https://kubernetes.default.svc".into(),
            legacy_api_versions: options.legacy_api_versions,
            etcd: options.etcd.options(),
            admission: options.plugins.config(),
            security: options.security,
            serving: options.serving,
        },
    )
    .await?;
    eprintln!(
        "API server at {}; its kubeconfig is {}",
        plane.server,
        paths.admin_kubeconfig().display()
    );
    wait_for_signal().await?;
    plane.stop().await;
    Ok(())
}
