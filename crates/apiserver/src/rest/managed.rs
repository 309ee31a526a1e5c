//! managedFields of every write, and what metadata makes worth a warning.

use std::cell::Cell;

use http::header;
use jiff::Timestamp;
use knarr_api::{
    fields::{self, Scope},
    schema::Type,
};
use knarr_json::Value;

use super::{Target, meta};
use crate::{Outcome, chain::Call, custom, query::WriteOptions};

/// Notes who set the fields of a new object, or who changed what of `live`.
pub fn note(
    call: &Call,
    target: &Target,
    object: &mut Value,
    live: Option<&Value>,
    options: &WriteOptions,
) {
    // The original keeps no account of these; nor do clients apply them.
    if target.resource.kind == "CertificateSigningRequest"
        && live.is_none_or(|l| l["metadata"]["managedFields"].is_null())
    {
        meta::of(object).remove("managedFields");
        return;
    }
    let manager = manager(call, options);
    let unfit = Cell::new(false);
    let noted = call.aside(|| {
        scoped(call, target, &unfit, |scope| {
            fields::update(scope, live, object, &manager)
        })
    });
    if noted.is_none() || unfit.get() {
        meta::of(object).remove("managedFields");
    }
}

/// Merges an applied configuration into `live`. None for kinds without a type.
pub fn apply(
    call: &Call,
    target: &Target,
    live: Option<&Value>,
    applied: &Value,
    options: &WriteOptions,
) -> Option<Outcome<Value>> {
    let manager = manager(call, options);
    scoped(call, target, &Cell::new(false), |scope| {
        fields::apply(scope, live, applied, &manager, options.force)
    })
}

/// Notes who set the fields of an object that is answered and not stored: a review, a token request.
pub fn note_answer(
    call: &Call,
    kind: (&str, &str, &str),
    subresource: &str,
    object: &mut Value,
    options: &WriteOptions,
) {
    let (group, version, name) = kind;
    let Some(schema) = call.shared.schemas.load().by_kind(group, version, name) else {
        return;
    };
    let manager = manager(call, options);
    let scope = Scope {
        schemas: &call.shared.schemas.load(),
        ty: &Type::Struct(schema),
        api_version: &format!("{group}/{version}"),
        kind: name,
        subresource,
        replicas: "spec.replicas",
        reset: fields::reset_fields(name, subresource, true, false),
        now: Timestamp::now(),
        convert: &|_, _| None,
    };
    fields::update(&scope, None, object, &manager);
}

fn manager(call: &Call, options: &WriteOptions) -> String {
    let agent = call.header(header::USER_AGENT).unwrap_or_default();
    fields::manager_name(&options.field_manager, agent)
}

/// `unfit` is set when a custom resource as another version has it does not fit that version; then the original gives up.
fn scoped<T>(
    call: &Call,
    target: &Target,
    unfit: &Cell<bool>,
    work: impl FnOnce(&Scope<'_>) -> T,
) -> Option<T> {
    let resource = &target.resource;
    let schemas = &call.shared.schemas.load();
    let schema = schemas.by_kind(&resource.group, &target.version, &resource.kind)?;
    let subresource = target.subresource.as_ref().map_or("", |s| s.name);
    let has_status = resource.subresource_at("status", &target.version).is_some();
    let convert = |object: &Value, api_version: &str| {
        let version = api_version.rsplit('/').next().unwrap_or_default();
        let served = resource.versions.iter().any(|v| v == version);
        if !served || resource.api_version(version) != api_version {
            return None;
        }
        let mut object = object.clone();
        if resource.custom.is_some() {
            let object = custom::convert::one_blocking(&call.shared, resource, object, api_version);
            let schema = schemas.by_kind(&resource.group, version, &resource.kind);
            let fits = |o: &Value| schema.is_some_and(|s| fields::fits(&Type::Struct(s), o));
            if !object.as_ref().is_some_and(fits) {
                unfit.set(true);
            }
            return object;
        }
        let other = Target {
            version: version.to_owned(),
            ..target.clone()
        };
        other.to_version(&mut object);
        Some(object)
    };
    let scale = resource
        .custom
        .as_ref()
        .and_then(|origin| origin.definition.version(&target.version)?.scale.as_ref());
    let replicas = scale.map_or("spec.replicas", |scale| scale.owned_path());
    Some(work(&Scope {
        schemas,
        ty: &Type::Struct(schema),
        api_version: &target.api_version(),
        kind: &resource.kind,
        subresource,
        replicas,
        reset: fields::reset_fields(
            &resource.kind,
            subresource,
            has_status,
            resource.custom.is_some(),
        ),
        now: Timestamp::now(),
        convert: &convert,
    }))
}

/// A warning for owners that are named twice.
pub fn owner_warnings(object: &Value) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let mut twice: Vec<&str> = Vec::new();
    let owners = object["metadata"]["ownerReferences"].as_array();
    for uid in owners
        .into_iter()
        .flatten()
        .filter_map(|o| o["uid"].as_str())
    {
        if !seen.insert(uid) {
            twice.push(uid);
        }
    }
    if twice.is_empty() {
        return Vec::new();
    }
    vec![format!(
        ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        twice.join(", ")
    )]
}
