//! Server-side apply: a configuration is merged into whatever is stored, or becomes it.

use knarr_api::{
    Status,
    decode::{FieldValidation, yaml},
    old::Old,
};
use knarr_json::{Map, Value};

use super::{MODIFIED, Target, create, managed, meta, present, update};
use crate::{
    Outcome,
    accept::Shape,
    body::{self, RequestBody, Response},
    chain::{Call, Given},
    query::{OptionsKind, WriteOptions},
    respond,
};

/// # Errors
/// 400, 409, 422, 500: what is wrong with the configuration, or whose fields it would take.
pub async fn apply(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    let accept = call.negotiate(&[Shape::Table, Shape::Partial])?;
    let bytes = body::read(body).await?;
    let options = WriteOptions::new(&call.query, OptionsKind::Apply)?;
    let mut applied = call.aside(|| read(call, &bytes, options.field_validation))?;
    if let Some(old) = target.old {
        modernize(old, &mut applied)?;
    }
    if call
        .shared
        .schemas
        .load()
        .by_kind(
            &target.resource.group,
            &target.version,
            &target.resource.kind,
        )
        .is_none()
    {
        return Err(
            respond::general(415, "UnsupportedMediaType", "415: Unsupported Media Type").into(),
        );
    }
    *call.given.lock() = Given::Read(applied.clone());
    for _ in 0..update::TRIES {
        if call.shared.store.get(&target.key()).is_none() {
            match create_applied(call, target, &applied, &options).await {
                // Someone else made it at this moment.
                Err(status) if status.reason == "AlreadyExists" => continue,
                created => {
                    let stored = target.view(&call.shared, created?).await?;
                    return present::one(call, target, &accept, 201, &stored.json);
                }
            }
        }
        let make = |old: &Value| merged(call, target, Some(old), &applied, &options);
        match update::change(call, target, &options, update::Kind::Apply, &make).await {
            Err(status) if status.code == 404 && creates(target) => {}
            changed => {
                let stored = target.view(&call.shared, changed?).await?;
                return present::one(call, target, &accept, 200, &stored.json);
            }
        }
    }
    Err(target.conflict(MODIFIED))
}

/// Brings a configuration that is worded in a version of old to today's.
fn modernize(old: &Old, applied: &mut Value) -> Outcome<()> {
    let (version, wanted) = (
        applied["apiVersion"].as_str().unwrap_or_default(),
        old.api_version(),
    );
    if version != wanted {
        let why = format!(
            "the API version in the data ({version}) does not match the expected API version ({wanted})"
        );
        return Err(Status::bad_request(why).into());
    }
    old.modernize(applied);
    Ok(())
}

/// Whether applying to a name that is free makes an object: not through a subresource.
fn creates(target: &Target) -> bool {
    target.subresource.is_none()
}

async fn create_applied(
    call: &Call,
    target: &Target,
    applied: &Value,
    options: &WriteOptions,
) -> Outcome<std::sync::Arc<knarr_store::Stored>> {
    if !creates(target) {
        return Err(target.not_found());
    }
    let uid = meta::text(applied, "uid");
    if !uid.is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(target.conflict(&why));
    }
    let mut object = merged(call, target, None, applied, options)?;
    meta::of(&mut object).remove("resourceVersion");
    create::object_at(call, target, object, options, create::Owners::Given).await
}

fn merged(
    call: &Call,
    target: &Target,
    live: Option<&Value>,
    applied: &Value,
    options: &WriteOptions,
) -> Outcome<Value> {
    if !applied["metadata"]["managedFields"].is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil").into());
    }
    let mut object = call
        .aside(|| managed::apply(call, target, live, applied, options))
        .unwrap_or_else(|| Err(target.not_found()))?;
    meta::settle_namespace(target, &mut object)?;
    if meta::text(&object, "name").is_empty() {
        meta::of(&mut object).insert("name", target.name.as_str().into());
    }
    meta::settle_name(target, &object)?;
    Ok(object)
}

/// The configuration of an apply body, which is YAML or JSON.
pub(crate) fn read(call: &Call, bytes: &[u8], validation: FieldValidation) -> Outcome<Value> {
    let bad = |why: String| Box::new(Status::bad_request(why));
    let document = yaml::read(bytes).map_err(|why| {
        bad(format!(
            "error decoding YAML: error converting YAML to JSON: {why}"
        ))
    })?;
    if !document.duplicates.is_empty() {
        let lines = document.duplicates.join("\n  ");
        match validation {
            FieldValidation::Strict => {
                return Err(bad(format!(
                    "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {lines}"
                )));
            }
            FieldValidation::Warn => call.warn(document.duplicates),
            FieldValidation::Ignore => {}
        }
    }
    let kind = match &document.value {
        Value::Null => return Ok(Value::Object(Map::new())),
        Value::Object(_) => return Ok(document.value),
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
    };
    Err(bad(format!(
        "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
    )))
}
