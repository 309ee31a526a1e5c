//! Writes as etcd's transactions: compare the key's revision, then change it; otherwise tell what is there.

use std::sync::Arc;

use bytes::Bytes;
use knarr_api::{Head, head::Encoded};

use super::proto::{
    CREATE, Compare, DeleteRangeRequest, KeyValue, MOD, PutRequest, RangeRequest, RequestOp,
    TxnRequest, TxnResponse, revision, signed, unsigned,
};
use crate::{Stored, Write, WriteError, engine::etcd::value::Values};

/// A write on its way.
pub(super) struct Attempt {
    pub request: TxnRequest,
    /// What is put; none for a delete.
    pub value: Option<Bytes>,
    pub write: Write,
}

/// What became of it.
pub(super) enum Outcome {
    Done(Arc<Stored>),
    /// Readers must have this revision before the refusal is told, or they would try the same again.
    Refused(WriteError, u64),
}

impl Attempt {
    /// # Errors
    /// When the value cannot be sealed.
    pub(super) fn new(write: Write, values: &Values) -> Result<Attempt, WriteError> {
        let value = match &write {
            Write::Create { key, value, .. } | Write::Update { key, value, .. } => {
                Some(values.seal(key, value).map_err(WriteError::Engine)?)
            }
            Write::Delete { .. } => None,
        };
        Ok(Attempt {
            request: request(&write, values, value.clone()),
            value,
            write,
        })
    }

    /// What the answer says. `again` means that the same was sent before and nobody knows what became of that: what is
    /// there may be our own doing.
    ///
    /// # Errors
    /// What is wrong with the answer.
    pub(super) fn outcome(
        &self,
        response: &TxnResponse,
        again: bool,
        values: &Values,
    ) -> Result<Outcome, String> {
        let shown = response
            .responses
            .iter()
            .find_map(|op| op.range.as_ref())
            .and_then(|range| range.kvs.first());
        let at = revision(response.header.as_ref());
        if response.succeeded {
            return self.done(shown, at, values).map(Outcome::Done);
        }
        let Some(current) = shown else {
            return Ok(match &self.write {
                Write::Create { .. } => return Err("etcd refused a create without a reason".into()),
                _ => Outcome::Refused(WriteError::NotFound, at),
            });
        };
        if again && self.made(current) {
            let done = self.done(Some(current), unsigned(current.mod_revision), values);
            return done.map(Outcome::Done);
        }
        let stored = Arc::new(values.stored(current)?);
        let revision = stored.revision;
        let refusal = match &self.write {
            Write::Create { .. } => WriteError::Exists(stored),
            _ => WriteError::Conflict(stored),
        };
        Ok(Outcome::Refused(refusal, revision))
    }

    /// Whether an earlier attempt of this write made what is there.
    fn made(&self, current: &KeyValue) -> bool {
        let same = self.value.as_ref() == Some(&current.value);
        match &self.write {
            Write::Create { .. } => same && current.mod_revision == current.create_revision,
            Write::Update { expect, .. } => same && unsigned(current.mod_revision) > *expect,
            Write::Delete { .. } => false,
        }
    }

    fn done(
        &self,
        shown: Option<&KeyValue>,
        at: u64,
        values: &Values,
    ) -> Result<Arc<Stored>, String> {
        let shown = shown.ok_or("etcd's answer lacks the key")?;
        let put = |key: &String, value: &Encoded, head: &Head| Stored {
            key: key.as_str().into(),
            revision: at,
            created: unsigned(shown.create_revision),
            json: value.at_revision(at),
            hole: value.hole(),
            head: head.clone(),
        };
        Ok(Arc::new(match &self.write {
            Write::Create { key, value, head } => put(key, value, head),
            Write::Update {
                key, value, head, ..
            } => put(key, value, head),
            Write::Delete { .. } => values.stored(shown)?.moved_to(at),
        }))
    }
}

fn request(write: &Write, values: &Values, value: Option<Bytes>) -> TxnRequest {
    let (key, compare) = match write {
        Write::Create { key, .. } => (key, (CREATE, 0)),
        Write::Update { key, expect, .. } | Write::Delete { key, expect } => {
            (key, (MOD, signed(*expect)))
        }
    };
    let key = values.outer(key);
    let compare = Compare {
        target: compare.0,
        key: key.clone(),
        version: None,
        create_revision: (compare.0 == CREATE).then_some(compare.1),
        mod_revision: (compare.0 == MOD).then_some(compare.1),
    };
    // The answer tells when the key was created, and what a delete removes.
    let (change, look) = match value {
        Some(value) => (put(key.clone(), value), range(key.clone(), true)),
        None => (delete(key.clone()), range(key.clone(), false)),
    };
    let success = match write {
        Write::Delete { .. } => vec![look, change],
        _ => vec![change, look],
    };
    TxnRequest {
        compare: vec![compare],
        success,
        failure: vec![range(key, false)],
    }
}

fn put(key: Bytes, value: Bytes) -> RequestOp {
    RequestOp {
        put: Some(PutRequest { key, value }),
        ..RequestOp::default()
    }
}

fn delete(key: Bytes) -> RequestOp {
    RequestOp {
        delete: Some(DeleteRangeRequest { key }),
        ..RequestOp::default()
    }
}

fn range(key: Bytes, keys_only: bool) -> RequestOp {
    RequestOp {
        range: Some(RangeRequest {
            key,
            keys_only,
            ..RangeRequest::default()
        }),
        ..RequestOp::default()
    }
}
