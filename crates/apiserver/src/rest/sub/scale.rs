//! `scale`: how many, of whatever it is.

use std::{collections::BTreeMap, sync::Arc};

use http::Method;
use knarr_api::{Status, custom::Scale, field, fields, schema::Type};
use knarr_json::{Value, json};
use knarr_store::Stored;

use super::super::{MODIFIED, Target, apply, managed, meta, patch, update};
use crate::{
    Outcome,
    accept::Shape,
    body::{self, RequestBody, Response},
    chain::Call,
    codec,
    query::{OptionsKind, WriteOptions},
    respond,
    rest::present,
};

const GROUP: &str = "autoscaling";

pub(crate) async fn answer(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    let accept = call.negotiate(&[Shape::Table, Shape::Partial])?;
    let show = |object: &Value| Ok(respond::encoded(200, &accept, &scale_of(target, object)));
    if call.method == Method::GET {
        let stored = target.load(call)?;
        let object = target.read(&call.shared, &stored).await?;
        if let Some(scale) = custom(target)
            && scale.replicas(&object).is_none()
        {
            let why = format!("the spec replicas field {:?} does not exist", scale.spec);
            return Err(Status::internal(why).into());
        }
        return show(&object);
    }
    if call.method == Method::PATCH {
        patch::check_custom(call, target)?;
    }
    let bytes = body::read(body).await?;
    let stored = if call.method == Method::PUT {
        let options = WriteOptions::new(&call.query, OptionsKind::Update)?;
        let mut scale =
            codec::decode_as(call, GROUP, "v1", "Scale", &bytes, options.field_validation)?;
        meta::settle_namespace(target, &mut scale)?;
        meta::settle_name(target, &scale)?;
        update::change(call, target, &options, update::Kind::Update, &|old| {
            let (uid, there) = (meta::text(&scale, "uid"), meta::text(old, "uid"));
            if !uid.is_empty() && uid != there {
                return Err(target.conflict(&update::uid_precondition(&target.key(), uid, there)));
            }
            scaled(target, old, &scale)
        })
        .await?
    } else if patch::is_apply(call) {
        applied(call, target, &bytes).await?
    } else {
        let (patch, options) = patch::Patch::read(call, bytes)?;
        let make = |old: &Value| {
            let mut scale = patch.apply(
                call,
                &scale_of(target, old),
                (GROUP, "v1", "Scale"),
                &options,
            )?;
            meta::settle_namespace(target, &mut scale)?;
            meta::settle_name(target, &scale)?;
            scaled(target, old, &scale)
        };
        update::change(call, target, &options, update::Kind::Patch, &make).await?
    };
    if accept.shape != Shape::Whole {
        let stored = target.view(&call.shared, stored).await?;
        return present::one(call, target, &accept, 200, &stored.json);
    }
    show(&target.read(&call.shared, &stored).await?)
}

/// Applies a Scale as a configuration of the object that has only this field.
async fn applied(call: &Call, target: &Target, bytes: &[u8]) -> Outcome<Arc<Stored>> {
    let options = WriteOptions::new(&call.query, OptionsKind::Apply)?;
    let scale = apply::read(call, bytes, options.field_validation)?;
    if let Some(schema) = call.shared.schemas.load().by_kind(GROUP, "v1", "Scale") {
        fields::check(&Type::Struct(schema), "autoscaling/v1", "Scale", &scale)?;
    }
    meta::settle_name(target, &scale)?;
    let mut configuration = json!({
        "apiVersion": target.api_version(),
        "kind": target.resource.kind,
        "metadata": {"name": target.name},
    });
    let replicas = Some(&scale["spec"]["replicas"]).filter(|r| !r.is_null());
    let only = match custom(target) {
        Some(scale) => scale.configuration(replicas),
        None => match replicas {
            Some(replicas) => json!({"spec": {"replicas": replicas}}),
            None => json!({"spec": {}}),
        },
    };
    if let (Some(all), Value::Object(only)) = (configuration.as_object_mut(), only) {
        all.extend(only);
    }
    let make = |old: &Value| {
        scaled(target, old, &scale)?;
        managed::apply(call, target, Some(old), &configuration, &options)
            .unwrap_or_else(|| Err(target.not_found()))
    };
    update::change(call, target, &options, update::Kind::Apply, &make).await
}

/// Refuses another object's Scale, in the words that the resource itself has for it: of a PUT the store looks at it first.
fn check_uid(target: &Target, old: &Value, scale: &Value) -> Outcome<()> {
    let (asked, held) = (meta::text(scale, "uid"), meta::text(old, "uid"));
    if asked.is_empty() || asked == held {
        return Ok(());
    }
    let resource = &target.resource;
    let kind = match custom(target) {
        Some(_) => resource.kind.clone(),
        None => format!("{}/scale", resource.plural),
    };
    let why =
        format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {held}");
    Err(Status::conflict(&resource.group, &kind, &target.name, &why).into())
}

/// The object with the replicas that a Scale asks for.
pub fn scaled(target: &Target, old: &Value, scale: &Value) -> Outcome<Value> {
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    let custom = custom(target);
    if replicas < 0 && custom.is_none() {
        let path = field::Path::new("spec").child("replicas");
        let error = field::Error::invalid(&path, replicas, "must be greater than or equal to 0");
        return Err(Status::invalid(GROUP, "Scale", &target.name, &[error]).into());
    }
    check_uid(target, old, scale)?;
    let revision = meta::text(scale, "resourceVersion");
    if !revision.is_empty() && revision != meta::text(old, "resourceVersion") {
        return Err(target.conflict(MODIFIED));
    }
    let mut new = old.clone();
    match custom {
        Some(scale) => scale.set_replicas(&mut new, replicas),
        None => new["spec"]["replicas"] = replicas.into(),
    }
    // Without a revision of its own the change may be tried again on whatever is there by then.
    if revision.is_empty() {
        meta::of(&mut new).remove("resourceVersion");
    }
    Ok(new)
}

/// Where a custom resource has its numbers.
fn custom(target: &Target) -> Option<&Scale> {
    let definition = &target.resource.custom.as_ref()?.definition;
    definition.version(&target.version)?.scale.as_ref()
}

/// The Scale of an object.
pub fn scale_of(target: &Target, object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut shown = knarr_json::Map::new();
    for key in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if !metadata[key].is_null() {
            shown.insert(key, metadata[key].clone());
        }
    }
    let (replicas, current, selector) = match custom(target) {
        Some(scale) => (
            scale.replicas(object),
            scale.current(object),
            scale.selector(object).to_owned(),
        ),
        None => (
            object["spec"]["replicas"].as_i64(),
            object["status"]["replicas"].as_i64().unwrap_or(0),
            selector_text(&object["spec"]["selector"]),
        ),
    };
    let mut spec = json!({});
    if let Some(replicas) = replicas.filter(|r| *r != 0) {
        spec["replicas"] = replicas.into();
    }
    let mut status = json!({"replicas": current});
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": shown, "spec": spec, "status": status})
}

/// A selector as a query writes it. Old controllers have a plain map of labels.
fn selector_text(selector: &Value) -> String {
    let plain = selector["matchLabels"].is_null() && selector["matchExpressions"].is_null();
    let labels = if plain {
        selector
    } else {
        &selector["matchLabels"]
    };
    let mut terms: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        terms
            .entry(key.to_string())
            .or_default()
            .push(format!("{key}={value}"));
    }
    for expression in selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let key = expression["key"].as_str().unwrap_or_default();
        let mut values: Vec<&str> = expression["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        values.sort_unstable();
        let values = values.join(",");
        let term = match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        };
        terms.entry(key.to_owned()).or_default().push(term);
    }
    terms.into_values().flatten().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_written_as_queries() {
        let selector = json!({"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": [{"key": "voice", "operator": "In", "values": ["tenor", "bass"]}]});
        assert_eq!(selector_text(&selector), "a=1,b=2,voice in (bass,tenor)");
        assert_eq!(selector_text(&json!({"app": "x"})), "app=x");
    }
}
