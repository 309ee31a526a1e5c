//! DELETE: preconditions, graceful deletion, and finalizers that hold an object until their owners let go.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan};
use knarr_api::{Status, decode::FieldValidation, field, status::Details};
use knarr_store::Stored;
use serde::Deserialize;
use serde_json::Value;

use super::{MODIFIED, Target, meta, parse, present, remove::carry_out, update::TRIES};
use crate::{
    Outcome,
    accept::Shape,
    admission::{self, Attributes, Operation, Options},
    body::{self, RequestBody, Response},
    chain::Call,
    codec,
    query::{Query, check_dry_run},
    respond,
};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// `DeleteOptions`, from body or query.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub preconditions: Option<Preconditions>,
    pub orphan_dependents: Option<bool>,
    pub propagation_policy: Option<String>,
    pub dry_run: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

impl DeleteOptions {
    /// From the body when there is one, else from the query.
    ///
    /// # Errors
    /// 400, 413, 415, 422.
    pub async fn read(call: &Call, body: RequestBody) -> Outcome<Self> {
        let bytes = body::read(body).await?;
        let options = if bytes.is_empty() {
            Self::from_query(&call.query)?
        } else {
            Self::from_body(call, &bytes)?
        };
        options.check()?;
        Ok(options)
    }

    fn from_body(call: &Call, bytes: &[u8]) -> Outcome<Self> {
        let object = codec::decode_as(
            call,
            "",
            "v1",
            "DeleteOptions",
            bytes,
            FieldValidation::Ignore,
        )?;
        DeleteOptions::deserialize(&object)
            .map_err(|e| Box::new(Status::bad_request(e.to_string())))
    }

    fn from_query(query: &Query) -> Outcome<Self> {
        let dry: Vec<String> = query.all("dryRun").map(str::to_owned).collect();
        Ok(DeleteOptions {
            grace_period_seconds: query.int("gracePeriodSeconds")?,
            preconditions: None,
            orphan_dependents: query
                .get("orphanDependents")
                .map(|_| query.flag("orphanDependents")),
            propagation_policy: query.get("propagationPolicy").map(str::to_owned),
            dry_run: (!dry.is_empty()).then_some(dry),
        })
    }

    fn check(&self) -> Outcome<()> {
        let root = field::Path::default();
        let path = root.child("propagationPolicy");
        let mut errors = Vec::new();
        if let Some(policy) = &self.propagation_policy {
            if self.orphan_dependents.is_some() {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                errors.push(field::Error::invalid(&path, policy.as_str(), why));
            }
            let known = ["Foreground", "Background", "Orphan", "nil"];
            if !known[..3].contains(&policy.as_str()) {
                errors.push(field::Error::not_supported(&path, policy.as_str(), &known));
            }
        }
        let dry: Vec<&str> = self.dry_run.iter().flatten().map(String::as_str).collect();
        errors.extend(check_dry_run(&root, &dry));
        if errors.is_empty() {
            return Ok(());
        }
        Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &errors).into())
    }

    pub fn is_dry_run(&self) -> bool {
        self.dry_run.as_ref().is_some_and(|d| !d.is_empty())
    }
}

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

fn check_preconditions(target: &Target, options: &DeleteOptions, current: &Stored) -> Outcome<()> {
    let Some(wanted) = &options.preconditions else {
        return Ok(());
    };
    let resource = &target.resource;
    let refuse = |why: String| {
        Err(Status::conflict(&resource.group, &resource.kind, &current.head.name, &why).into())
    };
    if let Some(uid) = wanted.uid.as_ref().filter(|u| **u != current.head.uid) {
        return refuse(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            current.head.uid
        ));
    }
    let revision = current.revision.to_string();
    if let Some(asked) = wanted.resource_version.as_ref().filter(|r| **r != revision) {
        return refuse(format!(
            "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({revision}). The object might have been modified"
        ));
    }
    Ok(())
}

/// What a delete does to an object. Pure.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// Nothing: it is being deleted already, and this request does not hasten it.
    Leave,
    /// Write this; the object stays for a while.
    Mark(Value),
    /// Remove it; this is its last state.
    Remove(Value),
}

fn plan(target: &Target, options: &DeleteOptions, old: &Value, now: Timestamp) -> Plan {
    let resource = &target.resource;
    if resource.group.is_empty() && resource.kind == "Namespace" {
        return plan_namespace(target, options, old, now);
    }
    if resource.group == "apiextensions.k8s.io" && !meta::is_deleting(old) {
        return Plan::Mark(crate::custom::marked_for_deletion(old, now));
    }
    let asked = options
        .grace_period_seconds
        .map(|s| if s < 0 { 1 } else { s });
    let mut object = old.clone();
    let graceful = match resource.strategy.grace_period(old, asked) {
        None => Grace::None,
        Some(seconds) => mark_graceful(&mut object, asked, seconds, now),
    };
    if graceful == Grace::Pending {
        return Plan::Leave;
    }
    let finalizers = wanted_finalizers(target, options, old);
    let held = !finalizers.is_empty();
    if finalizers != meta::finalizers(old) {
        meta::set_finalizers(&mut object, finalizers);
    }
    match graceful {
        Grace::Set(seconds) if held || seconds > 0 => Plan::Mark(object),
        Grace::Set(_) => Plan::Remove(object),
        Grace::None | Grace::Pending if held => {
            mark_now(&mut object, now);
            Plan::Mark(object)
        }
        Grace::None | Grace::Pending => Plan::Remove(object),
    }
}

/// A namespace goes through two deletes: the first one ends its life, the last one, without finalizers, removes it.
fn plan_namespace(target: &Target, options: &DeleteOptions, old: &Value, now: Timestamp) -> Plan {
    let emptied = old["spec"]["finalizers"]
        .as_array()
        .is_none_or(Vec::is_empty);
    let mut object = old.clone();
    if !meta::is_deleting(old) {
        meta::of(&mut object).insert("deletionTimestamp".into(), meta::time(now).into());
        object["status"]["phase"] = "Terminating".into();
        return Plan::Mark(object);
    }
    let finalizers = wanted_finalizers(target, options, old);
    match (emptied, finalizers.is_empty()) {
        (true, true) => Plan::Remove(object),
        (true, false) if finalizers != meta::finalizers(old) => {
            meta::set_finalizers(&mut object, finalizers);
            Plan::Mark(object)
        }
        _ => Plan::Leave,
    }
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Grace {
    /// This delete is not graceful.
    None,
    /// A graceful deletion runs already and is not shortened.
    Pending,
    /// Set to so many seconds from now.
    Set(i64),
}

fn mark_graceful(object: &mut Value, asked: Option<i64>, seconds: i64, now: Timestamp) -> Grace {
    let running = object["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let started = object["metadata"]["deletionTimestamp"]
        .as_str()
        .and_then(|t| t.parse::<Timestamp>().ok());
    let at = |t: Timestamp, seconds: i64| meta::time(t.checked_add(seconds.seconds()).unwrap_or(t));
    match (started, running, asked) {
        (Some(_), None, _) => Grace::None,
        (Some(end), Some(running), Some(asked)) if asked < running => {
            let map = meta::of(object);
            map.insert("deletionTimestamp".into(), at(end, asked - running).into());
            map.insert("deletionGracePeriodSeconds".into(), asked.into());
            Grace::Set(asked)
        }
        (Some(_), Some(_), _) => Grace::Pending,
        (None, ..) => {
            count(object);
            let map = meta::of(object);
            map.insert("deletionTimestamp".into(), at(now, seconds).into());
            map.insert("deletionGracePeriodSeconds".into(), seconds.into());
            Grace::Set(seconds)
        }
    }
}

/// Marks an object that knows no grace but has finalizers.
fn mark_now(object: &mut Value, now: Timestamp) {
    if object["metadata"]["deletionGracePeriodSeconds"].is_null() {
        count(object);
    }
    let started = object["metadata"]["deletionTimestamp"]
        .as_str()
        .and_then(|t| t.parse::<Timestamp>().ok());
    let map = meta::of(object);
    if started.is_none_or(|t| t > now) {
        map.insert("deletionTimestamp".into(), meta::time(now).into());
    }
    map.insert("deletionGracePeriodSeconds".into(), 0.into());
}

/// The start of a deletion counts as a change of what is wanted.
fn count(object: &mut Value) {
    let generation = meta::generation(object);
    if generation > 0 {
        meta::of(object).insert("generation".into(), (generation + 1).into());
    }
}

/// The object's finalizers with those that the propagation policy puts in or takes out.
fn wanted_finalizers(target: &Target, options: &DeleteOptions, object: &Value) -> Vec<String> {
    let current = meta::finalizers(object);
    let has = |name: &str| current.iter().any(|f| f == name);
    let policy = options.propagation_policy.as_deref();
    let (orphan, foreground) = match (options.orphan_dependents, policy) {
        (Some(orphan), _) => (orphan, false),
        (None, Some(policy)) => (policy == "Orphan", policy == "Foreground"),
        (None, None) if has(ORPHAN) || has(FOREGROUND) => {
            let first = current.iter().find(|f| *f == ORPHAN || *f == FOREGROUND);
            (
                first.is_some_and(|f| f == ORPHAN),
                first.is_some_and(|f| f == FOREGROUND),
            )
        }
        (None, None) => (target.resource.strategy.orphan_by_default(), false),
    };
    let mut wanted: Vec<String> = current
        .iter()
        .filter(|f| *f != ORPHAN && *f != FOREGROUND)
        .cloned()
        .collect();
    if orphan {
        wanted.push(ORPHAN.into());
    }
    if foreground {
        wanted.push(FOREGROUND.into());
    }
    let same = wanted.len() == current.len() && wanted.iter().all(|f| current.contains(f));
    if same { current } else { wanted }
}
