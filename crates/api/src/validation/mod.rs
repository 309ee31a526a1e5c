//! Validation that more than one kind needs. What is wrong is pushed onto a list of [`field::Errors`], in the order in which
//! the original finds it: clients read causes in that order.

pub mod amount;
pub mod canonical;
pub mod claims;
pub mod given;
pub mod go;
pub mod labels;
pub mod meta;
pub mod net;
pub mod ports;
pub mod resources;
pub mod status;
pub mod taints;

use knarr_json::{Map, Value};

use crate::field::{Error, Errors, Path};

/// A value inside an object and the path that leads to it.
#[derive(Clone)]
pub struct At<'a> {
    pub v: &'a Value,
    pub path: Path,
}

pub(crate) static NULL: Value = Value::Null;

impl<'a> At<'a> {
    /// `value`, called `name` in messages.
    pub fn new(value: &'a Value, name: &str) -> Self {
        At {
            v: value,
            path: Path::new(name),
        }
    }

    /// The field `key` of an object, as a root of its own: `spec` of a Pod.
    pub fn root(object: &'a Value, key: &str) -> Self {
        At {
            v: object.get(key).unwrap_or(&NULL),
            path: Path::new(key),
        }
    }

    /// The field `key`; null when absent.
    pub fn get(&self, key: &str) -> At<'a> {
        At {
            v: self.v.get(key).unwrap_or(&NULL),
            path: self.path.child(key),
        }
    }

    /// The field `key` if it is there and not null.
    pub fn some(&self, key: &str) -> Option<At<'a>> {
        self.has(key).then(|| self.get(key))
    }

    /// The field `key`, or its `fallback` field's name when the original's path differs from the JSON name.
    pub fn get_as(&self, key: &str, shown: &str) -> At<'a> {
        At {
            v: self.v.get(key).unwrap_or(&NULL),
            path: self.path.child(shown),
        }
    }

    /// Whether the field `key` is there and not null.
    pub fn has(&self, key: &str) -> bool {
        self.v.get(key).is_some_and(|v| !v.is_null())
    }

    /// The elements of this list.
    pub fn each(&self) -> impl Iterator<Item = At<'a>> + use<'a> {
        let path = self.path.clone();
        list(self.v).iter().enumerate().map(move |(i, v)| At {
            v,
            path: path.index(i),
        })
    }

    /// The elements of the list in field `key`.
    pub fn items(&self, key: &str) -> impl Iterator<Item = At<'a>> + use<'a> {
        self.get(key).each()
    }

    /// The entries of this map; paths are `map[key]`.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, At<'a>)> + use<'a> {
        let path = self.path.clone();
        self.v.as_object().into_iter().flatten().map(move |(k, v)| {
            (
                k.as_str(),
                At {
                    v,
                    path: path.key(k),
                },
            )
        })
    }

    /// This string; empty when it is none.
    pub fn str(&self) -> &'a str {
        self.v.as_str().unwrap_or_default()
    }

    /// The string in field `key`; empty when absent.
    pub fn text(&self, key: &str) -> &'a str {
        text(self.v, key)
    }

    pub fn int(&self, key: &str) -> Option<i64> {
        self.v.get(key).and_then(Value::as_i64)
    }

    pub fn flag(&self, key: &str) -> bool {
        flag(self.v, key)
    }

    pub fn required(&self, detail: &str) -> Error {
        Error::required(&self.path, detail)
    }

    pub fn invalid(&self, detail: impl Into<String>) -> Error {
        Error::invalid(&self.path, self.v.clone(), detail)
    }

    pub fn forbidden(&self, detail: impl Into<String>) -> Error {
        Error::forbidden(&self.path, detail)
    }

    pub fn duplicate(&self) -> Error {
        Error::duplicate(&self.path, self.v.clone())
    }

    pub fn not_supported(&self, supported: &[&str]) -> Error {
        Error::not_supported(&self.path, self.v.clone(), supported)
    }

    /// Pushes an `Invalid` per message; a missing string is shown as the empty one.
    pub fn push(&self, messages: Vec<String>, errs: &mut Errors) {
        let value = if self.v.is_null() {
            Value::from("")
        } else {
            self.v.clone()
        };
        for m in messages {
            errs.push(Error::invalid(&self.path, value.clone(), m));
        }
    }
}

/// The elements of a list; none when it is no list.
pub fn list(v: &Value) -> &[Value] {
    v.items()
}

/// The string in field `key`; empty when absent.
pub fn text<'a>(v: &'a Value, key: &str) -> &'a str {
    v.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The boolean in field `key`; false when absent.
pub fn flag(v: &Value, key: &str) -> bool {
    v.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// The map in field `key`, if there is one.
pub fn map<'a>(v: &'a Value, key: &str) -> Option<&'a Map> {
    v.get(key).and_then(Value::as_object)
}

/// Whether the field `key` is there and not null.
pub fn has(v: &Value, key: &str) -> bool {
    v.get(key).is_some_and(|v| !v.is_null())
}

/// Whether a value says nothing: null, `""`, `[]`, `{}`.
pub fn is_empty(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        _ => false,
    }
}

/// `must be greater than or equal to 0` for a negative number in field `key`.
pub fn non_negative(at: &At, key: &str, errs: &mut Errors) {
    if at.int(key).is_some_and(|n| n < 0) {
        errs.push(at.get(key).invalid("must be greater than or equal to 0"));
    }
}

/// An enumerated string in field `key`: required and one of `supported`.
pub fn one_of(at: &At, key: &str, supported: &[&str], errs: &mut Errors) {
    let field = at.get(key);
    match field.str() {
        "" => errs.push(field.required("")),
        s if supported.contains(&s) => {}
        _ => errs.push(field.not_supported(supported)),
    }
}

/// `example.com/path`: who is in charge of an object. Host and path are shown alone where they alone are wrong.
pub fn domain_prefixed_path(at: &At, errs: &mut Errors) {
    if at.str().is_empty() {
        errs.push(at.required(""));
        return;
    }
    let halves = at.str().split_once('/');
    let Some((host, path)) = halves.filter(|(h, p)| !h.is_empty() && !p.is_empty()) else {
        errs.push(at.invalid("must be a domain-prefixed path (such as \"acme.io/foo\")"));
        return;
    };
    for m in crate::names::dns1123_subdomain(host) {
        errs.push(Error::invalid(&at.path, host, m));
    }
    let fine = |c: u8| c.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&c);
    if !path.bytes().all(fine) {
        let words =
            "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        errs.push(Error::invalid(&at.path, path, words));
    }
}

/// `field is immutable` when a field's value differs from the old one.
pub fn immutable(new: &At, old: &Value, errs: &mut Errors) {
    if *new.v != *old && !(is_empty(new.v) && is_empty(old)) {
        errs.push(new.invalid("field is immutable"));
    }
}

/// [`immutable`] for a struct that messages show with its Go names: see [`go::dump`].
pub fn immutable_struct(new: &At, old: &Value, layout: &str, errs: &mut Errors) {
    if *new.v != *old && !(is_empty(new.v) && is_empty(old)) {
        errs.push(
            new.invalid("field is immutable")
                .showing(go::dump(new.v, layout)),
        );
    }
}

/// JSON of an object with its fields in the order of `fields`, as Go's encoder writes a struct. Fields not named come last.
pub fn ordered_json(v: &Value, fields: &[&str]) -> String {
    match v {
        Value::Object(map) => {
            let rank = |k: &str| fields.iter().position(|f| *f == k).unwrap_or(fields.len());
            let mut keys: Vec<&str> = map.keys().map(|k| k.as_str()).collect();
            keys.sort_by_key(|k| rank(k));
            let body: Vec<String> = keys
                .iter()
                .map(|k| {
                    let key = crate::go::json(&Value::from(*k));
                    format!("{key}:{}", ordered_json(&map[k], fields))
                })
                .collect();
            format!("{{{}}}", body.join(","))
        }
        Value::Array(items) => {
            let body: Vec<String> = items.iter().map(|i| ordered_json(i, fields)).collect();
            format!("[{}]", body.join(","))
        }
        other => crate::go::json(other),
    }
}
