//! Where the cost of an object grows faster than the object:
//! `cargo run --release -p knarr-api --example growth [-- KIND [COUNT]]`.
//!
//! Every list and map of every kind is filled with few and with four times as many entries, and all that a write does is
//! done to both. Told is what then takes much more than four times as long; with a count of entries, what everything takes.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use knarr_api::{
    Schemas, builtin,
    decode::{self, Expect, FieldValidation, Format, yaml},
    encode::protobuf,
    fields::{self, Scope},
    head::Encoded,
    patch,
    registry::Resource,
    schema::{ListKind, Struct, StructRef, Type},
    strategy::Context,
};
use knarr_json::{Map, Value};

const FEW: usize = 2000;
const TIMES: usize = 4;
/// Growth by more than this is told, when it takes long enough to be measured.
const TOLD: f64 = 10.0;
const SHORT: Duration = Duration::from_millis(60);
/// What the same type is, it is wherever it is used; two looks are enough.
const LOOKS: usize = 2;
const DEEPEST: usize = 9;

/// One step from an object to a list or map in it.
#[derive(Clone)]
enum Step {
    Field(String),
    Element,
    Key,
}

/// The lists and maps below a type.
fn places(
    ty: &Type,
    path: &mut Vec<Step>,
    seen: &mut HashMap<String, usize>,
    out: &mut Vec<Vec<Step>>,
) {
    if path.len() > DEEPEST {
        return;
    }
    let mut below = |step, ty: &Type, path: &mut Vec<Step>| {
        path.push(step);
        places(ty, path, seen, out);
        path.pop();
    };
    match ty {
        Type::Struct(schema) => {
            let count = seen.entry(schema.name.to_string()).or_default();
            *count += 1;
            if *count > LOOKS {
                return;
            }
            for field in &schema.fields {
                path.push(Step::Field(field.name.to_string()));
                places(&field.ty, path, seen, out);
                path.pop();
            }
        }
        Type::List(list) => {
            below(Step::Element, &list.elem, path);
            out.push(path.clone());
        }
        Type::Map(map) => {
            below(Step::Key, &map.value, path);
            out.push(path.clone());
        }
        _ => {}
    }
}

fn scalar(ty: &Type, n: usize) -> Option<Value> {
    Some(match ty {
        Type::String(_) => format!("a{n}").into(),
        Type::Int32 | Type::Int64 | Type::IntOrString => (n as i64 + 1).into(),
        Type::Bool => true.into(),
        Type::Double => (n as i64).into(),
        Type::Bytes => "aGVsbG8=".into(),
        Type::Quantity => format!("{n}").into(),
        Type::Time => "2024-02-29T23:59:59Z".into(),
        Type::MicroTime => "2024-02-29T23:59:59.123456Z".into(),
        _ => return None,
    })
}

/// An entry with all its scalars, told from others by `n`; `turn` leaves out some, as many exclude each other.
fn entry(ty: &Type, n: usize, turn: usize) -> Value {
    match ty {
        Type::Struct(schema) => structure(schema, n, turn, 0),
        Type::List(list) => Value::Array(vec![entry(&list.elem, n, turn)].into()),
        Type::Map(map) => Value::Object([(format!("k{n}"), entry(&map.value, n, turn))].into()),
        Type::Any | Type::Raw => {
            knarr_json::json!({"kind": "X", "apiVersion": "v1", "n": n as i64})
        }
        Type::FieldsV1 => Value::Object([(format!("f:k{n}"), Value::Object(Map::new()))].into()),
        other => scalar(other, n).unwrap_or_default(),
    }
}

fn structure(schema: &Struct, n: usize, turn: usize, depth: usize) -> Value {
    let mut out = Map::new();
    for field in &schema.fields {
        let value = match &field.ty {
            Type::Struct(below) if depth < 2 && turn == 1 => structure(below, n, turn, depth + 1),
            Type::List(_) | Type::Map(_) if turn == 1 && depth < 2 => entry(&field.ty, n, 0),
            ty => match scalar(ty, n) {
                Some(value) => value,
                None => continue,
            },
        };
        out.insert(field.name.to_string(), value);
    }
    Value::Object(out)
}

/// `count` entries at the end of the path below an object.
fn fill(ty: &Type, path: &[Step], count: usize, turn: usize) -> Value {
    match (ty, path.split_first()) {
        (Type::Struct(schema), Some((Step::Field(name), rest))) => {
            let mut out = Map::new();
            if let Some(field) = schema.field(name) {
                out.insert(name.clone(), fill(&field.ty, rest, count, turn));
            }
            Value::Object(out)
        }
        (Type::List(list), Some((_, rest))) => {
            let mut one = fill(&list.elem, rest, count, turn);
            if let (ListKind::Map(keys), Value::Object(one), Some(schema)) =
                (&list.kind, &mut one, list.elem.as_struct())
            {
                for key in keys {
                    if let Some(value) = schema.field(key).and_then(|f| scalar(&f.ty, 0)) {
                        one.entry(key.to_string()).or_insert(value);
                    }
                }
            }
            Value::Array(vec![one].into())
        }
        (Type::Map(map), Some((_, rest))) => {
            Value::Object([("a", fill(&map.value, rest, count, turn))].into())
        }
        (Type::List(list), None) => (0..count).map(|n| entry(&list.elem, n, turn)).collect(),
        (Type::Map(map), None) => {
            let entries = (0..count).map(|n| (format!("k{n}"), entry(&map.value, n, turn)));
            Value::Object(entries.collect())
        }
        _ => Value::Null,
    }
}

/// How long each step took.
#[derive(Default)]
struct Steps(Vec<(&'static str, Duration)>);

impl Steps {
    fn time<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        self.0.push((name, start.elapsed()));
        done
    }
}

struct Kind<'a> {
    schemas: &'a Schemas,
    resource: &'a Resource,
    version: &'a str,
    schema: &'a StructRef,
    ty: Type,
}

impl Kind<'_> {
    fn object(&self, path: &[Step], count: usize, turn: usize) -> Value {
        let mut object = fill(&self.ty, path, count, turn);
        object["apiVersion"] = self.resource.api_version(self.version).into();
        object["kind"] = self.resource.kind.as_str().into();
        if object["metadata"].is_null() {
            object["metadata"] = Value::Object(Map::new());
        }
        object["metadata"]["name"] = "a".into();
        object
    }

    fn write(&self, object: &Value) -> Steps {
        let mut steps = Steps::default();
        let expect = Expect {
            group: &self.resource.group,
            version: self.version,
            kind: &self.resource.kind,
            custom: false,
        };
        let strategy = &self.resource.strategy;
        let ctx = Context {
            version: self.version.into(),
            user: "u".into(),
            ..Context::default()
        };
        let text = object.to_string();
        let read = |bytes: &[u8], format| {
            decode::decode(self.schemas, bytes, format, &expect, FieldValidation::Warn)
        };
        let mut new = match steps.time("decode", || read(text.as_bytes(), Format::Json)) {
            Ok(decoded) => decoded.object,
            Err(error) => {
                eprintln!("{}: {error:?}", self.resource.kind);
                return steps;
            }
        };
        let document = steps.time("read YAML", || yaml::read(text.as_bytes()));
        let printed = steps.time("print YAML", || knarr_api::yaml::print(&new));
        let _ = steps.time("read block YAML", || yaml::read(printed.as_bytes()));
        steps.time("default", || strategy.default(&ctx, &mut new));
        steps.time("settle", || decode::settle(self.schema, &mut new));
        let none = fields::Set::default();
        let scope = Scope {
            schemas: self.schemas,
            ty: &self.ty,
            api_version: &self.resource.api_version(self.version),
            kind: &self.resource.kind,
            subresource: "",
            replicas: "spec.replicas",
            reset: &none,
            now: jiff::Timestamp::now(),
            convert: &|object, _| Some(object.clone()),
        };
        steps.time("note owners", || {
            fields::update(&scope, None, &mut new, "m")
        });
        let mut created = new.clone();
        steps.time("prepare", || strategy.prepare_create(&ctx, &mut created));
        steps.time("validate", || strategy.validate_create(&ctx, &created));
        steps.time("warnings", || strategy.warnings(&ctx, &created, None));
        steps.time("head", || {
            (
                strategy.head(&new),
                strategy.fields(&new),
                strategy.row_conditions(&new),
            )
        });
        steps.time("cells", || strategy.cells_at(self.version, &new, scope.now));
        let _ = steps.time("encode", || Encoded::new(&new));
        let stored = new.to_string();
        if let Ok(body) = steps.time("protobuf", || protobuf::body(stored.as_bytes())) {
            let _ = steps.time("decode protobuf", || read(&body, Format::Protobuf));
        }
        let mut changed = new.clone();
        reverse(&mut changed);
        steps.time("prepare update", || {
            strategy.prepare_update(&ctx, &mut changed, &new)
        });
        steps.time("validate update", || {
            strategy.validate_update(&ctx, &changed, &new)
        });
        steps.time("warnings of update", || {
            strategy.warnings(&ctx, &changed, Some(&new))
        });
        steps.time("generation", || strategy.generation_changed(&changed, &new));
        steps.time("note owners of update", || {
            fields::update(&scope, Some(&new), &mut changed, "n")
        });
        for other in &self.resource.versions {
            let mut converted = new.clone();
            steps.time("convert", || {
                strategy.convert(&mut converted, self.version, other)
            });
        }
        let mut reversed = object.clone();
        reverse(&mut reversed);
        let reversed = reversed.to_string();
        for (name, kind) in [
            ("merge patch", patch::Kind::Merge),
            ("strategic patch", patch::Kind::Strategic),
        ] {
            let schema: &Struct = self.schema;
            let _ = steps.time(name, || {
                patch::apply(
                    kind,
                    Some(schema),
                    &new,
                    reversed.as_bytes(),
                    FieldValidation::Warn,
                )
            });
        }
        let Ok(document) = document else { return steps };
        let live = steps.time("apply", || {
            fields::apply(&scope, None, &document.value, "me", true)
        });
        if let Ok(live) = live {
            let _ = steps.time("apply again", || {
                fields::apply(&scope, Some(&live), &document.value, "me", false)
            });
            let mut less = document.value.clone();
            halve(&mut less);
            let _ = steps.time("apply less", || {
                fields::apply(&scope, Some(&live), &less, "me", false)
            });
            let _ = steps.time("others apply", || {
                fields::apply(&scope, Some(&changed), &document.value, "other", true)
            });
            let _ = steps.time("conflicts", || {
                fields::apply(&scope, Some(&changed), &less, "other", false)
            });
        }
        steps
    }
}

/// Turns long lists around.
fn reverse(value: &mut Value) {
    match value {
        Value::Array(list) if list.len() > 1 => list.reverse(),
        Value::Array(list) => list.iter_mut().for_each(reverse),
        Value::Object(map) => map
            .iter_mut()
            .filter(|(key, _)| *key != "managedFields")
            .for_each(|(_, v)| reverse(v)),
        _ => {}
    }
}

/// Leaves out every other entry of long lists and maps.
fn halve(value: &mut Value) {
    let mut keep = false;
    match value {
        Value::Array(list) if list.len() > 100 => {
            let halved: Vec<Value> = list.iter().step_by(2).cloned().collect();
            *value = halved.into();
        }
        Value::Object(map) if map.len() > 100 => map.retain(|_, _| {
            keep = !keep;
            keep
        }),
        Value::Array(list) => list.iter_mut().for_each(halve),
        Value::Object(map) => map.iter_mut().for_each(|(_, v)| halve(v)),
        _ => {}
    }
}

fn show(path: &[Step]) -> String {
    let shown = path.iter().map(|step| match step {
        Step::Field(name) => format!(".{name}"),
        Step::Element => "[]".into(),
        Step::Key => "{}".into(),
    });
    shown.collect()
}

fn main() {
    let only = std::env::args().nth(1);
    let count: Option<usize> = std::env::args().nth(2).and_then(|count| count.parse().ok());
    let (schemas, registry) = (Schemas::default(), builtin::registry());
    let mut seen = HashMap::new();
    for resource in registry.iter() {
        if only.as_ref().is_some_and(|only| *only != resource.kind) {
            continue;
        }
        for version in &resource.versions {
            let Some(schema) = schemas.by_kind(&resource.group, version, &resource.kind) else {
                continue;
            };
            let ty = Type::Struct(schema.clone());
            let kind = Kind {
                schemas: &schemas,
                resource,
                version,
                schema: &schema,
                ty,
            };
            let mut paths = Vec::new();
            places(&kind.ty, &mut Vec::new(), &mut seen, &mut paths);
            for path in paths {
                for turn in [0, 1] {
                    match count {
                        Some(count) => tell(&kind, &path, turn, count),
                        None => look(&kind, &path, turn),
                    }
                }
            }
        }
    }
}

fn tell(kind: &Kind<'_>, path: &[Step], turn: usize, count: usize) {
    let object = kind.object(path, count, turn);
    let bytes = object.to_string().len();
    let mut steps = kind.write(&object).0;
    steps.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
    let shown = show(path);
    println!(
        "{}{shown} ({turn}), {bytes} bytes: {steps:?}",
        kind.resource.kind
    );
}

fn look(kind: &Kind<'_>, path: &[Step], turn: usize) {
    let (few, many) = (
        kind.object(path, FEW, turn),
        kind.object(path, FEW * TIMES, turn),
    );
    let mut best = growths(kind, &few, &many);
    // Others use the machine too: what only happens once does not count.
    for _ in 0..2 {
        if best.iter().all(|growth| !growth.is_bad()) {
            return;
        }
        for (best, again) in best.iter_mut().zip(growths(kind, &few, &many)) {
            best.few = best.few.min(again.few);
            best.many = best.many.min(again.many);
        }
    }
    for Growth { step, few, many } in best.iter().filter(|growth| growth.is_bad()) {
        println!(
            "{} {}{} ({turn}): {step} {few:?} -> {many:?}",
            kind.resource.kind,
            kind.version,
            show(path)
        );
    }
}

/// What a step takes for few entries and for many.
struct Growth {
    step: &'static str,
    few: Duration,
    many: Duration,
}

impl Growth {
    fn is_bad(&self) -> bool {
        self.many > SHORT && self.many.as_secs_f64() > TOLD * self.few.as_secs_f64()
    }
}

fn growths(kind: &Kind<'_>, few: &Value, many: &Value) -> Vec<Growth> {
    let (few, many) = (kind.write(few).0, kind.write(many).0);
    let both = few.into_iter().zip(many);
    both.map(|((step, few), (_, many))| Growth { step, few, many })
        .collect()
}
