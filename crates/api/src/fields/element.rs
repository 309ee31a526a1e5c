//! One step of a path into an object, as field sets name it.
//!
//! An element is kept in the form it has in `fieldsV1`: `f:spec`, `k:{"name":"web"}`, `v:"a"`, `i:0`. That form is
//! canonical (keys sorted, no spaces), so elements compare as text and sets encode without work.

use std::{collections::BTreeMap, fmt};

use knarr_json::{Text, Value};
use smallvec::SmallVec;

/// A step: a field, the element of a list with these keys, the element of a set with this value, or an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element(Text);

impl Element {
    /// The field `name` of an object.
    pub fn field(name: &str) -> Self {
        let mut text = Text::const_new("f:");
        text.push_str(name);
        Element(text)
    }

    /// The element of an associative list whose key fields have these values.
    pub fn keys<'a>(keys: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let mut sorted: SmallVec<[(&str, Value); 2]> = keys.into_iter().collect();
        sorted.sort_by_key(|(key, _)| *key);
        let mut text = started("k:");
        canonical_map(sorted.iter().map(|(k, v)| (*k, v)), &mut text);
        Element(text.into())
    }

    /// The element of a set list with this value.
    pub fn value(value: &Value) -> Self {
        let mut text = started("v:");
        canonical(value, &mut text);
        Element(text.into())
    }

    /// Reads the form it has in `fieldsV1`. `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Element(text.into())),
            "i" => rest
                .parse::<i64>()
                .ok()
                .map(|i| Element(format!("i:{i}").into())),
            "v" => serde_json::from_str(rest)
                .ok()
                .map(|value| Element::value(&value)),
            "k" => match serde_json::from_str(rest).ok()? {
                Value::Object(keys) => Some(Element::keys(
                    keys.iter().map(|(k, v)| (k.as_str(), v.clone())),
                )),
                _ => None,
            },
            _ => None,
        }
    }

    /// The text is an element's.
    pub(super) fn made(text: Text) -> Self {
        Element(text)
    }

    /// An element out of a set, whose elements are canonical.
    pub(super) fn known(text: &Text) -> Self {
        Element(text.clone())
    }

    /// The form it has in `fieldsV1`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn as_text(&self) -> &Text {
        &self.0
    }

    pub(super) fn into_text(self) -> Text {
        self.0
    }

    /// The name, when it is a field.
    pub fn field_name(&self) -> Option<&str> {
        self.0.strip_prefix("f:")
    }
}

/// As conflicts show it: `.spec`, `[name="web"]`, `[="a"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, rest) = self.0.split_once(':').unwrap_or_default();
        match kind {
            "f" => write!(f, ".{rest}"),
            "v" => write!(f, "[={rest}]"),
            "k" => {
                let keys: BTreeMap<String, Value> = serde_json::from_str(rest).unwrap_or_default();
                let shown: Vec<String> = keys
                    .iter()
                    .map(|(k, v)| {
                        let mut shown = format!("{k}=");
                        canonical(v, &mut shown);
                        shown
                    })
                    .collect();
                write!(f, "[{}]", shown.join(","))
            }
            _ => write!(f, "[{rest}]"),
        }
    }
}

/// An element's text, with room for what it usually says.
fn started(kind: &str) -> String {
    let mut text = String::with_capacity(48);
    text.push_str(kind);
    text
}

/// A path as conflicts show it.
pub fn show(path: &[Element]) -> String {
    path.iter().map(Element::to_string).collect()
}

/// Writes JSON with sorted keys and without spaces.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&str, &Value> = map.iter().map(|(k, v)| (k.as_str(), v)).collect();
            canonical_map(sorted.into_iter(), out);
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                out.push(if i == 0 { '[' } else { ',' });
                canonical(item, out);
            }
            out.push_str(if items.is_empty() { "[]" } else { "]" });
        }
        Value::String(text) => quoted(text, out),
        other => out.push_str(&other.to_string()),
    }
}

fn canonical_map<'a>(sorted: impl Iterator<Item = (&'a str, &'a Value)>, out: &mut String) {
    out.push('{');
    for (i, (key, value)) in sorted.enumerate() {
        if i > 0 {
            out.push(',');
        }
        quoted(key, out);
        out.push(':');
        canonical(value, out);
    }
    out.push('}');
}

fn quoted(text: &str, out: &mut String) {
    // Names, mostly: nothing in them needs to be escaped.
    let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
    if text.bytes().all(plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&Value::from(text).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_canonical_and_readable() {
        for (given, kept, shown) in [
            ("f:spec", "f:spec", ".spec"),
            ("f:a:b", "f:a:b", ".a:b"),
            (
                r#"k:{"protocol": "TCP", "port":80}"#,
                r#"k:{"port":80,"protocol":"TCP"}"#,
                r#"[port=80,protocol="TCP"]"#,
            ),
            (r#"v:"a""#, r#"v:"a""#, r#"[="a"]"#),
            (r#"v:"a\"\u000a b""#, r#"v:"a\"\n b""#, r#"[="a\"\n b"]"#),
            ("v:[ ]", "v:[]", "[=[]]"),
            (
                r#"v:[1, {"b":2,"a":null}]"#,
                r#"v:[1,{"a":null,"b":2}]"#,
                r#"[=[1,{"a":null,"b":2}]]"#,
            ),
            ("i:3", "i:3", "[3]"),
        ] {
            let element = Element::parse(given).unwrap();
            assert_eq!(
                (element.as_str(), element.to_string().as_str()),
                (kept, shown)
            );
        }
        for bad in ["spec", "x:y", "k:7", "i:x", "v:"] {
            assert_eq!(Element::parse(bad), None, "{bad}");
        }
    }
}
