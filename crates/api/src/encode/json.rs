//! A pull reader for JSON text that this server wrote itself: no words for what is wrong, no decoding that nobody asked
//! for, but nothing that could be made to panic either.

use std::borrow::Cow;

use memchr::memchr2;

/// Why a text could not be read: where it stopped being what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unexpected JSON at byte {0}")]
pub struct Malformed(pub usize);

pub type Result<T> = std::result::Result<T, Malformed>;

/// A position in a text.
pub struct Json<'a> {
    data: &'a [u8],
    at: usize,
}

/// A string as it stands between its quotes.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    pub raw: &'a [u8],
    /// There are escapes in it.
    pub escaped: bool,
}

impl<'a> Text<'a> {
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        let mut out = Vec::with_capacity(self.raw.len());
        self.write(&mut out);
        Cow::Owned(out)
    }

    /// Appends the text with its escapes undone.
    pub fn write(&self, out: &mut Vec<u8>) {
        if self.escaped {
            unescape(self.raw, out);
        } else {
            out.extend_from_slice(self.raw);
        }
    }
}

impl<'a> Json<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Json { data, at: 0 }
    }

    fn wrong<T>(&self) -> Result<T> {
        Err(Malformed(self.at))
    }

    /// The next byte that is no white space, which is not consumed.
    pub fn peek(&mut self) -> Result<u8> {
        while let Some(&byte) = self.data.get(self.at) {
            if byte > b' ' {
                return Ok(byte);
            }
            self.at += 1;
        }
        self.wrong()
    }

    /// Consumes `byte`.
    pub fn take(&mut self, byte: u8) -> Result<()> {
        if self.peek()? != byte {
            return self.wrong();
        }
        self.at += 1;
        Ok(())
    }

    /// Consumes `null`, when that comes next.
    pub fn null(&mut self) -> Result<bool> {
        let is = self.peek()? == b'n';
        if is {
            self.scalar()?;
        }
        Ok(is)
    }

    /// The next key of an object whose brace was taken, up to behind its colon; none at its end.
    pub fn key(&mut self, first: &mut bool) -> Result<Option<Text<'a>>> {
        match self.peek()? {
            b'}' => {
                self.at += 1;
                return Ok(None);
            }
            b',' if !*first => self.at += 1,
            b'"' if *first => {}
            _ => return self.wrong(),
        }
        *first = false;
        let key = self.string()?;
        self.take(b':')?;
        Ok(Some(key))
    }

    /// Whether another element of an array follows, whose bracket was taken.
    pub fn element(&mut self, first: &mut bool) -> Result<bool> {
        match self.peek()? {
            b']' => {
                self.at += 1;
                return Ok(false);
            }
            b',' if !*first => self.at += 1,
            _ if *first => {}
            _ => return self.wrong(),
        }
        *first = false;
        Ok(true)
    }

    pub fn string(&mut self) -> Result<Text<'a>> {
        self.take(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = self.data.get(self.at..).unwrap_or_default();
            let Some(end) = memchr2(b'"', b'\\', rest) else {
                return self.wrong();
            };
            self.at += end;
            if self.data[self.at] == b'"' {
                let raw = &self.data[start..self.at];
                self.at += 1;
                return Ok(Text { raw, escaped });
            }
            escaped = true;
            self.at += 2;
        }
    }

    /// A number, `true`, `false` or `null`, as it stands.
    pub fn scalar(&mut self) -> Result<&'a [u8]> {
        self.peek()?;
        let rest = &self.data[self.at..];
        let end = rest
            .iter()
            .position(|b| matches!(b, b',' | b'}' | b']' | b'"' | b'{' | b'[') || *b <= b' ')
            .unwrap_or(rest.len());
        if end == 0 {
            return self.wrong();
        }
        self.at += end;
        Ok(&rest[..end])
    }

    /// A value of any kind, as it stands.
    pub fn raw(&mut self) -> Result<&'a [u8]> {
        self.peek()?;
        let start = self.at;
        self.skip()?;
        Ok(&self.data[start..self.at])
    }

    /// Passes over a value.
    pub fn skip(&mut self) -> Result<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'{' | b'[' => self.skip_nested(),
            _ => self.scalar().map(drop),
        }
    }

    fn skip_nested(&mut self) -> Result<()> {
        let mut depth = 0usize;
        while let Some(&byte) = self.data.get(self.at) {
            match byte {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
        self.wrong()
    }
}

/// Undoes escapes; what is no escape stays as it is, as half a surrogate pair becomes the mark for the unreadable.
fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let code = rest.get(at + 1).copied().unwrap_or(b'\\');
        rest = rest.get(at + 2..).unwrap_or_default();
        match code {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let (char, used) = unicode(rest);
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                rest = rest.get(used..).unwrap_or_default();
            }
            other => out.push(other),
        }
    }
    out.extend_from_slice(rest);
}

/// What follows `\u`: a character, and how many bytes it took.
fn unicode(rest: &[u8]) -> (char, usize) {
    let unit = |at: usize| {
        let digits = std::str::from_utf8(rest.get(at..at + 4)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let Some(high) = unit(0) else {
        return (char::REPLACEMENT_CHARACTER, rest.len().min(4));
    };
    if (0xD800..0xDC00).contains(&high)
        && rest.get(4..6) == Some(b"\\u")
        && let Some(low) = unit(6).filter(|low| (0xDC00..0xE000).contains(low))
    {
        let code = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
        return (
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
            10,
        );
    }
    (
        char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER),
        4,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_taken_as_they_stand() {
        let mut json = Json::new(br#" {"a": [1, {"b": "}\"]"}], "c": null} "#);
        json.take(b'{').unwrap();
        let mut first = true;
        assert_eq!(json.key(&mut first).unwrap().unwrap().raw, b"a");
        assert_eq!(json.raw().unwrap(), br#"[1, {"b": "}\"]"}]"#);
        assert_eq!(json.key(&mut first).unwrap().unwrap().raw, b"c");
        assert!(json.null().unwrap());
        assert!(json.key(&mut first).unwrap().is_none());
    }

    proptest! {
        #[test]
        fn strings_come_back_as_they_were(text in ".*") {
            let json = serde_json::to_string(&text).unwrap();
            let read = Json::new(json.as_bytes()).string().unwrap();
            let bytes = read.bytes();
            prop_assert_eq!(&*bytes, text.as_bytes());
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Json::new(&bytes).skip();
            let mut out = Vec::new();
            unescape(&bytes, &mut out);
        }
    }
}
