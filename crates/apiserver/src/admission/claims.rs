//! What a write takes in the store before it happens: objects of addresses, marks of node ports. So no other server gives
//! them away.

use std::{net::IpAddr, sync::Arc};

use super::{addresses::Held, ipaddress, nodeports};
use crate::server::Shared;

/// Given back when dropped, final when kept.
pub struct Claims {
    shared: Arc<Shared>,
    held: Vec<Held>,
}

impl Claims {
    pub fn new(shared: Arc<Shared>) -> Self {
        Claims {
            shared,
            held: Vec::new(),
        }
    }

    /// False when the address is somebody's already.
    ///
    /// # Errors
    /// Why it cannot be claimed.
    pub async fn address(
        &mut self,
        ip: IpAddr,
        namespace: &str,
        name: &str,
    ) -> Result<bool, String> {
        let made = ipaddress::claim(&self.shared, ip, namespace, name).await?;
        self.held.extend(made.then_some(Held::Address(ip)));
        Ok(made)
    }

    /// Gives a port that is somebody's already, if one is; then none was claimed.
    ///
    /// # Errors
    /// Why they cannot be claimed.
    pub async fn ports(&mut self, ports: &[u16]) -> Result<Option<u16>, String> {
        if ports.is_empty() {
            return Ok(None);
        }
        let range = self.shared.addresses.port_range();
        let lost = nodeports::claim(&self.shared.store, range, ports).await?;
        if lost.is_none() {
            self.held.extend(ports.iter().copied().map(Held::Port));
        }
        Ok(lost)
    }

    /// The write happened.
    pub fn keep(mut self) {
        self.held.clear();
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (shared, held) = (self.shared.clone(), std::mem::take(&mut self.held));
        let tasks = shared.tasks.clone();
        tasks.spawn(async move { release(&shared, &held).await });
    }
}

/// Gives back what no Service has any more.
pub async fn release(shared: &Arc<Shared>, held: &[Held]) {
    let (mut ips, mut ports) = (Vec::new(), Vec::new());
    for one in held {
        match one {
            Held::Address(ip) => ips.push(*ip),
            Held::Port(port) => ports.push(*port),
        }
    }
    ipaddress::release(shared, &ips).await;
    nodeports::release(&shared.store, shared.addresses.port_range(), &ports).await;
}
