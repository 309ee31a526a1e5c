//! The pod network of one node: a bridge, a veth pair per sandbox, addresses, host ports and the way out.
//!
//! [`BridgeNetwork`] is the built-in [`SandboxNetwork`]. Pods get a lone address (/32 or /128) whose only way is the
//! bridge's address, so all traffic between pods is routed by the host and seen in both directions; no bridge netfilter
//! is needed for Services to work. What leaves the cluster is masqueraded.
//!
//! All work is done by one thread that stays in the network namespace in which [`BridgeNetwork::open`] was called.

mod addresses;
mod forward;
mod links;
mod pool;
mod record;
mod rules;
mod sandbox;
mod state;
mod sysctl;
mod teardown;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::anyhow;
use async_trait::async_trait;
use ipnet::IpNet;
use knarr_runtime::{PortMapping, SandboxConfig, SandboxNetwork, SandboxState, SandboxStatus};
use tokio::sync::{mpsc, oneshot};

pub use addresses::node_addresses;
pub use rules::TABLE;

use state::{Live, State};

/// What the pod network of a node is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of the bridge, at most 15 bytes. Created when there is none.
    pub bridge: String,
    /// This node's part of the pod range: one network per address family, primary first. The first address of each is
    /// the bridge's own. Without any, nothing is made and sandboxes can only be detached.
    pub pod_cidrs: Vec<IpNet>,
    /// What is inside the cluster and so reached without masquerading. `pod_cidrs` is always taken to be.
    pub cluster_cidrs: Vec<IpNet>,
    /// Service addresses. The host gets a route for them, so that it reaches Services also without a default route.
    pub service_cidrs: Vec<IpNet>,
    /// Bytes. `None` takes that of the default route's interface.
    pub mtu: Option<u32>,
    /// Where the record of attached sandboxes is kept.
    pub state_dir: PathBuf,
    /// Lets bridge ports send frames back; only of use where the host runs bridged frames through iptables.
    pub hairpin: bool,
}

enum Command {
    Attach {
        id: String,
        netns: PathBuf,
        ports: Vec<PortMapping>,
        reply: Reply<Vec<IpAddr>>,
    },
    Detach {
        id: String,
        reply: Reply<()>,
    },
    Restore {
        live: Vec<Live>,
        reply: Reply<()>,
    },
}

type Reply<T> = oneshot::Sender<anyhow::Result<T>>;

/// The built-in pod network. Clones share it; it keeps working until the last one goes, and what it has installed stays
/// then: pods outlive a restart.
#[derive(Clone)]
pub struct BridgeNetwork {
    commands: mpsc::UnboundedSender<Command>,
}

impl BridgeNetwork {
    /// Brings bridge, addresses, kernel settings and rules to what `config` says, leaving what is right as it is.
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        let (commands, work) = mpsc::unbounded_channel();
        let (opened, result) = oneshot::channel();
        on_thread(async move {
            match State::open(config).await {
                Ok(state) => {
                    let _ = opened.send(Ok(()));
                    serve(state, work).await;
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            }
        })?;
        result.await.map_err(|_| stopped())??;
        Ok(BridgeNetwork { commands })
    }

    async fn call<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> anyhow::Result<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

fn stopped() -> anyhow::Error {
    anyhow!("the pod network's thread has stopped")
}

/// Removes the bridge, the pods' interfaces, our rules (also those in foreign chains) and the record: everything that
/// [`BridgeNetwork`] ever made, found by name and not by record.
pub async fn teardown(bridge: &str, state_dir: &Path) -> anyhow::Result<()> {
    let (bridge, state_dir) = (bridge.to_owned(), state_dir.to_owned());
    let (done, result) = oneshot::channel();
    on_thread(async move {
        let _ = done.send(teardown::teardown(&bridge, &state_dir).await);
    })?;
    result.await.map_err(|_| stopped())?
}

/// A thread is in the network namespace of the one that started it, whatever other threads do.
fn on_thread(work: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("knarr-network".into())
        .spawn(move || runtime.block_on(work))?;
    Ok(())
}

/// How often to look whether what we made is still there.
const CHECK: Duration = Duration::from_secs(5);

async fn serve(mut state: State, mut work: mpsc::UnboundedReceiver<Command>) {
    let mut check = tokio::time::interval(CHECK);
    check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            command = work.recv() => match command {
                Some(command) => obey(&mut state, command).await,
                None => return,
            },
            _ = check.tick() => {
                if let Err(error) = state.check().await {
                    tracing::error!(error = format!("{error:#}"), "the pod network is damaged");
                }
            }
        }
    }
}

/// A caller that no longer waits for the answer is no error.
async fn obey(state: &mut State, command: Command) {
    match command {
        Command::Attach {
            id,
            netns,
            ports,
            reply,
        } => {
            let _ = reply.send(state.attach(&id, &netns, ports).await);
        }
        Command::Detach { id, reply } => {
            let _ = reply.send(state.detach(&id).await);
        }
        Command::Restore { live, reply } => {
            let _ = reply.send(state.restore(live).await);
        }
    }
}

#[async_trait]
impl SandboxNetwork for BridgeNetwork {
    async fn attach(
        &self,
        sandbox_id: &str,
        netns: &Path,
        config: &SandboxConfig,
    ) -> anyhow::Result<Vec<IpAddr>> {
        let (id, netns, ports) = (
            sandbox_id.to_owned(),
            netns.to_owned(),
            config.port_mappings.clone(),
        );
        self.call(|reply| Command::Attach {
            id,
            netns,
            ports,
            reply,
        })
        .await
    }

    async fn detach(&self, sandbox_id: &str) -> anyhow::Result<()> {
        let id = sandbox_id.to_owned();
        self.call(|reply| Command::Detach { id, reply }).await
    }

    async fn restore(&self, live: &[SandboxStatus]) -> anyhow::Result<()> {
        let live = live
            .iter()
            .filter(|s| s.state == SandboxState::Ready && s.netns.is_some())
            .map(|s| Live {
                sandbox: s.id.clone(),
                ips: s.ips.clone(),
                ports: s.config.port_mappings.clone(),
            });
        let live = live.collect();
        self.call(|reply| Command::Restore { live, reply }).await
    }
}
