//! Values as JSON text, written straight: what serde's layers would cost is most of what writing an object costs.

use knarr_json::{Number, Text, Value};

use crate::plain::plain;

/// Appends a value as compact JSON, numbers as [`super::to_writer`] writes them.
pub fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(n) => number(out, n),
        Value::String(text) => string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(out, item);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            out.push(b'{');
            entries(out, map.iter());
            out.push(b'}');
        }
    }
}

/// Appends the entries of an object, without its braces.
pub(crate) fn entries<'v>(out: &mut Vec<u8>, entries: impl Iterator<Item = (&'v Text, &'v Value)>) {
    for (i, (key, value)) in entries.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        string(out, key);
        out.push(b':');
        write(out, value);
    }
}

fn number(out: &mut Vec<u8>, n: &Number) {
    let mut digits = itoa::Buffer::new();
    if let Some(n) = n.as_i64() {
        out.extend_from_slice(digits.format(n).as_bytes());
    } else if let Some(n) = n.as_u64() {
        out.extend_from_slice(digits.format(n).as_bytes());
    } else {
        // A vector takes everything.
        let _ = super::to_writer(&mut *out, n);
    }
}

/// Appends a text in quotes.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    let mut bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    loop {
        let (as_it_is, rest) = bytes.split_at(plain(bytes));
        out.extend_from_slice(as_it_is);
        let Some((special, rest)) = rest.split_first() else {
            break;
        };
        escape(out, *special);
        bytes = rest;
    }
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', DIGITS[high], DIGITS[low]]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
            "[\u{0}-\u{40}\"\\\\]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((".{0,3}", inner), 0..5)
                    .prop_map(|entries| entries.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_the_text_that_serde_writes(value in any_value()) {
            let mut out = Vec::new();
            write(&mut out, &value);
            prop_assert_eq!(out, super::super::to_vec(&value).unwrap());
        }
    }
}
