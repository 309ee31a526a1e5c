//! YAML bodies as JSON values, with the readings of Go's yaml.v2: YAML 1.1 booleans, octal and underscored numbers, merge
//! keys, only the first document, repeated keys reported by line.

use std::{borrow::Cow, collections::HashMap};

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Tag};
use knarr_json::{Map, Number, Value};

/// A YAML document read.
#[derive(Debug, PartialEq)]
pub struct Document {
    pub value: Value,
    /// `line 8: key "a" already set in map`, in the order met.
    pub duplicates: Vec<String>,
}

/// Nodes that aliases may expand to, so that a small text cannot become a huge value.
const MAX_NODES: usize = 1_000_000;
/// A text counts as one more node for each so many bytes.
const NODE_BYTES: usize = 32;
/// Also of what aliases stand for: values are walked by recursion.
const MAX_DEPTH: usize = 500;

type Source<'a> = Parser<'a, granit_parser::StrInput<'a>>;

/// Reads the first document. Errors are worded like `yaml: line 4: found character that cannot start any token`.
pub fn read(text: &[u8]) -> Result<Document, String> {
    let text =
        std::str::from_utf8(text).map_err(|_| "yaml: invalid leading UTF-8 octet".to_owned())?;
    let mut reader = Reader {
        source: Parser::new_from_str(text),
        anchors: HashMap::new(),
        duplicates: Vec::new(),
        nodes: 0,
    };
    let value = reader.document()?;
    Ok(Document {
        value,
        duplicates: reader.duplicates,
    })
}

struct Reader<'a> {
    source: Source<'a>,
    anchors: HashMap<usize, Node>,
    duplicates: Vec<String>,
    nodes: usize,
}

/// A node that was read.
#[derive(Clone, Default)]
struct Node {
    value: Value,
    /// A scalar without quotes.
    plain: bool,
    /// What it counts for, with all below.
    size: usize,
    /// How many levels are below.
    height: usize,
}

impl Node {
    fn scalar(value: Value, plain: bool) -> Self {
        let bytes = value.as_str().map_or(0, str::len);
        Node {
            value,
            plain,
            size: 1 + bytes / NODE_BYTES,
            height: 0,
        }
    }

    /// A list or map that is yet to be filled.
    fn empty() -> Self {
        Node {
            size: 1,
            ..Node::default()
        }
    }

    /// Counts what lies in it, whose value is put elsewhere.
    fn holds(&mut self, below: &Node) {
        self.size = self.size.saturating_add(below.size);
        self.height = self.height.max(below.height + 1);
    }
}

impl<'a> Reader<'a> {
    /// The next event that means something, and its line.
    fn next(&mut self) -> Result<(Event<'a>, usize), String> {
        loop {
            match self.source.next_event() {
                None => return Ok((Event::StreamEnd, 0)),
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok((event, span))) => return Ok((event, span.start.line())),
                Some(Err(e)) => {
                    return Err(format!(
                        "yaml: {}{}",
                        place(e.marker().line()),
                        words(e.kind())
                    ));
                }
            }
        }
    }

    fn document(&mut self) -> Result<Value, String> {
        loop {
            let (event, line) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) => {}
                Event::StreamEnd | Event::DocumentEnd => return Ok(Value::Null),
                event => return self.node(event, line, 0).map(|node| node.value),
            }
        }
    }

    /// Reads the node that starts with `event`.
    fn node(&mut self, event: Event<'a>, line: usize, depth: usize) -> Result<Node, String> {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(TOO_DEEP.into());
        }
        let (anchor, node) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = matches!(style, ScalarStyle::Plain);
                let value = scalar(&text, plain, tag.as_deref());
                (anchor, Node::scalar(value, plain))
            }
            Event::SequenceStart(_, anchor, _) => (anchor, self.list(depth)?),
            Event::MappingStart(_, anchor, _) => (anchor, self.map(depth)?),
            Event::Alias(id) => (0, self.alias(id, depth)?),
            _ => {
                return Err(format!(
                    "yaml: {}did not find expected node content",
                    place(line)
                ));
            }
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, depth: usize) -> Result<Node, String> {
        let mut node = self.anchors.get(&id).cloned().unwrap_or_default();
        self.nodes = self.nodes.saturating_add(node.size);
        if self.nodes > MAX_NODES {
            return Err("yaml: document contains excessive aliasing".into());
        }
        if depth + node.height > MAX_DEPTH {
            return Err(TOO_DEEP.into());
        }
        node.plain = false;
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Node, String> {
        let (mut node, mut out) = (Node::empty(), Vec::new());
        loop {
            let (event, line) = self.next()?;
            if event == Event::SequenceEnd {
                node.value = out.into();
                return Ok(node);
            }
            let below = self.node(event, line, depth + 1)?;
            node.holds(&below);
            out.push(below.value);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Node, String> {
        let (mut node, mut out, mut merged) = (Node::empty(), Map::new(), Map::new());
        loop {
            let (event, line) = self.next()?;
            if event == Event::MappingEnd {
                for (key, value) in merged {
                    out.entry(key).or_insert(value);
                }
                node.value = Value::Object(out);
                return Ok(node);
            }
            let key = self.node(event, line, depth + 1)?;
            let (event, line) = self.next()?;
            let value = self.node(event, line, depth + 1)?;
            node.holds(&key);
            node.holds(&value);
            if key.plain && key.value == "<<" {
                merge(&mut merged, value.value).ok_or_else(|| {
                    format!(
                        "yaml: {}map merge requires map or sequence of maps as the value",
                        place(line)
                    )
                })?;
                continue;
            }
            let (name, shown) = key_name(&key.value)
                .ok_or_else(|| format!("yaml: {}invalid map key", place(line)))?;
            if out.insert(name, value.value).is_some() {
                self.duplicates
                    .push(format!("line {line}: key {shown} already set in map"));
            }
        }
    }
}

const TOO_DEEP: &str = "yaml: exceeded max depth";

fn place(line: usize) -> String {
    if line > 1 {
        format!("line {line}: ")
    } else {
        String::new()
    }
}

/// What is wrong, as libyaml words the same thing.
fn words(kind: &ErrorKind) -> String {
    let known = match kind {
        ErrorKind::UnexpectedCharacter { .. }
        | ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation => "found character that cannot start any token",
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => "could not find expected ':'",
        ErrorKind::UnclosedQuotedScalar => "found unexpected end of stream",
        ErrorKind::UnclosedFlowCollection { open: '[' }
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::UnexpectedEofFlowSequence => "did not find expected ',' or ']'",
        ErrorKind::UnclosedFlowCollection { .. } | ErrorKind::UnexpectedEofFlowMapping => {
            "did not find expected ',' or '}'"
        }
        ErrorKind::InvalidIndentation => "did not find expected key",
        _ => "",
    };
    if !known.is_empty() {
        return known.to_owned();
    }
    let text = kind.to_string();
    match text.split_once(", ") {
        Some((context, rest)) if context.starts_with("while ") => rest.to_owned(),
        _ => text,
    }
}

/// Adds what `<<` gives; earlier maps win.
fn merge(into: &mut Map, value: Value) -> Option<()> {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                into.entry(key).or_insert(value);
            }
            Some(())
        }
        Value::Array(list) => list.into_iter().try_for_each(|item| {
            if item.is_object() {
                merge(into, item)
            } else {
                None
            }
        }),
        _ => None,
    }
}

/// A key as JSON names it, and as Go's `%#v` shows it.
fn key_name(key: &Value) -> Option<(String, String)> {
    match key {
        Value::String(s) => Some((s.to_string(), format!("{s:?}"))),
        Value::Number(n) => Some((n.to_string(), n.to_string())),
        Value::Bool(b) => Some((b.to_string(), b.to_string())),
        _ => None,
    }
}

fn scalar(text: &str, plain: bool, tag: Option<&Tag>) -> Value {
    let text_value = || Value::from(text);
    match tag.and_then(Tag::core_suffix) {
        Some("str" | "binary" | "timestamp") => text_value(),
        Some(_) => resolve(text).unwrap_or_else(text_value),
        None if plain && tag.is_none() => resolve(text).unwrap_or_else(text_value),
        None => text_value(),
    }
}

/// Whether a plain scalar is read as this very text: by us, and by readers that know times and base 60 too.
pub fn means_text(text: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let base60 = unsigned.contains(':')
        && unsigned
            .split(':')
            .all(|part| digits(part.split('.').next().unwrap_or("")));
    let mut date = text.splitn(3, '-');
    let (year, month, day) = (
        date.next().unwrap_or(""),
        date.next().unwrap_or(""),
        date.next().unwrap_or(""),
    );
    let time = year.len() == 4
        && digits(year)
        && digits(month)
        && day.starts_with(|c: char| c.is_ascii_digit());
    let special = matches!(
        text.to_ascii_lowercase().trim_start_matches(['-', '+']),
        ".inf" | ".nan" | "<<" | "="
    );
    resolve(text).is_none() && !base60 && !time && !special
}

/// What a plain scalar means, when it is not text.
fn resolve(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Some(Value::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Some(Value::Bool(false));
        }
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    let digits: Cow<str> = if text.contains('_') {
        text.replace('_', "").into()
    } else {
        text.into()
    };
    integer(&digits).or_else(|| float(&digits))
}

/// Go's `strconv.ParseInt` with base 0.
fn integer(text: &str) -> Option<Value> {
    let negative = text.starts_with('-');
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let lower = body.to_ascii_lowercase();
    let (digits, radix) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    if digits.is_empty() || digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let value = if negative { -value } else { value };
    match i64::try_from(value) {
        Ok(i) => Some(Value::Number(i.into())),
        Err(_) => u64::try_from(value).ok().map(|u| Value::Number(u.into())),
    }
}

/// `1.5`, `.5`, `1e3`; whole results print without a point, as Go prints them.
fn float(text: &str) -> Option<Value> {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = body
        .split_once(['e', 'E'])
        .map_or((body, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    if !digits(whole)
        || !digits(fraction)
        || (whole.is_empty() && fraction.is_empty())
        || !exponent_fits
    {
        return None;
    }
    number(text.strip_prefix('+').unwrap_or(text).parse().ok()?)
}

/// A floating point number as JSON: whole when it is whole.
pub fn number(float: f64) -> Option<Value> {
    if float.fract() == 0.0 && float.abs() < 1e18 {
        return Some(Value::Number((float as i64).into()));
    }
    Number::from_f64(float).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn scalars_mean_what_yaml_v2_makes_of_them() {
        for (text, want) in [
            ("yes", json!(true)),
            ("off", json!(false)),
            ("~", json!(null)),
            ("42", json!(42)),
            ("010", json!(8)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("1_000", json!(1000)),
            ("1.5", json!(1.5)),
            ("1e3", json!(1000)),
            ("1.0", json!(1)),
            ("500m", json!("500m")),
            ("1.2.3", json!("1.2.3")),
            ("2024-01-01", json!("2024-01-01")),
            ("'42'", json!("42")),
            ("\"yes\"", json!("yes")),
            ("!!str 42", json!("42")),
            ("08", json!(8)),
            ("-", json!([null])),
            ("+5", json!(5)),
            ("-7", json!(-7)),
            (".5", json!(0.5)),
            ("1:2", json!("1:2")),
            ("1e", json!("1e")),
        ] {
            // A leading zero with a digit 8 is no octal number; Go then reads it as floating point.
            assert_eq!(read(text.as_bytes()).unwrap().value, want, "{text}");
        }
    }

    #[test]
    fn documents_merge_keys_anchors_and_repeated_keys() {
        let text = "base: &b {x: 1, z: 2}\nderived:\n  <<: *b\n  z: 3\nlist: [*b]\n1: one\n---\nsecond: true\n";
        let want = json!({"base": {"x": 1, "z": 2}, "derived": {"x": 1, "z": 3}, "list": [{"x": 1, "z": 2}], "1": "one"});
        assert_eq!(read(text.as_bytes()).unwrap().value, want);
        let doc =
            read(b"apiVersion: v1\nmetadata:\n  name: a\n  name: b\ndata: {m: one, m: two}\n")
                .unwrap();
        assert_eq!(
            doc.duplicates,
            [
                "line 4: key \"name\" already set in map",
                "line 5: key \"m\" already set in map"
            ]
        );
        assert_eq!(doc.value["metadata"]["name"], "b");
        assert_eq!(read(b"").unwrap().value, Value::Null);
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f]\n";
        assert!(read(bomb.as_bytes()).is_err());
    }

    /// Each anchor holds the one before, below as many brackets as may be.
    #[test]
    fn aliases_are_no_deeper_than_what_is_written_out() {
        let mut text = "a0: &a0 []\n".to_owned();
        for n in 1..60 {
            let (open, close) = ("[".repeat(200), "]".repeat(200));
            text += &format!("a{n}: &a{n} {open}*a{}{close}\n", n - 1);
        }
        assert_eq!(read(text.as_bytes()).unwrap_err(), TOO_DEEP);
        let (open, close) = ("[".repeat(200), "]".repeat(200));
        let text = format!("a: &a {open}{close}\nb: {open}*a{close}\n");
        assert!(read(text.as_bytes()).is_ok());
    }

    #[test]
    fn aliases_of_long_texts_count_for_more() {
        let long = "x".repeat(1 << 20);
        let of = |count: usize| format!("a: &a {long}\nb: [{}]\n", "*a,".repeat(count));
        assert!(read(of(10).as_bytes()).is_ok());
        let refused = read(of(1000).as_bytes()).unwrap_err();
        assert_eq!(refused, "yaml: document contains excessive aliasing");
    }

    /// Long enough that it would take minutes if each node cost as much as all before it.
    #[test]
    fn long_documents_are_read() {
        const MANY: usize = 100_000;
        let map: Map = (0..MANY).map(|n| (format!("k{n}"), json!("v"))).collect();
        let list: Value = (0..MANY).map(|n| json!({"name": n})).collect();
        let value = json!({"map": map, "list": list});
        for text in [value.to_string(), crate::yaml::print(&value)] {
            assert_eq!(read(text.as_bytes()).unwrap().value, value);
        }
    }

    #[test]
    fn errors_name_the_line() {
        let error =
            read(b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: torn\n labels: {a: b}\n")
                .unwrap_err();
        assert!(error.starts_with("yaml: line "), "{error}");
        assert_eq!(
            read(b"kind: Service\nspec:\n  @x\n").unwrap_err(),
            "yaml: line 3: found character that cannot start any token"
        );
    }
}
