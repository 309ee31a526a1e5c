//! Strings. Places in them are counted in characters.

use super::{Answer, Native, err, lists, no_overload, string_format};
use crate::{EvalError, value::Value};

/// A result of repeated replacing is no longer than this, in bytes.
const LONGEST: usize = 16 << 20;

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "contains" => |args| test(args, |text, part| text.contains(part)),
        "startsWith" => |args| test(args, |text, part| text.starts_with(part)),
        "endsWith" => |args| test(args, |text, part| text.ends_with(part)),
        "charAt" => char_at,
        "indexOf" => |args| match args {
            [Value::List(list), value] => lists::position(list, value, false),
            _ => index_of(args),
        },
        "lastIndexOf" => |args| match args {
            [Value::List(list), value] => lists::position(list, value, true),
            _ => last_index_of(args),
        },
        "join" => join,
        "lowerAscii" => |args| change(args, str::to_ascii_lowercase),
        "upperAscii" => |args| change(args, str::to_ascii_uppercase),
        "trim" => |args| change(args, |text| text.trim().to_owned()),
        "replace" => replace,
        "split" => split,
        "substring" => substring,
        "format" => string_format::format,
        "strings.quote" => |args| change(args, quote),
        "jsonpatch.escapeKey" => |args| change(args, |t| t.replace('~', "~0").replace('/', "~1")),
        _ => return None,
    })
}

fn test<'a>(args: &[Value<'a>], holds: fn(&str, &str) -> bool) -> Answer<'a> {
    match args {
        [Value::String(text), Value::String(part)] => {
            Ok(Value::Bool(holds(text.as_str(), part.as_str())))
        }
        _ => no_overload(),
    }
}

fn change<'a>(args: &[Value<'a>], to: fn(&str) -> String) -> Answer<'a> {
    match args {
        [Value::String(text)] => Ok(Value::from(to(text.as_str()))),
        _ => no_overload(),
    }
}

fn out_of_range<'a>(index: i64) -> Answer<'a> {
    err(format!("index out of range: {index}"))
}

fn char_at<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let [Value::String(text), Value::Int(index)] = args else {
        return no_overload();
    };
    let count = text.as_str().chars().count();
    match usize::try_from(*index) {
        Ok(i) if i == count => Ok(Value::from(String::new())),
        Ok(i) if i < count => {
            let found = text.as_str().chars().nth(i);
            Ok(Value::from(found.map(String::from).unwrap_or_default()))
        }
        _ => out_of_range(*index),
    }
}

fn places<'a>(text: &str, bytes: Option<usize>) -> Answer<'a> {
    Ok(Value::Int(
        bytes.map_or(-1, |b| text[..b].chars().count() as i64),
    ))
}

/// The byte at which a character begins.
fn byte_of(text: &str, index: usize) -> usize {
    text.char_indices()
        .nth(index)
        .map_or(text.len(), |(b, _)| b)
}

fn index_of<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match args {
        [Value::String(text), Value::String(part)] => {
            places(text.as_str(), text.as_str().find(part.as_str()))
        }
        [Value::String(text), Value::String(part), Value::Int(from)] => {
            let text = text.as_str();
            let count = text.chars().count();
            if part.as_str().is_empty() {
                return Ok(Value::Int(*from));
            }
            let Some(start) = usize::try_from(*from).ok().filter(|f| *f < count) else {
                return out_of_range(*from);
            };
            let start = byte_of(text, start);
            places(text, text[start..].find(part.as_str()).map(|b| b + start))
        }
        _ => no_overload(),
    }
}

fn last_index_of<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match args {
        [Value::String(text), Value::String(part)] => {
            if part.as_str().is_empty() {
                return Ok(Value::Int(text.as_str().chars().count() as i64));
            }
            places(text.as_str(), text.as_str().rfind(part.as_str()))
        }
        [Value::String(text), Value::String(part), Value::Int(from)] => {
            let text = text.as_str();
            let count = text.chars().count();
            if part.as_str().is_empty() {
                return Ok(Value::Int(*from));
            }
            let Some(start) = usize::try_from(*from).ok().filter(|f| *f < count) else {
                return out_of_range(*from);
            };
            // The last that begins at that place or before.
            let most = byte_of(text, start) + part.as_str().len();
            let mut end = most.min(text.len());
            while !text.is_char_boundary(end) {
                end += 1;
            }
            let found = text[..end].rfind(part.as_str());
            places(text, found.filter(|b| *b <= byte_of(text, start)))
        }
        _ => no_overload(),
    }
}

fn join<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let (list, separator) = match args {
        [Value::List(list)] => (list, ""),
        [Value::List(list), Value::String(separator)] => (list, separator.as_str()),
        _ => return no_overload(),
    };
    let mut out = String::new();
    for (i, value) in list.values()?.iter().enumerate() {
        if i > 0 {
            out.push_str(separator);
        }
        out.push_str(value.as_str().ok_or(EvalError::NoSuchOverload)?);
        limit(&out)?;
    }
    Ok(Value::from(out))
}

fn limit(text: &str) -> Result<(), EvalError> {
    match text.len() > LONGEST {
        true => Err(EvalError::CostLimit),
        false => Ok(()),
    }
}

fn replace<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let (text, old, new, count) = match args {
        [Value::String(text), Value::String(old), Value::String(new)] => (text, old, new, -1),
        [
            Value::String(text),
            Value::String(old),
            Value::String(new),
            Value::Int(count),
        ] => (text, old, new, *count),
        _ => return no_overload(),
    };
    let (text, old, new) = (text.as_str(), old.as_str(), new.as_str());
    let most = usize::try_from(count).unwrap_or(usize::MAX);
    let found = text.matches(old).take(most).count();
    if text.len().saturating_add(found.saturating_mul(new.len())) > LONGEST {
        return Err(EvalError::CostLimit);
    }
    Ok(Value::from(text.replacen(old, new, most)))
}

fn split<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let (text, separator, count) = match args {
        [Value::String(text), Value::String(separator)] => (text, separator, -1),
        [
            Value::String(text),
            Value::String(separator),
            Value::Int(count),
        ] => (text, separator, *count),
        _ => return no_overload(),
    };
    let (text, separator) = (text.as_str(), separator.as_str());
    let most = usize::try_from(count).unwrap_or(usize::MAX);
    let parts: Vec<Value<'a>> = match most {
        0 => Vec::new(),
        _ if separator.is_empty() => characters(text, most),
        _ => text
            .splitn(most, separator)
            .map(|p| Value::from(p.to_owned()))
            .collect(),
    };
    Ok(Value::list(parts))
}

fn characters<'a>(text: &str, most: usize) -> Vec<Value<'a>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let end = if parts.len() + 1 == most {
            rest.len()
        } else {
            c.len_utf8()
        };
        parts.push(Value::from(rest[..end].to_owned()));
        rest = &rest[end..];
    }
    parts
}

fn substring<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let (text, from, to) = match args {
        [Value::String(text), Value::Int(from)] => (text.as_str(), *from, None),
        [Value::String(text), Value::Int(from), Value::Int(to)] => {
            (text.as_str(), *from, Some(*to))
        }
        _ => return no_overload(),
    };
    let count = text.chars().count() as i64;
    if let Some(to) = to
        && from > to
    {
        return err(format!("invalid substring range. start: {from}, end: {to}"));
    }
    let to = to.unwrap_or(count);
    if !(0..=count).contains(&from) {
        return out_of_range(from);
    }
    if !(0..=count).contains(&to) {
        return out_of_range(to);
    }
    let (from, to) = (byte_of(text, from as usize), byte_of(text, to as usize));
    Ok(Value::from(text[from..to].to_owned()))
}

fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
