//! DELETE: preconditions, graceful deletion, and finalizers that hold an object until their owners let go.

mod options;
mod plan;

use std::sync::Arc;

use jiff::Timestamp;
use knarr_api::{Status, head::Encoded, status::Details};
use knarr_store::{Stored, Write, WriteError};
use serde_json::Value;

use self::{
    options::check_preconditions,
    plan::{Plan, plan},
};
use super::{MODIFIED, Target, engine_failure, meta, parse, present, update::TRIES};
use crate::{
    Outcome,
    accept::Shape,
    admission::{self, Attributes, Held, Operation, Options, claims},
    body::{RequestBody, Response},
    chain::Call,
    respond,
};

pub use options::DeleteOptions;

/// What a delete left behind.
pub enum Deleted {
    /// Gone; the last state, as it was answered when the kind answers with it.
    Gone(Arc<Stored>),
    /// Still there, held by finalizers or by its grace period.
    Pending(Arc<Stored>),
}

/// # Errors
/// 404, 409, and what is wrong with the options.
pub async fn delete(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    let accept = call.negotiate(&[Shape::Table, Shape::Partial])?;
    let options = DeleteOptions::read(call, body).await?;
    admission::may_delete(target)?;
    warn_of_orphans(call, target, &options);
    let resource = &target.resource;
    match one(call, target, &options, Asked::Everyone).await? {
        Deleted::Pending(stored) => {
            let code = if options.orphan_dependents == Some(false) {
                202
            } else {
                200
            };
            let stored = target.view(&call.shared, stored).await?;
            present::one(call, target, &accept, code, &stored.json)
        }
        Deleted::Gone(stored) if resource.strategy.returns_deleted() => {
            let stored = target.view(&call.shared, stored).await?;
            present::one(call, target, &accept, 200, &stored.json)
        }
        Deleted::Gone(stored) => {
            let details = Details {
                name: target.name.clone(),
                group: resource.group.clone(),
                kind: resource.plural.clone(),
                uid: stored.head.uid.clone(),
                ..Details::default()
            };
            Ok(respond::status(&accept, &Status::success(details)))
        }
    }
}

/// Jobs keep their pods when nobody says otherwise, which surprises people.
fn warn_of_orphans(call: &Call, target: &Target, options: &DeleteOptions) {
    if target.resource.group == "batch"
        && target.resource.kind == "Job"
        && options.propagation_policy.is_none()
        && options.orphan_dependents.is_none()
    {
        call.warn(["child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning".to_owned()]);
    }
}

/// Whether admission is asked about a delete.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Everyone,
    /// An eviction was admitted as such.
    Nobody,
}

/// Deletes one object, as far as it lets itself be deleted now.
///
/// # Errors
/// 404, 409, and what admission answers.
pub async fn one(
    call: &Call,
    target: &Target,
    options: &DeleteOptions,
    asked: Asked,
) -> Outcome<Deleted> {
    for _ in 0..TRIES {
        let current = target.load(call)?;
        check_preconditions(target, options, &current)?;
        let plan = plan(target, options, &parse(&current.json)?, Timestamp::now());
        if plan != Plan::Leave && asked == Asked::Everyone {
            let object = target.read(&call.shared, &current).await?;
            admit(call, target, options, &object).await?;
        }
        match carry_out(call, target, options, current, plan).await? {
            Some(done) => return Ok(done),
            None => tokio::task::yield_now().await,
        }
    }
    Err(target.conflict(MODIFIED))
}

async fn admit(call: &Call, target: &Target, options: &DeleteOptions, old: &Value) -> Outcome<()> {
    let attributes = Attributes {
        options: Options::Delete(options),
        ..Attributes::new(call, target, Operation::Delete)
            .old(old)
            .dry_run(options.is_dry_run())
    };
    admission::mutate(&attributes, &mut Value::Null).await?;
    admission::validate(&attributes, &Value::Null).await
}

/// None when someone else was faster.
async fn carry_out(
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
    let mut last = shown(&current, &value, head.clone());
    if options.is_dry_run() {
        return Ok(Some(Deleted::Gone(last)));
    }
    let store = &call.shared.store;
    let (key, mut expect) = (current.key.to_string(), current.revision);
    if last.json != current.json {
        let marked = Write::Update {
            key: key.clone(),
            expect,
            value,
            head,
        };
        match store.write(marked).await {
            Ok(stored) => last = stored,
            Err(WriteError::Conflict(_)) => return Ok(None),
            Err(WriteError::NotFound) => return Err(target.not_found()),
            Err(error) => return Err(engine_failure(error)),
        }
        expect = last.revision;
    }
    let written = store.write(Write::Delete { key, expect }).await;
    if let Ok(stored) = &written {
        after(call, target, stored).await;
    }
    settle(written, target, |_| Deleted::Gone(last))
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
