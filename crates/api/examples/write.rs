//! What the steps of a write cost, one after another on one thread, without a server around them:
//! `cargo run --release -p knarr-api --example write`.
//!
//! A pod of 4 KB as a client sends it is decoded, defaulted, settled, given its owners, validated, encoded and freed.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use knarr_api::{
    Schemas, builtin,
    decode::{self, Expect, FieldValidation, Format},
    field,
    fields::{self, Scope},
    head::Encoded,
    schema::Type,
    strategy::{Context, expressions::Expressions},
};
use knarr_json::Value;

const ROUNDS: u32 = 20_000;

fn pod() -> String {
    let env: Vec<String> = (0..12)
        .map(|n| {
            format!(r#"{{"name":"VARIABLE_{n}","value":"a value of usual length, number {n}"}}"#)
        })
        .collect();
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"one","namespace":"default","labels":{{"app":"load","tier":"web"}},"annotations":{{"note":"{}"}}}},
        "spec":{{"containers":[{{"name":"main","image":"registry.example.com/team/web:1.2.3","args":["--listen",":8080"],
        "env":[{}],"ports":[{{"containerPort":8080}}],"resources":{{"requests":{{"cpu":"100m","memory":"64Mi"}}}},
        "readinessProbe":{{"httpGet":{{"path":"/healthz","port":8080}}}}}}]}}}}"#,
        "y".repeat(700),
        env.join(",")
    )
}

/// How long each step took.
#[derive(Default)]
struct Steps(Vec<(&'static str, Duration)>);

impl Steps {
    fn add(&mut self, name: &'static str, since: Instant) {
        let took = since.elapsed();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += took,
            None => self.0.push((name, took)),
        }
    }
}

fn main() {
    let registry = builtin::registry();
    let schemas = Schemas::default();
    let Some(resource) = registry.get("", "pods") else {
        return eprintln!("there are no pods");
    };
    let strategy = &resource.strategy;
    let ctx = Context {
        version: "v1".into(),
        old: None,
        subresource: String::new(),
        user: "kubernetes-admin".into(),
        admin_access: false,
        expressions: Expressions(None),
    };
    let expect = Expect {
        group: "",
        version: "v1",
        kind: "Pod",
        custom: false,
    };
    let Some(schema) = schemas.by_kind("", "v1", "Pod") else {
        return eprintln!("pods have no schema");
    };
    let ty = Type::Struct(schema.clone());
    let body = pod();
    let mut steps = Steps::default();
    let started = Instant::now();
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        let at = Instant::now();
        let decoded = decode::decode(
            &schemas,
            body.as_bytes(),
            Format::Json,
            &expect,
            FieldValidation::Warn,
        );
        steps.add("decode", at);
        let Ok(decoded) = decoded else {
            return eprintln!("the pod cannot be read");
        };
        let mut object: Value = decoded.object;
        let at = Instant::now();
        strategy.default(&ctx, &mut object);
        steps.add("default", at);
        let at = Instant::now();
        decode::settle(&schema, &mut object);
        steps.add("settle", at);
        let at = Instant::now();
        let scope = Scope {
            schemas: &schemas,
            ty: &ty,
            api_version: "v1",
            kind: "Pod",
            subresource: "",
            replicas: "spec.replicas",
            reset: fields::reset_fields("Pod", "", true, false),
            now: Timestamp::now(),
            convert: &|_, _| None,
        };
        fields::update(&scope, None, &mut object, "bench");
        steps.add("note owners", at);
        let at = Instant::now();
        object["metadata"]["uid"] = "2b1c3f60-7a3e-4b8e-9a39-0c3f51f5c7a1".into();
        object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        strategy.prepare_create(&ctx, &mut object);
        decode::settle(&schema, &mut object);
        steps.add("prepare, settle", at);
        let at = Instant::now();
        let errors = field::found(|| strategy.validate_create(&ctx, &object));
        steps.add("validate", at);
        if let Some(error) = errors.first() {
            return eprintln!("the pod is not valid: {error:?}");
        }
        let at = Instant::now();
        let warnings = field::found(|| strategy.warnings(&ctx, &object, None));
        steps.add("warnings", at);
        let at = Instant::now();
        let head = strategy.head(&object);
        let encoded = Encoded::new(&object);
        steps.add("encode", at);
        let at = Instant::now();
        let Ok(encoded) = encoded else {
            return eprintln!("the pod cannot be written");
        };
        bytes += encoded.json().len();
        drop((object, warnings, head, encoded));
        steps.add("free", at);
    }
    let all = started.elapsed() / ROUNDS;
    for (name, sum) in steps.0 {
        println!("{name:>16}: {:6.1} µs", micros(sum / ROUNDS));
    }
    println!(
        "{:>16}: {:6.1} µs for {} bytes",
        "all",
        micros(all),
        bytes / ROUNDS as usize
    );
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
