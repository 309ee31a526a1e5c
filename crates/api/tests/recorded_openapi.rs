//! OpenAPI definitions against recorded documents of the original, where they are at hand.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use knarr_api::{Registry, Resource, Schemas, openapi, strategy::Strategy};
use knarr_json::{Map, Value};

struct Plain;
impl Strategy for Plain {}

fn recordings() -> Option<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let places = [
        std::env::var_os("KNARR_SHARED").map(PathBuf::from),
        Some(repository.join("../shared")),
        Some(repository.join("../../shared")),
    ];
    places
        .into_iter()
        .flatten()
        .map(|p| p.join("openapi/v3"))
        .find(|g| g.is_dir())
}

/// A resource for every kind of a group and version.
fn registry(schemas: &Schemas, group: &str, version: &str) -> Registry {
    let mut registry = Registry::default();
    for ((g, v, kind), _) in schemas.builtin_kinds() {
        if g == group && v == version && !kind.ends_with("List") {
            registry.add(Resource {
                group: g,
                versions: vec![v],
                storage: 0,
                list_kind: format!("{kind}List"),
                plural: format!("{}s", kind.to_lowercase()),
                singular: kind.to_lowercase(),
                kind,
                short_names: Vec::new(),
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
                subresources: Vec::new(),
                strategy: Arc::new(Plain),
                custom: None,
                stored_at: None,
            });
        }
    }
    registry
}

/// Without descriptions, which are not ours to repeat, and what nothing reads: unions, defaults spelled out (`atomic` lists,
/// `granular` maps), whether a lone reference is wrapped, all the groups that options belong to.
fn facts(value: &Value, properties: bool) -> Value {
    const LEFT_OUT: [&str; 4] = [
        "description",
        "x-kubernetes-unions",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
    ];
    let said_otherwise = |key: &str, value: &Value| match key {
        "x-kubernetes-list-type" => *value != "atomic",
        "x-kubernetes-map-type" => *value != "granular",
        "description" => !value.is_string(),
        _ => !LEFT_OUT.contains(&key),
    };
    match value {
        Value::Object(map)
            if map.len() == 1
                && map
                    .get("allOf")
                    .is_some_and(|a| a.as_array().is_some_and(|a| a.len() == 1)) =>
        {
            facts(&map["allOf"][0], false)
        }
        Value::Object(map) => {
            let mut out: Map = map
                .iter()
                .filter(|(key, value)| properties || said_otherwise(key, value))
                .map(|(key, value)| {
                    (
                        key.clone(),
                        facts(value, key == "properties" && !properties),
                    )
                })
                .collect();
            if let Some(Value::Array(required)) = out.get_mut("required") {
                required.sort_by_key(ToString::to_string);
            }
            if out
                .get("x-kubernetes-group-version-kind")
                .is_some_and(|g| g.as_array().is_some_and(|g| g[0]["group"] == ""))
            {
                out.remove("x-kubernetes-group-version-kind");
            }
            let lone = out.get("allOf").cloned().filter(|_| out.len() == 1);
            lone.map_or(Value::Object(out), |all| all[0].clone())
        }
        Value::Array(list) => list.iter().map(|v| facts(v, false)).collect(),
        other => other.clone(),
    }
}

fn differences(path: &str, want: &Value, got: &Value, out: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(k))) {
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => differences(&format!("{path}.{key}"), a, b, out),
                    (a, b) => out.push(format!("{path}.{key}: {a:?} became {b:?}")),
                }
            }
        }
        (a, b) if a == b => {}
        (a, b) => out.push(format!("{path}: {a} became {b}")),
    }
}

#[test]
fn definitions_say_what_the_original_says() {
    let Some(folder) = recordings() else {
        println!("skipped: no recordings on this machine");
        return;
    };
    let schemas = Schemas::default();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in fs::read_dir(folder).unwrap().flatten().map(|f| f.path()) {
        let name = file
            .file_name()
            .unwrap()
            .to_string_lossy()
            .replace("_openapi.json", "");
        let parts: Vec<&str> = name.split("__").collect();
        let (group, version) = match parts[..] {
            ["api", version] => ("", version),
            ["apis", group, version] => (group, version),
            _ => continue,
        };
        let Some(got) = openapi::v3(
            &registry(&schemas, group, version),
            &schemas,
            group,
            version,
        ) else {
            continue;
        };
        let want: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let (want, got) = (
            &want["components"]["schemas"],
            &got["components"]["schemas"],
        );
        for (name, want) in want.as_object().unwrap() {
            // Schemas inside schemas are any JSON here.
            let got = got
                .get(name)
                .filter(|_| !name.ends_with(".JSONSchemaProps"));
            if let Some(got) = got {
                seen += 1;
                differences(name, &facts(want, false), &facts(got, false), &mut wrong);
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(
        wrong.is_empty(),
        "{} of {seen}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
