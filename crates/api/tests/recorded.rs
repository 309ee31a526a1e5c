//! Decoding against recorded answers of the original, where they are at hand.

mod common;

use std::collections::HashMap;

use common::{concrete, steps};
use knarr_api::{
    Schemas,
    decode::{self, Expect, FieldValidation, Format},
    patch,
};
use knarr_json::{Value, json};

fn differences(path: &str, want: &Value, got: &Value, out: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(k))) {
                let (a, b) = (a.get(key), b.get(key));
                match (a, b) {
                    (Some(a), Some(b)) => differences(&format!("{path}.{key}"), a, b, out),
                    (a, b) => out.push(format!("{path}.{key}: {a:?} became {b:?}")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter()
                .zip(b)
                .for_each(|(a, b)| differences(&format!("{path}[]"), a, b, out));
        }
        (a, b) if a == b => {}
        (a, b) => out.push(format!("{path}: {a} became {b}")),
    }
}

#[test]
fn what_the_original_answers_decodes_to_itself() {
    let schemas = Schemas::default();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (name, ask, answer) in steps() {
        let cut = ask.get("ignore").is_some() || ask.get("only").is_some();
        let body = concrete(&answer["body"]);
        let (Some(api_version), Some(kind)) = (body["apiVersion"].as_str(), body["kind"].as_str())
        else {
            continue;
        };
        if kind == "Status" || kind.ends_with("List") {
            continue;
        }
        let Some(schema) = schemas.by_api_version(api_version, kind) else {
            continue;
        };
        seen += 1;
        match decode::read(&schema, body.to_string().as_bytes()) {
            // Times with fractions are shown without them in recordings, node ports as words.
            Err(e) if e.contains("as \".000000\"") || e.contains("odePort of type int32") => {}
            Err(e) => wrong.push(format!("{name}: {kind}: {e}")),
            Ok(read) => {
                wrong.extend(read.strict.iter().map(|e| format!("{name}: {kind}: {e}")));
                let mut settled = read.value.clone();
                decode::settle(&schema, &mut settled);
                if settled != read.value {
                    wrong.push(format!("{name}: {kind}: a decoded object was not settled"));
                }
                let mut differ = Vec::new();
                differences(kind, &body, &read.value, &mut differ);
                // Some recordings leave parts of the object out.
                differ.retain(|d| !(cut && d.contains(": None became")));
                wrong.extend(differ.iter().map(|d| format!("{name}: {d}")));
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(
        wrong.is_empty(),
        "{} of {seen} objects:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// What an endpoint takes, from a request like `POST /apis/apps/v1/namespaces/$NS/deployments?dryRun=All`.
fn endpoint(request: &str) -> Option<(String, String, String, bool, FieldValidation)> {
    let (verb, url) = request.split_once(' ')?;
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let mut parts = path.trim_start_matches('/').split('/');
    let group = match parts.next()? {
        "api" => "",
        "apis" => parts.next()?,
        _ => return None,
    };
    let version = parts.next()?;
    let mut rest: Vec<&str> = parts.collect();
    if rest.len() > 2 && rest[0] == "namespaces" && rest[2] != "status" && rest[2] != "finalize" {
        rest.drain(..2);
    }
    let validation = query
        .split('&')
        .find_map(|q| q.strip_prefix("fieldValidation="))
        .unwrap_or("");
    let validation = FieldValidation::parse(validation)?;
    let fits = matches!((verb, rest.len()), ("POST", 1) | ("PUT", 2));
    fits.then(|| {
        (
            group.to_owned(),
            version.to_owned(),
            rest[0].to_owned(),
            verb == "PUT",
            validation,
        )
    })
}

/// Words that only decoding says.
fn is_decoding_error(message: &str) -> bool {
    [
        "cannot be handled as a",
        "object provided is unrecognized",
        "does not match the expected API version",
    ]
    .iter()
    .any(|w| message.contains(w))
}

#[test]
fn bodies_are_refused_and_warned_about_as_the_original_does() {
    let schemas = Schemas::default();
    let plural = |kind: &str| {
        let lower = kind.to_ascii_lowercase();
        match lower.as_str() {
            "endpoints" => lower,
            l if l.ends_with('s') => format!("{l}es"),
            l if l.ends_with('y') && !l.ends_with("ey") && !l.ends_with("ay") => {
                format!("{}ies", &l[..l.len() - 1])
            }
            l => format!("{l}s"),
        }
    };
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (name, ask, answer) in steps() {
        let Some((group, version, resource, _, validation)) = ask["do"].as_str().and_then(endpoint)
        else {
            continue;
        };
        let kind = schemas
            .builtin_kinds()
            .find(|((g, v, k), _)| *g == group && *v == version && plural(k) == resource);
        let Some(((_, _, kind), _)) = kind else {
            continue;
        };
        let format = match ask["type"].as_str() {
            None | Some("application/json") => Format::Json,
            Some("application/yaml") => Format::Yaml,
            _ => continue,
        };
        let body = match (ask["raw"].as_str(), &ask["body"]) {
            (Some(raw), _) => raw.to_owned(),
            (None, Value::Null) => continue,
            (None, body) => body.to_string(),
        };
        let ignores_message = ask["ignore"]
            .as_array()
            .is_some_and(|i| i.iter().any(|i| i == "message"));
        seen += 1;
        let expect = Expect {
            group: &group,
            version: &version,
            kind: &kind,
            custom: false,
        };
        let message = answer["body"]["message"]
            .as_str()
            .unwrap_or_default()
            .replace("<time>07:00", "2006-01-02T15:04:05Z07:00");
        let want = (answer["code"] == 400 && is_decoding_error(&message)).then_some(message);
        match (
            decode::decode(&schemas, body.as_bytes(), format, &expect, validation),
            want,
        ) {
            (Err(_), Some(_)) if ignores_message => {}
            (Err(got), Some(want)) if got.message == want => {}
            (Err(_), None) if answer["code"] == 400 && ignores_message || answer["code"] == 404 => {
            }
            (Err(got), want) => wrong.push(format!("{name}: {}\n   want {want:?}", got.message)),
            (Ok(_), Some(want)) => wrong.push(format!("{name}: accepted\n   want {want}")),
            (Ok(got), None) => {
                let want: Vec<&str> = answer["warning"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                for warning in got.warnings {
                    let header = format!("299 - {warning:?}");
                    if answer["code"].as_u64() < Some(300) && !want.contains(&header.as_str()) {
                        wrong.push(format!("{name}: {header}\n   want one of {want:?}"));
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {seen}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The object that a request is about, as `/api/v1/namespaces/x/pods/name`, without query.
fn target(request: &str, answer: &Value) -> Option<String> {
    let (verb, url) = request.split_once(' ')?;
    let path = url.split('?').next()?;
    match verb {
        "POST" => Some(format!("{path}/{}", answer["metadata"]["name"].as_str()?)),
        _ => Some(path.to_owned()),
    }
}

/// What a patch decides of an object: its labels, annotations and finalizers, its data and its containers.
fn decided(object: &Value) -> Value {
    let meta = &object["metadata"];
    let containers = object["spec"]["template"]["spec"]["containers"].as_array();
    let names: Vec<&Value> = containers
        .into_iter()
        .flatten()
        .flat_map(|c| [&c["name"], &c["image"], &c["env"], &c["args"]])
        .collect();
    let spec = &object["spec"]["template"]["spec"];
    json!([
        meta["labels"],
        meta["annotations"],
        meta["finalizers"],
        object["data"],
        names,
        spec["nodeSelector"],
        spec["volumes"]
    ])
}

/// Whether a step's answer was recorded whole as far as [`decided`] looks.
fn whole(ask: &Value) -> bool {
    let ignored = ask["ignore"].as_array().into_iter().flatten();
    !ignored
        .filter_map(Value::as_str)
        .any(|i| matches!(i, "spec" | "metadata" | "body") || i.starts_with("spec."))
}

#[test]
fn patches_do_what_they_did_to_the_original() {
    let schemas = Schemas::default();
    let mut objects = HashMap::<(String, String), Value>::new();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (name, ask, answer) in steps()
        .into_iter()
        .filter(|(name, ..)| name.contains("patch") || name.contains("merge"))
    {
        let Some(request) = ask["do"].as_str() else {
            continue;
        };
        let Some(place) = target(request, &answer["body"]) else {
            continue;
        };
        let key = (name.clone(), place);
        if let Some(old) = objects.get(&key) {
            let outcome = patch_outcome(&schemas, old, &ask, &answer);
            seen += usize::from(outcome.is_some());
            wrong.extend(outcome.flatten().map(|w| format!("{name}: {request}: {w}")));
        }
        if answer["code"].as_u64().is_some_and(|c| c < 300) && !request.contains("dryRun") {
            if whole(&ask) {
                objects.insert(key, concrete(&answer["body"]))
            } else {
                objects.remove(&key)
            };
        }
    }
    assert!(
        wrong.is_empty(),
        "{} in {seen} patches:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// None when the step is no patch that can be judged here; else what is wrong with ours.
fn patch_outcome(
    schemas: &Schemas,
    old: &Value,
    ask: &Value,
    answer: &Value,
) -> Option<Option<String>> {
    let request = ask["do"].as_str()?.strip_prefix("PATCH ")?;
    let kind = patch::Kind::of(ask["type"].as_str()?)?;
    let schema = schemas.by_api_version(old["apiVersion"].as_str()?, old["kind"].as_str()?)?;
    let text = ask["raw"]
        .as_str()
        .map_or_else(|| ask["body"].to_string(), str::to_owned);
    if text.contains("$RV") || request.contains("/status") {
        return None;
    }
    let strict = request.contains("fieldValidation=Strict");
    let validation = if strict {
        FieldValidation::Strict
    } else {
        FieldValidation::Warn
    };
    let code = answer["code"].as_u64()?;
    let body = &answer["body"];
    let says = |message: &str| body["message"].is_null() || body["message"] == message;
    Some(
        match patch::apply(kind, Some(&schema), old, text.as_bytes(), validation) {
            Ok(got) if code == 200 && whole(ask) => {
                let (want, got) = (decided(&concrete(body)), decided(&got.object));
                (want != got).then(|| format!("{got}\n  want {want}"))
            }
            // What a patched object may be is not decided here.
            Ok(_) if [200, 409, 415, 422].contains(&code) || text.contains("resourceVersion") => {
                None
            }
            Ok(_) => Some(format!("accepted, want {body}")),
            Err(got) if u64::from(got.code) == code && says(&got.message) => None,
            Err(got) => Some(format!(
                "{} {}\n  want {code} {}",
                got.code, got.message, body["message"]
            )),
        },
    )
}
