//! What calls cost when they run.

use super::plan::Call;
use crate::{
    Value,
    value::{Key, List, Map, Opaque},
};

/// Walking a text, for each character.
const TEXT: f64 = 0.1;
/// A regular expression, for each of its characters.
const REGEX: f64 = 0.25;

/// Whether the cost is known, and should be paid, before the call runs.
pub(super) fn before(call: &Call, _args: &[Value<'_>]) -> bool {
    call.function != "join"
}

fn size(args: &[Value<'_>], which: usize) -> f64 {
    args.get(which).map_or(0.0, |v| v.cost_size() as f64)
}

fn up(cost: f64) -> u64 {
    cost.ceil() as u64
}

fn matching(text: f64, pattern: f64) -> u64 {
    up((1.0 + text) * TEXT).saturating_mul(up(pattern * REGEX))
}

fn selector(length: f64) -> u64 {
    10 + up(length * TEXT) + up(up(length * 0.5) as f64 * 50.0)
}

/// The cost of a call that gives `result`.
pub(super) fn of_call(call: &Call, args: &[Value<'_>], result: Option<&Value<'_>>) -> u64 {
    let (a, b) = (size(args, 0), size(args, 1));
    match call.function {
        "check" => 350_000,
        "fieldSelector" | "labelSelector" => selector(b),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
            args.first().map_or(0, |v| walk(v, 0))
        }
        "url"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "jsonpatch.escapeKey"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver" => up(a * TEXT),
        "replace" | "split" | "ip.isCanonical" => up(a * 2.0 * TEXT),
        "join" => up(result.map_or(0, Value::cost_size) as f64 * 2.0 * TEXT),
        "find" | "findAll" => matching(a, b),
        "matches" => matching(a, b),
        "ip" if call.overload == Some("cidr_ip") => 1,
        "ip" => up(a * TEXT),
        "containsIP" | "containsCIDR" => network(call, a, b),
        "validate" => match args.first() {
            Some(Value::Opaque(Opaque::Format(format))) => matching(b, format.regex_size as f64),
            _ => 1,
        },
        "startsWith" | "endsWith" => up(b * TEXT),
        "contains" => up(a * TEXT).saturating_mul(up(b * TEXT)),
        "format" => up(a * TEXT),
        "strings.quote" | "bytes" => up(a * TEXT),
        "string" if matches!(args.first(), Some(Value::Bytes(_))) => up(a * TEXT),
        "@in" if matches!(args.get(1), Some(Value::List(_))) => b as u64,
        "_==_" | "_!=_" => match args.first() {
            Some(Value::Opaque(_)) => 1,
            _ => up(a.min(b) * TEXT),
        },
        "_<_" | "_<=_" | "_>_" | "_>=_" => match args.first() {
            Some(Value::String(_) | Value::Bytes(_)) => up(a.min(b) * TEXT),
            _ => 1,
        },
        "_+_" => match args.first() {
            Some(Value::String(_) | Value::Bytes(_)) => up((a + b) * TEXT),
            _ => 1,
        },
        "sets.contains" | "sets.intersects" => (a * b) as u64 + 1,
        "sets.equivalent" => (a * b * 2.0) as u64 + 1,
        "sort" | "@sortByAssociatedKeys" | "distinct" => (a * a) as u64 + 1,
        "flatten" | "reverse" | "slice" => a as u64 + 1,
        "lists.range" => match args.first() {
            Some(Value::Int(n)) => (*n).max(0) as u64 + 1,
            _ => 1,
        },
        "cel.@mapInsert" => 1,
        _ => 1,
    }
}

fn network(call: &Call, cidr: f64, other: f64) -> u64 {
    let compared = up((cidr + cidr) * TEXT);
    let masked = if call.function == "containsCIDR" {
        up(cidr * TEXT) + 1
    } else {
        0
    };
    let text = matches!(
        call.overload,
        Some("cidr_contains_ip_string" | "cidr_contains_cidr_string")
    );
    compared + masked + if text { up(other * TEXT) } else { 0 }
}

/// Walking everything in a value.
fn walk(value: &Value<'_>, depth: usize) -> u64 {
    if depth > 64 {
        return 1;
    }
    match value {
        Value::String(text) => (text.as_str().len() as f64 * TEXT) as u64,
        Value::Bytes(bytes) => (bytes.len() as f64 * TEXT) as u64,
        Value::List(list) => walk_list(list, depth),
        Value::Map(map) => walk_map(map, depth),
        _ => 1,
    }
}

fn walk_list(list: &List<'_>, depth: usize) -> u64 {
    (0..list.len())
        .filter_map(|i| list.get(i)?.ok())
        .map(|v| walk(&v, depth + 1))
        .sum()
}

fn walk_map(map: &Map<'_>, depth: usize) -> u64 {
    let entries = map.entries().unwrap_or_default();
    let key = |k: &Key| walk(&k.value(), depth + 1);
    entries
        .iter()
        .map(|(k, v)| key(k) + walk(v, depth + 1))
        .sum()
}
