//! Custom resources selected by fields of each of their versions, between which a webhook converts.

use std::{collections::BTreeSet, time::Duration};

use futures::StreamExt;
use knarr_json::{Value, json};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
    runtime::{watcher, watcher::Event},
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    common::hook::Hook,
    custom::{DEFINITIONS, define, definition},
    world::{JSON_PATCH, Watch, World, name_of, until},
};

fn convert(object: &Value, wanted: &str) -> Value {
    let mut object = object.clone();
    if object["apiVersion"] == wanted {
        return object;
    }
    object["apiVersion"] = json!(wanted);
    let fields = object.as_object_mut().unwrap();
    if wanted.ends_with("/v1") {
        let take = |value: Option<Value>| {
            let value = value.unwrap_or_default();
            value.as_str().unwrap_or_default().to_owned()
        };
        let joined = format!(
            "{}:{}",
            take(fields.remove("host")),
            take(fields.remove("port"))
        );
        fields.insert("hostPort", json!(joined));
    } else if let Some(Value::String(joined)) = fields.remove("hostPort") {
        let (host, port) = joined.split_once(':').unwrap_or((&joined, ""));
        fields.insert("host", json!(host));
        fields.insert("port", json!(port));
    }
    object
}

async fn converter() -> Hook {
    Hook::reviews(|review| {
        let request = &review["request"];
        let wanted = request["desiredAPIVersion"].as_str().unwrap();
        let objects = request["objects"].as_array().unwrap().iter();
        let converted: Vec<Value> = objects.map(|o| convert(o, wanted)).collect();
        json!({"kind": "ConversionReview", "apiVersion": review["apiVersion"],
            "response": {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": converted}})
    })
    .await
}

fn schema(fields: &[&str]) -> Value {
    let properties: knarr_json::Map = fields
        .iter()
        .map(|f| ((*f).to_owned(), json!({"type": "string"})))
        .collect();
    json!({"type": "object", "properties": properties})
}

const V1: &str = "/apis/example.com/v1/namespaces/default/ports";
const V2: &str = "/apis/example.com/v2/namespaces/default/ports";

async fn setup(world: &World, hook: &Hook) {
    let mut definition = definition(
        "Port",
        "Namespaced",
        &[
            ("v1", schema(&["hostPort"])),
            ("v2", schema(&["host", "port"])),
        ],
    );
    let fields = [&["hostPort"][..], &["host", "port"]];
    for (version, fields) in fields.iter().enumerate() {
        let paths: Vec<Value> = fields
            .iter()
            .map(|f| json!({"jsonPath": format!(".{f}")}))
            .collect();
        definition["spec"]["versions"][version]["selectableFields"] = json!(paths);
    }
    definition["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": hook.by_url(), "conversionReviewVersions": ["v1", "v1beta1"]}});
    define(world, definition).await;
}

/// A watch and what it has told so far.
struct Seen {
    watch: Watch,
    added: BTreeSet<String>,
    deleted: BTreeSet<String>,
}

impl Seen {
    async fn new(world: &World, path: &str, selector: &str) -> Self {
        let path = format!("{path}?watch=true&fieldSelector={selector}");
        Seen {
            watch: world.watch(&path).await,
            added: BTreeSet::new(),
            deleted: BTreeSet::new(),
        }
    }

    /// Reads on until this much was added and deleted.
    async fn until(&mut self, added: &[&str], deleted: &[&str]) {
        while self.added.len() < added.len() || self.deleted.len() < deleted.len() {
            let event = self.watch.next().await;
            let name = name_of(&event["object"]);
            match event["type"].as_str() {
                Some("ADDED") => self.added.insert(name),
                Some("DELETED") => self.deleted.insert(name),
                _ => panic!("{event}"),
            };
        }
        assert!(self.added.iter().eq(added) && self.deleted.iter().eq(deleted));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_is_selected_by_its_own_fields() {
    let world = World::start().await;
    let hook = converter().await;
    setup(&world, &hook).await;
    let mut host = Seen::new(&world, V2, "host%3Dhost1").await;
    let mut both = Seen::new(&world, V2, "host%3Dhost1,port%3D80").await;
    let mut joined = Seen::new(&world, V1, "hostPort%3Dhost1:80").await;
    let kind = GroupVersionKind::gvk("example.com", "v2", "Port");
    let resource = ApiResource::from_gvk_with_plural(&kind, "ports");
    let api = Api::namespaced_with(world.client.clone(), "default", &resource);
    let mut informer = Informer::start(api, "host=host1").await;

    let port = |name: &str, more: Value| {
        let mut object =
            json!({"apiVersion": "example.com/v2", "kind": "Port", "metadata": {"name": name}});
        for (key, value) in more.as_object().unwrap() {
            object[key.as_str()] = value.clone();
        }
        object
    };
    for (name, fields) in [
        ("a", json!({"host": "host1", "port": "80"})),
        ("b", json!({"host": "host1", "port": "8080"})),
        ("c", json!({"host": "host2"})),
    ] {
        world.make(V2, port(name, fields)).await;
    }
    for (path, selector, wanted) in [
        (V2, "host%3Dhost1", vec!["a", "b"]),
        (V2, "host%3Dhost1,port%3D80", vec!["a"]),
        (V1, "hostPort%3Dhost1:80", vec!["a"]),
        (V1, "hostPort%3Dhost1:8080", vec!["b"]),
    ] {
        let path = format!("{path}?fieldSelector={selector}");
        assert_eq!(world.names(&path).await, wanted);
    }
    host.until(&["a", "b"], &[]).await;
    both.until(&["a"], &[]).await;
    joined.until(&["a"], &[]).await;

    let path = format!("{V2}?fieldSelector=host%3Dhost1,port%3D80");
    world.delete(&path).await;
    world
        .update(&format!("{V2}/b"), |o| o["host"] = json!("host2"))
        .await;
    for selector in ["host%3Dhost1", "host%3Dhost1,port%3D80"] {
        let path = format!("{V2}?fieldSelector={selector}");
        assert_eq!(world.names(&path).await, Vec::<String>::new());
    }
    host.until(&["a", "b"], &["a", "b"]).await;
    both.until(&["a"], &["a"]).await;
    joined.until(&["a"], &["a"]).await;

    informer.until(&["a", "b"]).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_holds_what_was_stored_in_either_version() {
    let world = World::start().await;
    let hook = converter().await;
    setup(&world, &hook).await;
    let old = json!({"apiVersion": "example.com/v1", "kind": "Port", "metadata": {"name": "a"}, "hostPort": "a:80"});
    world.make(V1, old).await;
    let storage = json!([
        {"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true},
    ]);
    let path = format!("{DEFINITIONS}/ports.example.com");
    world.patch(&path, JSON_PATCH, storage).await;
    until("the other version is stored", async || {
        world.get(&path).await["status"]["storedVersions"] == json!(["v1", "v2"])
    })
    .await;
    let new = json!({"apiVersion": "example.com/v2", "kind": "Port", "metadata": {"name": "b"}, "host": "b", "port": "81"});
    world.make(V2, new).await;
    let of = async |path: &str, field: &str| {
        let list = world.get(path).await;
        let items = list["items"].as_array().unwrap().iter();
        items.map(|i| i[field].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of(V1, "hostPort").await, ["a:80", "b:81"]);
    assert_eq!(of(V2, "host").await, ["a", "b"]);
    assert_eq!(of(V2, "port").await, ["80", "81"]);
    world.stop().await;
}

/// An informer of kube-rs that runs beside the test.
struct Informer {
    events: mpsc::UnboundedReceiver<Event<DynamicObject>>,
    _running: JoinSet<()>,
}

impl Informer {
    /// Starts one and waits for its first list, which is empty.
    async fn start(api: Api<DynamicObject>, selector: &str) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let stream = watcher(api, watcher::Config::default().fields(selector));
        let mut running = JoinSet::new();
        running.spawn(stream.for_each(move |event| {
            let _ = sender.send(event.expect("no trouble"));
            async {}
        }));
        let mut informer = Informer {
            events,
            _running: running,
        };
        while !matches!(informer.next().await, Event::InitDone) {}
        informer
    }

    async fn next(&mut self) -> Event<DynamicObject> {
        let next = tokio::time::timeout(Duration::from_secs(20), self.events.recv());
        next.await.expect("an event in time").expect("it runs")
    }

    /// Reads until all of these were here and went.
    async fn until(&mut self, names: &[&str]) {
        let (mut here, mut gone) = (BTreeSet::new(), BTreeSet::new());
        while gone.len() < names.len() {
            match self.next().await {
                Event::Apply(object) => here.insert(object.name_any()),
                Event::Delete(object) => gone.insert(object.name_any()),
                other => panic!("{other:?}"),
            };
        }
        assert!(here.iter().eq(names) && gone.iter().eq(names));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn built_in_kinds_are_selected_by_what_each_knows() {
    let world = World::start().await;
    let common = |field: &str| {
        format!(
            "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        )
    };
    let own = |field: &str| format!("field label not supported: {field}");
    for (path, field, want) in [
        ("/api/v1/pods", "spec.host", None),
        ("/api/v1/pods", "status.podIPs", None),
        ("/api/v1/configmaps", "metadata.namespace", None),
        ("/api/v1/persistentvolumes", "metadata.namespace", None),
        ("/api/v1/persistentvolumes", "name", Some(common("name"))),
        (
            "/api/v1/persistentvolumeclaims",
            "name",
            Some(common("name")),
        ),
        (
            "/apis/apps/v1/replicasets",
            "status.replicas",
            Some(common("status.replicas")),
        ),
        ("/api/v1/nodes", "spec.unschedulable", None),
        (
            "/api/v1/nodes",
            "metadata.namespace",
            Some(own("metadata.namespace")),
        ),
        (
            "/api/v1/namespaces",
            "metadata.namespace",
            Some(own("metadata.namespace")),
        ),
        (
            "/apis/certificates.k8s.io/v1/certificatesigningrequests",
            "metadata.namespace",
            Some(own("metadata.namespace")),
        ),
    ] {
        let path = format!("{path}?fieldSelector={field}%3Dx");
        let (code, answer) = world.ask("GET", &path, Value::Null).await;
        match want {
            None => assert_eq!(code, 200, "{path}: {answer}"),
            Some(words) => {
                assert_eq!(code, 400, "{path}");
                assert_eq!(answer["message"], words);
            }
        }
    }
    world.stop().await;
}
