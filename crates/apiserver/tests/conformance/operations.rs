//! The walk through all operations that every kind has: it is found, made, read, listed, watched, patched in every way,
//! updated, given a status, deleted alone and deleted as a collection.

use knarr_json::{Value, json};

use crate::{
    kinds::{self, Kind},
    world::{APPLY, JSON_PATCH, MERGE, STRATEGIC, Watch, World, holds, name_of, revision},
};

const LABEL: &str = "walk.example.com";
const SELECTED: &str = "labelSelector=walk.example.com%3Dyes";

#[tokio::test(flavor = "multi_thread")]
async fn core() {
    walk(kinds::core()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads() {
    walk(kinds::workloads()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn networking() {
    walk(kinds::networking()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn storage() {
    walk(kinds::storage()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices() {
    walk(kinds::devices()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn machinery() {
    walk(kinds::machinery()).await;
}

async fn walk(kinds: Vec<Kind>) {
    let world = World::start().await;
    for kind in kinds {
        println!("{} {}", kind.api, kind.plural);
        discovered(&world, &kind).await;
        let walk = Walk::begin(&world, &kind).await;
        walk.run().await;
    }
    world.stop().await;
}

/// The group, the version and the resource with its verbs are found from the top.
async fn discovered(world: &World, kind: &Kind) {
    if let Some(version) = kind.api.strip_prefix("/apis/") {
        let group = version.split('/').next().unwrap();
        let groups = world.get("/apis").await;
        let groups = groups["groups"].as_array().unwrap();
        let found = groups.iter().find(|g| g["name"] == group);
        let found = found.unwrap_or_else(|| panic!("{group} is not in /apis"));
        let whole = world.get(&format!("/apis/{group}")).await;
        for told in [found, &whole] {
            let mut versions = told["versions"].as_array().unwrap().iter();
            assert!(versions.any(|v| v["groupVersion"] == version), "{told}");
        }
    }
    let list = world.get(kind.api).await;
    let resources = list["resources"].as_array().unwrap();
    let verbs = |name: &str| {
        let found = resources.iter().find(|r| r["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {}", kind.api))["verbs"].clone()
    };
    let all = [
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    ];
    assert_eq!(verbs(kind.plural), json!(all));
    if kind.status.is_some() {
        let status = verbs(&format!("{}/status", kind.plural));
        assert_eq!(status, json!(["get", "patch", "update"]));
    }
}

struct Walk<'a> {
    world: &'a World,
    kind: &'a Kind,
    watch: Watch,
    /// The same over all namespaces.
    wide: Watch,
}

impl<'a> Walk<'a> {
    async fn begin(world: &'a World, kind: &'a Kind) -> Self {
        let path = format!("{}?{SELECTED}", kind.path());
        let list = world.get(&path).await;
        assert_eq!(list["items"], json!([]));
        let revision = revision(&list);
        let from = format!("{SELECTED}&watch=true&resourceVersion={revision}");
        let wide = format!("{}/{}?{from}", kind.api, kind.plural);
        Walk {
            world,
            kind,
            watch: world.watch(&format!("{}?{from}", kind.path())).await,
            wide: world.watch(&wide).await,
        }
    }

    async fn run(mut self) {
        let [first, second, third] = self.kind.names;
        for name in [first, second, third] {
            self.create(name).await;
        }
        self.read(first).await;
        self.round_trip(first).await;
        self.patched(first).await;
        self.updated(first).await;
        self.patched_in_every_way(first).await;
        if let Some(status) = &self.kind.status {
            self.status(first, status).await;
        }
        self.deleted(first).await;
        self.collection(second, third).await;
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.kind.path())
    }

    async fn create(&mut self, name: &str) {
        let mut object = (self.kind.object)(name);
        object["metadata"]["name"] = json!(name);
        object["metadata"]["labels"][LABEL] = json!("yes");
        object["apiVersion"] = json!(self.kind.version());
        object["kind"] = json!(self.kind.kind);
        let path = format!("{}?fieldValidation=Strict", self.kind.path());
        let made = self.world.make(&path, object.clone()).await;
        assert!(holds(&made["metadata"], &object["metadata"]), "{made}");
        assert!(made["metadata"]["uid"].is_string(), "{made}");
        assert!(revision(&made) > 0);
        let (code, twice) = self.world.ask("POST", &path, object).await;
        assert_eq!(
            (code, &twice["reason"]),
            (409, &json!("AlreadyExists")),
            "{twice}"
        );
        self.watch.until("ADDED", |o| name_of(o) == name).await;
    }

    async fn read(&self, name: &str) {
        let read = self.world.get(&self.path(name)).await;
        assert_eq!(read["kind"], self.kind.kind);
        assert_eq!(read["apiVersion"], self.kind.version());
        let mut wanted = self.kind.names.map(str::to_owned);
        wanted.sort();
        let mut paths = vec![self.kind.path()];
        if self.kind.namespaced {
            paths.push(format!("{}/{}", self.kind.api, self.kind.plural));
        }
        for path in paths {
            assert_eq!(
                self.world.names(&format!("{path}?{SELECTED}")).await,
                wanted
            );
        }
    }

    /// What is read in protobuf is, written back in protobuf, no change.
    async fn round_trip(&self, name: &str) {
        const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
        let (world, path) = (self.world, self.path(name));
        loop {
            let before = world.get(&path).await;
            let accept = [("accept", PROTOBUF)];
            let (_, _, bytes) = world.bytes("GET", &path, &accept, Vec::new()).await;
            // Some kinds have their status written by the server meanwhile.
            if world.get(&path).await != before {
                continue;
            }
            let kind = [("content-type", PROTOBUF)];
            let (code, _, after) = world.raw("PUT", &path, &kind, bytes).await;
            if code == 409 {
                continue;
            }
            assert_eq!((code, &after), (200, &before));
            break;
        }
    }

    async fn patched(&mut self, name: &str) {
        let path = self.path(name);
        let before = self.world.get(&path).await;
        let change = json!({"metadata": {"annotations": {"patched": "true"}}});
        let after = self.world.patch(&path, MERGE, change.clone()).await;
        assert!(holds(&after, &change), "{after}");
        assert!(revision(&after) > revision(&before));
        self.watch.until("MODIFIED", |o| holds(o, &change)).await;
    }

    async fn updated(&mut self, name: &str) {
        let (path, change) = (self.path(name), &self.kind.change);
        let note = json!({"metadata": {"annotations": {"patched": "true", "updated": "true"}}});
        let after = self.world.update(&path, |object| {
            object["metadata"]["annotations"]["updated"] = json!("true");
            merge(object, change);
        });
        let after = after.await;
        assert!(holds(&after, &note) && holds(&after, change), "{after}");
        let seen = self.watch.until("MODIFIED", |o| holds(o, &note)).await;
        assert!(revision(&seen) >= revision(&after));
    }

    /// Each kind of patch adds a label of its own, and applies what an update changed, too.
    async fn patched_in_every_way(&mut self, name: &str) {
        let path = self.path(name);
        let with = |label: &str| {
            let mut patch = self.kind.change.clone();
            patch["metadata"]["labels"][label] = json!("yes");
            patch
        };
        let mut applied = with("applied");
        applied["apiVersion"] = json!(self.kind.version());
        applied["kind"] = json!(self.kind.kind);
        applied["metadata"]["name"] = json!(name);
        let ways = [
            ("merged", MERGE, "", with("merged")),
            ("strategic", STRATEGIC, "", with("strategic")),
            (
                "listed",
                JSON_PATCH,
                "",
                json!([{"op": "add", "path": "/metadata/labels/listed", "value": "yes"}]),
            ),
            (
                "applied",
                APPLY,
                "&fieldManager=test-apply&force=true",
                applied,
            ),
        ];
        for (label, kind, query, body) in ways {
            let path = format!("{path}?fieldValidation=Strict{query}");
            let after = self.world.patch(&path, kind, body).await;
            let wanted = json!({"metadata": {"labels": {label: "yes"}}});
            assert!(
                holds(&after, &wanted) && holds(&after, &self.kind.change),
                "{after}"
            );
            self.watch.until("MODIFIED", |o| holds(o, &wanted)).await;
        }
    }

    async fn status(&mut self, name: &str, status: &Value) {
        let path = format!("{}/status", self.path(name));
        let read = self.world.get(&path).await;
        assert_eq!(read["kind"], self.kind.kind, "{read}");
        let uid = &self.world.get(&self.path(name)).await["metadata"]["uid"];
        assert_eq!(&read["metadata"]["uid"], uid);
        let wanted = json!({ "status": status });
        let after = self.world.update(&path, |o| merge(o, &wanted)).await;
        assert!(holds(&after, &wanted), "{after}");
        self.watch.until("MODIFIED", |o| holds(o, &wanted)).await;
        for (way, kind) in [("merged", MERGE), ("strategic", STRATEGIC)] {
            let mut patch = wanted.clone();
            patch["metadata"]["annotations"] = json!({"status": way});
            let after = self.world.patch(&path, kind, patch.clone()).await;
            assert!(holds(&after["status"], status), "{after}");
            if self.kind.metadata_by_status {
                assert!(holds(&after, &patch), "{after}");
            }
        }
        let read = self.world.get(&path).await;
        assert!(holds(&read, &wanted), "{read}");
        assert!(
            holds(&read, &self.kind.change),
            "the rest is as it was: {read}"
        );
    }

    async fn deleted(&mut self, name: &str) {
        let path = self.path(name);
        self.free(name).await;
        self.world.delete(&path).await;
        self.world.until_gone(&path).await;
        self.watch.until("DELETED", |o| name_of(o) == name).await;
        let (code, answer) = self.world.ask("GET", &path, Value::Null).await;
        assert_eq!((code, &answer["reason"]), (404, &json!("NotFound")));
    }

    async fn collection(&mut self, second: &str, third: &str) {
        let path = format!("{}?{SELECTED}", self.kind.path());
        let mut left = [second.to_owned(), third.to_owned()];
        left.sort();
        assert_eq!(self.world.names(&path).await, left);
        for name in [second, third] {
            self.free(name).await;
        }
        self.world.delete(&path).await;
        for name in &left {
            self.world.until_gone(&self.path(name)).await;
        }
        // In any order: some are gone only after what they stand for is.
        for watch in [&mut self.watch, &mut self.wide] {
            let mut told = Vec::new();
            while told.len() < left.len() {
                let gone = watch.until("DELETED", |o| left.contains(&name_of(o))).await;
                told.push(name_of(&gone));
            }
            told.sort();
            assert_eq!(told, left);
        }
        assert_eq!(self.world.names(&path).await, Vec::<String>::new());
    }

    /// Takes away the finalizers that only a controller would.
    async fn free(&self, name: &str) {
        let free = json!({"metadata": {"finalizers": null}});
        self.world.merge(&self.path(name), free).await;
    }
}

fn merge(object: &mut Value, change: &Value) {
    match change {
        Value::Object(fields) => {
            if !object.is_object() {
                *object = json!({});
            }
            for (key, value) in fields {
                merge(&mut object[key.as_str()], value);
            }
        }
        other => *object = other.clone(),
    }
}
