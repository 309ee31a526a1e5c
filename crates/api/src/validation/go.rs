//! Structs as Go's encoder writes those that have no JSON names: messages of the original show internal objects so.

use knarr_json::Value;

use super::NULL;

/// Writes `v` with the fields of `layout`, in its order, under their Go names.
///
/// A layout is a list of fields: `Name''` text, `Count0` a number, `Flag!` a boolean, `Raw.` as it is or null, `Inner{…}`
/// a struct, `Inner*{…}` a pointer to one, `Items[…]` a list of structs. The JSON name follows from the Go name, or is told:
/// `IntValue=int.`.
pub fn dump(v: &Value, layout: &str) -> String {
    let mut rest = layout;
    object(v, &mut rest)
}

/// Writes a list of structs; null when it was not given.
pub fn dump_list(v: &Value, layout: &str) -> String {
    match v.as_array() {
        Some(items) => {
            let items: Vec<String> = items.iter().map(|i| dump(i, layout)).collect();
            format!("[{}]", items.join(","))
        }
        None => "null".into(),
    }
}

fn object(v: &Value, rest: &mut &str) -> String {
    let mut parts = Vec::new();
    loop {
        *rest = rest.trim_start_matches(' ');
        let Some(end) = rest.find(|c: char| !c.is_ascii_alphabetic() && c != '=') else {
            break;
        };
        if end == 0 {
            break;
        }
        let (word, tail) = rest.split_at(end);
        *rest = tail;
        let (go, json) = match word.split_once('=') {
            Some((go, json)) => (go, json.to_owned()),
            None => (word, json_name(word)),
        };
        let field = v.get(&json).unwrap_or(&NULL);
        parts.push(format!("\"{go}\":{}", value(field, rest)));
    }
    format!("{{{}}}", parts.join(","))
}

fn value(v: &Value, rest: &mut &str) -> String {
    let or = |zero: &str| {
        if v.is_null() {
            zero.to_owned()
        } else {
            crate::go::json(v)
        }
    };
    let takes = |rest: &mut &str, mark: &str| match rest.strip_prefix(mark) {
        Some(tail) => {
            *rest = tail;
            true
        }
        None => false,
    };
    if takes(rest, "''") {
        return or("\"\"");
    }
    if takes(rest, "*{") {
        let text = object(v, rest);
        takes(rest, "}");
        return if v.is_null() { "null".into() } else { text };
    }
    if takes(rest, "{") {
        let text = object(v, rest);
        takes(rest, "}");
        return text;
    }
    if takes(rest, "[") {
        let start = *rest;
        object(&NULL, rest);
        let end = *rest;
        takes(rest, "]");
        let layout = &start[..start.len() - end.len()];
        return dump_list(v, layout);
    }
    let zero = match rest.chars().next() {
        Some('0') => "0",
        Some('!') => "false",
        _ => "null",
    };
    *rest = rest.get(1..).unwrap_or_default();
    or(zero)
}

/// `NodeID` is `nodeID`, `CEL` is `cel`, `APIGroups` is `apiGroups`.
fn json_name(go: &str) -> String {
    let upper = go.chars().take_while(char::is_ascii_uppercase).count();
    let lowered = if upper > 1 && upper < go.len() {
        upper - 1
    } else {
        upper
    };
    let (head, tail) = go.split_at(lowered);
    head.to_ascii_lowercase() + tail
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn structs_read_as_go_writes_them() {
        let v = json!({"requests": [{"name": "a", "cel": {"expression": "x"}}, {"name": "b", "count": 2}], "apiGroups": ["g"]});
        let layout = "Requests[Name'' CEL*{Expression''} Count0 Admin! ] APIGroups. Config. Of{IntValue=int.}";
        assert_eq!(
            dump(&v, layout),
            r#"{"Requests":[{"Name":"a","CEL":{"Expression":"x"},"Count":0,"Admin":false},{"Name":"b","CEL":null,"Count":2,"Admin":false}],"APIGroups":["g"],"Config":null,"Of":{"IntValue":null}}"#
        );
        assert_eq!(dump(&Value::Null, ""), "{}");
        let text = json!([{"key": "<a>"}, {}]);
        let want = r#"[{"Key":"\u003ca\u003e","Values":null},{"Key":"","Values":null}]"#;
        assert_eq!(dump_list(&text, "Key'' Values."), want);
        assert_eq!(dump_list(&Value::Null, "Key''"), "null");
    }
}
