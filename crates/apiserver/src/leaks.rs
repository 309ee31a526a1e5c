//! Addresses and node ports that were claimed for a write that never happened, as when a server was killed at that moment:
//! they are given back.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use knarr_json::Value;
use knarr_store::Range;

use crate::{
    admission::{Held, claims, ipaddress, nodeports},
    repair,
    server::Shared,
};

const EVERY: Duration = Duration::from_secs(180);
/// In so many rounds without a break nobody must have what is claimed, as a claim comes before the write.
const ROUNDS: u32 = 3;
const SERVICES: &str = "/registry/services/specs/";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";

/// Looks for leaks until the server stops.
pub(crate) fn start(shared: &Arc<Shared>) {
    let server = shared.clone();
    shared.tasks.spawn(async move {
        let (mut seen, mut told) = Default::default();
        loop {
            tokio::select! {
                () = server.stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => round(&server, &mut seen, &mut told).await,
            }
        }
    });
}

/// What was told of Services, and of addresses.
type Told = [repair::Told; 2];

async fn round(shared: &Arc<Shared>, seen: &mut HashMap<Held, u32>, told: &mut Told) {
    if shared.store.catch_up().await.is_err() {
        return;
    }
    let [of_services, of_addresses] = told;
    // Before the marks are set, which say nothing of what was missing.
    repair::round(shared, of_services).await;
    let claimed = claimed(shared);
    let used = used(shared);
    mark(shared, &used).await;
    let leaked = claimed.difference(&used).cloned().collect();
    let ripe = ripe(seen, leaked);
    if !ripe.is_empty() {
        tracing::warn!(held = ?ripe, "claimed for Services that are not there; given back");
        let ips = ripe.iter().filter_map(Held::address).collect::<Vec<_>>();
        repair::gives_back(shared, &ips, of_addresses).await;
        claims::release(shared, &ripe).await;
    }
}

fn claimed(shared: &Shared) -> HashSet<Held> {
    let range = Range {
        prefix: ipaddress::PREFIX,
        ..Range::default()
    };
    let objects = shared
        .store
        .list(range)
        .map(|l| l.items)
        .unwrap_or_default();
    let own = objects
        .iter()
        .filter(|s| s.head.label(MANAGED_BY) == Some(ipaddress::MANAGER));
    let ips = own
        .filter_map(|s| s.head.name.parse().ok())
        .map(Held::Address);
    let ports = nodeports::taken(&shared.store).into_iter().map(Held::Port);
    ips.chain(ports).collect()
}

fn used(shared: &Shared) -> HashSet<Held> {
    let range = Range {
        prefix: SERVICES,
        ..Range::default()
    };
    let services = shared
        .store
        .list(range)
        .map(|l| l.items)
        .unwrap_or_default();
    let services = services.iter().map(|s| serde_json::from_slice(&s.json));
    services
        .filter_map(Result::ok)
        .flat_map(|service: Value| Held::of(&service))
        .collect()
}

/// Marks the ports of Services that have none of their own marked: of stores that were written before there were marks.
async fn mark(shared: &Shared, used: &HashSet<Held>) {
    let ports: BTreeSet<u16> = used.iter().filter_map(Held::port).collect();
    let range = shared.addresses.port_range();
    if let Err(error) = nodeports::mark(&shared.store, range, &ports).await {
        tracing::warn!(error, "node ports cannot be marked");
    }
}

/// Marks the ports of all Services there are.
pub(crate) async fn mark_all(shared: &Shared) {
    mark(shared, &used(shared)).await;
}

/// What was leaked in so many rounds that it is one. Pure.
fn ripe(seen: &mut HashMap<Held, u32>, leaked: HashSet<Held>) -> Vec<Held> {
    seen.retain(|held, _| leaked.contains(held));
    let mut out = Vec::new();
    for held in leaked {
        let rounds = seen.entry(held.clone()).or_default();
        *rounds += 1;
        if *rounds >= ROUNDS {
            seen.remove(&held);
            out.push(held);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_unused_is_given_back() {
        let (a, b) = (Held::Port(1), Held::Port(2));
        let mut seen = HashMap::new();
        let mut next =
            |leaked: &[&Held]| ripe(&mut seen, leaked.iter().map(|h| (*h).clone()).collect());
        assert!(next(&[&a, &b]).is_empty() && next(&[&a]).is_empty());
        assert_eq!(next(&[&a, &b]), [Held::Port(1)], "b was used in between");
        assert!(next(&[&a, &b]).is_empty(), "it begins anew");
        assert_eq!(next(&[&b]), [b]);
    }
}
