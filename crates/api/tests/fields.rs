//! Field ownership against recorded answers of the original: who owns what after each recorded write.

mod common;

use std::collections::HashMap;

use common::{concrete, steps};
use knarr_api::{
    Schemas, Status,
    decode::yaml,
    fields::{self, Scope, reset_fields},
    schema::Type,
};
use knarr_json::Value;

/// One recorded write.
struct Write<'a> {
    method: &'a str,
    path: &'a str,
    query: HashMap<&'a str, &'a str>,
    content: &'a str,
}

impl<'a> Write<'a> {
    fn of(asked: &'a Value) -> Option<Write<'a>> {
        let (method, url) = asked["do"].as_str()?.split_once(' ')?;
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let query = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        Some(Write {
            method,
            path,
            query,
            content: asked["type"].as_str().unwrap_or("application/json"),
        })
    }

    fn manager(&self) -> &str {
        self.query.get("fieldManager").copied().unwrap_or("golden")
    }

    /// What of an object's path is behind its name.
    fn subresource(&self, name: &str) -> &str {
        let (_, behind) = self
            .path
            .rsplit_once(&format!("/{name}"))
            .unwrap_or_default();
        behind.strip_prefix('/').unwrap_or_default()
    }
}

/// Which object a state is of, over all paths to it.
fn identity(body: &Value) -> String {
    format!(
        "{} {} {}",
        body["kind"], body["metadata"]["namespace"], body["metadata"]["name"]
    )
}

fn without_managed(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.remove("managedFields");
    }
    object
}

/// What admission and allocation set after ownership is settled. Only what nobody asked for is taken out.
const SET_LATER: &[(&str, &[&str])] = &[
    (
        "Pod",
        &[
            "preemptionPolicy",
            "priority",
            "serviceAccount",
            "serviceAccountName",
            "tolerations",
        ],
    ),
    (
        "Service",
        &[
            "clusterIP",
            "clusterIPs",
            "ipFamilies",
            "ipFamilyPolicy",
            "healthCheckNodePort",
        ],
    ),
    ("PersistentVolumeClaim", &["storageClassName"]),
];

fn as_before_admission(object: &mut Value, asked: &Value, live: Option<&Value>) {
    let names = SET_LATER
        .iter()
        .find(|(kind, _)| object["kind"] == *kind)
        .map_or(&[][..], |(_, names)| names);
    for name in names
        .iter()
        .filter(|name| asked["spec"].get(**name).is_none())
    {
        let Some(spec) = object["spec"].as_object_mut() else {
            return;
        };
        match live.and_then(|live| live["spec"].get(*name)) {
            None => spec.remove(name),
            Some(before) => spec.insert((*name).to_string(), before.clone()),
        };
    }
    let finalizers = object["metadata"]["finalizers"] != asked["metadata"]["finalizers"];
    if finalizers && live.is_none() && asked["metadata"]["finalizers"].is_null() {
        object["metadata"]
            .as_object_mut()
            .map(|meta| meta.remove("finalizers"));
    }
}

/// Entries without times that are not comparable, sorted by what names them.
fn entries(object: &Value) -> Vec<Value> {
    let mut list = object["metadata"]["managedFields"].items().to_vec();
    for entry in &mut list {
        if entry["time"].is_string() {
            entry["time"] = "some time".into();
        }
    }
    list.sort_by_key(|e| format!("{} {} {}", e["manager"], e["operation"], e["subresource"]));
    list
}

/// What differs between the entries that should be and those that are.
fn differences(want: &Value, answer: &Value) -> Option<String> {
    let (want, got) = (entries(want), entries(answer));
    if want == got {
        return None;
    }
    if let Some(message) = answer["message"].as_str() {
        return Some(format!(": {message}"));
    }
    let show = |list: &[Value], other: &[Value]| {
        list.iter()
            .filter(|e| !other.contains(e))
            .map(Value::to_string)
            .collect::<Vec<_>>()
            .join("\n      ")
    };
    Some(format!(
        "\n  want {}\n  got  {}",
        show(&want, &got),
        show(&got, &want)
    ))
}

fn scope_and<T>(
    object: &Value,
    subresource: &str,
    then: impl FnOnce(&Scope<'_>) -> T,
) -> Option<T> {
    let schemas = Schemas::default();
    let (api_version, kind) = (object["apiVersion"].as_str()?, object["kind"].as_str()?);
    let ty = Type::Struct(schemas.by_api_version(api_version, kind)?);
    let has_status = ty.as_struct().is_some_and(|s| s.field("status").is_some());
    let reset = reset_fields(kind, subresource, has_status, false);
    let scope = Scope {
        schemas: &schemas,
        ty: &ty,
        api_version,
        kind,
        subresource,
        replicas: "spec.replicas",
        reset,
        now: "2026-01-02T03:04:05Z".parse().unwrap(),
        convert: &|object, version| {
            let mut object = object.clone();
            object["apiVersion"] = version.into();
            Some(object)
        },
    };
    Some(then(&scope))
}

/// The configuration of an apply, which is recorded as an object or as text.
fn applied(asked: &Value) -> Value {
    match asked["raw"].as_str() {
        Some(text) => yaml::read(text.as_bytes()).unwrap().value,
        None => concrete(&asked["body"]),
    }
}

/// The answer to an apply: an object, or a Status.
fn answer(outcome: Result<Value, Box<Status>>) -> Value {
    outcome.unwrap_or_else(|status| knarr_json::to_value(*status).unwrap())
}

#[test]
fn every_recorded_write_leaves_the_recorded_owners() {
    let (mut state, mut file, mut wrong, mut right) =
        (HashMap::new(), String::new(), Vec::new(), 0);
    for (name, asked, answered) in steps() {
        if name != file {
            state.clear();
            file = name.clone();
        }
        let Some(write) = Write::of(&asked) else {
            continue;
        };
        if asked
            .get("ignore")
            .is_some_and(|ignored| ignored.to_string().contains("managedFields"))
        {
            continue;
        }
        let body = concrete(&answered["body"]);
        let code = answered["code"].as_u64().unwrap_or_default();
        if code >= 300 || !body["metadata"]["uid"].is_string() {
            continue;
        }
        let (id, is_dry) = (identity(&body), write.query.contains_key("dryRun"));
        let live = state.get(&id).cloned();
        if !is_dry {
            state.insert(id, body.clone());
        }
        let object_name = body["metadata"]["name"].as_str().unwrap_or_default();
        let subresource = write.subresource(object_name);
        let got = match (write.method, write.content) {
            ("PATCH", "application/apply-patch+yaml") => scope_and(&body, subresource, |scope| {
                let force = write.query.get("force") == Some(&"true");
                let applied = applied(&asked);
                answer(fields::apply(
                    scope,
                    live.as_ref(),
                    &applied,
                    write.manager(),
                    force,
                ))
            }),
            ("POST" | "PUT" | "PATCH", _) if live.is_some() || write.method != "PATCH" => {
                scope_and(
                    &body,
                    if write.method == "POST" {
                        ""
                    } else {
                        subresource
                    },
                    |scope| {
                        let mut new = without_managed(&body);
                        as_before_admission(&mut new, &asked["body"], live.as_ref());
                        if let Some(sent) = asked["body"]["metadata"].get("managedFields") {
                            new["metadata"]["managedFields"] = sent.clone();
                        }
                        fields::update(scope, live.as_ref(), &mut new, write.manager());
                        new
                    },
                )
            }
            _ => continue,
        };
        match got.and_then(|got| differences(&body, &got)) {
            None => right += 1,
            Some(how) => wrong.push(format!("{name}: {}{how}", asked["do"])),
        }
    }
    wrong.iter().for_each(|line| println!("{line}"));
    println!("{right} right, {} wrong", wrong.len());
    // What is left is what recordings do not tell: bodies that admission changed, kinds of other versions, scales.
    assert!(
        wrong.len() * 8 <= right,
        "{} of {}",
        wrong.len(),
        wrong.len() + right
    );
}
