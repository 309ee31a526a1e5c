//! Objects of any kind, made at random: each value is of its type, and many of those are extreme.

#![allow(dead_code, reason = "each test binary uses its own part")]

use knarr_api::{
    decode::Expect,
    schema::{Struct, Type},
};
use knarr_json::{Map, Value, json};

use super::fuzz::Dice;

const TEXTS: &[&str] = &[
    "",
    "a",
    "web-0",
    "v1",
    "a/b",
    "/",
    "/a/../b",
    "..",
    "-",
    ".",
    "*",
    "%",
    "\u{0}",
    "\u{fc}\u{1d11e}",
    "a=b,c in (d)",
    "spec.nodeName",
    "status.x[0].y",
    "10.0.0.1",
    "10.0.0.0/8",
    "::1",
    "::ffff:1.2.3.4/128",
    "https://a:99999/b",
    "9999999999h",
    "* * * * *",
    "*/0 1-60 L * ?",
    "@every 1ns",
    "TZ=Nowhere/Is * * * * *",
    "self.a > 1",
    "a\nb: [",
    "kubernetes.io/x",
    "system:masters",
    "sha256:00",
    "ClusterIP",
    "None",
    "Always",
    "TCP",
    "(a+)+$",
    "$(A)$$(B",
    "aGVsbG8=",
    "99999999999999999999",
];

const KEYS: &[&str] = &[
    "",
    "a",
    "kubernetes.io/x",
    "a/b/c",
    "cpu",
    "memory",
    "requests.x.io/y",
    "\u{fc}",
    "$patch",
    ".",
];

pub fn api_version(group: &str, version: &str) -> String {
    match group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    }
}

/// Bodies of a kind that is built in.
pub fn expect<'a>(group: &'a str, version: &'a str, kind: &'a str) -> Expect<'a> {
    Expect {
        group,
        version,
        kind,
        custom: false,
    }
}

fn pick<T: Copy>(dice: &mut Dice, of: &[T]) -> T {
    of[dice.roll(of.len())]
}

/// An object with some of its fields.
pub fn object(schema: &Struct, dice: &mut Dice, depth: u32) -> Map {
    let mut out = Map::new();
    for field in &schema.fields {
        // Deep objects are small ones.
        if dice.roll(2 + depth as usize / 2) == 0 && depth < 12 {
            out.insert(field.name.to_string(), value(&field.ty, dice, depth));
        }
    }
    out
}

fn value(ty: &Type, dice: &mut Dice, depth: u32) -> Value {
    if dice.roll(40) == 0 {
        return Value::Null;
    }
    match ty {
        Type::Bool => json!(dice.roll(2) == 0),
        Type::Int32 => json!(pick(dice, &[0, 1, -1, 7, 80, 65_536, i32::MAX, i32::MIN])),
        Type::Int64 => json!(pick(dice, &[0, 1, -1, 7, 70_000, i64::MAX, i64::MIN])),
        Type::Double => json!(pick(dice, &[0.5, -3.25, 1e308, 0.0])),
        Type::String(_) => json!(text(dice)),
        Type::Bytes => json!(pick(dice, &["", "aGVsbG8=", "AP8=", "LS0tLS1CRUdJTg=="])),
        Type::Quantity => json!(pick(
            dice,
            &[
                "0",
                "100m",
                "2Gi",
                "-1500k",
                "1e18",
                "9223372036854775807",
                "1n",
                "9Ei",
                "99999999999999999999999999"
            ]
        )),
        Type::IntOrString if dice.roll(2) == 0 => json!(pick(dice, &[0, 80, -1, i32::MAX])),
        Type::IntOrString => json!(pick(
            dice,
            &["http", "50%", "-5%", "101%", "99999999999%", ""]
        )),
        Type::Time => json!(pick(
            dice,
            &[
                "2024-02-29T23:59:59Z",
                "0001-01-01T00:00:00Z",
                "9999-12-31T23:59:59Z"
            ]
        )),
        Type::MicroTime => json!(pick(
            dice,
            &["2024-02-29T23:59:59.123456Z", "9999-12-31T23:59:59.999999Z"]
        )),
        Type::Any => any(dice, 0),
        Type::Raw => json!({"kind": "X", "apiVersion": text(dice), "n": any(dice, 0)}),
        Type::FieldsV1 => json!({"f:spec": {".": {}, "k:{\"a\":\"b\"}": {}}}),
        Type::Struct(schema) => Value::Object(object(schema, dice, depth + 1)),
        Type::List(list) => {
            let same = value(&list.elem, dice, depth + 1);
            let len = dice.roll(4);
            let elements = (0..len).map(|_| match dice.roll(4) {
                0 => same.clone(),
                _ => value(&list.elem, dice, depth + 1),
            });
            elements.collect()
        }
        Type::Map(map) => {
            let len = dice.roll(4);
            let entries = (0..len).map(|_| {
                let key = pick(dice, KEYS).to_owned();
                (key, value(&map.value, dice, depth + 1))
            });
            Value::Object(entries.collect())
        }
    }
}

fn text(dice: &mut Dice) -> String {
    match dice.roll(60) {
        0 => "x".repeat(300),
        1 => "(".repeat(200),
        _ => pick(dice, TEXTS).to_owned(),
    }
}

/// Any JSON, also such that schemas and expressions are made of.
fn any(dice: &mut Dice, depth: u32) -> Value {
    let names = [
        "type",
        "items",
        "properties",
        "default",
        "enum",
        "minimum",
        "pattern",
        "not",
        "a",
    ];
    match dice.roll(if depth > 4 { 4 } else { 6 }) {
        0 => json!(pick(dice, TEXTS)),
        1 => json!(pick(dice, &[0.5, 1e300, -1.0])),
        2 => json!(pick(dice, &[i64::MIN, 0, 7])),
        3 => pick(dice, &[Some(true), None]).into(),
        4 => (0..dice.roll(3)).map(|_| any(dice, depth + 1)).collect(),
        _ => {
            let entries = (0..dice.roll(4)).map(|_| {
                let key = pick(dice, &names).to_owned();
                (key, any(dice, depth + 1))
            });
            Value::Object(entries.collect())
        }
    }
}
