//! OpenAPI documents, made from the registry and the schemas: what `kubectl explain`, validation and client generators read.

mod connect;
mod definitions;
mod describe;
mod paths;
mod roots;
mod verbs;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use knarr_json::{Map, Value, json};

use crate::{Registry, Resource, Schemas, schema};
use definitions::Definitions;
use paths::{Paths, group_word};
pub use roots::documents;

/// Answers come in these.
const PRODUCES: [&str; 3] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

/// Which OpenAPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavor {
    /// Swagger 2.0, one document for everything.
    V2,
    /// 3.0.0, a document per group and version.
    V3,
}

/// Group and version of all documents, in the order of the registry.
pub fn group_versions(registry: &Registry) -> Vec<(String, String)> {
    let today = registry.iter().flat_map(|r| {
        let version = |v: &String| (r.group.clone(), v.clone());
        r.versions.iter().map(version).collect::<Vec<_>>()
    });
    let old = registry
        .old_versions()
        .map(|o| (o.group.to_owned(), o.version.to_owned()));
    let mut out = Vec::new();
    for entry in today.chain(old) {
        if !out.contains(&entry) {
            out.push(entry);
        }
    }
    out
}

/// What a group and version is called in the index: `api/v1`, `apis/apps/v1`.
pub fn path(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

/// Raised when documents of the same registry and schemas come out differently than before.
const EDITION: u32 = 3;

/// A tag that changes when the document of a group and version does; without making the document.
pub fn tag(registry: &Registry, schemas: &Schemas, group: &str, version: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (group, version).hash(&mut hasher);
    for resource in served(registry, group, version) {
        hash_resource(&resource, &mut hasher);
        schemas.hash_kind(group, version, &resource.kind, &mut hasher);
    }
    finished(hasher)
}

/// [`tag`] of the one document of OpenAPI 2.
pub fn tag_v2(registry: &Registry, schemas: &Schemas) -> String {
    let mut hasher = DefaultHasher::new();
    for (group, version) in group_versions(registry) {
        tag(registry, schemas, &group, &version).hash(&mut hasher);
    }
    finished(hasher)
}

fn finished(mut hasher: DefaultHasher) -> String {
    (EDITION, env!("CARGO_PKG_VERSION"), schema::text_hash()).hash(&mut hasher);
    format!("{:016X}", hasher.finish())
}

fn hash_resource(resource: &Resource, hasher: &mut DefaultHasher) {
    (
        &resource.group,
        &resource.versions,
        &resource.plural,
        &resource.kind,
        &resource.list_kind,
    )
        .hash(hasher);
    (resource.namespaced, &resource.verbs).hash(hasher);
    for version in resource.custom.iter().flat_map(|o| &o.definition.versions) {
        (&version.name, &version.written).hash(hasher);
    }
    for sub in &resource.subresources {
        (sub.name, &sub.kind, sub.group_version, &sub.verbs).hash(hasher);
    }
}

fn served(registry: &Registry, group: &str, version: &str) -> Vec<Arc<Resource>> {
    let here = |r: &&Arc<Resource>| r.group == group && r.versions.iter().any(|v| v == version);
    let old = registry
        .old_versions()
        .filter(|o| o.group == group && o.version == version)
        .filter_map(|o| Some(Arc::new(registry.old_resource(o)?)));
    registry.iter().filter(here).cloned().chain(old).collect()
}

/// `/openapi/v3`: where each document is. `documents` are pairs of [`path`] and the document's hash.
pub fn index<'a>(documents: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let paths: Map = documents
        .into_iter()
        .map(|(path, hash)| {
            (
                path.to_owned(),
                json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}),
            )
        })
        .collect();
    json!({"paths": paths})
}

/// `/openapi/v3/apis/<group>/<version>`; none when nothing is served there.
pub fn v3(registry: &Registry, schemas: &Schemas, group: &str, version: &str) -> Option<Value> {
    let mut definitions = Definitions::new(Flavor::V3, schemas).of(group, version);
    let mut paths = Map::new();
    for resource in served(registry, group, version) {
        definitions.custom(&resource, version);
        Paths {
            flavor: Flavor::V3,
            group,
            version,
            definitions: &mut definitions,
        }
        .resource(&resource, &mut paths);
    }
    if paths.is_empty() {
        return None;
    }
    roots::resources(group, version, &mut definitions, &mut paths);
    Some(v3_document(paths, definitions))
}

fn bearer() -> Value {
    json!({"description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey"})
}

fn v3_document(paths: Map, definitions: Definitions<'_>) -> Value {
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": definitions.finish(), "securitySchemes": {"BearerToken": bearer()}},
    })
}

/// `/openapi/v2`: everything in one document.
pub fn v2(registry: &Registry, schemas: &Schemas) -> Value {
    let all = group_versions(registry);
    let mut definitions = Definitions::new(Flavor::V2, schemas);
    let mut paths = Map::new();
    for (group, version) in &all {
        for resource in served(registry, group, version) {
            definitions.custom(&resource, version);
            Paths {
                flavor: Flavor::V2,
                group,
                version,
                definitions: &mut definitions,
            }
            .resource(&resource, &mut paths);
        }
    }
    for (group, version) in &all {
        roots::resources(group, version, &mut definitions, &mut paths);
        definitions = definitions.of(group, version);
    }
    roots::add_v2(registry, &mut definitions, &mut paths);
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "definitions": definitions.finish(),
        "securityDefinitions": {"BearerToken": bearer()},
        "security": [{"BearerToken": []}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{registry::Subresource, strategy::Strategy};

    struct Plain;
    impl Strategy for Plain {}

    fn registry() -> Registry {
        let mut registry = Registry::default();
        registry.add(Resource {
            group: "apps".into(),
            versions: vec!["v1".into()],
            storage: 0,
            stored_at: None,
            kind: "Deployment".into(),
            list_kind: "DeploymentList".into(),
            plural: "deployments".into(),
            singular: "deployment".into(),
            short_names: vec!["deploy".into()],
            categories: Vec::new(),
            namespaced: true,
            verbs: vec![
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ],
            subresources: vec![Subresource {
                name: "scale",
                kind: "Scale".into(),
                group_version: Some(("autoscaling", "v1")),
                verbs: vec!["get", "patch", "update"],
                versions: Vec::new(),
            }],
            strategy: Arc::new(Plain),
            custom: None,
        });
        registry
    }

    /// Every reference in a document leads somewhere.
    fn check_links(document: &Value, at: &Value) {
        match at {
            Value::Object(map) => {
                if let Some(link) = map.get("$ref").and_then(Value::as_str) {
                    assert!(
                        document.pointer(link.trim_start_matches('#')).is_some(),
                        "{link}"
                    );
                }
                map.values().for_each(|v| check_links(document, v));
            }
            Value::Array(list) => list.iter().for_each(|v| check_links(document, v)),
            _ => {}
        }
    }

    /// Places of a document that nothing is said of.
    fn silent(document: &Value, definitions: &str) -> Vec<String> {
        let mut out = Vec::new();
        let mut check = |place: String, value: &Value| {
            if value["description"].as_str().is_none_or(str::is_empty) {
                out.push(place);
            }
        };
        let all = document.pointer(definitions).and_then(Value::as_object);
        for (name, definition) in all.unwrap() {
            check(name.to_string(), definition);
            for (field, property) in definition["properties"].as_object().into_iter().flatten() {
                check(format!("{name}.{field}"), property);
            }
        }
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let own = operation.get("parameters").unwrap_or(operation);
                for parameter in own.as_array().into_iter().flatten() {
                    if parameter["in"] != "body" {
                        check(format!("{path} {}", parameter["name"]), parameter);
                    }
                }
                if method != "parameters" {
                    check(format!("{path} {method}"), operation);
                }
            }
        }
        out
    }

    #[test]
    fn documents_say_what_everything_is_for() {
        let (registry, schemas) = (crate::builtin::registry(), Schemas::default());
        let whole = v2(&registry, &schemas);
        assert_eq!(silent(&whole, "/definitions"), [""; 0]);
        for (group, version) in group_versions(&registry) {
            let document = v3(&registry, &schemas, &group, &version).unwrap();
            assert_eq!(silent(&document, "/components/schemas"), [""; 0]);
        }
        // Beside a reference there are words in one version only.
        let place = "io.k8s.api.core.v1.Pod/properties/spec";
        let v2 = whole.pointer(&format!("/definitions/{place}")).unwrap();
        assert!(v2["$ref"].is_string() && v2["description"].is_string());
        let core = v3(&registry, &schemas, "", "v1").unwrap();
        let v3 = core
            .pointer(&format!("/components/schemas/{place}"))
            .unwrap();
        assert!(v3["allOf"][0]["$ref"].is_string() && v3["description"] == v2["description"]);
    }

    #[test]
    fn documents_have_paths_kinds_and_merge_marks() {
        let schemas = Schemas::default();
        let doc = v3(&registry(), &schemas, "apps", "v1").unwrap();
        check_links(&doc, &doc);
        let item = &doc["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
        assert_eq!(
            item["patch"]["operationId"],
            "patchAppsV1NamespacedDeployment"
        );
        assert!(
            item["patch"]["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .any(|p| p["name"] == "fieldValidation")
        );
        assert_eq!(
            doc["paths"]["/apis/apps/v1/deployments"]["get"]["operationId"],
            "listAppsV1DeploymentForAllNamespaces"
        );
        let scale =
            &doc["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"];
        assert_eq!(
            scale["x-kubernetes-group-version-kind"],
            json!({"group": "autoscaling", "kind": "Scale", "version": "v1"})
        );
        let schema =
            &doc["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(schema["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(schema["x-kubernetes-list-map-keys"], json!(["name"]));
        let deployment = &doc["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"];
        assert_eq!(
            deployment["x-kubernetes-group-version-kind"],
            json!([{"group": "apps", "kind": "Deployment", "version": "v1"}])
        );
        assert!(v3(&registry(), &schemas, "batch", "v1").is_none());
        let before = tag(&registry(), &schemas, "apps", "v1");
        assert_eq!(before, tag(&registry(), &schemas, "apps", "v1"));
        let mut fewer = (**registry().get("apps", "deployments").unwrap()).clone();
        fewer.subresources.clear();
        let mut changed = Registry::default();
        changed.add(fewer);
        assert_ne!(before, tag(&changed, &schemas, "apps", "v1"));
        let doc = v2(&registry(), &schemas);
        check_links(&doc, &doc);
        assert_eq!(
            index([("apis/apps/v1", "AB")])["paths"]["apis/apps/v1"]["serverRelativeURL"],
            "/openapi/v3/apis/apps/v1?hash=AB"
        );
    }
}
