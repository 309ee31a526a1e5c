//! Volumes put together from several objects.

use super::{
    env,
    volume::{file_path, key_to_path, local_path, mode, require},
};
use crate::{
    field::{Error, Errors, Path},
    validation::At,
};

/// Checks the source `projected`. Some of the original's paths leave parts out.
pub fn check(s: &At, errs: &mut Errors) {
    mode(s, "defaultMode", errs);
    let mut paths = Paths {
        at: &s.path,
        seen: Vec::new(),
    };
    for source in s.items("sources") {
        let mut found = 0;
        for key in ["secret", "configMap", "downwardAPI", "serviceAccountToken"] {
            if let Some(part) = source.some(key) {
                found += 1;
                one(key, &part, &mut paths, errs);
            }
        }
        if found > 1 {
            errs.push(source.forbidden("may not specify more than 1 volume type per source"));
        }
    }
}

/// Files of the volume so far: two of them cannot have the same path.
struct Paths<'a> {
    at: &'a Path,
    seen: Vec<String>,
}

impl Paths<'_> {
    /// Notes a path; one that is there already is reported as `shown`.
    fn add(&mut self, path: &str, shown: &str, errs: &mut Errors) {
        if self.seen.iter().any(|s| s == path) {
            errs.push(Error::invalid(
                self.at,
                shown,
                "conflicting duplicate paths",
            ));
        } else {
            self.seen.push(path.to_owned());
        }
    }
}

fn one(key: &str, part: &At, paths: &mut Paths, errs: &mut Errors) {
    match key {
        "secret" | "configMap" => {
            require(part, &["name"], errs);
            for item in part.items("items") {
                key_to_path(&item, errs);
                if !item.text("path").is_empty() {
                    paths.add(item.text("path"), part.text("name"), errs);
                }
            }
        }
        "downwardAPI" => {
            for item in part.items("items") {
                downward_file(&item, &part.path, errs);
                if !item.text("path").is_empty() {
                    paths.add(item.text("path"), item.text("path"), errs);
                }
            }
        }
        _ => token(part, paths.at, errs),
    }
}

/// A file with a field of the pod or of a container; errors name the source instead of the item.
pub fn downward_file(item: &At, source: &Path, errs: &mut Errors) {
    let file = At {
        v: item.v,
        path: source.clone(),
    };
    file_path(&file, errs);
    match (file.some("fieldRef"), file.some("resourceFieldRef")) {
        (Some(field), resource) => {
            env::field_ref(&field, &env::VOLUME_FIELDS, errs);
            if resource.is_some() {
                let words = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errs.push(Error::invalid(&file.path, "resource", words));
            }
        }
        (None, Some(resource)) => env::resource_ref(&resource, true, errs),
        (None, None) => {
            errs.push(file.required("one of fieldRef and resourceFieldRef is required"))
        }
    }
    mode(&file, "mode", errs);
}

fn token(part: &At, volume: &Path, errs: &mut Errors) {
    let seconds = part.get("expirationSeconds");
    let n = seconds.v.as_i64().unwrap_or(0);
    if n < 600 {
        errs.push(Error::invalid(
            &seconds.path,
            n,
            "may not specify a duration less than 10 minutes",
        ));
    }
    if n > 1 << 32 {
        errs.push(seconds.invalid("may not specify a duration larger than 2^32 seconds"));
    }
    let path = At {
        v: part.get("path").v,
        path: volume.child("path"),
    };
    if path.str().is_empty() {
        errs.push(path.required(""));
    } else {
        local_path(&path, errs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::{Value, json};

    fn wrong(sources: Value) -> Vec<String> {
        let v = json!({ "sources": sources });
        let mut errs = Errors::new();
        check(&At::new(&v, "p"), &mut errs);
        errs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn sources_that_are_refused() {
        let cases: &[(Value, &[&str])] = &[
            (json!([{}]), &[]),
            (
                json!([{"secret": {"items": [{"key": "k", "path": "p"}]}, "configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}}]),
                &[
                    "p.sources[0].secret.name: Required value",
                    "p: Invalid value: \"c\": conflicting duplicate paths",
                    "p.sources[0]: Forbidden: may not specify more than 1 volume type per source",
                ],
            ),
            (
                json!([{"downwardAPI": {"items": [{"path": "../x"}]}}]),
                &[
                    "p.sources[0].downwardAPI.path: Invalid value: \"../x\": must not contain '..'",
                    "p.sources[0].downwardAPI: Required value: one of fieldRef and resourceFieldRef is required",
                ],
            ),
            (
                json!([{"serviceAccountToken": {"expirationSeconds": 5}}]),
                &[
                    "p.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes",
                    "p.path: Required value",
                ],
            ),
        ];
        for (sources, want) in cases {
            assert_eq!(wrong(sources.clone()), *want, "{sources}");
        }
    }
}
