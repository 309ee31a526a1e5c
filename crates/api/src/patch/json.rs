//! JSON Patch (RFC 6902) with the leniency of the library that the original uses: replacing and copying what is not there
//! is allowed in objects, negative list indices count from the end.

use knarr_json::{Map, Value};

/// Bytes that copy operations of one patch may add.
const MAX_COPIED: usize = 3 * 1024 * 1024;

/// Levels that values may be put at: what is deeper cannot be read again, and would not fit on the stack of whoever walks it.
const MAX_DEPTH: usize = 500;
/// Levels by which all moves of one patch may put things deeper. How deep what is moved goes is not looked at.
const MAX_DEEPENED: usize = 100;

/// Why a patch cannot be applied. Clients never see it: they get one sentence for all reasons.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

fn fail<T>(why: impl Into<String>) -> Result<T, Failure> {
    Err(Failure(why.into()))
}

/// Applies all operations, or none.
///
/// # Errors
/// When an operation does not apply, or a test fails.
pub fn apply(object: &Value, operations: &[Value]) -> Result<Value, Failure> {
    let mut out = object.clone();
    let mut spent = Spent::default();
    for operation in operations {
        step(&mut out, operation, &mut spent)?;
    }
    Ok(out)
}

/// What the operations of a patch did together.
#[derive(Default)]
struct Spent {
    copied: usize,
    deepened: usize,
}

impl Spent {
    fn copy(&mut self, bytes: usize) -> Result<(), Failure> {
        self.copied += bytes;
        match self.copied {
            copied if copied > MAX_COPIED => {
                fail(format!("copied size {copied} exceeds limit {MAX_COPIED}"))
            }
            _ => Ok(()),
        }
    }

    fn deepen(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        self.deepened += levels(to).saturating_sub(levels(from));
        if self.deepened > MAX_DEEPENED {
            return fail("exceeded max depth");
        }
        Ok(())
    }
}

fn levels(path: &str) -> usize {
    path.matches('/').count()
}

/// How many levels are below a value.
fn height(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.iter().map(|v| 1 + height(v)).max().unwrap_or(0),
        Value::Object(map) => map.values().map(|v| 1 + height(v)).max().unwrap_or(0),
        _ => 0,
    }
}

/// Whether a value may be put there.
fn fits(path: &str, value: &Value) -> Result<(), Failure> {
    if levels(path) + height(value) > MAX_DEPTH {
        return fail("exceeded max depth");
    }
    Ok(())
}

fn step(doc: &mut Value, operation: &Value, spent: &mut Spent) -> Result<(), Failure> {
    let text = |key: &str| operation.get(key).and_then(Value::as_str);
    let path = || text("path").ok_or_else(|| Failure("operation without path".into()));
    let from = || text("from").ok_or_else(|| Failure("operation without from".into()));
    let value = || operation.get("value").cloned().unwrap_or_default();
    match text("op") {
        Some("add") => {
            fits(path()?, &value())?;
            add(doc, path()?, value())
        }
        Some("remove") => remove(doc, path()?).map(drop),
        Some("replace") => {
            fits(path()?, &value())?;
            replace(doc, path()?, value())
        }
        Some("test") => {
            let path = path()?;
            if read(doc, path)? == value() {
                Ok(())
            } else {
                fail(format!("testing value {path} failed"))
            }
        }
        Some("move") => {
            spent.deepen(from()?, path()?)?;
            let moved = remove(doc, from()?)?;
            add(doc, path()?, moved)
        }
        Some("copy") => {
            let copy = read(doc, from()?)?;
            spent.copy(copy.to_string().len())?;
            fits(path()?, &copy)?;
            add(doc, path()?, copy)
        }
        other => fail(format!("Unexpected kind: {}", other.unwrap_or("unknown"))),
    }
}

/// `~1` is a slash, `~0` a tilde.
fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// The container that a path's last part is in, and that part.
fn parent<'a>(doc: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), Failure> {
    let missing = || Failure(format!("doc is missing path: {path:?}"));
    let (parents, last) = path
        .strip_prefix('/')
        .map(|p| p.rsplit_once('/').unwrap_or(("", p)))
        .ok_or_else(missing)?;
    let mut at = doc;
    if path.matches('/').count() > 1 {
        for part in parents.split('/') {
            at = match at {
                Value::Object(map) => map.get_mut(&unescape(part)),
                Value::Array(list) => part.parse().ok().and_then(|i: usize| list.get_mut(i)),
                _ => None,
            }
            .ok_or_else(missing)?;
        }
    }
    if at.is_object() || at.is_array() {
        Ok((at, unescape(last)))
    } else {
        Err(missing())
    }
}

/// A place in a list of `len` places; negative ones count from the end.
fn index(key: &str, len: usize) -> Result<usize, Failure> {
    let invalid = || Failure(format!("Unable to access invalid index: {key}"));
    let i: i64 = key.parse().map_err(|_| invalid())?;
    let len = i64::try_from(len).map_err(|_| invalid())?;
    let i = if i < 0 { i + len } else { i };
    if (0..len).contains(&i) {
        usize::try_from(i).map_err(|_| invalid())
    } else {
        Err(invalid())
    }
}

fn add(doc: &mut Value, path: &str, value: Value) -> Result<(), Failure> {
    match parent(doc, path)? {
        (Value::Array(list), key) if key == "-" => list.push(value),
        (Value::Array(list), key) => list.insert(index(&key, list.len() + 1)?, value),
        (Value::Object(map), key) => drop(map.insert(key, value)),
        _ => return fail("not a container"),
    }
    Ok(())
}

fn remove(doc: &mut Value, path: &str) -> Result<Value, Failure> {
    match parent(doc, path)? {
        (Value::Array(list), key) => Ok(list.remove(index(&key, list.len())?)),
        (Value::Object(map), key) => map
            .remove(&key)
            .ok_or_else(|| Failure(format!("Unable to remove nonexistent key: {key}"))),
        _ => fail("not a container"),
    }
}

fn replace(doc: &mut Value, path: &str, value: Value) -> Result<(), Failure> {
    if path.is_empty() && value.is_object() {
        *doc = value;
        return Ok(());
    }
    match parent(doc, path)? {
        (Value::Array(list), key) => {
            let i = index(&key, list.len())?;
            list[i] = value;
        }
        (Value::Object(map), key) => drop(map.insert(key, value)),
        _ => return fail("not a container"),
    }
    Ok(())
}

/// What is at a path; null for a key that an object does not have.
fn read(doc: &mut Value, path: &str) -> Result<Value, Failure> {
    if path.is_empty() {
        return Ok(doc.clone());
    }
    match parent(doc, path)? {
        (Value::Array(list), key) => Ok(list[index(&key, list.len())?].clone()),
        (Value::Object(map), key) => Ok(map.get(&key).cloned().unwrap_or_default()),
        _ => fail("not a container"),
    }
}

/// JSON Merge Patch (RFC 7386).
pub fn merge(object: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else {
        return patch.clone();
    };
    let mut out = match object {
        Value::Object(map) => map.clone(),
        _ => Map::new(),
    };
    for (key, change) in changes {
        if change.is_null() {
            out.remove(key);
        } else {
            let merged = merge(out.get(key).unwrap_or(&Value::Null), change);
            out.insert(key.clone(), merged);
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn operations_apply_in_order_or_not_at_all() {
        let doc = json!({"data": {"a/b": "1", "n": [1, 2, 3]}, "s": "x"});
        let ok = |ops: Value| apply(&doc, ops.as_array().unwrap()).ok();
        for (ops, want) in [
            (
                json!([{"op": "add", "path": "/data/n/-", "value": 4}]),
                Some(json!({"data": {"a/b": "1", "n": [1, 2, 3, 4]}, "s": "x"})),
            ),
            (
                json!([{"op": "add", "path": "/data/n/0", "value": 0}]),
                Some(json!({"data": {"a/b": "1", "n": [0, 1, 2, 3]}, "s": "x"})),
            ),
            (
                json!([{"op": "remove", "path": "/data/n/-1"}]),
                Some(json!({"data": {"a/b": "1", "n": [1, 2]}, "s": "x"})),
            ),
            (
                json!([{"op": "replace", "path": "/data/a~1b", "value": "2"}]),
                Some(json!({"data": {"a/b": "2", "n": [1, 2, 3]}, "s": "x"})),
            ),
            (
                json!([{"op": "move", "from": "/s", "path": "/data/s"}]),
                Some(json!({"data": {"a/b": "1", "n": [1, 2, 3], "s": "x"}})),
            ),
            (
                json!([{"op": "copy", "from": "/absent", "path": "/t"}]),
                Some(json!({"data": {"a/b": "1", "n": [1, 2, 3]}, "s": "x", "t": null})),
            ),
            (
                json!([{"op": "test", "path": "/s", "value": "x"}, {"op": "remove", "path": "/data"}]),
                Some(json!({"s": "x"})),
            ),
            (json!([{"op": "test", "path": "/s", "value": "y"}]), None),
            (json!([{"op": "remove", "path": "/absent"}]), None),
            (
                json!([{"op": "replace", "path": "/no/where", "value": 1}]),
                None,
            ),
            (
                json!([{"op": "add", "path": "/data/n/9", "value": 4}]),
                None,
            ),
            (json!([{"op": "add", "path": "/s/x", "value": 4}]), None),
            (json!([{"op": "paint", "path": "/s"}]), None),
            (json!([{"op": "remove"}]), None),
            (json!([{"op": "remove", "path": ""}]), None),
        ] {
            assert_eq!(ok(ops.clone()), want, "{ops}");
        }
    }

    /// What each operation puts somewhere is not deep, but it is put into what the one before it put there.
    #[test]
    fn nothing_gets_deeper_than_can_be_read() {
        let nested = |levels| (0..levels).fold(json!({}), |below, _| json!({"a": below}));
        let below = |levels: usize| format!("/x{}", "/a".repeat(levels));
        let doc = json!({"x": nested(100), "y": nested(100)});
        let add = |n| json!({"op": "add", "path": below(100 * n), "value": nested(100)});
        let copy =
            |n: usize| json!({"op": "copy", "from": "/x", "path": below(100 * (1 << (n - 1)))});
        let rename = |n| {
            let (from, path) = (["/y", "/x"][n % 2], ["/y", "/x"][(n + 1) % 2]);
            json!({"op": "move", "from": from, "path": format!("{path}{}", "/a".repeat(100))})
        };
        let replace = |n| json!({"op": "replace", "path": below(100 * n), "value": nested(100)});
        let all = |of: &dyn Fn(usize) -> Value| (1..7).map(of).collect::<Vec<_>>();
        for operations in [all(&add), all(&copy), all(&rename), all(&replace)] {
            let refused = apply(&doc, &operations).unwrap_err();
            assert_eq!(refused.0, "exceeded max depth", "{}", operations[0]);
        }
        let shallow = json!([{"op": "add", "path": below(100), "value": nested(300)},
            {"op": "move", "from": "/y", "path": below(20)}]);
        assert!(apply(&doc, shallow.as_array().unwrap()).is_ok());
    }

    #[test]
    fn merge_patches_follow_rfc_7386() {
        for (doc, patch, want) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": "b", "b": "c"}),
                json!({"a": null}),
                json!({"b": "c"}),
            ),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
            (
                json!({"a": [{"b": "c"}]}),
                json!({"a": [1]}),
                json!({"a": [1]}),
            ),
        ] {
            assert_eq!(merge(&doc, &patch), want);
        }
    }
}
