//! Paths that rules give for their errors: `.spec.low`, `.labels['a']`.

use knarr_json::Value as Json;

/// The path as errors show it, below the node's own; none if the schema has no such field.
pub(super) fn normalized(path: &str, schema: &Json) -> Option<String> {
    let mut out = String::new();
    let mut node = schema;
    let mut rest = path;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (name, tail) = step(rest)?;
        rest = tail;
        if let Some(properties) = node.get("properties") {
            node = properties.get(&name)?;
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(&name);
        } else {
            node = node.get("additionalProperties").filter(|a| a.is_object())?;
            out.push_str(&format!("[{name}]"));
        }
    }
    Some(out)
}

/// The next name of a path, and what follows it.
fn step(path: &str) -> Option<(String, &str)> {
    if let Some(rest) = path.strip_prefix('.') {
        let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
        let (name, tail) = rest.split_at(end);
        return (!name.is_empty()).then(|| (name.to_owned(), tail));
    }
    let rest = path.strip_prefix("['")?;
    let mut name = String::new();
    let mut chars = rest.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '\'' => return Some((name, rest[i + 1..].strip_prefix(']')?)),
            '\\' => name.push(match chars.next()?.1 {
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                c @ ('\'' | '\\') => c,
                _ => return None,
            }),
            c => name.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::normalized;
    use knarr_json::json;

    #[test]
    fn paths_name_fields_of_the_schema() {
        let schema = json!({"properties": {
            "spec": {"properties": {"a.b": {}, "low": {}}},
            "labels": {"additionalProperties": {"type": "string"}},
        }});
        for (path, shown) in [
            (".spec.low", Some("spec.low")),
            (".spec['a.b']", Some("spec.a.b")),
            (".labels['x']", Some("labels[x]")),
            (".missing", None),
            ("spec", None),
            (".spec.", None),
            (".spec['low'", None),
            ("", None),
        ] {
            assert_eq!(normalized(path, &schema).as_deref(), shown, "{path}");
        }
    }
}
