//! PUT, and what PATCH shares with it: read, change, check, write, and again when someone else was faster.

use std::sync::Arc;

use knarr_api::{Status, field, fields, head::Encoded, validation};
use knarr_json::Value;
use knarr_store::{Stored, Write, WriteError};

use super::{MODIFIED, Target, create, engine_failure, managed, meta, parse, present, sub::scale};
use crate::{
    Outcome,
    accept::Shape,
    admission::{self, Attributes, Operation},
    authz,
    body::{self, RequestBody, Response},
    chain::{Call, Given},
    codec,
    query::{OptionsKind, WriteOptions},
};

/// How often a write that lost a race is tried again.
pub const TRIES: usize = 10;

/// # Errors
/// As [`create::create`]; 404, 409.
pub async fn update(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    let accept = call.negotiate(&[Shape::Table, Shape::Partial])?;
    let bytes = body::read(body).await?;
    let options = WriteOptions::new(&call.query, OptionsKind::Update)?;
    let mut object = codec::decode(
        call,
        target,
        &target.resource.kind,
        &bytes,
        options.field_validation,
    )?;
    *call.given.lock() = Given::Body(bytes);
    meta::settle_namespace(target, &mut object)?;
    meta::settle_name(target, &object)?;
    let creates = target.resource.strategy.create_on_update() && target.subresource.is_none();
    if creates && call.shared.store.get(&target.key()).is_none() {
        let stored = create_absent(call, target, object, &options).await?;
        let stored = target.view(&call.shared, stored).await?;
        return present::one(call, target, &accept, 201, &stored.json);
    }
    let stored = change(
        call,
        target,
        &options,
        Kind::Update,
        &|_| Ok(object.clone()),
    )
    .await?;
    let stored = target.view(&call.shared, stored).await?;
    present::one(call, target, &accept, 200, &stored.json)
}

/// A PUT to a name that is free, of a kind that takes those.
async fn create_absent(
    call: &Call,
    target: &Target,
    mut object: Value,
    options: &WriteOptions,
) -> Outcome<Arc<Stored>> {
    let uid = meta::text(&object, "uid").to_owned();
    if !uid.is_empty() {
        return Err(target.conflict(&uid_precondition(&target.key(), &uid, "")));
    }
    meta::of(&mut object).remove("resourceVersion");
    create::object_at(call, target, object, options, create::Owners::Noted).await
}

pub fn uid_precondition(key: &str, wanted: &str, found: &str) -> String {
    format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
    )
}

/// Who makes the new object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A PUT: its body is the new object, its revision a precondition.
    Update,
    /// A patch: made anew from whatever is stored.
    Patch,
    /// Server-side apply: as a patch, with its own managed fields.
    Apply,
}

/// Reads the object, makes a new one of it with `make` (which gets and gives the version of the request), and writes that.
///
/// # Errors
/// 404, 409, 422, and whatever `make` refuses.
pub async fn change(
    call: &Call,
    target: &Target,
    options: &WriteOptions,
    kind: Kind,
    make: &(dyn Fn(&Value) -> Outcome<Value> + Sync),
) -> Outcome<Arc<Stored>> {
    for _ in 0..TRIES {
        let current = target.load(call)?;
        let old = target.read(&call.shared, &current).await?;
        let new = make(&old)?;
        match write(call, target, options, kind, &current, &old, new).await? {
            Some(stored) => return Ok(stored),
            None => tokio::task::yield_now().await,
        }
    }
    Err(target.conflict(MODIFIED))
}

/// One try; none when someone else was faster and the caller may try again.
async fn write(
    call: &Call,
    target: &Target,
    options: &WriteOptions,
    kind: Kind,
    current: &Arc<Stored>,
    old: &Value,
    mut new: Value,
) -> Outcome<Option<Arc<Stored>>> {
    let strategy = target.resource.strategy.clone();
    let ctx = target.context(call);
    let fixed = check_preconditions(target, kind, current, &new)?;
    meta::settle_namespace(target, &mut new)?;
    // An update without a revision is one of whatever is stored.
    meta::of(&mut new).insert("resourceVersion", current.revision.to_string().into());
    call.warn(managed::owner_warnings(&new));
    meta::name_owners_once(&mut new);
    strategy.default(&ctx, &mut new);
    codec::settle(call, target, &mut new);
    if kind != Kind::Apply {
        managed::note(call, target, &mut new, Some(old), options);
    }
    mutate(call, target, options, old, &mut new).await?;
    meta::keep(&mut new, old);
    strategy.prepare_update(&ctx, &mut new, old);
    codec::settle(call, target, &mut new);
    admission::prepare(call, target, &mut new, Some(old))?;
    count_generation(target, &mut new, old);
    let admitted = admission::allocate(call, target, &mut new, Some(old), options.dry_run).await?;
    validate(call, target, &ctx, &new, old).await?;
    admitted_by_others(call, target, options, old, &new).await?;
    call.warn(field::found(|| strategy.warnings(&ctx, &new, Some(old))));
    fields::keep_times(old, &mut new);
    target.to_storage(&call.shared, &mut new).await?;
    let done = commit(call, target, options, current, new).await;
    match done {
        Ok(stored) => {
            if !options.dry_run {
                admitted.keep(call).await;
            }
            Ok(Some(stored))
        }
        Err(Lost::Race) if fixed => Err(target.conflict(MODIFIED)),
        Err(Lost::Race) => Ok(None),
        Err(Lost::Refused(status)) => Err(status),
    }
}

/// The mutating pass of admission, on the Scale of an object that is scaled.
async fn mutate(
    call: &Call,
    target: &Target,
    options: &WriteOptions,
    old: &Value,
    new: &mut Value,
) -> Outcome<()> {
    let attributes = Attributes::new(call, target, Operation::Update).dry_run(options.dry_run);
    if attributes.subresource == "scale" {
        let (before, mut scale) = (scale::scale_of(target, old), scale::scale_of(target, new));
        admission::mutate(&attributes.old(&before), &mut scale).await?;
        if scale != scale::scale_of(target, new) {
            *new = scale::scaled(target, new, &scale)?;
        }
        return Ok(());
    }
    let attributes = attributes.old(old);
    admission::mutate(&attributes, new).await?;
    admission::escalation(&attributes, new).await?;
    meta::name_owners_once(new);
    Ok(())
}

/// The validating pass of admission, on the Scale of an object that is scaled.
async fn admitted_by_others(
    call: &Call,
    target: &Target,
    options: &WriteOptions,
    old: &Value,
    new: &Value,
) -> Outcome<()> {
    let attributes = Attributes::new(call, target, Operation::Update).dry_run(options.dry_run);
    if attributes.subresource == "scale" {
        let (before, scale) = (scale::scale_of(target, old), scale::scale_of(target, new));
        return admission::validate(&attributes.old(&before), &scale).await;
    }
    admission::validate(&attributes.old(old), new).await
}

enum Lost {
    Race,
    Refused(Box<Status>),
}

/// Checks revision and uid of the request; true when the revision is the request's own.
fn check_preconditions(
    target: &Target,
    kind: Kind,
    current: &Stored,
    new: &Value,
) -> Outcome<bool> {
    // Of a patch the uid is one more field that must not change, which validation says.
    let uid = meta::text(new, "uid");
    if kind == Kind::Update && !uid.is_empty() && uid != current.head.uid {
        return Err(target.conflict(&uid_precondition(&target.key(), uid, &current.head.uid)));
    }
    let text = meta::text(new, "resourceVersion");
    let revision = match text {
        "" | "0" => 0,
        text => text.parse::<u64>().map_err(|_| {
            let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
            Box::new(Status {
                reason: String::new(),
                ..Status::failure(500, "", why)
            })
        })?,
    };
    if revision == 0 {
        let scales = target
            .subresource
            .as_ref()
            .is_some_and(|s| s.name == "scale");
        if kind == Kind::Update && !scales && !target.resource.strategy.unconditional_update() {
            let path = field::Path::new("metadata").child("resourceVersion");
            let error = field::Error::invalid(&path, 0, "must be specified for an update");
            let resource = &target.resource;
            return Err(
                Status::invalid(&resource.group, &resource.plural, &target.name, &[error]).into(),
            );
        }
        return Ok(false);
    }
    if revision != current.revision {
        return Err(target.conflict(MODIFIED));
    }
    // A patch carries the revision it was made from; only one that it set itself is fixed, and that was just checked.
    Ok(kind == Kind::Update)
}

/// Counts a change of the spec, for kinds that count and whose strategy has not done so itself.
fn count_generation(target: &Target, new: &mut Value, old: &Value) {
    let counts = target.resource.strategy.has_generation()
        && target
            .subresource
            .as_ref()
            .is_none_or(|s| s.name != "status");
    let before = meta::generation(old);
    let changed = || target.resource.strategy.generation_changed(new, old);
    if counts && meta::generation(new) == before && changed() {
        meta::of(new).insert("generation", before.wrapping_add(1).into());
    }
}

async fn validate(
    call: &Call,
    target: &Target,
    ctx: &knarr_api::strategy::Context,
    new: &Value,
    old: &Value,
) -> Outcome<()> {
    let resource = &target.resource;
    let unauthorized = match writes_claim_status(target) {
        true => authz::claims::check(call, new, old).await,
        false => Vec::new(),
    };
    let check = |new: &Value| {
        let mut errors = Vec::new();
        validation::meta::update(new, old, &mut errors);
        errors.extend(unauthorized.iter().cloned());
        errors.extend(resource.strategy.validate_update(ctx, new, old));
        errors
    };
    let mut errors = call.aside(|| field::found(|| check(new)));
    if errors.is_empty() {
        return Ok(());
    }
    codec::show_as_given(call, target, new, &mut errors, &check);
    Err(Status::invalid(
        resource.error_group(),
        &resource.kind,
        meta::text(new, "name"),
        &errors,
    )
    .into())
}

fn writes_claim_status(target: &Target) -> bool {
    let resource = &target.resource;
    (resource.group.as_str(), resource.plural.as_str()) == ("resource.k8s.io", "resourceclaims")
        && target
            .subresource
            .as_ref()
            .is_some_and(|s| s.name == "status")
}

async fn commit(
    call: &Call,
    target: &Target,
    options: &WriteOptions,
    current: &Arc<Stored>,
    mut object: Value,
) -> Result<Arc<Stored>, Lost> {
    let refused = |e: serde_json::Error| Lost::Refused(engine_failure(e));
    let head = meta::head(target, &object);
    meta::of(&mut object).remove("resourceVersion");
    let value = Encoded::new(&object).map_err(refused)?;
    if value.at_revision(current.revision) == current.json && !call.shared.is_stale(&current.key) {
        return Ok(current.clone());
    }
    let ends = ends_deletion(target, &object);
    let (key, expect) = (target.key(), current.revision);
    if options.dry_run {
        let json = value.at_revision(current.revision);
        return Ok(Arc::new(Stored {
            key: key.into(),
            revision: current.revision,
            created: current.created,
            json,
            hole: value.hole(),
            head,
        }));
    }
    let write = if ends {
        Write::Delete { key, expect }
    } else {
        Write::Update {
            key,
            expect,
            value: value.clone(),
            head: head.clone(),
        }
    };
    match call.shared.store.write(write).await {
        Ok(stored) if ends => {
            super::delete::after(call, target, &stored).await;
            let json = value.at_revision(current.revision);
            Ok(Arc::new(Stored {
                key: stored.key.clone(),
                revision: current.revision,
                created: current.created,
                json,
                hole: value.hole(),
                head,
            }))
        }
        Ok(stored) => Ok(stored),
        Err(WriteError::Conflict(_)) => Err(Lost::Race),
        Err(WriteError::NotFound) => Err(Lost::Refused(target.not_found())),
        Err(error) => Err(Lost::Refused(engine_failure(error))),
    }
}

/// Whether this update took away the last thing that held a deleted object.
fn ends_deletion(target: &Target, object: &Value) -> bool {
    let pending = object["metadata"]["deletionGracePeriodSeconds"]
        .as_i64()
        .is_some_and(|s| s > 0);
    let held_namespace = target.resource.kind == "Namespace"
        && target.resource.group.is_empty()
        && object["spec"]["finalizers"]
            .as_array()
            .is_some_and(|f| !f.is_empty());
    meta::is_deleting(object) && !pending && !held_namespace && meta::finalizers(object).is_empty()
}

/// Changes an object without strategy and admission, for subresources that are their own rules. Nobody owns what is changed.
///
/// # Errors
/// 404, 409, and what `change` refuses.
pub async fn raw(
    call: &Call,
    target: &Target,
    options: &WriteOptions,
    change: &(dyn Fn(&mut Value) -> Outcome<()> + Sync),
) -> Outcome<Arc<Stored>> {
    for _ in 0..TRIES {
        let current = target.load(call)?;
        let mut object = parse(&current.json)?;
        change(&mut object)?;
        match commit(call, target, options, &current, object).await {
            Ok(stored) => return Ok(stored),
            Err(Lost::Race) => tokio::task::yield_now().await,
            Err(Lost::Refused(status)) => return Err(status),
        }
    }
    Err(target.conflict(MODIFIED))
}
