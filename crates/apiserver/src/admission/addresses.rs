//! Cluster IPs and node ports: which are taken, which are free, as far as this server knows. Who has one is decided by the
//! claims in the store (`ipaddress.rs`, `nodeports.rs`), which other servers make, too; this spares asking for what is taken.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    sync::Arc,
};

use ipnet::IpNet;
use knarr_json::Value;
use knarr_store::{Range, Store};
use parking_lot::Mutex;

use super::{ipaddress, nodeports};

/// Numbers `0..size`, some of them taken. The low end is drawn from last, so that it stays free for those who ask for a
/// certain number.
struct Pool {
    size: u64,
    reserved: u64,
    taken: Mutex<HashSet<u64>>,
}

impl Pool {
    fn new(size: u64, reserved: u64) -> Self {
        Pool {
            size,
            reserved: reserved.min(size),
            taken: Mutex::default(),
        }
    }

    /// False when it is taken already.
    fn take(&self, n: u64) -> bool {
        self.taken.lock().insert(n)
    }

    fn draw(&self) -> Option<u64> {
        let mut taken = self.taken.lock();
        let found =
            find(&taken, self.reserved, self.size).or_else(|| find(&taken, 0, self.reserved))?;
        taken.insert(found);
        Some(found)
    }

    fn free(&self, n: u64) {
        self.taken.lock().remove(&n);
    }
}

/// A free number in `from..to`: the first one behind a random start.
fn find(taken: &HashSet<u64>, from: u64, to: u64) -> Option<u64> {
    if from >= to {
        return None;
    }
    let start = rand::random_range(from..to);
    (start..to).chain(from..start).find(|n| !taken.contains(n))
}

/// Why an address or port cannot be had.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    Taken,
    OutOfRange(String),
}

struct Network {
    net: IpNet,
    pool: Pool,
}

impl Network {
    fn new(net: IpNet) -> Self {
        let bits = if net.addr().is_ipv4() { 32 } else { 128 };
        let host = u32::from(bits - net.prefix_len()).min(16 + 4);
        // Neither the network's own address nor, for IPv4, its broadcast address is given out.
        let last = if net.addr().is_ipv4() { 1 } else { 0 };
        let size = (1_u64 << host).saturating_sub(1 + last);
        Network {
            net,
            pool: Pool::new(size, (size / 16).clamp(16, 256)),
        }
    }

    fn offset(&self, ip: IpAddr) -> Option<u64> {
        if !self.net.contains(&ip) {
            return None;
        }
        let n = match (ip, self.net.network()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(u32::from(a) - u32::from(b)),
            (IpAddr::V6(a), IpAddr::V6(b)) => u128::from(a) - u128::from(b),
            _ => return None,
        };
        u64::try_from(n)
            .ok()?
            .checked_sub(1)
            .filter(|n| *n < self.pool.size)
    }

    fn address(&self, offset: u64) -> IpAddr {
        match self.net.network() {
            IpAddr::V4(base) => Ipv4Addr::from(
                u32::from(base).saturating_add(u32::try_from(offset + 1).unwrap_or(0)),
            )
            .into(),
            IpAddr::V6(base) => Ipv6Addr::from(u128::from(base) + u128::from(offset) + 1).into(),
        }
    }
}

struct Inner {
    networks: Vec<Network>,
    ports: RangeInclusive<u16>,
    port_pool: Pool,
    store: Option<Store>,
}

/// What is allocated to Services. Clones share it.
#[derive(Clone)]
pub struct Addresses(Arc<Inner>);

impl Addresses {
    /// `store` has the claims of all servers; without one, this is all there is.
    pub fn new(cidrs: Vec<IpNet>, ports: RangeInclusive<u16>, store: Option<Store>) -> Self {
        let size = u64::from(ports.end().saturating_sub(*ports.start())) + 1;
        let port_pool = Pool::new(size, (size / 32).clamp(16, 128));
        let networks = cidrs.into_iter().map(Network::new).collect();
        Addresses(Arc::new(Inner {
            networks,
            ports,
            port_pool,
            store,
        }))
    }

    /// Takes what is claimed in the store, and nothing else.
    pub fn reload(&self) {
        let Some(store) = &self.0.store else { return };
        let range = Range {
            prefix: ipaddress::PREFIX,
            ..Range::default()
        };
        let claimed = store.list(range).map(|l| l.items).unwrap_or_default();
        let ips: Vec<IpAddr> = claimed
            .iter()
            .filter_map(|s| s.head.name.parse().ok())
            .collect();
        for network in &self.0.networks {
            let taken = ips.iter().filter_map(|ip| network.offset(*ip)).collect();
            *network.pool.taken.lock() = taken;
        }
        let ports = nodeports::taken(store).into_iter();
        let first = *self.0.ports.start();
        let taken = ports.filter(|p| self.0.ports.contains(p));
        *self.0.port_pool.taken.lock() = taken.map(|p| u64::from(p - first)).collect();
    }

    /// Frees those of `asked` that nobody claims in the store: another server may have given them back.
    pub fn look_again(&self, asked: &HashSet<Held>) {
        let Some(store) = self.0.store.as_ref().filter(|_| !asked.is_empty()) else {
            return;
        };
        let ports = nodeports::taken(store);
        let is_claimed = |held: &Held| match held {
            Held::Address(ip) => store.get(&format!("{}{ip}", ipaddress::PREFIX)).is_some(),
            Held::Port(port) => ports.contains(port),
        };
        let unclaimed = asked.iter().filter(|held| !is_claimed(held));
        unclaimed.for_each(|held| self.free(held));
    }

    /// The families of the cluster, primary first: `IPv4`, `IPv6`.
    pub fn families(&self) -> Vec<&'static str> {
        self.0
            .networks
            .iter()
            .map(|n| {
                if n.net.addr().is_ipv4() {
                    "IPv4"
                } else {
                    "IPv6"
                }
            })
            .collect()
    }

    pub fn port_range(&self) -> &RangeInclusive<u16> {
        &self.0.ports
    }

    fn network(&self, family: &str) -> Option<&Network> {
        self.0
            .networks
            .iter()
            .find(|n| n.net.addr().is_ipv4() == (family == "IPv4"))
    }

    /// Takes a certain address or port.
    ///
    /// # Errors
    /// When it is taken or out of range.
    pub fn take(&self, held: Held) -> Result<Lease, Refused> {
        let taken = match &held {
            Held::Address(ip) => {
                let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
                let network = self.network(family);
                let range = || network.map(|n| n.net.to_string()).unwrap_or_default();
                let offset = network
                    .and_then(|n| n.offset(*ip))
                    .ok_or_else(|| Refused::OutOfRange(range()))?;
                network.is_some_and(|n| n.pool.take(offset))
            }
            Held::Port(port) => {
                let ports = &self.0.ports;
                if !ports.contains(port) {
                    return Err(Refused::OutOfRange(format!(
                        "{}-{}",
                        ports.start(),
                        ports.end()
                    )));
                }
                self.0.port_pool.take(u64::from(port - ports.start()))
            }
        };
        if taken {
            Ok(self.lease(held))
        } else {
            Err(Refused::Taken)
        }
    }

    /// Draws a free address of a family.
    pub fn draw_address(&self, family: &str) -> Option<(IpAddr, Lease)> {
        let network = self.network(family)?;
        let drawn = network.pool.draw().or_else(|| {
            self.reload();
            network.pool.draw()
        });
        let ip = network.address(drawn?);
        Some((ip, self.lease(Held::Address(ip))))
    }

    /// Draws a free port.
    pub fn draw_port(&self) -> Option<(u16, Lease)> {
        let drawn = self.0.port_pool.draw().or_else(|| {
            self.reload();
            self.0.port_pool.draw()
        });
        let offset = u16::try_from(drawn?).ok()?;
        let port = self.0.ports.start() + offset;
        Some((port, self.lease(Held::Port(port))))
    }

    fn lease(&self, held: Held) -> Lease {
        Lease {
            addresses: self.clone(),
            held,
            state: State::Taken,
        }
    }

    /// Something to give back when a write happens.
    pub fn let_go(&self, held: Held) -> Lease {
        Lease {
            addresses: self.clone(),
            held,
            state: State::ToFree,
        }
    }

    fn free(&self, held: &Held) {
        match held {
            Held::Address(ip) => {
                let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
                if let Some((network, offset)) = self
                    .network(family)
                    .and_then(|n| n.offset(*ip).map(|o| (n, o)))
                {
                    network.pool.free(offset);
                }
            }
            Held::Port(port) => {
                self.0
                    .port_pool
                    .free(u64::from(port.saturating_sub(*self.0.ports.start())));
            }
        }
    }

    /// Frees everything that a Service, given as it was stored, held.
    pub fn release(&self, json: &[u8]) {
        let service: Value = serde_json::from_slice(json).unwrap_or_default();
        Held::of(&service).iter().for_each(|held| self.free(held));
    }
}

/// An address, or a node port, which is one Service's whatever the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Held {
    Address(IpAddr),
    Port(u16),
}

impl Held {
    /// The port, if it is one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Held::Port(port) => Some(*port),
            Held::Address(_) => None,
        }
    }

    /// The address, if it is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Held::Address(ip) => Some(*ip),
            Held::Port(_) => None,
        }
    }

    /// Everything that a Service holds.
    pub fn of(service: &Value) -> HashSet<Held> {
        let spec = &service["spec"];
        let mut out = HashSet::new();
        if spec["type"] != "ExternalName" {
            let ips = spec["clusterIPs"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            out.extend(ips.filter_map(|ip| ip.parse().ok()).map(Held::Address));
        }
        for port in spec["ports"].as_array().into_iter().flatten() {
            if let Some(n) = port["nodePort"]
                .as_u64()
                .and_then(|n| u16::try_from(n).ok())
                .filter(|n| *n > 0)
            {
                out.insert(Held::Port(n));
            }
        }
        if let Some(n) = spec["healthCheckNodePort"]
            .as_u64()
            .and_then(|n| u16::try_from(n).ok())
            .filter(|n| *n > 0)
        {
            out.insert(Held::Port(n));
        }
        out
    }
}

enum State {
    /// Taken for a write that has not happened yet.
    Taken,
    /// To be freed once the write has happened.
    ToFree,
    Settled,
}

/// An allocation on probation: undone when dropped, final when kept.
pub struct Lease {
    addresses: Addresses,
    held: Held,
    state: State,
}

impl Lease {
    /// What was taken for a write, if this is about that.
    pub fn taken(&self) -> Option<Held> {
        matches!(self.state, State::Taken).then(|| self.held.clone())
    }

    /// What the write lets go, if this is about that.
    pub fn freed(&self) -> Option<Held> {
        matches!(self.state, State::ToFree).then(|| self.held.clone())
    }

    /// The write it was made for happened.
    pub fn keep(mut self) {
        if let State::ToFree = std::mem::replace(&mut self.state, State::Settled) {
            self.addresses.free(&self.held);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let State::Taken = self.state {
            self.addresses.free(&self.held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        let cidrs = vec!["10.96.0.0/28".parse().unwrap()];
        Addresses::new(cidrs, 30000..=30001, None)
    }

    #[test]
    fn addresses_run_out_and_come_back() {
        let a = addresses();
        let ip: IpAddr = "10.96.0.1".parse().unwrap();
        let lease = a.take(Held::Address(ip)).unwrap();
        assert_eq!(a.take(Held::Address(ip)).err(), Some(Refused::Taken));
        drop(lease);
        a.take(Held::Address(ip)).unwrap().keep();
        let outside: IpAddr = "10.97.0.1".parse().unwrap();
        assert!(matches!(
            a.take(Held::Address(outside)),
            Err(Refused::OutOfRange(_))
        ));
        let mut held = Vec::new();
        while let Some((ip, lease)) = a.draw_address("IPv4") {
            assert!(ip != outside && held.iter().all(|(other, _)| *other != ip));
            held.push((ip, lease));
        }
        assert_eq!(held.len(), 13);
        drop(held);
        assert!(a.draw_address("IPv4").is_some() && a.draw_address("IPv6").is_none());
    }

    #[test]
    fn ports_run_out() {
        let a = addresses();
        a.take(Held::Port(30000)).unwrap().keep();
        assert_eq!(a.take(Held::Port(30000)).err(), Some(Refused::Taken));
        let (port, lease) = a.draw_port().unwrap();
        assert_eq!(port, 30001);
        assert!(a.draw_port().is_none());
        drop(lease);
        assert!(a.take(Held::Port(30001)).is_ok());
        assert!(matches!(
            a.take(Held::Port(80)),
            Err(Refused::OutOfRange(_))
        ));
    }
}
