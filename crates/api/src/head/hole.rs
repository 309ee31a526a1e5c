//! Finding where the revision belongs in JSON that is not parsed.

/// Offset just behind the `{` of the top-level `metadata`, when it has fields and `resourceVersion` is none of them. `None`
/// also for anything unusual: the caller then parses.
pub(super) fn find(json: &[u8]) -> Option<usize> {
    let mut at = expect(json, 0, b'{')?;
    loop {
        let (key, behind) = string(json, at)?;
        at = space(json, expect(json, space(json, behind), b':')?);
        if key == b"metadata" {
            let hole = expect(json, at, b'{')?;
            return plain_metadata(json, hole).then_some(hole);
        }
        at = space(json, value(json, at)?);
        at = space(json, expect(json, at, b',')?);
    }
}

/// Whether the object whose fields begin at `at` has some, but no `resourceVersion`.
fn plain_metadata(json: &[u8], mut at: usize) -> bool {
    let mut step = || -> Option<bool> {
        let (key, behind) = string(json, space(json, at))?;
        if key == b"resourceVersion" {
            return None;
        }
        let start = space(json, expect(json, space(json, behind), b':')?);
        at = space(json, value(json, start)?);
        match json.get(at)? {
            b',' => {
                at += 1;
                Some(true)
            }
            b'}' => Some(false),
            _ => None,
        }
    };
    loop {
        match step() {
            Some(true) => {}
            Some(false) => return true,
            None => return false,
        }
    }
}

fn space(json: &[u8], mut at: usize) -> usize {
    while json.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

fn expect(json: &[u8], at: usize, byte: u8) -> Option<usize> {
    (json.get(at) == Some(&byte)).then_some(at + 1)
}

/// A string's content (with its escapes) and where it ends.
fn string(json: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let start = expect(json, at, b'"')?;
    let mut end = start;
    loop {
        match json.get(end)? {
            b'"' => return Some((&json[start..end], end + 1)),
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
}

/// Where the value that begins at `at` ends.
fn value(json: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match json.get(at)? {
            b'"' => at = string(json, at)?.1,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' if depth > 0 => {
                depth -= 1;
                at += 1;
            }
            // The value was a number or a word, and ends before this.
            b'}' | b']' | b',' if depth == 0 => return Some(at),
            _ => at += 1,
        }
        let ended = depth == 0 && matches!(json.get(at - 1), Some(b'"' | b'}' | b']'));
        if ended {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn holes_are_found_without_parsing() {
        for (json, want) in [
            (r#"{"kind":"A","metadata":{"name":"a"}}"#, Some(24)),
            (r#"{"metadata":{"name":"a"},"x":1}"#, Some(13)),
            (
                r#"{"data":{"metadata":"{\"}"},"n":[1,{"a":[]}],"t":true,"metadata":{"a":{"resourceVersion":"1"}}}"#,
                Some(66),
            ),
            (r#"{"metadata": {"name": "a", "labels": {}}}"#, Some(14)),
            (r#"{"metadata":{"name":"a","resourceVersion":"7"}}"#, None),
            (r#"{"metadata":{}}"#, None),
            (r#"{"kind":"A"}"#, None),
            (r#"{"metadata":{"name":"#, None),
            (r#"{"a":"\"#, None),
            ("", None),
        ] {
            assert_eq!(find(json.as_bytes()), want, "{json}");
        }
    }
}
