//! What the network's thread works on: bridge, pools, records and rules.

use std::{collections::BTreeMap, fs::File, net::IpAddr, os::fd::AsRawFd, path::Path};

use anyhow::{Context, bail};
use ipnet::IpNet;
use knarr_nft::{Batch, Connection, Family, conntrack::Flow};
use knarr_runtime::{PortMapping, Protocol};
use rtnetlink::Handle;

use crate::{
    Config, forward, links,
    pool::Pool,
    record::{Record, Records, VETH_PREFIX, veth_name},
    rules, sandbox, sysctl,
};

/// A sandbox that lives, as the runtime says after a restart.
pub struct Live {
    pub sandbox: String,
    pub ips: Vec<IpAddr>,
    pub ports: Vec<PortMapping>,
}

pub struct State {
    config: Config,
    handle: Handle,
    nft: Connection,
    bridge: u32,
    /// Bytes.
    mtu: u32,
    pools: Vec<Pool>,
    store: Records,
    records: BTreeMap<String, Record>,
    sequence: u64,
}

impl State {
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        let handle = links::connect().context("cannot open a netlink socket")?;
        let nft = Connection::open().context("nf_tables is not available")?;
        let store = Records::open(&config.state_dir)?;
        let mut pools: Vec<Pool> = config.pod_cidrs.iter().copied().map(Pool::new).collect();
        let records: BTreeMap<String, Record> = store
            .load()?
            .into_iter()
            .map(|r| (r.sandbox.clone(), r))
            .collect();
        let mut in_order: Vec<&Record> = records.values().collect();
        in_order.sort_by_key(|r| r.sequence);
        for ip in in_order.iter().flat_map(|r| &r.ips) {
            pools.iter_mut().for_each(|p| p.restore(*ip));
        }
        let sequence = in_order.last().map_or(0, |r| r.sequence);
        let mtu = wanted_mtu(&config, &handle).await;
        let mut state = State {
            config,
            handle,
            nft,
            bridge: 0,
            mtu,
            pools,
            store,
            records,
            sequence,
        };
        // Without a range there is nothing to attach to, but what was attached can be detached.
        if !state.pools.is_empty() {
            state.prepare().await?;
        }
        Ok(state)
    }

    async fn prepare(&mut self) -> anyhow::Result<()> {
        self.prepare_bridge().await?;
        self.prepare_kernel()?;
        self.rebuild_rules()?;
        let families = self.families();
        if let Err(error) = forward::let_through(&mut self.nft, &families, &self.config.bridge) {
            tracing::warn!(%error, "cannot look at other firewalls");
        }
        Ok(())
    }

    /// The address families of the pods.
    fn families(&self) -> Vec<Family> {
        let mut families: Vec<Family> = self
            .config
            .pod_cidrs
            .iter()
            .map(|n| Family::of(n.addr()))
            .collect();
        families.sort();
        families.dedup();
        families
    }

    fn gateways(&self) -> Vec<IpAddr> {
        self.pools.iter().map(Pool::gateway).collect()
    }

    async fn prepare_bridge(&mut self) -> anyhow::Result<()> {
        let name = self.config.bridge.clone();
        let gateways = self.gateways();
        let mac = links::mac_for(gateways[0]);
        if links::by_name(&self.handle, &name).await?.is_none() {
            links::create_bridge(&self.handle, &name, mac, self.mtu)
                .await
                .with_context(|| format!("cannot create bridge {name}"))?;
        }
        let link = links::by_name(&self.handle, &name)
            .await?
            .with_context(|| format!("bridge {name} vanished"))?;
        if !link.is_bridge {
            bail!(
                "interface {name} exists and is not a bridge: choose another bridge name or remove it"
            );
        }
        self.bridge = link.index;
        links::set_up(&self.handle, link.index).await?;
        if gateways.iter().any(IpAddr::is_ipv6) {
            sysctl::set(&format!("ipv6/conf/{name}/disable_ipv6"), "0")?;
            sysctl::try_set(&format!("ipv6/conf/{name}/accept_dad"), "0");
        }
        let wanted: Vec<IpNet> = self
            .pools
            .iter()
            .filter_map(|p| IpNet::new(p.gateway(), p.net().prefix_len()).ok())
            .collect();
        links::keep_addresses(&self.handle, link.index, &wanted)
            .await
            .with_context(|| format!("cannot set the addresses of {name}"))?;
        for net in &self.config.service_cidrs {
            let source = gateways
                .iter()
                .copied()
                .find(|g| g.is_ipv4() == net.addr().is_ipv4());
            links::add_link_route(&self.handle, *net, link.index, source).await?;
        }
        Ok(())
    }

    fn prepare_kernel(&self) -> anyhow::Result<()> {
        let bridge = &self.config.bridge;
        if self.families().contains(&Family::Ipv4) {
            sysctl::set("ipv4/ip_forward", "1").context("cannot turn on IPv4 forwarding")?;
            // 127.0.0.1:<port> leads to pods; the rules keep pods from using it.
            sysctl::try_set(&format!("ipv4/conf/{bridge}/route_localnet"), "1");
            // Pods reach each other by the gateway on purpose: it must not tell them of a shorter way. The kernel takes
            // either setting as a yes; other interfaces keep their own.
            sysctl::try_set("ipv4/conf/all/send_redirects", "0");
            sysctl::try_set(&format!("ipv4/conf/{bridge}/send_redirects"), "0");
        }
        if self.families().contains(&Family::Ipv6) {
            sysctl::forward_v6().context("cannot turn on IPv6 forwarding")?;
            sysctl::try_set(&format!("ipv6/conf/{bridge}/accept_ra"), "0");
        }
        Ok(())
    }

    /// Puts our tables in place as a whole, in one transaction.
    fn rebuild_rules(&mut self) -> anyhow::Result<()> {
        let records: Vec<Record> = self.records.values().cloned().collect();
        let mut batch = Batch::new();
        for family in self.families() {
            let c = &self.config;
            rules::rebuild(
                &mut batch,
                family,
                &c.bridge,
                &c.pod_cidrs,
                &c.cluster_cidrs,
                &records,
            );
        }
        self.nft
            .commit(&batch)
            .context("cannot install the pod network's rules")
    }

    /// Puts back what somebody has removed, as reloading a firewall may.
    pub async fn check(&mut self) -> anyhow::Result<()> {
        if self.pools.is_empty() {
            return Ok(());
        }
        let mut gone = links::by_name(&self.handle, &self.config.bridge)
            .await?
            .is_none();
        for family in self.families() {
            gone |= !self.nft.tables(family)?.contains(&rules::table(family));
        }
        if gone {
            tracing::warn!(
                "the pod network's bridge or rules had been removed by others and are made anew"
            );
            self.prepare().await?;
        }
        Ok(())
    }

    pub async fn attach(
        &mut self,
        id: &str,
        netns: &Path,
        ports: Vec<PortMapping>,
    ) -> anyhow::Result<Vec<IpAddr>> {
        if let Some(record) = self.records.get(id) {
            let there = links::by_name(&self.handle, &record.veth())
                .await?
                .is_some();
            if there && sandbox::has_interface(netns) {
                return Ok(record.ips.clone());
            }
            self.detach(id).await?;
        }
        let ips = self.take_addresses()?;
        self.sequence += 1;
        let record = Record {
            sandbox: id.to_owned(),
            ips: ips.clone(),
            ports,
            sequence: self.sequence,
        };
        if let Err(error) = self.connect(&record, netns).await {
            if let Err(e) = self.undo(&record).await {
                tracing::warn!(
                    sandbox = id,
                    error = format!("{e:#}"),
                    "half-made pod network not cleaned up"
                );
            }
            return Err(error);
        }
        self.records.insert(id.to_owned(), record);
        Ok(ips)
    }

    /// Takes back an attachment that failed half way. Host ports come last and all or none, so there are none to remove.
    async fn undo(&mut self, record: &Record) -> anyhow::Result<()> {
        self.give_back(&record.ips);
        self.unplug(&record.veth()).await?;
        self.store.remove(&record.sandbox)
    }

    fn take_addresses(&mut self) -> anyhow::Result<Vec<IpAddr>> {
        if self.pools.is_empty() {
            bail!("the pod network has no range of addresses");
        }
        let mut ips = Vec::new();
        for n in 0..self.pools.len() {
            match self.pools[n].take() {
                Some(ip) => ips.push(ip),
                None => {
                    let net = self.pools[n].net();
                    self.give_back(&ips);
                    bail!("no free pod address in {net}");
                }
            }
        }
        Ok(ips)
    }

    fn give_back(&mut self, ips: &[IpAddr]) {
        for ip in ips {
            self.pools.iter_mut().for_each(|p| p.give_back(*ip));
        }
    }

    async fn connect(&mut self, record: &Record, netns: &Path) -> anyhow::Result<()> {
        self.check_ports(record)?;
        self.store.save(record)?;
        self.plug(record, netns).await?;
        let gateways = self.gateways();
        sandbox::configure(netns, &record.ips, &gateways)?;
        self.add_ports(record)
    }

    /// Host ports belong to one sandbox at a time.
    fn check_ports(&self, record: &Record) -> anyhow::Result<()> {
        for wanted in record.ports.iter().filter(|p| p.host_port != 0) {
            let overlaps = |p: &&PortMapping| {
                let any = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
                p.protocol == wanted.protocol
                    && p.host_port == wanted.host_port
                    && (any(p.host_ip) == any(wanted.host_ip)
                        && (any(p.host_ip) || p.host_ip == wanted.host_ip))
            };
            if let Some(other) = self
                .records
                .values()
                .find(|r| r.ports.iter().any(|p| overlaps(&p)))
            {
                bail!(
                    "host port {} ({:?}) is taken by sandbox {}",
                    wanted.host_port,
                    wanted.protocol,
                    other.sandbox
                );
            }
        }
        Ok(())
    }

    async fn plug(&self, record: &Record, netns: &Path) -> anyhow::Result<()> {
        let file = File::open(netns).with_context(|| format!("cannot open {}", netns.display()))?;
        let name = record.veth();
        let veth = || links::Veth {
            name: &name,
            bridge: self.bridge,
            mtu: self.mtu,
            netns: file.as_raw_fd(),
            peer: sandbox::INTERFACE,
            peer_mac: record
                .ips
                .first()
                .copied()
                .map(links::mac_for)
                .unwrap_or_default(),
        };
        let mut made = links::create_veth(&self.handle, veth()).await;
        if made
            .as_ref()
            .is_err_and(|e| links::errno(e) == Some(libc::EEXIST))
        {
            // Left by a crash between making and recording.
            self.unplug(&name).await?;
            made = links::create_veth(&self.handle, veth()).await;
        }
        made.with_context(|| format!("cannot create veth {name}"))?;
        if self.config.hairpin
            && let Some(link) = links::by_name(&self.handle, &name).await?
        {
            links::set_hairpin(&self.handle, link.index)
                .await
                .context("cannot set hairpin mode")?;
        }
        Ok(())
    }

    async fn unplug(&self, name: &str) -> anyhow::Result<()> {
        if let Some(link) = links::by_name(&self.handle, name).await? {
            links::delete(&self.handle, link.index)
                .await
                .with_context(|| format!("cannot delete {name}"))?;
        }
        Ok(())
    }

    fn add_ports(&mut self, record: &Record) -> anyhow::Result<()> {
        let mut batch = Batch::new();
        self.families()
            .into_iter()
            .for_each(|family| rules::add_ports(&mut batch, record, family));
        self.nft
            .commit(&batch)
            .context("cannot install host ports")?;
        let to_port = |flow: &Flow| {
            record
                .ports
                .iter()
                .any(|p| p.protocol == Protocol::Udp && p.host_port == flow.orig.dst_port)
        };
        self.forget_flows(to_port, record);
        Ok(())
    }

    /// UDP flows have no end: those that began before a rule changed would go the old way for as long as they last.
    fn forget_flows(&mut self, stale: impl Fn(&Flow) -> bool, record: &Record) {
        if !record
            .ports
            .iter()
            .any(|p| p.protocol == Protocol::Udp && p.host_port != 0)
        {
            return;
        }
        for family in self.families() {
            let flows = self.nft.flows(family).unwrap_or_default();
            for flow in flows.iter().filter(|f| f.orig.proto == 17 && stale(f)) {
                if let Err(error) = self.nft.delete_flow(flow) {
                    tracing::debug!(%error, "stale flow not deleted");
                }
            }
        }
    }

    pub async fn detach(&mut self, id: &str) -> anyhow::Result<()> {
        let Some(record) = self.records.remove(id) else {
            self.unplug(&veth_name(id)).await?;
            return self.store.remove(id);
        };
        if !record.ports.is_empty() {
            let mut batch = Batch::new();
            self.families()
                .into_iter()
                .for_each(|family| rules::remove_ports(&mut batch, &record, family));
            if let Err(error) = self.nft.commit(&batch) {
                // Somebody flushed our table, or the ports never came: all of it is put right at once.
                tracing::debug!(%error, "host ports not found, rebuilding the pod network's rules");
                self.rebuild_rules()?;
            }
            self.forget_flows(|flow| record.ips.contains(&flow.reply.src), &record);
        }
        self.unplug(&record.veth()).await?;
        self.store.remove(id)?;
        self.give_back(&record.ips);
        Ok(())
    }

    pub async fn restore(&mut self, live: Vec<Live>) -> anyhow::Result<()> {
        let gone: Vec<String> = self
            .records
            .keys()
            .filter(|id| !live.iter().any(|l| l.sandbox == **id))
            .cloned()
            .collect();
        for id in gone {
            self.detach(&id).await?;
        }
        for one in live {
            self.adopt(one)?;
        }
        self.remove_strangers().await?;
        self.rebuild_rules()
    }

    /// A sandbox that lives but was forgotten keeps its addresses.
    fn adopt(&mut self, live: Live) -> anyhow::Result<()> {
        if live.ips.is_empty() || self.records.contains_key(&live.sandbox) {
            return Ok(());
        }
        for ip in &live.ips {
            self.pools.iter_mut().for_each(|p| p.restore(*ip));
        }
        self.sequence += 1;
        let record = Record {
            sandbox: live.sandbox.clone(),
            ips: live.ips,
            ports: live.ports,
            sequence: self.sequence,
        };
        self.store.save(&record)?;
        self.records.insert(live.sandbox, record);
        Ok(())
    }

    /// Ports of our bridge that belong to no sandbox.
    async fn remove_strangers(&self) -> anyhow::Result<()> {
        let known: Vec<String> = self.records.values().map(Record::veth).collect();
        for link in links::all(&self.handle).await? {
            let ours = link.controller == Some(self.bridge) && link.name.starts_with(VETH_PREFIX);
            if ours && !known.contains(&link.name) {
                tracing::info!(
                    interface = link.name,
                    "removing the interface of a pod that is gone"
                );
                links::delete(&self.handle, link.index).await?;
            }
        }
        Ok(())
    }
}

async fn wanted_mtu(config: &Config, handle: &Handle) -> u32 {
    const ETHERNET: u32 = 1500;
    if let Some(mtu) = config.mtu {
        return mtu;
    }
    let uplink = links::default_interface(handle).await.ok().flatten();
    let all = links::all(handle).await.unwrap_or_default();
    all.iter()
        .find(|l| Some(l.index) == uplink)
        .map_or(ETHERNET, |l| l.mtu)
}
