//! Events, by their old API and by `events.k8s.io/v1`. Both are stored as core events.

use jiff::Timestamp;
use knarr_json::{Map, Value};

use super::{Column, Context, Strategy};
use crate::{
    field::{Error, Errors, Path},
    names, table,
    validation::{At, go, is_empty, meta, text},
};

/// `v1/Event`, or with `true` `events.k8s.io/v1/Event`.
pub struct Event(pub bool);

/// What the two APIs call the same field: old, new.
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];
const OLD_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];
const NEW_FIELDS: &[&str] = &[
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "type",
];

impl Event {
    /// The event in its core form.
    fn core(&self, object: &Value) -> Value {
        let mut core = object.clone();
        if core.get("regarding").is_some()
            || text(&core, "apiVersion").starts_with("events.k8s.io/")
        {
            to_core(&mut core);
        }
        core
    }
}

fn rename(object: &mut Map, from: &str, to: &str) {
    if let Some(value) = object.remove(from) {
        object.insert(to.to_owned(), value);
    }
}

fn to_core(object: &mut Value) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    for (old, new) in RENAMED {
        rename(map, new, old);
    }
    for always in ["reportingComponent", "reportingInstance"] {
        map.entry(always).or_insert_with(|| "".into());
    }
}

fn to_new(object: &mut Value) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    for (old, new) in RENAMED {
        rename(map, old, new);
    }
    map.retain(|k, v| {
        ![
            "reportingController",
            "reportingInstance",
            "deprecatedCount",
        ]
        .contains(&k)
            || !is_empty(v)
    });
}

impl Strategy for Event {
    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let event = self.core(object);
        let mut errs = Errors::new();
        both(&event, &mut errs);
        if self.0 {
            meta::create(&event, true, meta::subdomain, &mut errs);
            series(&event, &mut errs);
            strict(&event, &mut errs);
        }
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let (event, old) = (self.core(object), self.core(old));
        let mut errs = Errors::new();
        both(&event, &mut errs);
        if self.0 {
            meta::update_core(&event, &old, &mut errs);
            if event["series"] != old["series"] {
                series(&event, &mut errs);
            }
            fixed(&event, &old, &mut errs);
        }
        errs
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        // a stored event is asked for by the field names of either API
        let event = self.core(object);
        let about = &event["involvedObject"];
        let component = text(&event["source"], "component");
        let controller = text(&event, "reportingComponent");
        let value = |path: &str| match path {
            "source" => if component.is_empty() {
                controller
            } else {
                component
            }
            .to_owned(),
            "reportingComponent" | "reportingController" => controller.to_owned(),
            _ => match path.split_once('.') {
                Some((_, key)) => text(about, key).to_owned(),
                None => text(&event, path).to_owned(),
            },
        };
        let new = NEW_FIELDS.iter().filter(|f| !OLD_FIELDS.contains(f));
        OLD_FIELDS
            .iter()
            .chain(new)
            .map(|f| (*f, value(f)))
            .collect()
    }

    fn field_names(&self) -> &'static [&'static str] {
        if self.0 { NEW_FIELDS } else { OLD_FIELDS }
    }

    fn stored_as(&self) -> Option<&'static str> {
        self.0.then_some("v1")
    }

    fn convert(&self, object: &mut Value, from: &str, to: &str) {
        match (from == "v1", to == "v1") {
            (false, true) => to_core(object),
            (true, false) => to_new(object),
            _ => {}
        }
    }

    fn columns(&self) -> Vec<Column> {
        columns()
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        cells(&self.core(object), now)
    }
}

/// What is checked of events of both APIs.
fn both(event: &Value, errs: &mut Errors) {
    let namespace = text(&event["metadata"], "namespace");
    let about = At::root(event, "involvedObject").get("namespace");
    let mismatch = |errs: &mut Errors| {
        errs.push(Error::invalid(
            &about.path,
            about.str(),
            "does not match event.namespace",
        ))
    };
    if event["eventTime"].is_null() {
        let fine = if about.str().is_empty() {
            ["", "default"].contains(&namespace)
        } else {
            about.str() == namespace
        };
        if !fine {
            mismatch(errs);
        }
    } else {
        if about.str().is_empty() && !["default", "kube-system"].contains(&namespace) {
            mismatch(errs);
        }
        reported(event, errs);
    }
    for m in names::dns1123_subdomain(namespace) {
        errs.push(Error::invalid(&Path::new("namespace"), namespace, m));
    }
}

/// Events with an eventTime say who reports, and what was done why.
fn reported(event: &Value, errs: &mut Errors) {
    let controller = Path::new("reportingController");
    let name = text(event, "reportingComponent");
    if name.is_empty() {
        errs.push(Error::required(&controller, ""));
    }
    for m in names::qualified_name(name) {
        errs.push(Error::invalid(&controller, name, m));
    }
    for key in ["reportingInstance", "action", "reason"] {
        if text(event, key).is_empty() {
            errs.push(Error::required(&Path::new(key), ""));
        }
        if text(event, key).len() > 128 {
            errs.push(Error::invalid(
                &Path::new(key),
                "",
                "can have at most 128 characters",
            ));
        }
    }
    if text(event, "message").len() > 1024 {
        errs.push(Error::invalid(
            &Path::new("message"),
            "",
            "can have at most 1024 characters",
        ));
    }
}

/// What an update leaves as it is. The reason is compared twice, and told twice.
fn fixed(event: &Value, old: &Value, errs: &mut Errors) {
    const REFERENCE: &str =
        "Kind'' Namespace'' Name'' UID'' APIVersion'' ResourceVersion'' FieldPath''";
    const FIELDS: [(&str, &str); 14] = [
        ("involvedObject", REFERENCE),
        ("reason", "text"),
        ("message", "text"),
        ("source", "Component'' Host''"),
        ("firstTimestamp", ""),
        ("lastTimestamp", ""),
        ("count", "number"),
        ("reason", "text"),
        ("type", "text"),
        ("eventTime", ""),
        ("action", "text"),
        ("related", REFERENCE),
        ("reportingComponent", "text"),
        ("reportingInstance", "text"),
    ];
    for (key, layout) in FIELDS {
        let (new, old) = (At::root(event, key), &old[key]);
        let zero = |v: &Value| is_empty(v) || *v == 0;
        if new.v == old || (zero(new.v) && zero(old)) {
            continue;
        }
        let shown = match layout {
            "text" => format!("{:?}", new.str()),
            "number" => new.v.as_i64().unwrap_or(0).to_string(),
            "" => new.v.to_string(),
            _ if key == "related" && new.v.is_null() => "null".to_owned(),
            _ => go::dump(new.v, layout),
        };
        let path = match key {
            "reportingComponent" => Path::new("reportingController"),
            _ => new.path,
        };
        errs.push(Error::invalid(&path, Value::Null, "field is immutable").showing(shown));
    }
}

fn series(event: &Value, errs: &mut Errors) {
    let series = &event["series"];
    if !series.is_object() {
        return;
    }
    if series["count"].as_i64().unwrap_or(0) < 2 {
        errs.push(Error::invalid(
            &Path::new("series.count"),
            "",
            "should be at least 2",
        ));
    }
    if series["lastObservedTime"].is_null() {
        errs.push(Error::required(&Path::new("series.lastObservedTime"), ""));
    }
}

/// What a new event of the new API may not leave to the old fields.
fn strict(event: &Value, errs: &mut Errors) {
    if event["eventTime"].is_null() {
        errs.push(Error::required(&Path::new("eventTime"), ""));
    }
    let kind = text(event, "type");
    if !["Normal", "Warning"].contains(&kind) {
        errs.push(Error::invalid(
            &Path::new("type"),
            "",
            format!("has invalid value: {kind}"),
        ));
    }
    for key in ["firstTimestamp", "lastTimestamp", "count", "source"] {
        if !is_empty(&event[key]) && event[key] != 0 {
            errs.push(Error::invalid(&Path::new(key), "", "needs to be unset"));
        }
    }
}

fn columns() -> Vec<Column> {
    let name = Column {
        priority: 1,
        ..table::name()
    };
    vec![
        table::column(
            "Last Seen",
            "The time at which the most recent occurrence of this event was recorded.",
        ),
        table::column(
            "Type",
            "Type of this event (Normal, Warning), new types could be added in the future",
        ),
        table::column(
            "Reason",
            "This should be a short, machine understandable string that gives the reason for the transition into the object's current status.",
        ),
        table::column("Object", "The object that this event is about."),
        table::wide(
            "Subobject",
            "If referring to a piece of an object instead of an entire object, this string should contain a valid JSON/Go field access statement, such as desiredState.manifest.containers[2]. For example, if the object reference is to a container within a pod, this would take on a value like: \"spec.containers{name}\" (where \"name\" refers to the name of the container that triggered the event) or if no container name is specified \"spec.containers[2]\" (container with index 2 in this pod). This syntax is chosen only to have some well-defined way of referencing a part of an object.",
        ),
        table::wide(
            "Source",
            "The component reporting this event. Should be a short machine understandable string.",
        ),
        table::column(
            "Message",
            "A human-readable description of the status of this operation.",
        ),
        table::wide(
            "First Seen",
            "The time at which the event was first recorded. (Time of server receipt is in TypeMeta.)",
        ),
        table::wide("Count", "The number of times this event has occurred."),
        name,
    ]
}

fn cells(event: &Value, now: Timestamp) -> Vec<Value> {
    let seen = |key: &str| table::since(&event[key], now);
    let first = if event["firstTimestamp"].is_null() {
        seen("eventTime")
    } else {
        seen("firstTimestamp")
    };
    let mut last = if event["lastTimestamp"].is_null() {
        first.clone()
    } else {
        seen("lastTimestamp")
    };
    let mut count = event["count"].as_i64().unwrap_or(0);
    if event["series"].is_object() {
        last = table::since(&event["series"]["lastObservedTime"], now);
        count = event["series"]["count"].as_i64().unwrap_or(0);
    } else if count == 0 {
        count = 1;
    }
    let about = &event["involvedObject"];
    let kind = text(about, "kind").to_lowercase();
    let object = if text(about, "name").is_empty() {
        kind
    } else {
        format!("{kind}/{}", text(about, "name"))
    };
    vec![
        last.into(),
        text(event, "type").into(),
        text(event, "reason").into(),
        object.into(),
        text(about, "fieldPath").into(),
        source(event).into(),
        text(event, "message").trim().into(),
        first.into(),
        count.into(),
        table::name_of(event),
    ]
}

fn source(event: &Value) -> String {
    let or = |old: &'static str, new: &'static str| {
        let old = text(&event["source"], old);
        if old.is_empty() {
            text(event, new)
        } else {
            old
        }
        .to_owned()
    };
    let (component, host) = (
        or("component", "reportingComponent"),
        or("host", "reportingInstance"),
    );
    if host.is_empty() {
        component
    } else {
        format!("{component}, {host}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn both_apis_show_the_same_event() {
        let core = json!({"apiVersion": "v1", "involvedObject": {"name": "p"}, "message": "m", "reportingComponent": "", "reportingInstance": "", "source": {}, "count": 2});
        let mut new = core.clone();
        Event(true).convert(&mut new, "v1", "events.k8s.io/v1");
        assert_eq!(
            new,
            json!({"apiVersion": "v1", "regarding": {"name": "p"}, "note": "m", "deprecatedSource": {}, "deprecatedCount": 2})
        );
        Event(true).convert(&mut new, "events.k8s.io/v1", "v1");
        assert_eq!(new, core);
    }

    #[test]
    fn an_event_is_about_something_in_its_namespace() {
        let event = json!({"metadata": {"name": "e", "namespace": "n"}, "involvedObject": {"namespace": "other"}, "eventTime": null});
        let errs = Event(false).validate_create(&Context::default(), &event);
        assert_eq!(
            errs[0].to_string(),
            "involvedObject.namespace: Invalid value: \"other\": does not match event.namespace"
        );
    }
}
