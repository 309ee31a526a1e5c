//! A server with an administrator, and the requests that tests make of it.

use std::{pin::Pin, time::Duration};

use futures::{AsyncBufReadExt, Stream, StreamExt};
use http_body_util::BodyExt;
use knarr_json::{Value, json};

use crate::common::Server;

/// How long anything may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);

pub const MERGE: &str = "application/merge-patch+json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";
pub const APPLY: &str = "application/apply-patch+yaml";

pub struct World {
    pub server: Server,
    pub client: kube::Client,
    pub dir: tempfile::TempDir,
}

impl World {
    /// A server whose namespace `default` has its account, as pods need it.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path()).await;
        let client = server.admin().await;
        let world = World {
            server,
            client,
            dir,
        };
        world.account("default").await;
        world
    }

    async fn account(&self, namespace: &str) {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        let body = json!({"metadata": {"name": "default"}});
        self.make(&path, body).await;
    }

    /// Another namespace with its account.
    pub async fn namespace(&self, name: &str) {
        let body = json!({"metadata": {"name": name}});
        self.make("/api/v1/namespaces", body).await;
        self.account(name).await;
    }

    pub async fn stop(self) {
        self.server.stop().await;
    }

    pub async fn bytes(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (u16, http::HeaderMap, Vec<u8>) {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(kube::client::Body::from(body)).unwrap();
        let response = self.client.send(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), parts.headers, bytes.to_vec())
    }

    /// Any request; a body that is no JSON comes back as a string.
    pub async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (u16, http::HeaderMap, Value) {
        let (code, headers, bytes) = self.bytes(method, path, headers, body).await;
        let text = || Value::from(String::from_utf8_lossy(&bytes).into_owned());
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
        (code, headers, body)
    }

    pub async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.ask_as(method, path, "application/json", body).await
    }

    async fn ask_as(&self, method: &str, path: &str, kind: &str, body: Value) -> (u16, Value) {
        let body = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let headers = [("content-type", kind)];
        let (code, _, answer) = self.raw(method, path, &headers, body).await;
        (code, answer)
    }

    /// A request that must succeed.
    async fn expect(&self, method: &str, path: &str, kind: &str, body: Value) -> Value {
        let (code, answer) = self.ask_as(method, path, kind, body).await;
        assert!(
            (200..300).contains(&code),
            "{method} {path}: {code} {answer}"
        );
        answer
    }

    pub async fn make(&self, path: &str, body: Value) -> Value {
        self.expect("POST", path, "application/json", body).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.expect("GET", path, "application/json", Value::Null)
            .await
    }

    pub async fn put(&self, path: &str, body: Value) -> Value {
        self.expect("PUT", path, "application/json", body).await
    }

    pub async fn patch(&self, path: &str, kind: &str, body: Value) -> Value {
        self.expect("PATCH", path, kind, body).await
    }

    pub async fn merge(&self, path: &str, body: Value) -> Value {
        self.patch(path, MERGE, body).await
    }

    /// Deletes in the background: nobody here would take away a finalizer of orphans.
    pub async fn delete(&self, path: &str) -> Value {
        let options =
            json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
        self.expect("DELETE", path, "application/json", options)
            .await
    }

    /// Reads, changes and writes until nobody else wrote in between.
    pub async fn update(&self, path: &str, change: impl Fn(&mut Value)) -> Value {
        loop {
            let mut object = self.get(path).await;
            change(&mut object);
            let (code, answer) = self.ask("PUT", path, object).await;
            if code == 409 {
                continue;
            }
            assert_eq!(code, 200, "PUT {path}: {answer}");
            return answer;
        }
    }

    /// Names of the items of a list, sorted.
    pub async fn names(&self, path: &str) -> Vec<String> {
        let list = self.get(path).await;
        let items = list["items"].as_array().unwrap_or_else(|| panic!("{list}"));
        let mut names: Vec<String> = items.iter().map(name_of).collect();
        names.sort();
        names
    }

    pub async fn watch(&self, path: &str) -> Watch {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let lines = self.client.request_stream(request).await.unwrap().lines();
        Watch(Box::pin(lines.map(|line| {
            serde_json::from_str(&line.expect("a watch that goes on")).expect("an event")
        })))
    }

    pub async fn until_gone(&self, path: &str) {
        until(path, async || {
            self.ask("GET", path, Value::Null).await.0 == 404
        })
        .await;
    }
}

pub fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

pub fn revision(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str();
    text.unwrap_or_else(|| panic!("no revision: {object}"))
        .parse()
        .unwrap()
}

/// Whether all that `part` says is said by `whole`; list items by their place.
pub fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(key, part)| holds(whole.get(key).unwrap_or(&Value::Null), part)),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() >= part.len() && whole.iter().zip(part).all(|(w, p)| holds(w, p))
        }
        _ => whole == part,
    }
}

/// Waits until something is true.
pub async fn until(what: &str, check: impl AsyncFn() -> bool) {
    let waiting = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        panic!("never: {what}");
    }
}

/// The events of a watch, one after the other.
pub struct Watch(Pin<Box<dyn Stream<Item = Value> + Send>>);

impl Watch {
    pub async fn next(&mut self) -> Value {
        let next = tokio::time::timeout(PATIENCE, self.0.next()).await;
        next.expect("an event in time")
            .expect("a watch that goes on")
    }

    /// The first event of a kind whose object is as it should be; what comes before is passed over.
    pub async fn until(&mut self, kind: &str, check: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.next().await;
            assert_ne!(event["type"], "ERROR", "{event}");
            if event["type"] == kind && check(&event["object"]) {
                return event["object"].clone();
            }
        }
    }

    /// Kind of the next event and name of its object.
    pub async fn told(&mut self) -> (String, String) {
        let event = self.next().await;
        let kind = event["type"].as_str().unwrap().to_owned();
        (kind, name_of(&event["object"]))
    }
}
