//! Request bodies into objects.

use knarr_api::{
    decode::{self, Expect, FieldValidation, Format},
    field::Errors,
    validation::given,
};
use knarr_json::Value;

use crate::{
    Outcome, accept,
    chain::{Call, Given},
    rest::Target,
};

/// Decodes a body that must be of `kind`, at the version of the request; what is only worth a warning becomes one.
///
/// # Errors
/// 400 for what cannot be read, 415 for a content type that is not known.
pub(crate) fn decode(
    call: &Call,
    target: &Target,
    kind: &str,
    bytes: &[u8],
    validation: FieldValidation,
) -> Outcome<Value> {
    let object = call.aside(|| decode_for(call, target, kind, bytes, validation))?;
    call.brings(&object);
    Ok(object)
}

fn decode_for(
    call: &Call,
    target: &Target,
    kind: &str,
    bytes: &[u8],
    validation: FieldValidation,
) -> Outcome<Value> {
    let resource = &target.resource;
    if let Some(origin) = resource.custom.as_ref().filter(|_| kind == resource.kind) {
        let format = accept::body_format(call.header(http::header::CONTENT_TYPE))?;
        let expect = Expect {
            group: &resource.group,
            version: &target.version,
            kind,
            custom: true,
        };
        let coerce = |object: &mut Value| origin.definition.coerce(&target.version, object);
        let schemas = call.shared.schemas.load();
        let decoded = decode::decode_with(&schemas, bytes, format, &expect, validation, &coerce)?;
        call.warn(decoded.warnings);
        return Ok(decoded.object);
    }
    let old = target.old.filter(|o| o.kind == kind);
    let (group, version) = match old {
        Some(old) => (old.group, old.version),
        None => (target.resource.group.as_str(), target.version.as_str()),
    };
    let mut object = decode_as(call, group, version, kind, bytes, validation)?;
    if let Some(old) = old {
        old.modernize(&mut object);
        settle(call, target, &mut object);
    }
    Ok(object)
}

/// [`decode`] for a kind of another group or version than the resource's.
///
/// # Errors
/// As [`decode`].
pub(crate) fn decode_as(
    call: &Call,
    group: &str,
    version: &str,
    kind: &str,
    bytes: &[u8],
    validation: FieldValidation,
) -> Outcome<Value> {
    let format = accept::body_format(call.header(http::header::CONTENT_TYPE))?;
    let expect = Expect {
        group,
        version,
        kind,
        custom: false,
    };
    let schemas = call.shared.schemas.load();
    let decoded = call.aside(|| decode::decode(&schemas, bytes, format, &expect, validation))?;
    call.warn(decoded.warnings);
    Ok(decoded.object)
}

/// Has the values of `errors`, which `check` found in `object`, shown as the request's body gave them: see [`given`].
pub(crate) fn show_as_given(
    call: &Call,
    target: &Target,
    object: &Value,
    errors: &mut Errors,
    check: &dyn Fn(&Value) -> Errors,
) {
    // Custom resources keep what is empty, and protobuf does not tell it.
    if target.resource.custom.is_some() || target.old.is_some() {
        return;
    }
    let Some(given) = given(call) else {
        return;
    };
    let mut object = object.clone();
    if given::restore(&mut object, &given) {
        given::show(errors, call.aside(|| check(&object)));
    }
}

/// What the object of the request was read from.
fn given(call: &Call) -> Option<Value> {
    let body = match call.given.lock().clone() {
        Given::Nothing => return None,
        Given::Read(value) => return Some(value),
        Given::Body(body) => body,
    };
    match accept::body_format(call.header(http::header::CONTENT_TYPE)) {
        Ok(Format::Json) => decode::read_any(&body).ok().map(|read| read.value),
        Ok(Format::Yaml) => decode::yaml::read(&body).ok().map(|read| read.value),
        _ => None,
    }
}

/// Brings an object at the version of the request, changed by defaults and strategy, to what the original prints of it.
pub(crate) fn settle(call: &Call, target: &Target, object: &mut Value) {
    let resource = &target.resource;
    // Custom resources are printed as they are.
    if resource.custom.is_some() {
        return;
    }
    if let Some(schema) =
        call.shared
            .schemas
            .load()
            .by_kind(&resource.group, &target.version, &resource.kind)
    {
        call.aside(|| decode::settle(&schema, object));
    }
}
