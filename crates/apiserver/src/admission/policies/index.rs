//! All policies in force, kept up with the store, so that a request needs no look-up to find that none concerns it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use knarr_json::Value;
use knarr_store::{Range, Store};
use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::config::{Active, active};

const VALIDATING: [&str; 2] = [
    "/registry/validatingadmissionpolicies/",
    "/registry/validatingadmissionpolicybindings/",
];
const MUTATING: [&str; 2] = [
    "/registry/mutatingadmissionpolicies/",
    "/registry/mutatingadmissionpolicybindings/",
];

/// Policies in the order in which they are asked.
pub(crate) struct Policies {
    validating: ArcSwap<Vec<Arc<Active>>>,
    mutating: ArcSwap<Vec<Arc<Active>>>,
    /// Held from reading to taking over, so that what was read earlier does not replace what was read later.
    loading: Mutex<()>,
}

impl Policies {
    /// Reads policies and bindings and follows them until `stop`.
    pub fn new(store: &Store, stop: &CancellationToken, tasks: &TaskTracker) -> Arc<Self> {
        let policies = Arc::new(Policies {
            validating: ArcSwap::default(),
            mutating: ArcSwap::default(),
            loading: Mutex::default(),
        });
        for prefixes in [VALIDATING, MUTATING] {
            let from = policies.load(store, prefixes);
            for prefix in prefixes {
                let (store, policies, stop) = (store.clone(), policies.clone(), stop.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = policies.follow(&store, prefixes, prefix, from) => {}
                    }
                });
            }
        }
        policies
    }

    pub fn validating(&self) -> Arc<Vec<Arc<Active>>> {
        self.validating.load_full()
    }

    pub fn mutating(&self) -> Arc<Vec<Arc<Active>>> {
        self.mutating.load_full()
    }

    /// Reads all policies and bindings of a kind; there are few, and they change rarely. The revision they were read at.
    fn load(&self, store: &Store, prefixes: [&'static str; 2]) -> u64 {
        let loaded = self.take_over(prefixes, || read(store, prefixes));
        loaded.unwrap_or_else(|| store.revision())
    }

    /// Puts what is read in force.
    fn take_over(
        &self,
        prefixes: [&'static str; 2],
        read: impl FnOnce() -> Option<(Vec<Arc<Active>>, u64)>,
    ) -> Option<u64> {
        let _one = self.loading.lock();
        let (found, revision) = read()?;
        match prefixes == MUTATING {
            true => self.mutating.store(Arc::new(found)),
            false => self.validating.store(Arc::new(found)),
        }
        Some(revision)
    }

    async fn follow(
        &self,
        store: &Store,
        prefixes: [&'static str; 2],
        prefix: &str,
        mut from: u64,
    ) {
        loop {
            if let Ok(mut watch) = store.watch(prefix, Some(from)) {
                while let Some(Ok(_)) = watch.next().await {
                    self.load(store, prefixes);
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            from = self.load(store, prefixes);
        }
    }
}

fn read(store: &Store, prefixes: [&'static str; 2]) -> Option<(Vec<Arc<Active>>, u64)> {
    let read = |prefix| {
        let range = Range {
            prefix,
            ..Range::default()
        };
        let listing = store.list(range).ok()?;
        let objects = listing.items.iter();
        let objects: Vec<Value> = objects
            .filter_map(|stored| serde_json::from_slice(&stored.json).ok())
            .collect();
        Some((objects, listing.revision))
    };
    let (policies, first) = read(prefixes[0])?;
    let (bindings, second) = read(prefixes[1])?;
    Some((active(&policies, &bindings), first.min(second)))
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    /// Two followers load at the same time: the one that read first comes last.
    #[test]
    fn what_was_read_later_stays() {
        let policy = knarr_json::json!({"metadata": {"name": "p"}, "spec": {"validations": [{"expression": "true"}]}});
        let binding = knarr_json::json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
        let newer = active(&[policy], &[binding]);
        assert_eq!(newer.len(), 1);
        let policies = Policies {
            validating: ArcSwap::default(),
            mutating: ArcSwap::default(),
            loading: Mutex::default(),
        };
        let (began, has_begun) = mpsc::channel();
        let (done, is_done) = mpsc::channel();
        let all = &policies;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                all.take_over(VALIDATING, || {
                    began.send(()).unwrap();
                    // Until the other has come first, if he can.
                    let _ = is_done.recv_timeout(Duration::from_millis(500));
                    Some((Vec::new(), 1))
                })
            });
            has_begun.recv().unwrap();
            policies.take_over(VALIDATING, || Some((newer, 2)));
            let _ = done.send(());
        });
        assert_eq!(policies.validating().len(), 1);
    }
}
