//! Semantic versions.

use std::{cmp::Ordering, sync::Arc};

use super::{Answer, Native, err, no_overload};
use crate::value::{Opaque, Value};

/// A version; what stands behind `+` does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Semver {
    numbers: [u64; 3],
    pre: Vec<Identifier>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    /// Numbers are less than texts.
    Number(u64),
    Text(String),
}

impl PartialOrd for Semver {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Semver {
    fn cmp(&self, other: &Self) -> Ordering {
        let release = |v: &Semver| v.pre.is_empty();
        self.numbers
            .cmp(&other.numbers)
            // A version comes after what led up to it.
            .then_with(|| release(self).cmp(&release(other)))
            .then_with(|| self.pre.cmp(&other.pre))
    }
}

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "semver" => |args| match read(args) {
            Some(Ok(version)) => Ok(Value::Opaque(Opaque::Semver(Arc::new(version)))),
            Some(Err(why)) => err(why),
            None => no_overload(),
        },
        "isSemver" => |args| match read(args) {
            Some(version) => Ok(Value::Bool(version.is_ok())),
            None => no_overload(),
        },
        "major" => |args| number(args, 0),
        "minor" => |args| number(args, 1),
        "patch" => |args| number(args, 2),
        _ => return None,
    })
}

fn number<'a>(args: &[Value<'a>], which: usize) -> Answer<'a> {
    match args {
        [Value::Opaque(Opaque::Semver(version))] => Ok(Value::Int(version.numbers[which] as i64)),
        _ => no_overload(),
    }
}

fn read(args: &[Value<'_>]) -> Option<Result<Semver, String>> {
    match args {
        [Value::String(text)] | [Value::String(text), Value::Bool(false)] => {
            Some(parse(text.as_str()))
        }
        [Value::String(text), Value::Bool(true)] => Some(parse(&normalized(text.as_str()))),
        _ => None,
    }
}

/// Drops a leading `v` and zeros before numbers, adds what is missing of three numbers.
fn normalized(text: &str) -> String {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let mut parts: Vec<String> = numbers
        .split('.')
        .map(|p| match p.trim_start_matches('0') {
            "" if !p.is_empty() => "0".to_owned(),
            trimmed => trimmed.to_owned(),
        })
        .collect();
    while parts.len() < 3 && !numbers.is_empty() {
        parts.push("0".to_owned());
    }
    format!("{}{rest}", parts.join("."))
}

fn parse(text: &str) -> Result<Semver, String> {
    if text.is_empty() {
        return Err("Version string empty".to_owned());
    }
    let (text, build) = text
        .split_once('+')
        .map_or((text, None), |(t, b)| (t, Some(b)));
    let (numbers, pre) = text
        .split_once('-')
        .map_or((text, None), |(n, p)| (n, Some(p)));
    let parts: Vec<&str> = numbers.splitn(3, '.').collect();
    let &[major, minor, patch] = parts.as_slice() else {
        return Err("No Major.Minor.Patch elements found".to_owned());
    };
    let numbers = [
        part(major, "major")?,
        part(minor, "minor")?,
        part(patch, "patch")?,
    ];
    let pre = pre
        .map(|p| p.split('.').map(identifier).collect())
        .transpose()?
        .unwrap_or_default();
    for piece in build.into_iter().flat_map(|b| b.split('.')) {
        if piece.is_empty() || !is_identifier(piece) {
            return Err(format!(
                "Invalid character(s) found in build meta data {piece:?}"
            ));
        }
    }
    Ok(Semver { numbers, pre })
}

fn part(text: &str, name: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "Invalid character(s) found in {name} number {text:?}"
        ));
    }
    if text.len() > 1 && text.starts_with('0') {
        let name = name[..1].to_ascii_uppercase() + &name[1..];
        return Err(format!(
            "{name} number must not contain leading zeroes {text:?}"
        ));
    }
    text.parse()
        .map_err(|_| format!("strconv.ParseUint: parsing {text:?}: value out of range"))
}

fn is_identifier(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn identifier(text: &str) -> Result<Identifier, String> {
    if text.is_empty() {
        return Err("Prerelease is empty".to_owned());
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        if text.len() > 1 && text.starts_with('0') {
            return Err(format!(
                "Numeric PreRelease version must not contain leading zeroes {text:?}"
            ));
        }
        return text
            .parse()
            .map(Identifier::Number)
            .map_err(|_| format!("invalid number {text:?}"));
    }
    match is_identifier(text) {
        true => Ok(Identifier::Text(text.to_owned())),
        false => Err(format!("Invalid character(s) found in prerelease {text:?}")),
    }
}
