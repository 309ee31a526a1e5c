//! PATCH: JSON, merge and strategic patches of whatever is stored, and server-side apply.

use bytes::Bytes;
use knarr_api::{
    decode::{self, Expect},
    patch as patches,
};
use knarr_json::Value;

use super::{Target, apply, meta, present, update};
use crate::{
    Outcome,
    accept::Shape,
    body::{self, RequestBody, Response},
    chain::{Call, Given},
    query::{OptionsKind, WriteOptions},
    respond,
};

const APPLY: [&str; 1] = ["application/apply-patch+yaml"];

/// Whether the body of a PATCH is a configuration for server-side apply.
pub(crate) fn is_apply(call: &Call) -> bool {
    APPLY.contains(&media_type(call))
}

/// A patch of one of the three kinds that need what is stored.
pub struct Patch {
    kind: patches::Kind,
    bytes: Bytes,
}

impl Patch {
    /// # Errors
    /// 415, and what is wrong with the options.
    pub(crate) fn read(call: &Call, bytes: Bytes) -> Outcome<(Self, WriteOptions)> {
        let kind = patches::Kind::of(media_type(call)).ok_or_else(unsupported)?;
        let options = WriteOptions::new(&call.query, OptionsKind::Patch)?;
        Ok((Patch { kind, bytes }, options))
    }

    /// The patched object, which is again one of its kind.
    ///
    /// # Errors
    /// 400, 422.
    pub(crate) fn apply(
        &self,
        call: &Call,
        object: &Value,
        kind: (&str, &str, &str),
        options: &WriteOptions,
    ) -> Outcome<Value> {
        let schemas = call.shared.schemas.load();
        let (group, version, kind) = kind;
        let schema = schemas.by_kind(group, version, kind);
        let expect = Expect {
            group,
            version,
            kind,
            custom: false,
        };
        let patched = patches::apply_known(
            self.kind,
            schema.as_deref(),
            object,
            &self.bytes,
            options.field_validation,
            &|patched| decode::check_identity(&schemas, patched, &expect),
        )?;
        Ok(Self::told(call, patched))
    }

    /// [`Patch::apply`] to an object of the target.
    fn apply_to(
        &self,
        call: &Call,
        target: &Target,
        object: &Value,
        options: &WriteOptions,
    ) -> Outcome<Value> {
        let resource = &target.resource;
        let Some(origin) = &resource.custom else {
            return self.apply(call, object, target.worded_in(), options);
        };
        let coerce = |object: &mut Value| {
            let said = object["apiVersion"].as_str().unwrap_or_default();
            if origin.definition.version_of(said).is_none() {
                return Err(format!(
                    "request to convert CR from an invalid group/version: {said}"
                ));
            }
            origin.definition.coerce(&target.version, object)
        };
        let validation = options.field_validation;
        let patched = patches::apply_custom(self.kind, object, &self.bytes, validation, &coerce)?;
        Ok(Self::told(call, patched))
    }

    fn told(call: &Call, patched: patches::Patched) -> Value {
        // A patch that is tried again says the same again.
        call.warn(patched.warnings);
        *call.given.lock() = Given::Read(patched.written);
        patched.object
    }
}

fn media_type(call: &Call) -> &str {
    call.header(http::header::CONTENT_TYPE)
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
}

fn unsupported() -> knarr_api::Status {
    respond::general(415, "UnsupportedMediaType", "415: Unsupported Media Type")
}

/// Refuses what patches of custom resources cannot be: they have no merge keys.
///
/// # Errors
/// 415.
pub(crate) fn check_custom(call: &Call, target: &Target) -> Outcome<()> {
    const KNOWN: &str =
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
    let taken = KNOWN.split(", ").any(|known| known == media_type(call));
    if target.resource.custom.is_none() || taken {
        return Ok(());
    }
    let why = format!(
        "the body of the request was in an unknown format - accepted media types include: {KNOWN}"
    );
    Err(knarr_api::Status::failure(415, "UnsupportedMediaType", why).into())
}

/// # Errors
/// 404, 409, 415, 422.
pub async fn patch(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    check_custom(call, target)?;
    if is_apply(call) {
        return apply::apply(call, target, body).await;
    }
    patches::Kind::of(media_type(call)).ok_or_else(unsupported)?;
    let accept = call.negotiate(&[Shape::Table, Shape::Partial])?;
    let bytes = body::read(body).await?;
    let (patch, options) = Patch::read(call, bytes)?;
    let make = |old: &Value| {
        let shown = target.shown(old.clone());
        let mut object = call.aside(|| patch.apply_to(call, target, &shown, &options))?;
        if let Some(old) = target.old {
            old.modernize(&mut object);
        }
        meta::settle_namespace(target, &mut object)?;
        meta::settle_name(target, &object)?;
        Ok(object)
    };
    let stored = update::change(call, target, &options, update::Kind::Patch, &make).await?;
    let stored = target.view(&call.shared, stored).await?;
    present::one(call, target, &accept, 200, &stored.json)
}
