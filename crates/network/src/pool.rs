//! Which addresses of the pod range are taken. Pure: what is remembered across restarts is in `record`.

use std::{collections::HashSet, net::IpAddr};

use ipnet::IpNet;

/// Network, gateway: the first two addresses are never given to pods.
const FIRST: u128 = 2;

/// The addresses of one pod CIDR. Addresses are given in order and come round again as late as possible, so that a new
/// pod does not get the packets that were meant for one that has just gone.
#[derive(Debug)]
pub struct Pool {
    net: IpNet,
    taken: HashSet<u128>,
    last: u128,
}

impl Pool {
    pub fn new(net: IpNet) -> Self {
        Pool {
            net: net.trunc(),
            taken: HashSet::new(),
            last: FIRST - 1,
        }
    }

    pub fn net(&self) -> IpNet {
        self.net
    }

    /// The bridge's own address, which is the pods' gateway.
    pub fn gateway(&self) -> IpAddr {
        at(self.net, 1)
    }

    /// The last offset that can be given. IPv4 keeps its broadcast address.
    fn end(&self) -> u128 {
        let host_bits = u32::from(self.net.max_prefix_len() - self.net.prefix_len());
        let size = 1u128.checked_shl(host_bits).unwrap_or(u128::MAX);
        if self.net.addr().is_ipv4() {
            size.saturating_sub(2)
        } else {
            size - 1
        }
    }

    fn offset(&self, ip: IpAddr) -> Option<u128> {
        self.net
            .contains(&ip)
            .then(|| number(ip) - number(self.net.network()))
    }

    /// The next free address. `None` when there is none left.
    pub fn take(&mut self) -> Option<IpAddr> {
        let end = self.end();
        if end < FIRST || self.taken.len() as u128 > end - FIRST {
            return None;
        }
        let mut candidate = self.last;
        loop {
            candidate = if candidate >= end {
                FIRST
            } else {
                candidate + 1
            };
            if self.taken.insert(candidate) {
                self.last = candidate;
                return Some(at(self.net, candidate));
            }
        }
    }

    /// Marks an address as given, after a restart. The next one follows it.
    pub fn restore(&mut self, ip: IpAddr) {
        let end = self.end();
        if let Some(offset) = self.offset(ip).filter(|o| (FIRST..=end).contains(o)) {
            self.taken.insert(offset);
            self.last = offset;
        }
    }

    /// Gives an address back. Addresses of other ranges are ignored.
    pub fn give_back(&mut self, ip: IpAddr) {
        if let Some(offset) = self.offset(ip) {
            self.taken.remove(&offset);
        }
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

fn at(net: IpNet, offset: u128) -> IpAddr {
    let n = number(net.network()).wrapping_add(offset);
    if net.addr().is_ipv4() {
        IpAddr::V4((n as u32).into())
    } else {
        IpAddr::V6(n.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(net: &str) -> Pool {
        Pool::new(net.parse().unwrap())
    }

    #[test]
    fn addresses_come_in_order_and_only_once() {
        let mut p = pool("10.42.0.0/29");
        let all: Vec<String> = std::iter::from_fn(|| p.take())
            .map(|ip| ip.to_string())
            .collect();
        assert_eq!(
            all,
            [
                "10.42.0.2",
                "10.42.0.3",
                "10.42.0.4",
                "10.42.0.5",
                "10.42.0.6"
            ]
        );
        assert_eq!(p.gateway().to_string(), "10.42.0.1");
    }

    #[test]
    fn a_freed_address_is_not_given_at_once() {
        let mut p = pool("10.42.0.0/29");
        let first = p.take().unwrap();
        p.give_back(first);
        assert_eq!(p.take().unwrap().to_string(), "10.42.0.3");
        for _ in 0..3 {
            p.take().unwrap();
        }
        assert_eq!(p.take(), Some(first));
        assert_eq!(p.take(), None);
    }

    #[test]
    fn restored_addresses_are_taken() {
        let mut p = pool("fd00:42::/120");
        p.restore("fd00:42::2".parse().unwrap());
        p.restore("fd00:42::9".parse().unwrap());
        p.restore("10.0.0.1".parse().unwrap());
        assert_eq!(p.take().unwrap().to_string(), "fd00:42::a");
    }

    #[test]
    fn ranges_without_room_are_full() {
        for net in [
            "10.0.0.0/32",
            "10.0.0.0/31",
            "10.0.0.0/30",
            "fd00::/128",
            "fd00::/127",
        ] {
            let mut p = pool(net);
            let n = std::iter::from_fn(|| p.take()).count();
            assert_eq!(n, if net == "10.0.0.0/30" { 1 } else { 0 }, "{net}");
        }
        assert!(pool("fd00::/64").take().is_some());
    }
}
