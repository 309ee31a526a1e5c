//! Recorded answers of the original, where they are at hand.
#![allow(dead_code)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use knarr_api::decode::yaml;
use knarr_json::Value;

/// The folder with the recordings, if this machine has it: in `$KNARR_SHARED`, or beside the repository or the folder that
/// its worktrees are in.
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
        .map(|p| p.join("golden"))
        .find(|g| g.is_dir())
}

/// Every recorded step: where it is from, what was asked, what came back.
pub fn steps() -> Vec<(String, Value, Value)> {
    let Some(root) = recordings() else {
        println!("skipped: no recordings on this machine");
        return Vec::new();
    };
    // The recorder's YAML reader takes these for text.
    let letters = regex::Regex::new(r"(?m)([:\[,] ?)([ynYN])(\s*[,}\]]|$)").unwrap();
    let mut out = Vec::new();
    for folder in ["core", "machinery", "networking", "workloads", "extension"] {
        let Ok(files) = fs::read_dir(root.join(folder)) else {
            continue;
        };
        for file in files
            .flatten()
            .map(|f| f.path())
            .filter(|f| f.extension().is_some_and(|e| e == "yaml"))
        {
            let text = fs::read_to_string(&file).unwrap();
            let asked = yaml::read(letters.replace_all(&text, "$1'$2'$3").as_bytes())
                .unwrap()
                .value;
            let answered: Value =
                serde_json::from_slice(&fs::read(file.with_extension("json")).unwrap()).unwrap();
            let name = file.strip_prefix(&root).unwrap().display().to_string();
            let pairs = asked["steps"]
                .as_array()
                .into_iter()
                .flatten()
                .zip(answered.as_array().into_iter().flatten());
            out.extend(pairs.map(|(a, b)| (name.clone(), a.clone(), b.clone())));
        }
    }
    out
}

/// Placeholders in recordings, made values that decode to themselves.
pub fn concrete(value: &Value) -> Value {
    match value {
        Value::String(s) if s == "<time>" => Value::from("2024-01-02T03:04:05Z"),
        Value::Array(list) => list.iter().map(concrete).collect(),
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), concrete(v))).collect(),
        other => other.clone(),
    }
}
