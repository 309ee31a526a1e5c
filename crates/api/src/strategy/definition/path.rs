//! Paths into a schema, as rules and selectable fields write them: `.spec.a['b.c']`.

use knarr_json::Value;

/// Where a path leads.
#[derive(Debug)]
pub struct Found<'s> {
    pub path: Vec<String>,
    pub schema: &'s Value,
}

/// Follows a path. `brackets` says whether `['key']` is allowed.
///
/// # Errors
/// What is wrong with it.
pub fn find<'s>(text: &str, schema: &'s Value, brackets: bool) -> Result<Found<'s>, String> {
    let mut found = Found {
        path: Vec::new(),
        schema,
    };
    let mut tokens = tokens(text).into_iter();
    let end = || "unexpected end of JSON path".to_owned();
    while let Some(token) = tokens.next() {
        match token {
            "[" if !brackets => return Err("array notation is not allowed".to_owned()),
            "[" => {
                let key = tokens.next().ok_or_else(end)?;
                let inner = key.strip_prefix('\'').and_then(|k| k.strip_suffix('\''));
                let inner = inner
                    .filter(|_| key.len() >= 2)
                    .ok_or_else(|| format!("expected single quoted string but got {key}"))?;
                found.step(&unescape(inner)?)?;
                match tokens.next().ok_or_else(end)? {
                    "]" => {}
                    other => return Err(format!("expected ] but got {other}")),
                }
            }
            "." => {
                let key = tokens.next().ok_or_else(end)?;
                found.step(key)?;
            }
            other => return Err(format!("expected [ or . but got: {other}")),
        }
    }
    Ok(found)
}

impl Found<'_> {
    fn step(&mut self, key: &str) -> Result<(), String> {
        let additional = &self.schema["additionalProperties"];
        let next = match self.schema["properties"].as_object() {
            Some(properties) if !properties.is_empty() => properties.get(key),
            _ => Some(additional).filter(|a| a.is_object()),
        };
        self.schema = next.ok_or("does not refer to a valid field")?;
        self.path.push(key.to_owned());
        Ok(())
    }
}

/// Splits at dots and brackets, which are tokens themselves; quoted text is one token.
fn tokens(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '.' | '[' | ']' => 1,
            '\'' => {
                let mut escaped = false;
                let close = rest.char_indices().skip(1).find(|(_, c)| {
                    let ends = *c == '\'' && !escaped;
                    escaped = *c == '\\';
                    ends
                });
                close.map_or(rest.len(), |(i, _)| i + 1)
            }
            _ => rest.find(['.', '[', ']']).unwrap_or(rest.len()),
        };
        out.push(&rest[..length]);
        rest = &rest[length..];
    }
    out
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next() {
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some('\'') => '\'',
            Some('\\') => '\\',
            Some(c) => return Err(format!("invalid string literal: invalid escape char \\{c}")),
            None => '\\',
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn paths_are_followed() {
        let schema = json!({"properties": {"spec": {"properties": {"a": {"type": "string"}, "b.c": {"type": "integer"}}}, "map": {"additionalProperties": {"type": "string"}}}});
        assert_eq!(find(".spec.a", &schema, false).unwrap().path, ["spec", "a"]);
        assert_eq!(
            find(".spec['b.c']", &schema, true).unwrap().schema["type"],
            "integer"
        );
        assert_eq!(find(".map.x", &schema, true).unwrap().path, ["map", "x"]);
        for (path, why) in [
            ("spec.n", "expected [ or . but got: spec"),
            (".spec.absent", "does not refer to a valid field"),
            (".spec['b.c']", "array notation is not allowed"),
            (".spec.", "unexpected end of JSON path"),
        ] {
            assert_eq!(find(path, &schema, false).unwrap_err(), why, "{path}");
        }
    }
}
