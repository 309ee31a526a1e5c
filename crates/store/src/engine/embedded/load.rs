//! From files to the read model: what was kept is opened, heads are parsed, the past is put together again.

use std::{collections::HashMap, sync::Arc, thread};

use super::{
    journal::{Found, Journal},
    past::{Past, Step},
    recover::Live,
};
use crate::{
    Event, EventKind, HeadOf, OpenError, Options, Stored, Transformer,
    engine::Record,
    history::History,
    model::{Limits, Map, Model},
};

/// Opens the files in `options.dir` and makes the read model that they lead to.
pub(super) fn load(options: &Options, head_of: &HeadOf) -> Result<(Journal, Model), OpenError> {
    let (journal, found) = Journal::open(options)?;
    let Found {
        live,
        past,
        revision,
    } = found;
    let reader = Reader {
        transformer: options.transformer.as_deref(),
        head_of,
    };
    // First, so that what a transformer last hears of a key is how it is kept now.
    let states = old_states(&past, &live, &reader);
    let mut live: Vec<Record> = live.into_values().collect();
    live.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let read = reader.each(&live).into_iter();
    let map = read
        .map(|item| item.map(|item| (item.key.clone(), item)))
        .collect::<Result<Map, OpenError>>()?;
    let limits = Limits::of(options.history, options.keep);
    let opened = past.opened;
    let histories = histories(past, &map, &states, &limits);
    Ok((
        journal,
        Model::with_past(map, revision, limits, opened, histories),
    ))
}

fn histories(
    mut past: Past,
    live: &Map,
    states: &States,
    limits: &Limits,
) -> HashMap<Box<str>, Arc<History>> {
    let state_of = |record: &Record| -> Option<Arc<Stored>> {
        let current = live.get(&record.key);
        let current = current.filter(|current| current.revision == record.revision);
        current
            .or_else(|| states.get(&(record.key.clone(), record.revision)))
            .cloned()
    };
    let made = past.groups.drain().map(|(name, group)| {
        let (mut floor, mut events) = (group.floor, Vec::with_capacity(group.steps.len()));
        for step in &group.steps {
            match event(step, state_of) {
                Some(event) => events.push(event),
                // What cannot be told any more is past: nobody can go on from before it.
                None => {
                    floor = step.object.revision;
                    events.clear();
                }
            }
        }
        let history = History::new(floor, *limits);
        drop(history.push(&events));
        (name, Arc::new(history))
    });
    made.collect()
}

fn event(step: &Step, state_of: impl Fn(&Record) -> Option<Arc<Stored>>) -> Option<Arc<Event>> {
    let previous = match &step.previous {
        Some(record) => Some(state_of(record)?),
        None => None,
    };
    let object = match (step.kind, &previous) {
        (EventKind::Deleted, Some(before)) => Arc::new(before.moved_to(step.object.revision)),
        (EventKind::Deleted, None) => return None,
        _ => state_of(&step.object)?,
    };
    Some(Arc::new(Event::new(step.kind, object, previous)))
}

type States = HashMap<(Arc<str>, u64), Arc<Stored>>;

/// States that were changed again, each read once. One that cannot be read, as the key that it was sealed with is gone since
/// all that is live was written anew, is left out: only the past needs it.
fn old_states(past: &Past, live: &Live, reader: &Reader<'_>) -> States {
    let steps = past.groups.values().flat_map(|group| &group.steps);
    let records = steps.flat_map(|step| {
        let put = (step.kind != EventKind::Deleted).then_some(&step.object);
        put.into_iter().chain(&step.previous)
    });
    let is_live = |record: &Record| {
        live.get(&record.key)
            .is_some_and(|current| current.revision == record.revision)
    };
    let wanted: HashMap<(Arc<str>, u64), Record> = records
        .filter(|record| !is_live(record))
        .map(|record| ((record.key.clone(), record.revision), record.clone()))
        .collect();
    let stored = reader.each(&wanted.into_values().collect::<Vec<_>>());
    stored
        .into_iter()
        .flatten()
        .map(|item| ((item.key.clone(), item.revision), item))
        .collect()
}

/// Makes what was kept readable.
struct Reader<'r> {
    transformer: Option<&'r dyn Transformer>,
    head_of: &'r HeadOf,
}

impl Reader<'_> {
    /// In the order given. Parsing heads is what an open takes longest for, so all cores do it.
    fn each(&self, records: &[Record]) -> Vec<Result<Arc<Stored>, OpenError>> {
        let threads = thread::available_parallelism().map_or(1, |n| n.get());
        let parts = records.chunks(records.len().div_ceil(threads).max(1));
        let parse = |part: &[Record]| -> Vec<_> { part.iter().map(|r| self.one(r)).collect() };
        let mut all = Vec::with_capacity(records.len());
        thread::scope(|scope| {
            let workers: Vec<_> = parts.map(|part| scope.spawn(move || parse(part))).collect();
            for worker in workers {
                match worker.join() {
                    Ok(part) => all.extend(part),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        all
    }

    fn one(&self, record: &Record) -> Result<Arc<Stored>, OpenError> {
        let Record {
            key,
            revision,
            created,
            hole,
            json,
        } = record.clone();
        let plain = match self.transformer {
            Some(transformer) => transformer.open(&key, &json),
            None if json.starts_with(b"{") => Ok(None),
            None => Err("it is encrypted, and no configuration says how".into()),
        };
        let plain = plain.map_err(|why| OpenError::Sealed {
            key: key.to_string(),
            why,
        })?;
        let json = plain.unwrap_or(json);
        let head = (self.head_of)(&key, &json);
        Ok(Arc::new(Stored {
            key,
            revision,
            created,
            json,
            hole,
            head,
        }))
    }
}
