//! Text as Go's libraries write it; messages of the original are full of it.

use knarr_json::Value;

/// Whether Go prints a character as it is: letters, marks, numbers, punctuation, symbols and the space of ASCII.
pub fn is_print(c: char) -> bool {
    // Rust knows the same classes; it escapes marks only at the start of a text.
    let shown = format!("a{c}").escape_debug().count();
    matches!(c, '"' | '\'' | '\\') || shown == 2
}

/// Quotes as `%q` does.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            ' '..='~' => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if c.is_ascii() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if is_print(c) => out.push(c),
            c if u32::from(c) < 0x10000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// JSON as `encoding/json` writes it: what could be HTML or a line of JavaScript is written by numbers.
pub fn json(value: &Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

/// The type of a value decoded without a schema, as `%T` names it.
pub fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn text_is_quoted() {
        for (text, want) in [
            ("a \"b\" \\ 'c'", r#""a \"b\" \\ 'c'""#),
            ("\n\r\t\u{7}\u{8}\u{b}\u{c}", r#""\n\r\t\a\b\v\f""#),
            ("\u{0}\u{1b}\u{7f}", r#""\x00\x1b\x7f""#),
            ("é e\u{301} 日 😀", "\"é e\u{301} 日 😀\""),
            ("\u{301}", "\"\u{301}\""),
            (
                "\u{80}\u{a0}\u{200b}\u{feff}\u{e0001}",
                r#""\u0080\u00a0\u200b\ufeff\U000e0001""#,
            ),
        ] {
            assert_eq!(quote(text), want);
        }
    }

    #[test]
    fn json_is_safe_in_pages() {
        assert_eq!(
            json(&json!({"a": ["<b>", "x & y", "\u{2028}"]})),
            r#"{"a":["\u003cb\u003e","x \u0026 y","\u2028"]}"#
        );
    }
}
