//! How a delete is carried out: what its plan says is written.

use std::sync::Arc;

use knarr_api::head::Encoded;
use knarr_json::Value;
use knarr_store::{Stored, Write, WriteError};

use super::{
    super::{MODIFIED, Target, engine_failure, meta, parse, update::TRIES},
    DeleteOptions, Deleted, Plan,
};
use crate::{
    Outcome,
    admission::{Held, claims},
    chain::Call,
};

/// None when someone else was faster.
pub(super) async fn carry_out(
    call: &Call,
    target: &Target,
    options: &DeleteOptions,
    current: Arc<Stored>,
    plan: Plan,
) -> Outcome<Option<Deleted>> {
    let (key, expect) = (current.key.to_string(), current.revision);
    match plan {
        Plan::Leave => Ok(Some(Deleted::Pending(current))),
        Plan::Mark(object) => {
            let head = meta::head(target, &object);
            let value = Encoded::new(&object).map_err(engine_failure)?;
            if value.at_revision(expect) == current.json {
                return Ok(Some(Deleted::Pending(current)));
            }
            if options.is_dry_run() {
                return Ok(Some(Deleted::Pending(shown(&current, &value, head))));
            }
            settle(
                call.shared
                    .store
                    .write(Write::Update {
                        key,
                        expect,
                        value,
                        head,
                    })
                    .await,
                target,
                Deleted::Pending,
            )
        }
        Plan::Remove(object) => remove(call, target, options, current, object).await,
    }
}

/// Removes an object. One that was changed on the way, to be deleted without grace, is first written so for its watchers.
async fn remove(
    call: &Call,
    target: &Target,
    options: &DeleteOptions,
    current: Arc<Stored>,
    object: Value,
) -> Outcome<Option<Deleted>> {
    let head = meta::head(target, &object);
    let value = Encoded::new(&object).map_err(engine_failure)?;
    let last = shown(&current, &value, head.clone());
    if options.is_dry_run() {
        return Ok(Some(Deleted::Gone(last)));
    }
    let store = &call.shared.store;
    let (key, expect) = (current.key.to_string(), current.revision);
    if last.json != current.json {
        let marked = Write::Update {
            key: key.clone(),
            expect,
            value,
            head,
        };
        return match store.write(marked).await {
            Ok(marked) => finish(call, target, marked).await.map(Some),
            Err(WriteError::Conflict(_)) => Ok(None),
            Err(WriteError::NotFound) => Err(target.not_found()),
            Err(error) => Err(engine_failure(error)),
        };
    }
    let written = store.write(Write::Delete { key, expect }).await;
    if let Ok(stored) = &written {
        after(call, target, stored).await;
    }
    settle(written, target, |_| Deleted::Gone(last))
}

/// Removes what has been marked to go at once. Everyone can see the mark by now: whoever changes the object meanwhile does
/// not keep it, and when somebody else removes it first, such as a kubelet, what was asked for has happened.
async fn finish(call: &Call, target: &Target, marked: Arc<Stored>) -> Outcome<Deleted> {
    let store = &call.shared.store;
    let mut last = marked;
    for _ in 0..TRIES {
        let delete = Write::Delete {
            key: last.key.to_string(),
            expect: last.revision,
        };
        match store.write(delete).await {
            Ok(stored) => {
                after(call, target, &stored).await;
                return Ok(Deleted::Gone(last));
            }
            Err(WriteError::NotFound) => return Ok(Deleted::Gone(last)),
            Err(WriteError::Conflict(_)) => {}
            Err(error) => return Err(engine_failure(error)),
        }
        match store.get(&last.key) {
            Some(now) if now.head.uid != last.head.uid => return Ok(Deleted::Gone(last)),
            Some(now) if !meta::finalizers(&parse(&now.json)?).is_empty() => {
                return Ok(Deleted::Pending(now));
            }
            Some(now) => last = now,
            None => return Ok(Deleted::Gone(last)),
        }
        tokio::task::yield_now().await;
    }
    Err(target.conflict(MODIFIED))
}

fn settle(
    written: Result<Arc<Stored>, WriteError>,
    target: &Target,
    done: impl FnOnce(Arc<Stored>) -> Deleted,
) -> Outcome<Option<Deleted>> {
    match written {
        Ok(stored) => Ok(Some(done(stored))),
        Err(WriteError::Conflict(_)) => Ok(None),
        Err(WriteError::NotFound) => Err(target.not_found()),
        Err(error) => Err(engine_failure(error)),
    }
}

/// The object as it would be at its present revision.
fn shown(current: &Stored, value: &Encoded, head: knarr_api::Head) -> Arc<Stored> {
    let (json, hole) = (value.at_revision(current.revision), value.hole());
    Arc::new(Stored {
        key: current.key.clone(),
        revision: current.revision,
        created: current.created,
        json,
        hole,
        head,
    })
}

/// Gives back what a deleted object held: addresses and ports of Services.
pub async fn after(call: &Call, target: &Target, last: &Stored) {
    if target.resource.group.is_empty() && target.resource.kind == "Service" {
        let service = parse(&last.json).unwrap_or_default();
        let held: Vec<Held> = Held::of(&service).into_iter().collect();
        claims::release(&call.shared, &held).await;
        call.shared.addresses.release(&last.json);
    }
}
