//! Views that are made of a few resources and are never behind: whoever was told that a write happened finds it in force.
//! Nothing runs in between; a view takes what is new when somebody looks.

use knarr_store::{EventKind, Range, Store, Stored, Watch};
use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What such a view keeps, and how changes alter it.
pub(crate) trait View: Default {
    /// Whole resources, as the store keeps them: `/registry/roles/`.
    const PREFIXES: &'static [&'static str];

    fn put(&mut self, stored: &Stored);

    fn remove(&mut self, stored: &Stored);

    /// Forgets what is stored under one of the prefixes, before it is read anew.
    fn forget(&mut self, prefix: &str);

    /// Called once behind a run of changes.
    fn settle(&mut self) {}
}

/// A [`View`] and its place in the history of the store.
pub(crate) struct Derived<V> {
    store: Store,
    state: RwLock<State<V>>,
}

struct State<V> {
    view: V,
    /// One per prefix; none where all has to be read anew.
    watches: Vec<Option<Watch>>,
}

impl<V: View> Derived<V> {
    pub fn new(store: &Store) -> Self {
        let mut state = State {
            view: V::default(),
            watches: V::PREFIXES.iter().map(|_| None).collect(),
        };
        state.catch_up(store);
        Derived {
            store: store.clone(),
            state: RwLock::new(state),
        }
    }

    /// The view with every write that readers of the store see. Costs a load per prefix when there is nothing new.
    pub fn now(&self) -> MappedRwLockReadGuard<'_, V> {
        let mut state = self.state.read();
        if state.is_behind() {
            drop(state);
            let mut late = self.state.write();
            late.catch_up(&self.store);
            state = RwLockWriteGuard::downgrade(late);
        }
        RwLockReadGuard::map(state, |state| &state.view)
    }
}

impl<V: View> State<V> {
    fn is_behind(&self) -> bool {
        let behind = |watch: &Option<Watch>| watch.as_ref().is_none_or(Watch::is_behind);
        self.watches.iter().any(behind)
    }

    fn catch_up(&mut self, store: &Store) {
        let State { view, watches } = self;
        let mut changed = false;
        for (prefix, watch) in V::PREFIXES.iter().zip(watches) {
            changed |= match watch.as_mut().map(|watch| take(view, watch)) {
                Some(Ok(changed)) => changed,
                // What is missing between here and there is not known any more.
                None | Some(Err(())) => {
                    *watch = load(view, store, prefix);
                    true
                }
            };
        }
        if changed {
            view.settle();
        }
    }
}

/// Takes the changes that wait, and whether there were any.
fn take(view: &mut impl View, watch: &mut Watch) -> Result<bool, ()> {
    let mut changed = false;
    while let Some(event) = watch.ready() {
        let event = event.map_err(|_| ())?;
        match event.kind {
            EventKind::Deleted => view.remove(&event.object),
            EventKind::Added | EventKind::Modified => view.put(&event.object),
        }
        changed = true;
    }
    Ok(changed)
}

/// Reads all there is under a prefix; the watch goes on from there.
fn load(view: &mut impl View, store: &Store, prefix: &str) -> Option<Watch> {
    let range = Range {
        prefix,
        ..Range::default()
    };
    let listing = store.list(range).ok()?;
    let watch = store.watch(prefix, Some(listing.revision)).ok()?;
    view.forget(prefix);
    listing.items.iter().for_each(|stored| view.put(stored));
    Some(watch)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc, time::Duration};

    use knarr_api::{Head, head::Encoded};
    use knarr_json::json;
    use knarr_store::{Options, Write};
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    const PLACES: [&str; 2] = ["/registry/roles/", "/registry/clusterroles/"];

    /// Revisions by key, and the same as it was when last settled.
    #[derive(Default)]
    struct Revisions(BTreeMap<Arc<str>, u64>, BTreeMap<Arc<str>, u64>);

    impl View for Revisions {
        const PREFIXES: &'static [&'static str] = &PLACES;

        fn put(&mut self, stored: &Stored) {
            self.0.insert(stored.key.clone(), stored.revision);
        }

        fn remove(&mut self, stored: &Stored) {
            self.0.remove(&stored.key);
        }

        fn forget(&mut self, prefix: &str) {
            self.0.retain(|key, _| !key.starts_with(prefix));
        }

        fn settle(&mut self) {
            self.1 = self.0.clone();
        }
    }

    async fn write(store: &Store, key: String, delete: bool) {
        let value = || Encoded::new(&json!({"metadata": {"name": "r"}})).unwrap();
        let head = Head::default();
        let expect = store.get(&key).map(|stored| stored.revision);
        let write = match (expect, delete) {
            (Some(expect), true) => Write::Delete { key, expect },
            (Some(expect), false) => Write::Update {
                key,
                expect,
                value: value(),
                head,
            },
            (None, true) => return,
            (None, false) => Write::Create {
                key,
                value: value(),
                head,
            },
        };
        store.write(write).await.unwrap();
    }

    /// Also when more happened between two looks than the store remembers.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_view_has_what_the_store_has() {
        for remembered in [1000, 3] {
            let dir = tempfile::tempdir().unwrap();
            let options = Options {
                history: remembered,
                keep: Duration::ZERO,
                ..Options::new(dir.path())
            };
            let heads = Arc::new(|_: &str, _: &[u8]| Head::default());
            let store = Store::open(options, heads).await.unwrap();
            write(&store, format!("{}before", PLACES[0]), false).await;
            let derived = Derived::<Revisions>::new(&store);
            let mut random = StdRng::seed_from_u64(remembered as u64);
            for _ in 0..300 {
                for _ in 0..random.random_range(1..8) {
                    let place = PLACES[random.random_range(0..2)];
                    let key = format!("{place}{}", random.random_range(0..5));
                    write(&store, key, random.random_bool(0.3)).await;
                }
                let mut held = BTreeMap::new();
                for prefix in PLACES {
                    let range = Range {
                        prefix,
                        ..Range::default()
                    };
                    let items = store.list(range).unwrap().items;
                    held.extend(items.iter().map(|s| (s.key.clone(), s.revision)));
                }
                let view = derived.now();
                assert_eq!(view.0, held);
                assert_eq!(view.1, held, "settled");
            }
        }
    }
}
