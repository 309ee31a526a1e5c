//! Whatever is written in whatever order: a list and the events behind it lead to what a later list shows.

mod common;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use common::{Bed, PODS, create, delete, list, try_open, update};
use futures::FutureExt;
use knarr_store::{Event, EventKind, Options, Range, RevisionError, Store, Stored};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    /// Change key `k` (create, update or delete, as `how` says and its state allows).
    Write {
        k: usize,
        how: u8,
    },
    /// Start to follow a prefix from here.
    Watch {
        narrow: bool,
    },
    /// Let what waits be written.
    Settle,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..6usize, any::<u8>()).prop_map(|(k, how)| Step::Write { k, how }),
        2 => any::<bool>().prop_map(|narrow| Step::Watch { narrow }),
        2 => Just(Step::Settle),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

fn key(k: usize) -> String {
    format!(
        "{PODS}{}/{k}",
        if k.is_multiple_of(2) {
            "default"
        } else {
            "other"
        }
    )
}

type State = BTreeMap<String, (u64, bytes::Bytes)>;

fn state(items: &[Arc<Stored>]) -> State {
    items
        .iter()
        .map(|item| (item.key.to_string(), (item.revision, item.json.clone())))
        .collect()
}

/// A list and the events behind it.
struct Follower {
    prefix: &'static str,
    state: State,
    watch: knarr_store::Watch,
    revision: u64,
}

impl Follower {
    fn start(store: &Store, narrow: bool) -> Follower {
        let prefix = if narrow {
            "/registry/pods/default/"
        } else {
            PODS
        };
        let listing = store
            .list(Range {
                prefix,
                ..Range::default()
            })
            .unwrap();
        let watch = store.watch(prefix, Some(listing.revision)).unwrap();
        Follower {
            prefix,
            state: state(&listing.items),
            watch,
            revision: listing.revision,
        }
    }

    /// Goes on where it was, in a store that was opened again. False when that is compacted.
    fn resume(&mut self, store: &Store, compacts: bool) -> bool {
        match store.watch(self.prefix, Some(self.revision)) {
            Ok(watch) => self.watch = watch,
            Err(RevisionError::Compacted { .. }) if compacts => return false,
            Err(error) => panic!("the past does not survive a restart: {error}"),
        }
        true
    }

    fn take(&mut self, event: &Event) {
        let object = &event.object;
        assert!(
            object.revision > self.revision,
            "events come in order, each once"
        );
        self.revision = object.revision;
        let before = self.state.get(&*object.key).map(|(revision, _)| *revision);
        assert_eq!(
            before,
            event.previous.as_ref().map(|p| p.revision),
            "previous is what was there"
        );
        assert_eq!(before.is_none(), event.kind == EventKind::Added);
        match event.kind {
            EventKind::Deleted => self.state.remove(&*object.key),
            _ => self.state.insert(
                object.key.to_string(),
                (object.revision, object.json.clone()),
            ),
        };
    }

    /// Follows up to the newest revision and compares; then any revision in between must list as it was.
    async fn check(&mut self, store: &Store) {
        let listing = store
            .list(Range {
                prefix: self.prefix,
                ..Range::default()
            })
            .unwrap();
        let want = state(&listing.items);
        let mut past = vec![(self.revision, self.state.clone())];
        // What a list shows is there for watches too: nothing has to be waited for.
        while let Some(event) = self.watch.next().now_or_never() {
            self.take(
                &event
                    .expect("the watch goes on")
                    .expect("nothing is compacted"),
            );
            past.push((self.revision, self.state.clone()));
        }
        assert_eq!(
            self.watch.revision(),
            listing.revision,
            "a watch that gave everything says so"
        );
        assert_eq!(self.state, want);
        for (at, was) in past {
            let old = store
                .list(Range {
                    prefix: self.prefix,
                    at: Some(at),
                    ..Range::default()
                })
                .unwrap();
            assert_eq!((state(&old.items), old.revision), (was, at));
        }
    }
}

/// All writes go at once, so that they meet in batches; each tells whether it was done.
async fn write_all(store: &Store, writes: &mut Vec<(usize, u8)>) -> usize {
    let tasks: Vec<_> = writes
        .drain(..)
        .map(|(k, how)| {
            let store = store.clone();
            tokio::spawn(async move {
                let value = how.to_string();
                match store.get(&key(k)) {
                    None => create(&store, &key(k), &value).await,
                    Some(old) if how < 80 => delete(&store, &key(k), old.revision).await,
                    Some(old) => update(&store, &key(k), old.revision, &value).await,
                }
                .is_ok()
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += usize::from(task.await.unwrap());
    }
    done
}

/// A property's case. `compacts`: the past may be gone after a restart.
async fn run(steps: Vec<Step>, bed: &Bed, compacts: bool) {
    let open = || async {
        if bed.etcd.is_some() {
            return bed.open().await;
        }
        let options = Options {
            // Half of that is what a compaction leaves of the past.
            compact_at: if compacts { 3_000 } else { 32 << 20 },
            keep: Duration::from_secs(60),
            ..Options::new(bed.dir.path())
        };
        try_open(&options).await.unwrap()
    };
    let mut store = open().await;
    let (mut followers, mut waiting): (Vec<Follower>, _) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Write { k, how } => waiting.push((k, how)),
            Step::Watch { narrow } => followers.push(Follower::start(&store, narrow)),
            Step::Settle => {
                let before = store.revision();
                let done = write_all(&store, &mut waiting).await;
                assert_eq!(
                    store.revision(),
                    before + done as u64,
                    "one revision per write that was done"
                );
                for follower in &mut followers {
                    follower.check(&store).await;
                }
            }
            Step::Reopen => {
                write_all(&store, &mut waiting).await;
                let (was, revision) = (state(&list(&store, PODS)), store.revision());
                store.close().await;
                store = open().await;
                assert_eq!(state(&list(&store, PODS)), was);
                // With etcd, an open may need a revision to learn that it has everything.
                assert!(store.revision() == revision || bed.etcd.is_some());
                followers.retain_mut(|follower| follower.resume(&store, compacts));
                for follower in &mut followers {
                    follower.check(&store).await;
                }
            }
        }
    }
    write_all(&store, &mut waiting).await;
    for follower in &mut followers {
        follower.check(&store).await;
    }
    store.close().await;
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn a_list_and_its_events_lead_to_the_next_list(steps in steps(), compacts: bool) {
        runtime().block_on(run(steps, &Bed::embedded(), compacts));
    }
}

proptest! {
    #![proptest_config(cases(6))]

    #[test]
    fn with_etcd_too(steps in steps()) {
        runtime().block_on(async {
            if let Some(bed) = Bed::etcd().await {
                run(steps, &bed, false).await;
            }
        });
    }
}
