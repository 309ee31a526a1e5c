//! A pull reader for JSON text that words syntax errors as Go's `encoding/json` does, and keeps numbers as written.

use std::borrow::Cow;

use knarr_json::{Array, Map, Number, Value};

use crate::plain::plain;

/// Nesting beyond this is refused, so that reading by recursion cannot exhaust the stack.
const MAX_DEPTH: u32 = 500;

/// What is wrong with the text: `unexpected end of JSON input`, `invalid character 'p' looking for beginning of value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError(pub String);

type Result<T> = std::result::Result<T, SyntaxError>;

/// What a value is, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Object,
    Array,
    String,
    Number,
    Bool(bool),
    Null,
}

impl Next {
    /// What Go's type errors call it.
    pub fn word(self) -> &'static str {
        match self {
            Next::Object => "object",
            Next::Array => "array",
            Next::String => "string",
            Next::Number => "number",
            Next::Bool(_) => "bool",
            Next::Null => "null",
        }
    }
}

/// A position in a JSON text.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    data: &'a [u8],
    pos: usize,
    depth: u32,
}

impl<'a> Scanner<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Scanner {
            data,
            pos: 0,
            depth: 0,
        }
    }

    fn error<T>(&self, context: &str) -> Result<T> {
        match self.data.get(self.pos) {
            None => Err(SyntaxError("unexpected end of JSON input".into())),
            Some(c) => Err(SyntaxError(format!(
                "invalid character {} {context}",
                quoted(*c)
            ))),
        }
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.data.get(self.pos) {
            self.pos += 1;
        }
    }

    /// Byte offset of what comes next, white space skipped.
    pub fn offset(&mut self) -> usize {
        self.space();
        self.pos
    }

    /// The text between two offsets.
    pub fn text(&self, from: usize, to: usize) -> &'a [u8] {
        &self.data[from..to]
    }

    /// Looks at the next value without consuming it.
    pub fn peek(&mut self) -> Result<Next> {
        self.space();
        match self.data.get(self.pos) {
            Some(b'{') => Ok(Next::Object),
            Some(b'[') => Ok(Next::Array),
            Some(b'"') => Ok(Next::String),
            Some(b'-' | b'0'..=b'9') => Ok(Next::Number),
            Some(b't') => Ok(Next::Bool(true)),
            Some(b'f') => Ok(Next::Bool(false)),
            Some(b'n') => Ok(Next::Null),
            _ => self.error("looking for beginning of value"),
        }
    }

    /// Enters an object or array whose first byte was peeked.
    pub fn enter(&mut self) -> Result<()> {
        self.pos += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            Err(SyntaxError("exceeded max depth".into()))
        } else {
            Ok(())
        }
    }

    /// The next key of the object that was entered, up to behind its colon; `None` at its end.
    pub fn key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>> {
        self.space();
        match self.data.get(self.pos) {
            Some(b'}') => {
                self.pos += 1;
                self.depth -= 1;
                return Ok(None);
            }
            Some(b',') if !first => {
                self.pos += 1;
                self.space();
            }
            Some(b'"') if first => {}
            _ if first => return self.error("looking for beginning of object key string"),
            _ => return self.error("after object key:value pair"),
        }
        if self.data.get(self.pos) != Some(&b'"') {
            return self.error("looking for beginning of object key string");
        }
        let key = self.string()?;
        self.space();
        if self.data.get(self.pos) != Some(&b':') {
            return self.error("after object key");
        }
        self.pos += 1;
        Ok(Some(key))
    }

    /// Whether the array that was entered has another element, which then comes next.
    pub fn element(&mut self, first: bool) -> Result<bool> {
        self.space();
        match self.data.get(self.pos) {
            Some(b']') if first => {}
            Some(b']') => {}
            Some(b',') if !first => {
                self.pos += 1;
                return Ok(true);
            }
            Some(_) if first => return Ok(true),
            _ => return self.error("after array element"),
        }
        self.pos += 1;
        self.depth -= 1;
        Ok(false)
    }

    /// Consumes a string whose first byte was peeked.
    pub fn string(&mut self) -> Result<Cow<'a, str>> {
        self.pos += 1;
        let start = self.pos;
        loop {
            self.pos += plain(&self.data[self.pos..]);
            match self.data.get(self.pos) {
                Some(b'"') => {
                    let raw = &self.data[start..self.pos];
                    self.pos += 1;
                    // Nearly all text is right, and that is known sooner than where it is not.
                    return Ok(match std::str::from_utf8(raw) {
                        Ok(text) => Cow::Borrowed(text),
                        Err(_) => String::from_utf8_lossy(raw),
                    });
                }
                Some(b'\\') => return self.escaped(start),
                Some(0..0x20) | None => return self.error("in string literal"),
                Some(_) => self.pos += 1,
            }
        }
    }

    /// Goes on with a string in which the first escape was met.
    fn escaped(&mut self, start: usize) -> Result<Cow<'a, str>> {
        let mut out = self.data[start..self.pos].to_vec();
        loop {
            match self.data.get(self.pos) {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(Cow::Owned(String::from_utf8_lossy(&out).into_owned()));
                }
                Some(b'\\') => {
                    self.pos += 1;
                    let c = self.escape()?;
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(0..0x20) | None => return self.error("in string literal"),
                Some(c) => {
                    out.push(*c);
                    self.pos += 1;
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        let c = match self.data.get(self.pos) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.pos += 1;
                return self.unicode();
            }
            _ => return self.error("in string escape code"),
        };
        self.pos += 1;
        Ok(c)
    }

    /// `\uXXXX`, and a second one when the first is half of a pair. A lone half becomes U+FFFD.
    fn unicode(&mut self) -> Result<char> {
        let high = self.hex4()?;
        if !(0xd800..0xdc00).contains(&high) {
            return Ok(char::from_u32(high).unwrap_or('\u{fffd}'));
        }
        let back = self.pos;
        if self.data.get(self.pos..self.pos + 2) == Some(b"\\u") {
            self.pos += 2;
            let low = self.hex4()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or('\u{fffd}'));
            }
            self.pos = back;
        }
        Ok('\u{fffd}')
    }

    fn hex4(&mut self) -> Result<u32> {
        let mut code = 0;
        for _ in 0..4 {
            match self
                .data
                .get(self.pos)
                .and_then(|c| char::from(*c).to_digit(16))
            {
                Some(digit) => code = code * 16 + digit,
                None => return self.error("in \\u hexadecimal character escape"),
            }
            self.pos += 1;
        }
        Ok(code)
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.data.get(self.pos) {
            self.pos += 1;
        }
    }

    fn digit(&mut self, context: &str) -> Result<()> {
        match self.data.get(self.pos) {
            Some(b'0'..=b'9') => {
                self.pos += 1;
                Ok(())
            }
            _ => self.error(context),
        }
    }

    /// Consumes a number and gives it as written.
    pub fn number(&mut self) -> Result<&'a str> {
        let start = self.pos;
        if self.data[self.pos] == b'-' {
            self.pos += 1;
        }
        let zero = self.data.get(self.pos) == Some(&b'0');
        self.digit("in numeric literal")?;
        if !zero {
            self.digits();
        }
        if self.data.get(self.pos) == Some(&b'.') {
            self.pos += 1;
            self.digit("after decimal point in numeric literal")?;
            self.digits();
        }
        if let Some(b'e' | b'E') = self.data.get(self.pos) {
            self.pos += 1;
            if let Some(b'+' | b'-') = self.data.get(self.pos) {
                self.pos += 1;
            }
            self.digit("in exponent of numeric literal")?;
            self.digits();
        }
        Ok(std::str::from_utf8(&self.data[start..self.pos]).unwrap_or_default())
    }

    /// Consumes `true`, `false` or `null`, as peeked.
    pub fn literal(&mut self, next: Next) -> Result<()> {
        let word = match next {
            Next::Bool(true) => "true",
            Next::Bool(false) => "false",
            _ => "null",
        };
        for want in word.bytes() {
            if self.data.get(self.pos) != Some(&want) {
                return self.error(&format!(
                    "in literal {word} (expecting '{}')",
                    char::from(want)
                ));
            }
            self.pos += 1;
        }
        Ok(())
    }

    /// Consumes a value without keeping it.
    pub fn skip(&mut self) -> Result<()> {
        match self.peek()? {
            Next::Object => {
                self.enter()?;
                let mut first = true;
                while self.key(first)?.is_some() {
                    first = false;
                    self.skip()?;
                }
                Ok(())
            }
            Next::Array => {
                self.enter()?;
                let mut first = true;
                while self.element(first)? {
                    first = false;
                    self.skip()?;
                }
                Ok(())
            }
            Next::String => self.string().map(drop),
            Next::Number => self.number().map(drop),
            literal => self.literal(literal),
        }
    }

    /// Consumes a value of any type. Of repeated keys the last counts.
    pub fn value(&mut self) -> Result<Value> {
        Ok(match self.peek()? {
            Next::Object => {
                self.enter()?;
                let mut map = Map::new();
                while let Some(key) = self.key(map.is_empty())? {
                    let value = self.value()?;
                    map.insert(key, value);
                }
                Value::Object(map)
            }
            Next::Array => {
                self.enter()?;
                let mut list = Array::new();
                while self.element(list.is_empty())? {
                    list.push(self.value()?);
                }
                Value::Array(list)
            }
            Next::String => self.string()?.into(),
            Next::Number => number_value(self.number()?),
            literal => {
                self.literal(literal)?;
                if let Next::Bool(b) = literal {
                    Value::Bool(b)
                } else {
                    Value::Null
                }
            }
        })
    }

    /// Checks that nothing but white space is left.
    pub fn end(&mut self) -> Result<()> {
        self.space();
        if self.pos < self.data.len() {
            self.error("after top-level value")
        } else {
            Ok(())
        }
    }
}

/// A number as written: whole numbers that fit stay whole, the rest become floating point.
pub fn number_value(text: &str) -> Value {
    if let Ok(i) = text.parse::<i64>() {
        return Value::Number(i.into());
    }
    let float = text.parse::<f64>().unwrap_or_default();
    Number::from_f64(float).map_or(Value::Null, Value::Number)
}

/// A byte as Go's errors show it.
fn quoted(c: u8) -> String {
    match c {
        b'\'' => r"'\''".into(),
        b'"' => r#"'"'"#.into(),
        b'\\' => r"'\\'".into(),
        b'\n' => r"'\n'".into(),
        b'\t' => r"'\t'".into(),
        b'\r' => r"'\r'".into(),
        7 => r"'\a'".into(),
        8 => r"'\b'".into(),
        11 => r"'\v'".into(),
        12 => r"'\f'".into(),
        0x20..0x7f => format!("'{}'", char::from(c)),
        0..0x20 | 0x7f => format!("'\\x{c:02x}'"),
        0xa0 | 0xad => format!("'\\u{c:04x}'"),
        0x80..0xa0 => format!("'\\u{c:04x}'"),
        _ => format!("'{}'", char::from(c)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> std::result::Result<Value, String> {
        let mut scan = Scanner::new(text.as_bytes());
        scan.value()
            .and_then(|v| scan.end().map(|()| v))
            .map_err(|e| e.0)
    }

    #[test]
    fn values_are_read_as_serde_json_reads_them() {
        for text in [
            r#"{"a":[1,-2.5,1e3,true,false,null,"x\"\n\u00e9\ud83d\ude00"],"b":{}, "c" : [ ] }"#,
            "[]",
            "3",
            " \n\"s\" ",
        ] {
            assert_eq!(
                read(text).unwrap(),
                serde_json::from_str::<Value>(text).unwrap(),
                "{text}"
            );
        }
        assert_eq!(read(r#""\ud800""#).unwrap(), "\u{fffd}");
        assert_eq!(
            read(r#"{"a":1,"a":2}"#).unwrap(),
            knarr_json::json!({"a": 2})
        );
    }

    #[test]
    fn errors_are_worded_as_go_words_them() {
        for (text, want) in [
            ("", "unexpected end of JSON input"),
            ("{\"a\": ", "unexpected end of JSON input"),
            (
                "pen",
                "invalid character 'p' looking for beginning of value",
            ),
            (
                "{a",
                "invalid character 'a' looking for beginning of object key string",
            ),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            (
                "{\"a\":1 \"b\"}",
                "invalid character '\"' after object key:value pair",
            ),
            (
                "{\"a\":1,}",
                "invalid character '}' looking for beginning of object key string",
            ),
            ("[1 2]", "invalid character '2' after array element"),
            (
                "[1,]",
                "invalid character ']' looking for beginning of value",
            ),
            ("1 2", "invalid character '2' after top-level value"),
            (
                "nul!",
                "invalid character '!' in literal null (expecting 'l')",
            ),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("-x", "invalid character 'x' in numeric literal"),
            (
                "1.x",
                "invalid character 'x' after decimal point in numeric literal",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), want, "{text}");
        }
        assert_eq!(
            read(&"[".repeat(100_000)).unwrap_err(),
            "exceeded max depth"
        );
    }
}
