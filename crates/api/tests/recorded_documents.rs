//! Whole OpenAPI documents of the built-in kinds against recorded ones of the original, where they are at hand: paths,
//! operations, parameters, types, fields, marks. Texts of descriptions are not compared, nor is CBOR, which is not served.

use std::{
    fs,
    path::{Path, PathBuf},
};

use knarr_api::{Registry, Schemas, builtin, openapi};
use knarr_json::{Map, Value};

fn recordings() -> Option<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let places = [
        std::env::var_os("KNARR_SHARED").map(PathBuf::from),
        Some(repository.join("../shared")),
        Some(repository.join("../../shared")),
    ];
    let found = places.into_iter().flatten().map(|p| p.join("openapi"));
    found.into_iter().find(|p| p.is_dir())
}

/// Without texts and CBOR, lists of parameters in one order, references to shared parameters resolved.
fn facts(value: &Value, properties: bool, shared: &Value) -> Value {
    match value {
        Value::Object(map) => {
            if let Some(link) = map.get("$ref").and_then(Value::as_str)
                && let Some(name) = link.strip_prefix("#/parameters/")
            {
                return facts(&shared[name], false, shared);
            }
            let kept = |k: &str, v: &Value| {
                properties || !((k == "description" && v.is_string()) || k.contains("cbor"))
            };
            let out: Map = map
                .iter()
                .filter(|(k, v)| kept(k, v))
                .map(|(k, v)| {
                    (
                        k.clone(),
                        facts(v, k == "properties" && !properties, shared),
                    )
                })
                .collect();
            // A lone reference may be wrapped.
            match out.get("allOf").map(Value::items) {
                Some([one]) if out.len() == 1 => one.clone(),
                _ => Value::Object(out),
            }
        }
        Value::Array(list) => {
            let kept = list
                .iter()
                .filter(|v| !v.as_str().is_some_and(|s| s.contains("cbor")));
            let mut out: Vec<Value> = kept.map(|v| facts(v, false, shared)).collect();
            out.sort_by_key(ToString::to_string);
            out.into()
        }
        other => other.clone(),
    }
}

fn differences(path: &str, want: &Value, got: &Value, out: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(k))) {
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => differences(&format!("{path}.{key}"), a, b, out),
                    (a, _) => {
                        let how = if a.is_some() { "missing" } else { "too much" };
                        out.push(format!("{path}.{key} {how}"));
                    }
                }
            }
        }
        (a, b) if a == b => {}
        (a, b) => out.push(format!("{path}: {a:.300} became {b:.300}")),
    }
}

/// Groups and versions that the recording server had and that are off by default.
fn is_off(document: &str) -> bool {
    let last = document.rsplit('/').next().unwrap_or_default();
    last.contains("alpha")
        || last.contains("beta")
        || [
            "internal.apiserver.k8s.io",
            "storagemigration.k8s.io",
            "logs",
        ]
        .iter()
        .any(|g| document.contains(g))
}

fn document(registry: &Registry, schemas: &Schemas, name: &str) -> Option<Value> {
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        ["api", version] => openapi::v3(registry, schemas, "", version),
        ["apis", group, version] => openapi::v3(registry, schemas, group, version),
        _ => openapi::documents(registry, schemas).remove(name),
    }
}

fn refuse(wrong: &[String]) {
    let shown: Vec<&str> = wrong.iter().take(40).map(String::as_str).collect();
    assert!(
        wrong.is_empty(),
        "{} differences:\n{}",
        wrong.len(),
        shown.join("\n")
    );
}

#[test]
fn documents_of_version_3_say_what_the_original_says() {
    let Some(folder) = recordings() else {
        println!("skipped: no recordings on this machine");
        return;
    };
    let (registry, schemas) = (builtin::registry(), Schemas::default());
    let (mut wrong, mut seen) = (Vec::new(), 0);
    let none = Value::Object(Map::new());
    for file in fs::read_dir(folder.join("v3")).unwrap().flatten() {
        let name = file
            .file_name()
            .to_string_lossy()
            .replace("_openapi.json", "")
            .replace("__", "/");
        if is_off(&name) {
            continue;
        }
        seen += 1;
        let want: Value = serde_json::from_slice(&fs::read(file.path()).unwrap()).unwrap();
        let Some(got) = document(&registry, &schemas, &name) else {
            wrong.push(format!("{name} missing"));
            continue;
        };
        for part in ["/paths", "/components/schemas"] {
            let of = |d: &Value| {
                facts(
                    d.pointer(part).unwrap_or(&none),
                    part != "/paths",
                    &Value::Null,
                )
            };
            differences(&name, &of(&want), &of(&got), &mut wrong);
        }
    }
    assert!(seen > 35, "{seen} documents");
    refuse(&wrong);
}

/// Whether a path or type belongs to something that is off by default.
fn off_by_default(name: &str) -> bool {
    let version = name.split(['/', '.']).any(|w| {
        w.starts_with('v')
            && (w.contains("alpha") || w.contains("beta"))
            && w[1..].starts_with(|c: char| c.is_ascii_digit())
    });
    version
        || [
            "internal.apiserver",
            "apiserverinternal",
            "storagemigration",
            "GroupResource",
            "/logs",
        ]
        .iter()
        .any(|w| name.contains(w))
}

#[test]
fn the_document_of_version_2_says_what_the_original_says() {
    let Some(folder) = recordings() else {
        println!("skipped: no recordings on this machine");
        return;
    };
    let want: Value =
        serde_json::from_slice(&fs::read(folder.join("swagger.json")).unwrap()).unwrap();
    let got = openapi::v2(&builtin::registry(), &Schemas::default());
    let mut wrong = Vec::new();
    for part in ["paths", "definitions"] {
        let of = |d: &Value| {
            let all = d[part].as_object().unwrap().iter();
            let on = all.filter(|(name, _)| !off_by_default(name));
            on.map(|(name, v)| (name.clone(), facts(v, false, &d["parameters"])))
                .collect::<Map>()
        };
        let (mut want, got) = (of(&want), of(&got));
        // Options and watch events are kinds of every group there is, those that are off too.
        for name in ["DeleteOptions", "WatchEvent"] {
            let full = format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}");
            if let (Some(want), Some(got)) = (want.get_mut(&full), got.get(&full)) {
                const MARK: &str = "x-kubernetes-group-version-kind";
                want[MARK] = got[MARK].clone();
            }
        }
        differences(part, &Value::Object(want), &Value::Object(got), &mut wrong);
    }
    refuse(&wrong);
}
