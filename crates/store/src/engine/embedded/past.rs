//! The recent changes as they are read back at open, so that watches and continue tokens go on over a restart.

use std::collections::{HashMap, VecDeque};

use super::{format::Op, recover::Live};
use crate::{EventKind, engine::Record, model::group_of};

/// How much of the past of one resource is read back.
const MOST: usize = 10_000;
const MOST_BYTES: usize = 16 << 20;

/// One change. A delete's `object` is the state it removed, at the revision of the delete.
#[derive(Debug)]
pub(super) struct Step {
    pub kind: EventKind,
    pub object: Record,
    pub previous: Option<Record>,
}

/// What is known of one resource.
#[derive(Debug)]
pub(super) struct Group {
    /// Changes up to here are not known.
    pub floor: u64,
    pub steps: VecDeque<Step>,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Past {
    /// Floor of all resources that have no group.
    pub opened: u64,
    pub groups: HashMap<Box<str>, Group>,
    /// While a snapshot is read: what the keys of past changes held at the point that has been reached.
    states: Live,
}

impl Past {
    /// Nothing is known up to `opened`.
    pub(super) fn new(opened: u64) -> Past {
        Past {
            opened,
            ..Past::default()
        }
    }

    /// Takes in a record of a snapshot's past.
    pub(super) fn recall(&mut self, op: Op, record: Record, live: &Live) {
        match op {
            Op::Floor if record.key.is_empty() => self.opened = record.revision,
            Op::Floor => self.group(&record.key).floor = record.revision,
            Op::Before => {
                self.states.insert(record.key.clone(), record);
            }
            Op::PastDelete => {
                let previous = self.states.remove(&record.key);
                self.push(true, record, previous);
            }
            Op::PastPut | Op::PastLive => {
                let current = live.get(&record.key).filter(|_| op == Op::PastLive);
                let record = current.cloned().unwrap_or(record);
                let previous = self.states.insert(record.key.clone(), record.clone());
                self.push(false, record, previous);
            }
            Op::Put | Op::Delete => {}
        }
    }

    /// What only a snapshot needs goes.
    pub(super) fn snapshot_ends(&mut self) {
        self.states = Live::new();
    }

    /// Takes in one change, in revision order.
    pub(super) fn push(&mut self, deleted: bool, record: Record, previous: Option<Record>) {
        let kind = match (deleted, &previous) {
            (true, _) => EventKind::Deleted,
            (false, None) => EventKind::Added,
            (false, Some(_)) => EventKind::Modified,
        };
        let object = match (&previous, deleted) {
            (Some(before), true) => Record {
                revision: record.revision,
                ..before.clone()
            },
            _ => record,
        };
        let group = self.group(&object.key);
        group.bytes += weight(&object, previous.as_ref());
        group.steps.push_back(Step {
            kind,
            object,
            previous,
        });
        while group.steps.len() > MOST || group.bytes > MOST_BYTES {
            let Some(gone) = group.steps.pop_front() else {
                break;
            };
            group.bytes -= weight(&gone.object, gone.previous.as_ref());
            group.floor = gone.object.revision;
        }
    }

    fn group(&mut self, key: &str) -> &mut Group {
        let opened = self.opened;
        self.groups
            .entry(group_of(key).into())
            .or_insert_with(|| Group {
                floor: opened,
                steps: VecDeque::new(),
                bytes: 0,
            })
    }
}

fn weight(object: &Record, previous: Option<&Record>) -> usize {
    object.json.len() + previous.map_or(0, |p| p.json.len())
}
