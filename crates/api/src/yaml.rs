//! Values as YAML, laid out as Go's yaml.v2 does it: keys in order, lists not indented, text quoted only where it must be
//! and folded behind the 80th column.

use knarr_json::Value;

use crate::decode::yaml::means_text;

/// Columns behind which a space becomes a line break.
const WIDTH: usize = 80;

/// A document, ending with a line break.
pub fn print(value: &Value) -> String {
    let mut out = Printer::default();
    out.node(value, 0, true);
    out.text.push('\n');
    out.text
}

#[derive(Default)]
struct Printer {
    text: String,
    column: usize,
}

impl Printer {
    fn put(&mut self, text: &str) {
        self.text.push_str(text);
        self.column += text.chars().count();
    }

    fn line(&mut self, indent: usize) {
        self.text.push('\n');
        self.text.extend(std::iter::repeat_n(' ', indent));
        self.column = indent;
    }

    /// Prints a node at `indent`; `here` when its first line is already begun.
    fn node(&mut self, value: &Value, indent: usize, here: bool) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (i, (key, value)) in map.iter().enumerate() {
                    if i > 0 || !here {
                        self.line(indent);
                    }
                    self.string(key, indent, true);
                    self.put(":");
                    self.value(value, indent);
                }
            }
            Value::Array(list) if !list.is_empty() => {
                for (i, item) in list.iter().enumerate() {
                    if i > 0 || !here {
                        self.line(indent);
                    }
                    self.put("-");
                    self.put(" ");
                    self.node(item, indent + 2, true);
                }
            }
            Value::Object(_) => self.put("{}"),
            Value::Array(_) => self.put("[]"),
            Value::String(text) => self.string(text, indent, false),
            other => self.put(&other.to_string()),
        }
    }

    /// Prints what stands behind a key.
    fn value(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Object(map) if !map.is_empty() => self.node(value, indent + 2, false),
            Value::Array(list) if !list.is_empty() => self.node(value, indent, false),
            scalar => {
                self.put(" ");
                self.node(scalar, indent + 2, true);
            }
        }
    }

    fn string(&mut self, text: &str, indent: usize, key: bool) {
        let found = Analysis::of(text);
        if text.contains('\n') && found.block && !key {
            return self.literal(text, indent);
        }
        if text.contains('\n') || !means_text(text) {
            return self.double(text, indent, key);
        }
        match (found.plain, found.single) {
            (true, _) => self.plain(text, indent, key),
            (false, true) => self.single(text, indent, key),
            (false, false) => self.double(text, indent, key),
        }
    }

    fn plain(&mut self, text: &str, indent: usize, key: bool) {
        self.folded(text, indent, key, |c| c.to_string());
    }

    fn single(&mut self, text: &str, indent: usize, key: bool) {
        self.put("'");
        self.folded(text, indent, key, |c| {
            if c == '\'' {
                "''".into()
            } else {
                c.to_string()
            }
        });
        self.put("'");
    }

    /// Text in which a single space beyond the width becomes a line break.
    fn folded(&mut self, text: &str, indent: usize, key: bool, shown: impl Fn(char) -> String) {
        let chars: Vec<char> = text.chars().collect();
        let mut spaces = false;
        for (i, c) in chars.iter().enumerate() {
            let inner = i > 0 && i + 1 < chars.len() && chars[i + 1] != ' ';
            if *c == ' ' && !key && !spaces && self.column > WIDTH && inner {
                self.line(indent);
            } else {
                self.put(&shown(*c));
            }
            spaces = *c == ' ';
        }
    }

    fn double(&mut self, text: &str, indent: usize, key: bool) {
        self.put("\"");
        let chars: Vec<char> = text.chars().collect();
        let mut spaces = false;
        for (i, c) in chars.iter().enumerate() {
            if *c == ' ' && !key && !spaces && self.column > WIDTH && i > 0 && i + 1 < chars.len() {
                self.line(indent);
                if chars[i + 1] == ' ' {
                    self.put("\\");
                }
            } else {
                self.put(&escaped(*c));
            }
            spaces = *c == ' ';
        }
        self.put("\"");
    }

    /// `|`, with what says how it ends.
    fn literal(&mut self, text: &str, indent: usize) {
        self.put("|");
        if text.starts_with([' ', '\n']) {
            self.put("2");
        }
        let body = text.strip_suffix('\n');
        match body {
            None => self.put("-"),
            Some(body) if body.is_empty() || body.ends_with('\n') => self.put("+"),
            Some(_) => {}
        }
        for line in body.unwrap_or(text).split('\n') {
            if line.is_empty() {
                self.text.push('\n');
            } else {
                self.line(indent);
                self.put(line);
            }
        }
    }
}

fn escaped(c: char) -> String {
    match c {
        '"' => "\\\"".into(),
        '\\' => "\\\\".into(),
        '\n' => "\\n".into(),
        '\t' => "\\t".into(),
        '\r' => "\\r".into(),
        '\0' => "\\0".into(),
        '\u{7}' => "\\a".into(),
        '\u{8}' => "\\b".into(),
        '\u{b}' => "\\v".into(),
        '\u{c}' => "\\f".into(),
        '\u{1b}' => "\\e".into(),
        '\u{85}' => "\\N".into(),
        '\u{a0}' => "\\_".into(),
        '\u{2028}' => "\\L".into(),
        '\u{2029}' => "\\P".into(),
        c if printable(c) => c.to_string(),
        c if u32::from(c) <= 0xff => format!("\\x{:02X}", u32::from(c)),
        c if u32::from(c) <= 0xffff => format!("\\u{:04X}", u32::from(c)),
        c => format!("\\U{:08X}", u32::from(c)),
    }
}

fn printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' if c != '\u{feff}')
}

/// How a text may be written.
struct Analysis {
    plain: bool,
    single: bool,
    block: bool,
}

impl Analysis {
    fn of(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let blank = |i: usize| {
            chars
                .get(i)
                .is_none_or(|c| matches!(c, ' ' | '\t' | '\n' | '\r'))
        };
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        for (i, c) in chars.iter().enumerate() {
            indicators |= match c {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"'
                | '%' | '@' | '`'
                    if i == 0 =>
                {
                    true
                }
                '?' | '-' if i == 0 => blank(i + 1),
                ':' => blank(i + 1),
                '#' => i > 0 && blank(i - 1),
                _ => false,
            };
        }
        let special = chars.iter().any(|c| !printable(*c));
        let edge = |c: Option<&char>| matches!(c, Some(' ' | '\n'));
        let pairs = |a: char, b: char| chars.windows(2).any(|w| w[0] == a && w[1] == b);
        let (break_space, space_break) = (pairs('\n', ' '), pairs(' ', '\n'));
        let lines = text.contains('\n');
        Analysis {
            plain: !(indicators || special || lines || edge(chars.first()) || edge(chars.last())),
            single: !(special || break_space || space_break),
            block: !(special || space_break || chars.last() == Some(&' ')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;
    use proptest::prelude::*;

    #[test]
    fn documents_are_laid_out_as_yaml_v2_lays_them_out() {
        let value = json!({
            "apiVersion": "v1",
            "data": {"a": "1", "b": "x: y", "c": "", "d": "two\nlines\n", "e": "no end\nhere", "f": "yes", "g": " lead", "h": "it's", "i": "#x", "j": "12:30"},
            "fieldsV1": {"f:data": {".": {}, "f:a": {}}},
            "list": [{"k": "v", "l": [1, true, null]}, "x", []],
            "metadata": {"creationTimestamp": "2024-01-02T03:04:05Z"},
        });
        let want = r#"apiVersion: v1
data:
  a: "1"
  b: 'x: y'
  c: ""
  d: |
    two
    lines
  e: |-
    no end
    here
  f: "yes"
  g: ' lead'
  h: it's
  i: '#x'
  j: "12:30"
fieldsV1:
  f:data:
    .: {}
    f:a: {}
list:
- k: v
  l:
  - 1
  - true
  - null
- x
- []
metadata:
  creationTimestamp: "2024-01-02T03:04:05Z"
"#;
        assert_eq!(print(&value), want);
        let long = json!({"m": "word ".repeat(30).trim()});
        assert!(print(&long).lines().count() == 2, "{}", print(&long));
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(text in "[-a-z0-9 :#'\"\\\\\n.,{}é~yn]{0,120}", key in "[-a-z0-9:.y]{1,8}") {
            let value = json!({key: {"list": [text, {"again": text}]}});
            let printed = print(&value);
            let read = crate::decode::yaml::read(printed.as_bytes());
            prop_assert_eq!(read.map(|d| d.value), Ok(value), "{}", printed);
        }
    }
}
