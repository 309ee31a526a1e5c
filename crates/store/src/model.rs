//! The read model: every live object in one persistent ordered map, and the recent past of each resource.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use imbl::OrdMap;
use parking_lot::RwLock;
use tokio::sync::watch as signal;

use crate::{Event, EventKind, Listing, Range, RevisionError, Stored, history::History};

/// Cloning is O(1) and shares all nodes, so a reader's snapshot costs nothing and never blocks the writer.
pub(crate) type Map = OrdMap<Arc<str>, Arc<Stored>>;

struct View {
    map: Map,
    revision: u64,
}

pub(crate) struct Model {
    view: RwLock<View>,
    /// By [`group_of`] of the keys in it; made when the first change or watch of the group comes.
    histories: RwLock<HashMap<Box<str>, Arc<History>>>,
    /// Nothing is known of changes up to here, in groups that have no history.
    opened: AtomicU64,
    limits: Limits,
    /// Why newest values cannot be read, by key. What the map has for these keys is older.
    unreadable: RwLock<BTreeMap<String, String>>,
    /// Tells those in `wait_for`.
    reached: signal::Sender<u64>,
    closed: AtomicBool,
}

/// How much of the past is kept per group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub count: usize,
    pub keep: std::time::Duration,
    pub bytes: usize,
}

/// Bytes that the past of one resource may hold beyond what is live.
const HISTORY_BYTES: usize = 16 << 20;

impl Limits {
    pub(crate) fn of(count: usize, keep: std::time::Duration) -> Limits {
        Limits {
            count,
            keep,
            bytes: HISTORY_BYTES,
        }
    }
}

/// The recent past of everything, to be kept over a restart.
pub(crate) struct Past {
    /// Floor of groups that have no history.
    pub opened: u64,
    /// By group: changes up to this revision are not known.
    pub floors: BTreeMap<Box<str>, u64>,
    /// In revision order.
    pub events: Vec<Arc<Event>>,
}

impl Past {
    /// Forgets the oldest until the states in it are `most` bytes at most.
    pub(crate) fn limit(&mut self, most: usize) {
        let mut bytes = 0;
        let kept = self.events.iter().rev().take_while(|event| {
            bytes += crate::history::weight(event);
            bytes <= most
        });
        let gone = self.events.len() - kept.count();
        for event in self.events.drain(..gone) {
            let group = group_of(&event.object.key);
            self.floors.insert(group.into(), event.object.revision);
        }
    }
}

/// The part of a key that all objects of one resource share: `/registry/pods/`, `/registry/services/specs/`,
/// `/registry/example.com/widgets/`. Works for keys and for the prefixes of watches.
pub(crate) fn group_of(key: &str) -> &str {
    let mut ends = key.match_indices('/').map(|(i, _)| i + 1).skip(1);
    let (Some(root), Some(first)) = (ends.next(), ends.next()) else {
        return key;
    };
    let segment = &key[root..first - 1];
    if segment == "services" || segment.contains('.') {
        return ends.next().map_or(key, |second| &key[..second]);
    }
    &key[..first]
}

impl Model {
    /// Nothing is known of changes up to `opened`, except those in `histories`.
    pub(crate) fn with_past(
        map: Map,
        revision: u64,
        limits: Limits,
        opened: u64,
        histories: HashMap<Box<str>, Arc<History>>,
    ) -> Self {
        Model {
            view: RwLock::new(View { map, revision }),
            histories: RwLock::new(histories),
            opened: AtomicU64::new(opened),
            limits,
            unreadable: RwLock::default(),
            reached: signal::Sender::new(revision),
            closed: AtomicBool::new(false),
        }
    }

    /// Revision of what readers see.
    pub(crate) fn revision(&self) -> u64 {
        self.view.read().revision
    }

    pub(crate) fn subscribe(&self) -> signal::Receiver<u64> {
        self.reached.subscribe()
    }

    pub(crate) fn snapshot(&self) -> (Map, u64) {
        let view = self.view.read();
        (view.map.clone(), view.revision)
    }

    pub(crate) fn get(&self, key: &str) -> Option<Arc<Stored>> {
        self.view.read().map.get(key).cloned()
    }

    /// Shows a durable batch to readers and watchers.
    pub(crate) fn publish(&self, map: Map, revision: u64, events: &[Arc<Event>]) {
        let runs: Vec<_> = events
            .chunk_by(|a, b| group_of(&a.object.key) == group_of(&b.object.key))
            .map(|run| (self.history(&run[0].object.key), run))
            .collect();
        // Under one lock, so that whoever holds it finds map and histories at the same revision.
        let mut view = self.view.write();
        view.revision = revision;
        let old = std::mem::replace(&mut view.map, map);
        let gone: Vec<_> = runs
            .iter()
            .map(|(history, run)| history.push(run))
            .collect();
        drop(view);
        self.reached.send_replace(revision);
        runs.iter().for_each(|(history, _)| history.wake());
        drop((old, gone)); // last, for freeing takes time
    }

    /// Shows a state that no known changes lead to. All watches end; their clients must list again.
    pub(crate) fn reset(&self, map: Map, revision: u64, unreadable: BTreeMap<String, String>) {
        *self.unreadable.write() = unreadable;
        let mut view = self.view.write();
        let old = std::mem::replace(&mut view.map, map);
        view.revision = revision;
        self.opened.store(revision, Ordering::Release);
        let histories: Vec<_> = self.histories.read().values().cloned().collect();
        let gone: Vec<_> = histories
            .iter()
            .map(|history| history.reset(revision))
            .collect();
        drop(view);
        self.reached.send_replace(revision);
        histories.iter().for_each(|history| history.wake());
        drop((old, gone));
    }

    /// The past of the group that `key` (or a watch's prefix) belongs to.
    pub(crate) fn history(&self, key: &str) -> Arc<History> {
        let group = group_of(key);
        if let Some(history) = self.histories.read().get(group) {
            return history.clone();
        }
        let mut all = self.histories.write();
        all.entry(group.into())
            .or_insert_with(|| {
                Arc::new(History::new(
                    self.opened.load(Ordering::Acquire),
                    self.limits,
                ))
            })
            .clone()
    }

    /// All changes that are known.
    pub(crate) fn past(&self) -> Past {
        let histories = self.histories.read();
        let mut past = Past {
            opened: self.opened.load(Ordering::Acquire),
            floors: BTreeMap::new(),
            events: Vec::new(),
        };
        for (group, history) in histories.iter() {
            let (floor, events) = history.all();
            past.floors.insert(group.clone(), floor);
            past.events.extend(events);
        }
        past.events
            .sort_unstable_by_key(|event| event.object.revision);
        past
    }

    /// Lets go of what is older than it needs to be.
    pub(crate) fn trim(&self) {
        let all: Vec<_> = self.histories.read().values().cloned().collect();
        all.iter().for_each(|history| history.trim());
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends all watches, after what they still have to give.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.histories
            .read()
            .values()
            .for_each(|history| history.wake());
    }

    pub(crate) fn list(&self, range: &Range<'_>) -> Result<Listing, RevisionError> {
        let (map, current) = self.snapshot();
        match range.at {
            Some(asked) if asked > current => Err(RevisionError::Future { asked, current }),
            Some(asked) if asked < current => self.list_at(range, asked),
            _ => Ok(page(range, current, current_items(&map, range))),
        }
    }

    /// The view at an older revision: the newest one with the changes since then undone.
    fn list_at(&self, range: &Range<'_>, asked: u64) -> Result<Listing, RevisionError> {
        let history = self.history(range.prefix);
        let (map, since) = {
            let view = self.view.read();
            (view.map.clone(), history.since(asked)?)
        };
        // The first change of a key since then knows what it was before.
        let mut before: BTreeMap<&str, Option<Arc<Stored>>> = BTreeMap::new();
        for event in since.iter().filter(|e| in_range(&e.object.key, range)) {
            before
                .entry(&event.object.key)
                .or_insert_with(|| event.previous.clone());
        }
        if before.is_empty() {
            return Ok(page(range, asked, current_items(&map, range)));
        }
        let unchanged = current_items(&map, range).filter(|item| !before.contains_key(&*item.key));
        let items = merged(unchanged, before.values().flatten());
        Ok(page(range, asked, items))
    }

    /// Notes why what is kept for a key cannot be read, or that it can (again).
    pub(crate) fn note_unreadable(&self, key: &str, why: Option<String>) {
        if why.is_none() && self.unreadable.read().is_empty() {
            return;
        }
        let mut unreadable = self.unreadable.write();
        match why {
            Some(why) => unreadable.insert(key.to_owned(), why),
            None => unreadable.remove(key),
        };
    }

    /// The first key that begins with `prefix` and whose newest value cannot be read, and why.
    pub(crate) fn unreadable(&self, prefix: &str) -> Option<(String, String)> {
        let unreadable = self.unreadable.read();
        let (key, why) = unreadable
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .next()?;
        key.starts_with(prefix).then(|| (key.clone(), why.clone()))
    }
}

fn in_range(key: &str, range: &Range<'_>) -> bool {
    key.starts_with(range.prefix) && range.after.is_none_or(|after| key > after)
}

fn current_items<'m>(map: &'m Map, range: &Range<'m>) -> impl Iterator<Item = &'m Arc<Stored>> {
    let prefix = range.prefix;
    let from = match range.after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let items = map
        .range::<_, str>((from, Bound::Unbounded))
        .map(|(_, item)| item);
    items.take_while(move |item| item.key.starts_with(prefix))
}

/// Two runs in key order as one.
fn merged<'i>(
    a: impl Iterator<Item = &'i Arc<Stored>>,
    b: impl Iterator<Item = &'i Arc<Stored>>,
) -> impl Iterator<Item = &'i Arc<Stored>> {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    std::iter::from_fn(move || match (a.peek(), b.peek()) {
        (Some(x), Some(y)) if y.key < x.key => b.next(),
        (Some(_), _) => a.next(),
        (None, _) => b.next(),
    })
}

fn page<'i>(
    range: &Range<'_>,
    revision: u64,
    mut items: impl Iterator<Item = &'i Arc<Stored>>,
) -> Listing {
    let limit = if range.limit == 0 {
        usize::MAX
    } else {
        range.limit
    };
    Listing {
        revision,
        items: items.by_ref().take(limit).cloned().collect(),
        remaining: items.count(),
    }
}

/// The map after `event`.
pub(crate) fn apply(map: &mut Map, event: &Event) {
    match event.kind {
        EventKind::Deleted => map.remove::<str>(&event.object.key),
        _ => map.insert(event.object.key.clone(), event.object.clone()),
    };
}

#[cfg(test)]
mod tests {
    use super::group_of;

    #[test]
    fn keys_group_by_resource() {
        for (key, group) in [
            ("/registry/pods/default/web-0", "/registry/pods/"),
            ("/registry/pods/default/", "/registry/pods/"),
            ("/registry/pods/", "/registry/pods/"),
            ("/registry/minions/n1", "/registry/minions/"),
            (
                "/registry/services/specs/default/a",
                "/registry/services/specs/",
            ),
            (
                "/registry/services/endpoints/",
                "/registry/services/endpoints/",
            ),
            (
                "/registry/example.com/widgets/default/w",
                "/registry/example.com/widgets/",
            ),
            (
                "/registry/example.com/widgets/w",
                "/registry/example.com/widgets/",
            ),
            ("/registry/", "/registry/"),
            ("x", "x"),
        ] {
            assert_eq!(group_of(key), group, "{key}");
        }
    }
}
