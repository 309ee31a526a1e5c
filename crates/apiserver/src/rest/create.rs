//! POST to a collection.

use knarr_api::{Status, field, head::Encoded, validation};
use knarr_json::Value;
use knarr_store::{Stored, Write, WriteError};
use std::sync::Arc;

use super::{Target, engine_failure, managed, meta, present};
use crate::{
    Outcome,
    accept::Shape,
    admission::{self, Attributes, Operation},
    body::{self, RequestBody, Response},
    chain::{Call, Given},
    codec,
    query::{OptionsKind, WriteOptions},
};

/// How often a generated name that is taken is drawn anew.
const DRAWS: usize = 8;

/// # Errors
/// What is wrong with options, body, object or place, as a Status.
pub async fn create(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    let accept = call.negotiate(&[Shape::Table, Shape::Partial])?;
    let bytes = body::read(body).await?;
    let options = WriteOptions::new(&call.query, OptionsKind::Create)?;
    let object = codec::decode(
        call,
        target,
        &target.resource.kind,
        &bytes,
        options.field_validation,
    )?;
    *call.given.lock() = Given::Body(bytes);
    let mut target = target.clone();
    if target.resource.namespaced && target.namespace.is_empty() {
        target.namespace = meta::text(&object, "namespace").to_owned();
    }
    let stored = object_at(call, &target, object, &options, Owners::Noted).await?;
    let stored = target.view(&call.shared, stored).await?;
    present::one(call, &target, &accept, 201, &stored.json)
}

/// Creates a decoded object at the version of the request.
///
/// # Errors
/// As [`create`].
pub async fn object_at(
    call: &Call,
    target: &Target,
    object: Value,
    options: &WriteOptions,
    owners: Owners,
) -> Outcome<Arc<Stored>> {
    let generated =
        meta::text(&object, "name").is_empty() && !meta::text(&object, "generateName").is_empty();
    let admitted = admit(call, target, object, options, owners).await?;
    if !generated {
        return attempt(call, target, admitted, options).await;
    }
    for _ in 1..DRAWS {
        match attempt(call, target, admitted.clone(), options).await {
            Err(status) if status.reason == "AlreadyExists" => {}
            other => return other,
        }
    }
    attempt(call, target, admitted, options).await
}

/// Who says who owns the fields of a new object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Its creator owns them.
    Noted,
    /// The object tells: it was applied.
    Given,
}

/// What happens once, before there is a name: defaults, field ownership, the mutating pass of admission.
async fn admit(
    call: &Call,
    target: &Target,
    mut object: Value,
    options: &WriteOptions,
    owners: Owners,
) -> Outcome<Value> {
    let strategy = target.resource.strategy.clone();
    let ctx = target.context(call);
    if !meta::text(&object, "resourceVersion").is_empty() {
        let why = "resourceVersion should not be set on objects to be created";
        return Err(Status {
            reason: String::new(),
            ..Status::failure(500, "", why)
        }
        .into());
    }
    meta::settle_namespace(target, &mut object)?;
    meta::wipe(&mut object);
    call.warn(managed::owner_warnings(&object));
    meta::name_owners_once(&mut object);
    strategy.default(&ctx, &mut object);
    codec::settle(call, target, &mut object);
    if owners == Owners::Noted {
        managed::note(call, target, &mut object, None, options);
    }
    let mut target = target.clone();
    target.name = meta::text(&object, "name").to_owned();
    let attributes = Attributes::new(call, &target, Operation::Create).dry_run(options.dry_run);
    admission::mutate(&attributes, &mut object).await?;
    admission::escalation(&attributes, &object).await?;
    meta::name_owners_once(&mut object);
    Ok(object)
}

/// One try at a name.
async fn attempt(
    call: &Call,
    target: &Target,
    mut object: Value,
    options: &WriteOptions,
) -> Outcome<Arc<Stored>> {
    let strategy = target.resource.strategy.clone();
    let ctx = target.context(call);
    name(&mut object);
    let mut target = target.clone();
    target.name = meta::text(&object, "name").to_owned();
    meta::stamp_new(&mut object);
    strategy.prepare_create(&ctx, &mut object);
    codec::settle(call, &target, &mut object);
    if strategy.has_generation() {
        meta::of(&mut object).insert("generation", 1.into());
    }
    admission::prepare(call, &target, &mut object, None)?;
    let admitted = admission::allocate(call, &target, &mut object, None, options.dry_run).await?;
    validate(call, &target, &ctx, &object)?;
    let attributes = Attributes::new(call, &target, Operation::Create).dry_run(options.dry_run);
    admission::validate(&attributes, &object).await?;
    call.warn(field::found(|| strategy.warnings(&ctx, &object, None)));
    target.to_storage(&call.shared, &mut object).await?;
    let stored = commit(call, &target, object, options).await?;
    if !options.dry_run {
        admitted.keep(call).await;
    }
    Ok(stored)
}

/// Draws a name when only its start is given.
fn name(object: &mut Value) {
    let base = meta::text(object, "generateName").to_owned();
    if meta::text(object, "name").is_empty() && !base.is_empty() {
        meta::of(object).insert("name", meta::generate(&base).into());
    }
}

fn validate(
    call: &Call,
    target: &Target,
    ctx: &knarr_api::strategy::Context,
    object: &Value,
) -> Outcome<()> {
    let resource = &target.resource;
    let check = |object: &Value| resource.strategy.validate_create(ctx, object);
    let mut errors = call.aside(|| field::found(|| check(object)));
    if errors.is_empty() {
        validation::meta::path_segment_name(object, resource.namespaced, &mut errors);
    }
    if errors.is_empty() {
        return Ok(());
    }
    codec::show_as_given(call, target, object, &mut errors, &check);
    // An object of another kind is refused as what it says it is.
    let said = object["kind"]
        .as_str()
        .filter(|_| resource.custom.is_some());
    Err(Status::invalid(
        resource.error_group(),
        said.unwrap_or(&resource.kind),
        meta::text(object, "name"),
        &errors,
    )
    .into())
}

async fn commit(
    call: &Call,
    target: &Target,
    object: Value,
    options: &WriteOptions,
) -> Outcome<Arc<Stored>> {
    let head = meta::head(target, &object);
    let value = Encoded::new(&object).map_err(engine_failure)?;
    let exists = |stored: &Stored| exists(target, stored);
    let key = target.key();
    if options.dry_run {
        return match call.shared.store.get(&key) {
            Some(stored) => Err(exists(&stored)),
            None => Ok(unwritten(&key, &value, head)),
        };
    }
    match call
        .shared
        .store
        .write(Write::Create { key, value, head })
        .await
    {
        Ok(stored) => Ok(stored),
        Err(WriteError::Exists(stored)) => Err(exists(&stored)),
        Err(error) => Err(engine_failure(error)),
    }
}

fn exists(target: &Target, stored: &Stored) -> Box<Status> {
    let mut status = Status::already_exists(
        &target.resource.group,
        &target.resource.plural,
        &target.name,
    );
    if stored.head.deleting {
        status.message = format!("object is being deleted: {}", status.message);
    }
    status.into()
}

/// What a dry run answers: the object without a revision.
pub fn unwritten(key: &str, value: &Encoded, head: knarr_api::Head) -> Arc<Stored> {
    Arc::new(Stored {
        key: key.into(),
        revision: 0,
        created: 0,
        json: value.json().clone(),
        hole: value.hole(),
        head,
    })
}
