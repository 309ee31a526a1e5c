//! Tells users what happened to an object, as `v1` Events that `kubectl describe` shows. Repeats are counted, not stored anew.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use tokio::sync::mpsc;

/// How many distinct recent events each writer remembers for counting.
const REMEMBERED: usize = 1024;
/// Writers at work side by side; all events of one object go through the same, in order.
const WRITERS: usize = 4;
/// Bytes that a name may have.
const LONGEST_NAME: usize = 253;
/// Events that wait for one writer before new ones are dropped.
const WAITING: usize = 1024;

struct Record {
    about: ObjectReference,
    kind: &'static str,
    reason: String,
    message: String,
    at: Timestamp,
}

/// Records events of one component. Never blocks and never fails its caller; clones share the writers.
#[derive(Clone)]
pub struct Recorder {
    writers: Vec<mpsc::Sender<Record>>,
}

/// A reference to `object` for events.
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: Some(object.name_any()),
        namespace: object.namespace(),
        uid: object.uid(),
        resource_version: object.resource_version(),
        field_path: None,
    }
}

impl Recorder {
    /// `component` is what `describe` shows under From, e.g. `kubelet`; `host` the node, when there is one.
    pub fn new(client: Client, component: &str, host: Option<&str>) -> Self {
        let source = EventSource {
            component: Some(component.to_owned()),
            host: host.map(str::to_owned),
        };
        let writer = |_| {
            let (queue, rx) = mpsc::channel(WAITING);
            tokio::spawn(write(client.clone(), source.clone(), rx));
            queue
        };
        Recorder {
            writers: (0..WRITERS).map(writer).collect(),
        }
    }

    pub fn normal<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.about(reference(object), "Normal", reason, message);
    }

    pub fn warning<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.about(reference(object), "Warning", reason, message);
    }

    /// `kind` is `Normal` or `Warning`.
    pub fn about(
        &self,
        about: ObjectReference,
        kind: &'static str,
        reason: &str,
        message: impl Into<String>,
    ) {
        let mut hasher = DefaultHasher::new();
        (&about.uid, &about.name).hash(&mut hasher);
        let writer = &self.writers[(hasher.finish() % WRITERS as u64) as usize];
        let record = Record {
            about,
            kind,
            reason: reason.to_owned(),
            message: message.into(),
            at: Timestamp::now(),
        };
        // A full queue drops events rather than slow the component down.
        let _ = writer.try_send(record);
    }
}

async fn write(client: Client, source: EventSource, mut queue: mpsc::Receiver<Record>) {
    let mut known: HashMap<u64, (String, i32)> = HashMap::new();
    while let Some(record) = queue.recv().await {
        if known.len() >= REMEMBERED {
            known.clear();
        }
        let namespace = record
            .about
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let same = identity(&record);
        if let Some((name, count)) = known.get_mut(&same) {
            *count += 1;
            let patch = serde_json::json!({"count": *count, "lastTimestamp": Time(record.at)});
            if api
                .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                .await
                .is_ok()
            {
                continue;
            }
        }
        let event = new_event(&record, &source, &namespace);
        let name = event.name_any();
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => drop(known.insert(same, (name, 1))),
            // A namespace that is going takes no events: nothing to do about it.
            Err(error) => tracing::debug!(%error, reason = record.reason, "event not recorded"),
        }
    }
}

/// Events with the same identity are one Event that counts.
fn identity(record: &Record) -> u64 {
    let mut hasher = DefaultHasher::new();
    let about = &record.about;
    (
        &about.uid,
        &about.kind,
        &about.namespace,
        &about.name,
        &about.field_path,
    )
        .hash(&mut hasher);
    (record.kind, &record.reason, &record.message).hash(&mut hasher);
    hasher.finish()
}

fn new_event(record: &Record, source: &EventSource, namespace: &str) -> Event {
    let object = record.about.name.clone().unwrap_or_default();
    let suffix = record.at.as_nanosecond() as u64;
    // An object may have so long a name that nothing can be put behind it.
    let mut kept = object.len().min(LONGEST_NAME - 17);
    while !object.is_char_boundary(kept) {
        kept -= 1;
    }
    let object = object[..kept].trim_end_matches(['.', '-']);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{object}.{suffix:x}")),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: record.about.clone(),
        reason: Some(record.reason.clone()),
        message: Some(record.message.clone()),
        type_: Some(record.kind.to_owned()),
        first_timestamp: Some(Time(record.at)),
        last_timestamp: Some(Time(record.at)),
        count: Some(1),
        source: Some(source.clone()),
        reporting_component: source.component.clone(),
        reporting_instance: source.host.clone(),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, message: &str) -> Record {
        let about = ObjectReference {
            name: Some(name.into()),
            ..ObjectReference::default()
        };
        Record {
            about,
            kind: "Normal",
            reason: "Pulled".into(),
            message: message.into(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn only_the_same_words_about_the_same_object_count_as_a_repeat() {
        assert_eq!(identity(&record("a", "x")), identity(&record("a", "x")));
        assert_ne!(identity(&record("a", "x")), identity(&record("a", "y")));
        assert_ne!(identity(&record("a", "x")), identity(&record("b", "x")));
    }

    #[test]
    fn an_event_carries_its_source_both_ways() {
        let source = EventSource {
            component: Some("kubelet".into()),
            host: Some("n1".into()),
        };
        let event = new_event(&record("a", "x"), &source, "default");
        assert_eq!(event.reporting_component.as_deref(), Some("kubelet"));
        assert_eq!(event.metadata.name.as_deref(), Some("a.0"));
        assert_eq!(event.count, Some(1));
        let long = new_event(
            &record(&format!("{}.b", "a".repeat(251)), "x"),
            &source,
            "default",
        );
        assert!(long.name_any().len() <= LONGEST_NAME);
    }
}
