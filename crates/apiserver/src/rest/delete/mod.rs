//! DELETE: preconditions, graceful deletion, and finalizers that hold an object until their owners let go.

mod options;
mod plan;
mod remove;

use std::sync::Arc;

use jiff::Timestamp;
use knarr_api::{Status, status::Details};
use knarr_json::Value;
use knarr_store::Stored;

use self::{
    options::check_preconditions,
    plan::{Plan, plan},
    remove::carry_out,
};
use super::{MODIFIED, Target, parse, present, update::TRIES};
use crate::{
    Outcome,
    accept::Shape,
    admission::{self, Attributes, Operation, Options},
    body::{RequestBody, Response},
    chain::Call,
    respond,
};

pub use options::DeleteOptions;
pub use remove::after;

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
        let object = parse(&current.json)?;
        let plan = plan(target, options, &object, Timestamp::now());
        if plan != Plan::Leave && asked == Asked::Everyone {
            let object = match target.resource.custom {
                Some(_) => target.read(&call.shared, &current).await?,
                None => target.decoded(object),
            };
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
