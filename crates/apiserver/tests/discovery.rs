//! Discovery: what is served, in all its forms.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use common::Server;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use k8s_pb::{
    api::apidiscovery::v2 as aggregated,
    apimachinery::pkg::{apis::meta::v1 as meta, runtime::Unknown},
};
use knarr_json::{Value, json};
use kube::client::Body;
use prost::Message;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const GROUPS: &str = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

struct Answer {
    code: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// `apiVersion`, `kind` and message of a body in protobuf.
    fn message<T: Message + Default>(&self) -> (String, String, T) {
        let unknown = Unknown::decode(self.body.strip_prefix(b"k8s\0").unwrap()).unwrap();
        let said = unknown.type_meta.unwrap();
        (
            said.api_version.unwrap_or_default(),
            said.kind.unwrap_or_default(),
            T::decode(&*unknown.raw.unwrap()).unwrap(),
        )
    }
}

async fn get(client: &kube::Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let (parts, body) = client.send(request).await.unwrap().into_parts();
    Answer {
        code: parts.status.as_u16(),
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

async fn accept(client: &kube::Client, path: &str, accept: &str) -> Answer {
    get(client, path, &[("accept", accept)]).await
}

/// Folder of the original's OpenAPI documents.
fn documents() -> Option<PathBuf> {
    let shared = std::env::var_os("KNARR_SHARED").map(PathBuf::from);
    let beside = || {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        here.ancestors().nth(3).map(|p| p.join("shared"))
    };
    let folder = shared.or_else(beside)?.join("openapi/v3");
    folder.is_dir().then_some(folder)
}

/// What is known of a resource or subresource: kind, whether it is in namespaces, verbs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    kind: String,
    namespaced: bool,
    verbs: BTreeSet<String>,
}

/// Resources by name, as the paths of an OpenAPI document tell of them.
fn told(document: &Value, root: &str) -> BTreeMap<String, Known> {
    let mut out: BTreeMap<String, Known> = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(rest) = path.strip_prefix(root).and_then(|p| p.strip_prefix('/')) else {
            continue;
        };
        let rest = rest.strip_prefix("watch/").unwrap_or(rest);
        let inside = rest.strip_prefix("namespaces/{namespace}/");
        let parts: Vec<&str> = inside.unwrap_or(rest).split('/').collect();
        let name = match parts[..] {
            [""] => continue,
            [plural] | [plural, "{name}"] => plural.to_owned(),
            [plural, "{name}", sub, ..] => format!("{plural}/{sub}"),
            _ => panic!("{path}"),
        };
        let operations = item.as_object().unwrap().iter();
        for (method, operation) in operations.filter(|(m, _)| *m != "parameters") {
            let verb = match operation["x-kubernetes-action"].as_str() {
                // Only what can be discovered is said of proxies: HEAD and OPTIONS are not.
                Some("connect") => method.as_str(),
                Some(action) => action,
                None => continue,
            };
            let verb = match verb {
                "post" => "create",
                "put" => "update",
                "watchlist" => "watch",
                "head" | "options" => continue,
                other => other,
            };
            let known = out.entry(name.clone()).or_default();
            known.verbs.insert(verb.to_owned());
            known.namespaced |= inside.is_some();
            let kind = operation["x-kubernetes-group-version-kind"]["kind"].as_str();
            // Patches are told with the kind of the object, as are all others.
            known.kind = kind.unwrap_or_default().to_owned();
        }
    }
    out
}

/// Resources by name, as discovery tells of them.
fn listed(list: &Value) -> BTreeMap<String, Known> {
    let resources = list["resources"].as_array().unwrap().iter();
    let known = |r: &Value| {
        let verbs = r["verbs"].as_array().unwrap().iter();
        Known {
            kind: r["kind"].as_str().unwrap().to_owned(),
            namespaced: r["namespaced"] == true,
            verbs: verbs.map(|v| v.as_str().unwrap().to_owned()).collect(),
        }
    };
    resources
        .map(|r| (r["name"].as_str().unwrap().to_owned(), known(r)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_and_resources_are_those_of_the_original() {
    let Some(folder) = documents() else {
        eprintln!("skipped: no OpenAPI documents of the original beside the repository");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), |c| c.old_versions = false).await;
    let client = server.admin().await;
    let mut served: BTreeSet<String> = BTreeSet::from(["/api/v1".into()]);
    let groups = accept(&client, "/apis", "application/json").await.json();
    for group in groups["groups"].as_array().unwrap() {
        let versions = group["versions"].as_array().unwrap().iter();
        served.extend(versions.map(|v| format!("/apis/{}", v["groupVersion"].as_str().unwrap())));
    }
    let mut seen = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let root = name.strip_suffix("_openapi.json").unwrap();
        let root = format!("/{}", root.replace("__", "/"));
        let version = root.rsplit('/').next().unwrap();
        let is_version = root.starts_with("/api") && version.starts_with('v');
        // What is not stable is not served unless it is asked for.
        if !is_version || version.contains("alpha") || version.contains("beta") {
            continue;
        }
        let document: Value = serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
        let list = accept(&client, &root, "application/json").await;
        assert_eq!(list.code, 200, "{root}");
        let (want, got) = (told(&document, &root), listed(&list.json()));
        let names = |m: &BTreeMap<String, Known>| m.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&got), names(&want), "{root}");
        for (name, want) in &want {
            assert_eq!(&got[name], want, "{root}: {name}");
        }
        seen.insert(root);
    }
    assert_eq!(served, seen);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_forms_tell_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;

    let answer = accept(&client, "/api", PROTOBUF).await;
    assert_eq!(answer.header("content-type"), PROTOBUF);
    let (version, kind, versions): (_, _, meta::APIVersions) = answer.message();
    assert_eq!((version.as_str(), kind.as_str()), ("", "APIVersions"));
    assert_eq!(versions.versions, ["v1"]);
    let (version, kind, groups): (_, _, meta::APIGroupList) =
        accept(&client, "/apis", PROTOBUF).await.message();
    assert_eq!((version.as_str(), kind.as_str()), ("v1", "APIGroupList"));
    assert_eq!(groups.groups[1].name.as_deref(), Some("apps"));
    let (_, kind, group): (_, _, meta::APIGroup) =
        accept(&client, "/apis/apps", PROTOBUF).await.message();
    assert_eq!(kind, "APIGroup");
    let preferred = group.preferred_version.unwrap();
    assert_eq!(preferred.group_version.as_deref(), Some("apps/v1"));
    for (path, version) in [("/api/v1", ""), ("/apis/apps/v1", "v1")] {
        let (said, kind, list): (_, _, meta::APIResourceList) =
            accept(&client, path, PROTOBUF).await.message();
        assert_eq!((said.as_str(), kind.as_str()), (version, "APIResourceList"));
        let json = accept(&client, path, "application/json").await.json();
        assert_eq!(json["apiVersion"].as_str().unwrap_or_default(), version);
        let shown = json["resources"].as_array().unwrap();
        assert_eq!(list.resources.len(), shown.len());
        for (a, b) in list.resources.iter().zip(shown) {
            assert_eq!(a.name.as_deref(), b["name"].as_str());
            assert_eq!(
                a.storage_version_hash.as_deref(),
                b["storageVersionHash"].as_str()
            );
            let verbs: Vec<&str> = b["verbs"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .collect();
            assert_eq!(a.verbs.as_ref().unwrap().items, verbs);
        }
    }

    for path in ["/api", "/apis"] {
        let json = accept(&client, path, &format!("application/json{GROUPS}")).await;
        assert_eq!(
            json.header("content-type"),
            format!("application/json{GROUPS}")
        );
        let document = json.json();
        assert_eq!(document["apiVersion"], "apidiscovery.k8s.io/v2");
        let binary = accept(
            &client,
            path,
            &format!("{PROTOBUF}{GROUPS},application/json"),
        )
        .await;
        assert_eq!(binary.header("content-type"), format!("{PROTOBUF}{GROUPS}"));
        assert_eq!(binary.header("etag"), json.header("etag"));
        let (version, kind, list): (_, _, aggregated::APIGroupDiscoveryList) = binary.message();
        assert_eq!(version, "apidiscovery.k8s.io/v2");
        assert_eq!(kind, "APIGroupDiscoveryList");
        let items = document["items"].as_array().unwrap();
        assert_eq!(list.items.len(), items.len());
        for (a, b) in list.items.iter().zip(items) {
            let version = &b["versions"][0];
            let resources = version["resources"].as_array().unwrap();
            assert_eq!(
                a.versions[0].version.as_deref(),
                version["version"].as_str()
            );
            assert_eq!(a.versions[0].freshness.as_deref(), Some("Current"));
            assert_eq!(a.versions[0].resources.len(), resources.len());
            for (a, b) in a.versions[0].resources.iter().zip(resources) {
                assert_eq!(a.resource.as_deref(), b["resource"].as_str());
                assert_eq!(
                    a.subresources.len(),
                    b["subresources"].as_array().map_or(0, |l| l.len())
                );
                let kind = a.response_kind.as_ref().unwrap();
                assert_eq!(kind.kind.as_deref(), b["responseKind"]["kind"].as_str());
            }
        }
        let yaml = accept(&client, path, &format!("application/yaml{GROUPS}")).await;
        assert_eq!(
            yaml.header("content-type"),
            format!("application/yaml{GROUPS}")
        );

        let tag = json.header("etag").to_owned();
        let aggregated = format!("application/json{GROUPS}");
        let again = get(
            &client,
            path,
            &[("accept", &aggregated), ("if-none-match", &tag)],
        )
        .await;
        assert_eq!(
            (again.code, again.body.len(), again.header("etag")),
            (304, 0, tag.as_str())
        );
        assert_eq!(
            (json.header("vary"), json.header("cache-control")),
            ("Accept", "public")
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forms_are_chosen_as_the_client_likes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let v2 = format!("application/json{GROUPS}");
    let beta = v2.replace("v=v2", "v=v2beta1");
    for (header, want) in [
        (v2.clone(), v2.as_str()),
        // client-go's.
        (format!("{v2},{beta},application/json"), &v2),
        (format!("application/json;q=0.9,{v2}"), &v2),
        (format!("application/json,{v2};q=0.9"), "application/json"),
        // The beta version is gone.
        (format!("{beta},application/json"), "application/json"),
        (format!("{v2};profile=nopeer"), &v2),
        ("*/*".into(), "application/json"),
        ("application/*".into(), "application/json"),
        ("application/yaml, */*;q=0.1".into(), "application/yaml"),
    ] {
        let answer = accept(&client, "/apis", &header).await;
        assert_eq!(
            (answer.code, answer.header("content-type")),
            (200, want),
            "{header}"
        );
    }
    let refused = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let by_path = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf";
    for (path, header, want) in [
        ("/apis", beta.as_str(), refused),
        ("/apis", "text/plain", refused),
        ("/apis/apps", "text/plain", refused),
        ("/api", "text/plain", by_path),
        ("/api/v1", "application/*", by_path),
        ("/apis/apps/v1", "text/plain", by_path),
        ("/apis/apps/v1", v2.as_str(), refused),
    ] {
        let answer = accept(&client, path, header).await;
        assert_eq!(answer.code, 406, "{path} {header}");
        assert_eq!(answer.json()["message"], want, "{path} {header}");
        assert_eq!(answer.json()["reason"], "NotAcceptable");
    }
    server.stop().await;
}

/// Names of groups in order.
fn names(list: &Value) -> Vec<&str> {
    let groups = list["groups"].as_array().or(list["items"].as_array());
    groups
        .unwrap()
        .iter()
        .filter_map(|g| g["name"].as_str().or(g["metadata"]["name"].as_str()))
        .collect()
}

fn definition(group: &str, plural: &str, versions: &[&str]) -> Value {
    let kind = format!(
        "{}{}",
        plural[..1].to_uppercase(),
        &plural[1..plural.len() - 1]
    );
    let versions: Vec<Value> = versions
        .iter()
        .enumerate()
        .map(|(n, v)| json!({"name": v, "served": true, "storage": n == 0, "schema": {"openAPIV3Schema": {"type": "object"}}}))
        .collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "singular": &plural[..plural.len() - 1], "kind": kind}, "versions": versions},
    })
}

fn remote(group: &str, version: &str, priority: (i64, i64)) -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": format!("{version}.{group}")},
        "spec": {"group": group, "version": version, "groupPriorityMinimum": priority.0, "versionPriority": priority.1,
            "insecureSkipTLSVerify": true, "service": {"name": "none", "namespace": "default"}},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_all_sorts_come_by_priority() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), |c| c.old_versions = false).await;
    let client = server.admin().await;
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let services = "/apis/apiregistration.k8s.io/v1/apiservices";
    for (path, object) in [
        (
            definitions,
            definition("a.example.com", "boats", &["v1beta1", "v1alpha1"]),
        ),
        (
            definitions,
            definition("z.example.com", "cars", &["v1", "v2"]),
        ),
        (services, remote("m.example.com", "v1beta1", (17000, 5))),
        (services, remote("m.example.com", "v1", (10, 3))),
        (services, remote("low.example.com", "v1", (10, 10))),
    ] {
        let (code, body, _) = common::request::send(&client, "POST", path, object).await;
        assert_eq!(code, 201, "{body}");
    }
    let plain_tail = [
        "flowcontrol.apiserver.k8s.io",
        "z.example.com",
        "a.example.com",
        "low.example.com",
    ];
    let tail = [
        "flowcontrol.apiserver.k8s.io",
        "a.example.com",
        "z.example.com",
        "low.example.com",
    ];
    let aggregated = format!("application/json{GROUPS}");
    let mut last = Value::Null;
    for _ in 0..100 {
        last = accept(&client, "/apis", &aggregated).await.json();
        let plain = accept(&client, "/apis", "application/json").await.json();
        if names(&last).ends_with(&tail) && names(&plain).ends_with(&plain_tail) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(names(&last).ends_with(&tail), "{:?}", names(&last));
    let plain = accept(&client, "/apis", "application/json").await.json();
    let all = names(&plain);
    assert!(all.ends_with(&plain_tail), "{all:?}");
    assert_eq!(all[0], "apiregistration.k8s.io");
    let at = all.iter().position(|n| *n == "m.example.com").unwrap();
    assert_eq!(
        (all[at - 1], all[at + 1]),
        ("rbac.authorization.k8s.io", "storage.k8s.io")
    );
    let group = |name: &str| {
        plain["groups"]
            .as_array()
            .unwrap()
            .iter()
            .find(|g| g["name"] == name)
            .unwrap()
    };
    assert_eq!(
        group("m.example.com")["preferredVersion"]["version"],
        "v1beta1"
    );
    assert_eq!(group("z.example.com")["preferredVersion"]["version"], "v2");
    assert_eq!(
        group("a.example.com")["preferredVersion"]["version"],
        "v1beta1"
    );
    let one = accept(&client, "/apis/m.example.com", "application/json")
        .await
        .json();
    assert_eq!(one["versions"], group("m.example.com")["versions"]);

    // Nobody ever told what is in the group: it is there, and old.
    let items = last["items"].as_array().unwrap();
    let stale = items
        .iter()
        .find(|i| i["metadata"]["name"] == "m.example.com")
        .unwrap();
    assert_eq!(
        stale["versions"],
        json!([{"version": "v1beta1", "freshness": "Stale"}, {"version": "v1", "freshness": "Stale"}])
    );
    let own = items
        .iter()
        .find(|i| i["metadata"]["name"] == "z.example.com")
        .unwrap();
    assert_eq!(
        own["versions"][0]["resources"][0],
        json!({
        "resource": "cars", "responseKind": {"group": "", "version": "", "kind": "Car"}, "scope": "Namespaced", "singularResource": "car",
        "verbs": ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]})
    );
    // The hash of stored versions is that of the one that is stored.
    let list = |version: &str| {
        let path = format!("/apis/z.example.com/{version}");
        let client = client.clone();
        async move { accept(&client, &path, "application/json").await.json() }
    };
    let hash = list("v1").await["resources"][0]["storageVersionHash"].clone();
    assert!(hash.as_str().is_some_and(|h| h.len() == 12), "{hash}");
    assert_eq!(list("v2").await["resources"][0]["storageVersionHash"], hash);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_reads_the_binary_document() {
    if std::process::Command::new("kubectl")
        .arg("version")
        .arg("--client")
        .output()
        .is_err()
    {
        eprintln!("skipped: no kubectl");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let kubeconfig = dir.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig("admin", &["system:masters"])).unwrap();
    // Only the document of version 2 is asked for, in its binary form.
    for (what, wanted) in [
        (
            "pods.spec.containers.ports",
            "containerPort\t<integer> -required-",
        ),
        ("deployments.spec.strategy", "rollingUpdate\t<Object>"),
    ] {
        let output = tokio::process::Command::new("kubectl")
            .args([
                "explain",
                what,
                "--output=plaintext-openapiv2",
                "-v=8",
                "--kubeconfig",
            ])
            .arg(&kubeconfig)
            .env("HOME", dir.path())
            .output()
            .await
            .unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{err}");
        assert!(out.contains(wanted), "{out}");
        assert!(
            err.contains("/openapi/v2") && err.contains("proto-openapi.spec.v2"),
            "{err}"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_documents_have_the_tags_of_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let new = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
    let index = accept(&client, "/openapi/v3", "application/json")
        .await
        .json();
    for path in ["api/v1", "apis/apps/v1", "apis/apps", "version"] {
        let url = index["paths"][path]["serverRelativeURL"].as_str().unwrap();
        let json = accept(&client, url, "application/json").await;
        for asked in [
            new,
            "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
        ] {
            let binary = accept(&client, url, &format!("{asked},application/json;q=0.5")).await;
            assert_eq!(
                (binary.code, binary.header("content-type")),
                (200, new),
                "{path}"
            );
            assert_eq!(binary.header("etag"), json.header("etag"), "{path}");
            assert_eq!(
                binary.header("cache-control"),
                "public, immutable",
                "{path}"
            );
            // Field 1 of the document is its version.
            assert!(binary.body.starts_with(b"\x0a\x053.0.0"), "{path}");
            let tag = json.header("etag");
            let held = get(&client, url, &[("accept", asked), ("if-none-match", tag)]).await;
            assert_eq!((held.code, held.body.len()), (304, 0), "{path}");
        }
        let html = accept(&client, url, "text/html").await;
        assert_eq!((html.code, html.body.len()), (406, 0), "{path}");
    }
    server.stop().await;
}

/// In v1.36 CBOR is served to those only who switch it on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cbor_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = server.admin().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let forms = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let streams = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    let missing = format!("{maps}/none");
    let watch = format!("{maps}?watch=true");
    for (path, asked, listed) in [
        (maps, "application/cbor", format!("{forms}, {streams}")),
        (
            watch.as_str(),
            "application/cbor-seq",
            format!("{forms}, {streams}"),
        ),
        (missing.as_str(), "application/cbor", forms.to_owned()),
    ] {
        let answer = accept(&client, path, asked).await;
        let message = format!("406: Not Acceptable\n\nAvailable representations: {listed}");
        assert_eq!(
            (answer.code, &answer.json()["message"]),
            (406, &json!(message)),
            "{path}"
        );
    }
    // Who also takes JSON gets that.
    let answer = accept(&client, maps, "application/cbor,application/json;q=0.9").await;
    assert_eq!(
        (answer.code, answer.header("content-type")),
        (200, "application/json")
    );
    for (method, path, kind) in [
        ("POST", maps, "application/cbor"),
        ("PATCH", missing.as_str(), "application/apply-patch+cbor"),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", kind);
        let request = request
            .body(Body::from(b"\xd9\xd9\xf7\xa0".to_vec()))
            .unwrap();
        let response = client.send(request).await.unwrap();
        assert_eq!(response.status(), 415, "{method}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let status: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status["reason"], "UnsupportedMediaType", "{status}");
    }
    server.stop().await;
}
