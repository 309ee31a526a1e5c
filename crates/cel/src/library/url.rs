//! URLs: absolute ones, or absolute paths.

use std::{collections::BTreeMap, sync::Arc};

use super::{Answer, Native, err, no_overload};
use crate::value::{Key, Opaque, Value};

/// A URL in its parts; escapes in host and query are decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    user: Option<String>,
    host: String,
    escaped_path: String,
    query: String,
    opaque: String,
}

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "url" => |args| match args {
            [Value::String(text)] => match parse(text.as_str()) {
                Ok(url) => Ok(Value::Opaque(Opaque::Url(Arc::new(url)))),
                Err(why) => err(format!(
                    "URL parse error during conversion from string: parse {:?}: {why}",
                    text.as_str()
                )),
            },
            _ => no_overload(),
        },
        "isURL" => |args| match args {
            [Value::String(text)] => Ok(Value::Bool(parse(text.as_str()).is_ok())),
            _ => no_overload(),
        },
        "getScheme" => |args| part(args, |u| u.scheme.clone()),
        "getHost" => |args| part(args, |u| u.host.clone()),
        "getHostname" => |args| part(args, |u| host_and_port(&u.host).0.to_owned()),
        "getPort" => |args| part(args, |u| host_and_port(&u.host).1.to_owned()),
        "getEscapedPath" => |args| part(args, |u| u.escaped_path.clone()),
        "getQuery" => query,
        _ => return None,
    })
}

fn part<'a>(args: &[Value<'a>], of: fn(&Url) -> String) -> Answer<'a> {
    match args {
        [Value::Opaque(Opaque::Url(url))] => Ok(Value::from(of(url))),
        _ => no_overload(),
    }
}

/// `[::1]:80` → `::1`, `80`
fn host_and_port(host: &str) -> (&str, &str) {
    let (name, port) = match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => (&host[..colon], &host[colon + 1..]),
        _ => (host, ""),
    };
    let name = name
        .strip_prefix('[')
        .and_then(|n| n.strip_suffix(']'))
        .unwrap_or(name);
    (name, port)
}

fn query<'a>(args: &[Value<'a>]) -> Answer<'a> {
    let [Value::Opaque(Opaque::Url(url))] = args else {
        return no_overload();
    };
    let mut found: BTreeMap<Key, Vec<Value<'a>>> = BTreeMap::new();
    for pair in url
        .query
        .split('&')
        .filter(|p| !p.is_empty() && !p.contains(';'))
    {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (decode(name, true), decode(value, true)) else {
            continue;
        };
        found
            .entry(Key::String(name.into()))
            .or_default()
            .push(Value::from(value));
    }
    let entries = found.into_iter().map(|(k, v)| (k, Value::list(v)));
    Ok(Value::map(entries.collect()))
}

fn decode(text: &str, plus: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                out.push((high * 16 + low) as u8);
            }
            b'+' if plus => out.push(b' '),
            other => out.push(other),
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// Reads an absolute URL or an absolute path; a fragment is part of what stands before it.
pub(crate) fn parse(text: &str) -> Result<Url, String> {
    if text.chars().any(|c| c.is_control()) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    if text.is_empty() {
        return Err("empty url".to_owned());
    }
    let (scheme, rest) = split_scheme(text)?;
    let mut url = Url {
        scheme: scheme.to_ascii_lowercase(),
        ..Url::default()
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    url.query = query.to_owned();
    if !rest.starts_with('/') {
        if scheme.is_empty() {
            return Err("invalid URI for request".to_owned());
        }
        url.opaque = rest.to_owned();
        return Ok(url);
    }
    let path = match rest.strip_prefix("//") {
        Some(after) if !scheme.is_empty() || !rest.starts_with("///") => {
            let end = after.find('/').unwrap_or(after.len());
            let (authority, path) = after.split_at(end);
            if scheme.is_empty() {
                // A path that begins with two slashes.
                rest
            } else {
                read_authority(authority, &mut url)?;
                path
            }
        }
        _ => rest,
    };
    let decoded = decode(path, false);
    if decoded.is_none() {
        return Err(format!("invalid URL escape \"{}\"", bad_escape(path)));
    }
    url.escaped_path = path
        .chars()
        .map(|c| match c {
            ' ' => "%20".to_owned(),
            c if c.is_ascii() => c.to_string(),
            c => c.to_string().bytes().map(|b| format!("%{b:02X}")).collect(),
        })
        .collect();
    Ok(url)
}

fn bad_escape(text: &str) -> String {
    let good = |e: &str| e.len() == 3 && e[1..].chars().all(|c| c.is_ascii_hexdigit());
    text.match_indices('%')
        .map(|(i, _)| text[i..].chars().take(3).collect::<String>())
        .find(|e| !e.is_ascii() || !good(e))
        .unwrap_or_default()
}

fn split_scheme(text: &str) -> Result<(&str, &str), String> {
    for (i, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if i > 0 => {}
            '0'..='9' | '+' | '-' | '.' => return Ok(("", text)),
            ':' if i == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok((&text[..i], &text[i + 1..])),
            _ => return Ok(("", text)),
        }
    }
    Ok(("", text))
}

fn read_authority(authority: &str, url: &mut Url) -> Result<(), String> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    url.user = user.map(str::to_owned);
    let host = decode(host, false)
        .ok_or_else(|| format!("invalid URL escape \"{}\"", bad_escape(host)))?;
    let after_brackets = match host.strip_prefix('[') {
        Some(inside) => {
            let (_, after) = inside.split_once(']').ok_or("missing ']' in host")?;
            after.to_owned()
        }
        None => host
            .find(':')
            .map_or(String::new(), |i| host[i..].to_owned()),
    };
    let port_is_good = match after_brackets.strip_prefix(':') {
        Some(port) => port.chars().all(|c| c.is_ascii_digit()),
        None => after_brackets.is_empty(),
    };
    if !port_is_good {
        return Err(format!("invalid port {after_brackets:?} after host"));
    }
    if let Some(bad) = host.chars().find(|c| {
        matches!(
            c,
            ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}'
        )
    }) {
        return Err(format!(
            "invalid character {:?} in host name",
            bad.to_string()
        ));
    }
    url.host = host;
    Ok(())
}
