//! Stored custom resources as a version has them: pruned and with defaults of today, and brought from version to version.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use knarr_api::{
    Resource, Status,
    custom::{Definition, Origin},
    field::{Errors, aggregate},
    go,
    head::Encoded,
    validation::{At, labels},
};
use knarr_json::{Value, json};
use knarr_store::{Event, EventKind, Stored};

use crate::{
    Outcome,
    rest::{Target, parse, present},
    server::Shared,
    webhook::ClientConfig,
};

/// How long a webhook may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Whether stored bytes are what the version of the request has.
pub fn is_plain(target: &Target, origin: &Origin, stored: &Stored) -> bool {
    origin.is_fresh(stored.revision) && present::is_at(&stored.json, &target.api_version())
}

/// Stored objects as the version of the request has them now.
///
/// # Errors
/// When stored bytes do not decode, and what a conversion webhook answers.
pub async fn read(shared: &Shared, target: &Target, stored: &[&Stored]) -> Outcome<Vec<Value>> {
    let is_fresh = |origin: &Origin, stored: &Stored| origin.is_fresh(stored.revision);
    fresh(shared, target, stored, is_fresh).await
}

async fn fresh(
    shared: &Shared,
    target: &Target,
    stored: &[&Stored],
    is_fresh: impl Fn(&Origin, &Stored) -> bool,
) -> Outcome<Vec<Value>> {
    let mut objects = Vec::with_capacity(stored.len());
    for stored in stored {
        let mut object = parse(&stored.json)?;
        if let Some(origin) = &target.resource.custom
            && !is_fresh(origin, stored)
        {
            origin.definition.freshen(&mut object);
        }
        objects.push(object);
    }
    all(shared, &target.resource, objects, &target.api_version()).await
}

/// Stored objects with the bytes that the version of the request has for them now. Those that have them already are not
/// touched.
///
/// # Errors
/// As [`read`].
pub async fn views(
    shared: &Shared,
    target: &Target,
    mut items: Vec<Arc<Stored>>,
) -> Outcome<Vec<Arc<Stored>>> {
    let Some(origin) = &target.resource.custom else {
        return Ok(items);
    };
    let others: Vec<usize> = (0..items.len())
        .filter(|i| !is_plain(target, origin, &items[*i]))
        .collect();
    if others.is_empty() {
        return Ok(items);
    }
    let stored: Vec<&Stored> = others.iter().map(|i| &*items[*i]).collect();
    let objects = read(shared, target, &stored).await?;
    for (i, object) in others.into_iter().zip(objects) {
        items[i] = with_object(&items[i], &object)?;
    }
    Ok(items)
}

/// Whether the bytes of a change are what the version of the request has.
pub fn is_plain_event(target: &Target, event: &Event) -> bool {
    let Some(origin) = &target.resource.custom else {
        return true;
    };
    let previous = event.previous.as_ref();
    let written = match event.kind {
        // Bytes of the object before, at the revision of its end.
        EventKind::Deleted => previous.map_or(0, |p| p.revision),
        EventKind::Added | EventKind::Modified => event.object.revision,
    };
    origin.is_fresh(written)
        && present::is_at(&event.object.json, &target.api_version())
        && previous.is_none_or(|p| is_plain(target, origin, p))
}

/// A change with the bytes that the version of the request has for it now.
///
/// # Errors
/// As [`read`].
pub async fn event_view(
    shared: &Shared,
    target: &Target,
    event: Arc<Event>,
) -> Outcome<Arc<Event>> {
    if is_plain_event(target, &event) {
        return Ok(event);
    }
    // What was written before may need more than what its revision tells: all of it is read anew.
    let mut both = vec![&*event.object];
    both.extend(event.previous.as_deref());
    let objects = fresh(shared, target, &both, |_, _| false).await?;
    let mut shown = Vec::with_capacity(2);
    for (stored, object) in both.into_iter().zip(&objects) {
        shown.push(with_object(stored, object)?);
    }
    let mut shown = shown.into_iter();
    Ok(Arc::new(Event {
        kind: event.kind,
        object: shown.next().unwrap_or_else(|| event.object.clone()),
        previous: shown.next(),
        frame: OnceLock::new(),
        message: OnceLock::new(),
    }))
}

/// The same stored object with other bytes.
fn with_object(stored: &Stored, object: &Value) -> Outcome<Arc<Stored>> {
    let value = Encoded::new(object).map_err(|e| Box::new(Status::internal(e)))?;
    let json = match object["metadata"]["resourceVersion"].as_str() {
        Some(revision) => value.at_revision(revision.parse().unwrap_or(stored.revision)),
        None => value.json().clone(),
    };
    Ok(Arc::new(Stored {
        key: stored.key.clone(),
        revision: stored.revision,
        created: stored.created,
        json,
        hole: value.hole(),
        head: stored.head.clone(),
    }))
}

/// Brings one object to another `apiVersion`.
///
/// # Errors
/// What a conversion webhook answers.
pub async fn one(
    shared: &Shared,
    resource: &Resource,
    object: &mut Value,
    to: &str,
) -> Outcome<()> {
    let objects = all(shared, resource, vec![object.take()], to).await?;
    if let Some(converted) = objects.into_iter().next() {
        *object = converted;
    }
    Ok(())
}

/// [`one`] where nothing can be awaited: field ownership of other versions. None when that is not to be had.
pub fn one_blocking(
    shared: &Arc<Shared>,
    resource: &Resource,
    mut object: Value,
    to: &str,
) -> Option<Value> {
    let origin = resource.custom.as_ref()?;
    if origin.definition.webhook.is_none() || object["apiVersion"] == to {
        // As it is: what the other version does not have is found out by whoever asks.
        object["apiVersion"] = to.into();
        return Some(object);
    }
    let runtime = tokio::runtime::Handle::try_current().ok()?;
    // A runtime of one thread would wait for itself.
    if runtime.runtime_flavor() != tokio::runtime::RuntimeFlavor::MultiThread {
        return None;
    }
    let converted =
        tokio::task::block_in_place(|| runtime.block_on(all(shared, resource, vec![object], to)));
    converted.ok()?.into_iter().next()
}

/// Brings objects to another `apiVersion`; a webhook is asked about all of them at once.
async fn all(
    shared: &Shared,
    resource: &Resource,
    mut objects: Vec<Value>,
    to: &str,
) -> Outcome<Vec<Value>> {
    let Some(origin) = &resource.custom else {
        return Ok(objects);
    };
    let definition = &origin.definition;
    let others: Vec<usize> = (0..objects.len())
        .filter(|i| objects[*i]["apiVersion"] != to)
        .collect();
    if others.is_empty() {
        return Ok(objects);
    }
    let Some(webhook) = &definition.webhook else {
        for i in others {
            definition.relabel(&mut objects[i], to);
        }
        return Ok(objects);
    };
    let asked: Vec<Value> = others.iter().map(|i| objects[*i].clone()).collect();
    let failed = |object: &Value, why: String| {
        let message = format!("conversion webhook for {} {why}", describe(object));
        Box::new(Status {
            reason: String::new(),
            ..Status::failure(500, "", message)
        })
    };
    let answered = ask(shared, webhook, &asked, to).await;
    let converted = answered.map_err(|why| failed(&asked[0], format!("failed: {why}")))?;
    if converted.len() != asked.len() {
        let why = format!(
            "returned {} objects, expected {}",
            converted.len(),
            asked.len()
        );
        return Err(failed(&asked[0], why));
    }
    for (i, mut new) in others.into_iter().zip(converted) {
        restore(&objects[i], &mut new, to)
            .map_err(|why| failed(&objects[i], format!("returned {why}")))?;
        prune(definition, &mut new, to);
        objects[i] = new;
    }
    Ok(objects)
}

fn describe(object: &Value) -> String {
    let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    format!("{}, Kind={}", text("apiVersion"), text("kind"))
}

fn prune(definition: &Definition, object: &mut Value, to: &str) {
    // Labelled already: this prunes by the schema of that version.
    definition.relabel(object, to);
}

/// Asks a webhook.
async fn ask(
    shared: &Shared,
    webhook: &Value,
    objects: &[Value],
    to: &str,
) -> Result<Vec<Value>, String> {
    let versions = webhook["conversionReviewVersions"].as_array();
    let version = versions
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .find(|v| ["v1", "v1beta1"].contains(v))
        .ok_or("no supported conversion review versions")?;
    let api_version = format!("apiextensions.k8s.io/{version}");
    let uid = uuid::Uuid::new_v4().to_string();
    let review = json!({
        "kind": "ConversionReview",
        "apiVersion": api_version,
        "request": {"uid": uid, "desiredAPIVersion": to, "objects": objects},
    });
    let config = ClientConfig::of(&webhook["clientConfig"]);
    let bytes = shared
        .webhooks
        .post(&config, review.to_string().into(), TIMEOUT)
        .await
        .map_err(|e| e.to_string())?;
    let answer: Value = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    converted(answer, version, &api_version, &uid)
}

/// The objects of an answer. Pure.
fn converted(
    mut answer: Value,
    version: &str,
    api_version: &str,
    uid: &str,
) -> Result<Vec<Value>, String> {
    if version == "v1"
        && (answer["apiVersion"] != api_version || answer["kind"] != "ConversionReview")
    {
        return Err(format!(
            "expected webhook response of {api_version}, Kind=ConversionReview, got {}",
            describe(&answer)
        ));
    }
    let response = &mut answer["response"];
    if !response.is_object() {
        return Err("no response provided".to_owned());
    }
    if version == "v1" && response["uid"] != uid {
        let got = response["uid"].as_str().unwrap_or_default();
        return Err(format!("expected response.uid={uid:?}, got {got:?}"));
    }
    let result = &response["result"];
    if result["status"] != "Success" {
        return Err(match result["message"].as_str() {
            Some(message) if !message.is_empty() => message.to_owned(),
            _ => format!(
                "response.result.status was '{}', not 'Success'",
                result["status"].as_str().unwrap_or_default()
            ),
        });
    }
    match response["convertedObjects"].take() {
        Value::Array(objects) => Ok(objects.into()),
        _ => Ok(Vec::new()),
    }
}

/// Checks that a converted object is the same one, and gives it back its metadata: only labels and annotations may change.
fn restore(old: &Value, new: &mut Value, to: &str) -> Result<(), String> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let group_version = text(&new["apiVersion"]);
    if group_version != to {
        return Err(format!(
            "invalid object at index 0: invalid groupVersion (expected {to}, received {group_version})"
        ));
    }
    if new["kind"] != old["kind"] {
        let (was, is) = (text(&old["kind"]), text(&new["kind"]));
        return Err(format!(
            "invalid object at index 0: invalid kind (expected {was}, received {is})"
        ));
    }
    for (key, what) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (was, is) = (text(&old["metadata"][key]), text(&new["metadata"][key]));
        if was != is {
            return Err(format!(
                "invalid object: must have the same {what}: {was} != {is}"
            ));
        }
    }
    let meta = restored(&old["metadata"], &new["metadata"]);
    new["metadata"] = meta.map_err(|why| format!("invalid metadata: {why}"))?;
    Ok(())
}

/// Old metadata with new labels and annotations.
fn restored(old: &Value, new: &Value) -> Result<Value, String> {
    let mut meta = old.clone();
    for key in ["labels", "annotations"] {
        let given = new.get(key).unwrap_or(&Value::Null);
        let Some(map) = given.as_object() else {
            if !given.is_null() {
                let kind = go::type_of(given);
                return Err(format!(
                    "invalid metadata.{key} of type {kind} in converted object"
                ));
            }
            if let Some(meta) = meta.as_object_mut() {
                meta.remove(key);
            }
            continue;
        };
        if let Some((name, value)) = map.iter().find(|(_, v)| !v.is_string()) {
            let kind = go::type_of(value);
            return Err(format!(
                "metadata.{key}[{name}] must be a string, but is {kind} in converted object"
            ));
        }
        if old.get(key) != Some(given) {
            check(key, given)?;
        }
        meta[key] = given.clone();
    }
    Ok(meta)
}

/// Checks labels or annotations that a webhook has changed.
fn check(key: &str, map: &Value) -> Result<(), String> {
    let mut errors = Errors::new();
    match key {
        "labels" => labels::labels(&At::new(map, "metadata.labels"), &mut errors),
        // The original's path lacks the last letter.
        _ => labels::annotations(&At::new(map, "metadata.annotation"), &mut errors),
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(aggregate(&errors)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_checked() {
        let answer = |response: Value| json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response});
        let of =
            |response: Value| converted(answer(response), "v1", "apiextensions.k8s.io/v1", "u");
        assert_eq!(
            of(json!({"uid": "u", "result": {"status": "Success"}, "convertedObjects": [1]})),
            Ok(vec![json!(1)])
        );
        assert_eq!(
            of(json!({"uid": "x"})),
            Err("expected response.uid=\"u\", got \"x\"".into())
        );
        assert_eq!(
            of(json!({"uid": "u", "result": {"status": "Failure", "message": "no"}})),
            Err("no".into())
        );
        assert_eq!(of(Value::Null), Err("no response provided".into()));
    }

    #[test]
    fn only_labels_and_annotations_of_metadata_change() {
        let old = json!({"apiVersion": "e.com/v1", "kind": "W", "metadata": {"name": "a", "uid": "u", "labels": {"x": "1"}, "finalizers": ["f/g"]}});
        let mut new = json!({"apiVersion": "e.com/v2", "kind": "W", "metadata": {"name": "a", "uid": "u", "labels": {"x": "2"}}});
        restore(&old, &mut new, "e.com/v2").unwrap();
        assert_eq!(
            new["metadata"],
            json!({"name": "a", "uid": "u", "labels": {"x": "2"}, "finalizers": ["f/g"]})
        );
        let mut other =
            json!({"apiVersion": "e.com/v2", "kind": "W", "metadata": {"name": "b", "uid": "u"}});
        assert_eq!(
            restore(&old, &mut other, "e.com/v2"),
            Err("invalid object: must have the same name: a != b".into())
        );
    }
}
