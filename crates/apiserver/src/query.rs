//! Query strings, and the options in them, parsed with the original's words for what is wrong.

use knarr_api::{Status, decode::FieldValidation, field};
use knarr_json::Value;

use crate::Outcome;

/// A query string's parameters in order, decoded.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|p| !p.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(key, true), unescape(value, true))
        });
        Query(pairs.collect())
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// Booleans as the original converts them: present and neither `false` nor `0`.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key)
            .is_some_and(|v| !v.eq_ignore_ascii_case("false") && v != "0")
    }

    /// # Errors
    /// 400 when the parameter is no integer.
    pub fn int(&self, key: &str) -> Outcome<Option<i64>> {
        match self.get(key) {
            None | Some("") => Ok(None),
            Some(text) => parse_int(text).map(Some),
        }
    }
}

/// # Errors
/// 400 with the words of Go's `strconv.ParseInt`.
fn parse_int(text: &str) -> Outcome<i64> {
    text.parse().map_err(|e: std::num::ParseIntError| {
        let why = match e.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                "value out of range"
            }
            _ => "invalid syntax",
        };
        Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: {why}")).into()
    })
}

/// Undoes percent encoding; bytes that are no UTF-8 are replaced. `plus` reads `+` as a space, as queries do.
pub fn unescape(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let pair = bytes
            .get(i + 1..i + 3)
            .and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[i], pair.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                i += 2;
            }
            (b'+', _) if plus => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `CreateOptions`, `UpdateOptions` and `PatchOptions` in one.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub field_manager: String,
    pub field_validation: FieldValidation,
    pub force: bool,
}

/// What kind of write options belong to; names them in errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionsKind {
    Create,
    Update,
    Patch,
    Apply,
}

impl OptionsKind {
    fn name(self) -> &'static str {
        match self {
            OptionsKind::Create => "CreateOptions",
            OptionsKind::Update => "UpdateOptions",
            OptionsKind::Patch | OptionsKind::Apply => "PatchOptions",
        }
    }
}

impl WriteOptions {
    /// # Errors
    /// 422 with a cause per wrong option.
    pub fn new(query: &Query, kind: OptionsKind) -> Outcome<Self> {
        let mut errors = Vec::new();
        let root = field::Path::default();
        let dry: Vec<&str> = query.all("dryRun").collect();
        if kind == OptionsKind::Patch && query.get("force").is_some() {
            errors.push(field::Error::forbidden(
                &root.child("force"),
                "may not be specified for non-apply patch",
            ));
        }
        let field_manager = query.get("fieldManager").unwrap_or_default().to_owned();
        if kind == OptionsKind::Apply && field_manager.is_empty() {
            errors.push(field::Error::required(
                &root.child("fieldManager"),
                "is required for apply patch",
            ));
        }
        errors.extend(check_manager(&root, &field_manager));
        errors.extend(check_dry_run(&root, &dry));
        let asked = query.get("fieldValidation").unwrap_or_default();
        let field_validation = FieldValidation::parse(asked).unwrap_or_else(|| {
            let known = ["", "Ignore", "Strict", "Warn"];
            errors.push(field::Error::not_supported(
                &root.child("fieldValidation"),
                asked,
                &known,
            ));
            FieldValidation::Warn
        });
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", kind.name(), "", &errors).into());
        }
        Ok(WriteOptions {
            dry_run: !dry.is_empty(),
            field_manager,
            field_validation,
            force: query.flag("force"),
        })
    }
}

fn check_manager(root: &field::Path, manager: &str) -> field::Errors {
    let path = root.child("fieldManager");
    let mut errors = Vec::new();
    if manager.len() > 128 {
        errors.push(field::Error::too_long(&path, 128));
    }
    if let Some((at, c)) = manager.char_indices().find(|(_, c)| c.is_control()) {
        let why = format!(
            "invalid character U+{:04X} (at position {at})",
            u32::from(c)
        );
        errors.push(field::Error::invalid(&path, manager, why));
    }
    errors
}

/// Only `All` may be asked for.
pub fn check_dry_run(root: &field::Path, asked: &[&str]) -> field::Errors {
    if asked.iter().all(|d| *d == "All") {
        return Vec::new();
    }
    let value: Value = asked.iter().map(|d| Value::from(*d)).collect();
    vec![field::Error::not_supported(
        &root.child("dryRun"),
        value,
        &["All"],
    )]
}

/// `ListOptions` without its selectors.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    pub limit: usize,
    pub continue_: String,
    pub resource_version: String,
    pub resource_version_match: String,
    pub timeout_seconds: Option<i64>,
    pub allow_bookmarks: bool,
    pub send_initial_events: Option<bool>,
}

impl ListOptions {
    /// # Errors
    /// 400 for what is no number, 422 for options that do not go together.
    pub fn new(query: &Query, watch: bool) -> Outcome<Self> {
        let text = |key: &str| query.get(key).unwrap_or_default().to_owned();
        let options = ListOptions {
            limit: usize::try_from(query.int("limit")?.unwrap_or(0)).unwrap_or(0),
            continue_: text("continue"),
            resource_version: text("resourceVersion"),
            resource_version_match: text("resourceVersionMatch"),
            timeout_seconds: query.int("timeoutSeconds")?,
            allow_bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events: query
                .get("sendInitialEvents")
                .map(|_| query.flag("sendInitialEvents")),
        };
        let errors = options.check(watch);
        if errors.is_empty() {
            Ok(options)
        } else {
            Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors).into())
        }
    }

    fn check(&self, watch: bool) -> field::Errors {
        if watch {
            return self.check_watch();
        }
        let mut errors = self.check_match();
        if self.send_initial_events.is_some() {
            errors.push(field::Error::forbidden(
                &field::Path::new("sendInitialEvents"),
                "sendInitialEvents is forbidden for list",
            ));
        }
        errors
    }

    /// What is wrong with the `resourceVersionMatch` of a list.
    fn check_match(&self) -> field::Errors {
        let path = field::Path::new("resourceVersionMatch");
        let forbid = |why: &str| vec![field::Error::forbidden(&path, why)];
        let wanted = self.resource_version_match.as_str();
        if wanted.is_empty() {
            return Vec::new();
        }
        let mut errors = Vec::new();
        if self.resource_version.is_empty() {
            errors.extend(forbid(
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if !self.continue_.is_empty() {
            errors.extend(forbid(
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if wanted != "Exact" && wanted != "NotOlderThan" {
            errors.push(field::Error::not_supported(
                &path,
                wanted,
                &["Exact", "NotOlderThan", ""],
            ));
        }
        if wanted == "Exact" && self.resource_version == "0" {
            errors.extend(forbid(
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
        errors
    }

    fn check_watch(&self) -> field::Errors {
        let path = field::Path::new("resourceVersionMatch");
        let wanted = self.resource_version_match.as_str();
        let mut errors = Vec::new();
        match self.send_initial_events {
            Some(_) => {
                if wanted != "NotOlderThan" {
                    let why =
                        "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                    errors.push(field::Error::forbidden(&path, why));
                }
                if !matches!(wanted, "" | "NotOlderThan") {
                    errors.push(field::Error::not_supported(
                        &path,
                        wanted,
                        &["NotOlderThan"],
                    ));
                }
            }
            None if !wanted.is_empty() => {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                errors.push(field::Error::forbidden(&path, why));
            }
            None => {}
        }
        if !self.continue_.is_empty() {
            errors.push(field::Error::forbidden(
                &field::Path::new("continue"),
                "continue is forbidden for watch",
            ));
        }
        errors
    }
}

/// A resourceVersion as a number; empty is 0.
///
/// # Errors
/// The words of the original for one that is none.
pub fn revision(text: &str) -> Result<u64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    // Go takes no sign here, and tells what is too large from what is no number.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let why = match text.parse() {
        Ok(revision) if digits => return Ok(revision),
        Err(_) if digits => "value out of range",
        _ => "invalid syntax",
    };
    Err(format!(
        "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: {why}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let q = Query::parse("a=1&b=x%3Dy+z&c&watch=0&w=");
        assert_eq!(q.get("b"), Some("x=y z"));
        assert_eq!(q.get("c"), Some(""));
        assert!(!q.flag("watch") && q.flag("w") && q.flag("c") && !q.flag("none"));
        assert_eq!(
            q.int("b").unwrap_err().message,
            "strconv.ParseInt: parsing \"x=y z\": invalid syntax"
        );
        assert_eq!(unescape("%zz%4", false), "%zz%4");
    }

    #[test]
    fn wrong_options_are_named() {
        let q = Query::parse("dryRun=Some");
        let message = WriteOptions::new(&q, OptionsKind::Create)
            .unwrap_err()
            .message;
        assert_eq!(
            message,
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\""
        );
        let q = Query::parse("sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
        let message = ListOptions::new(&q, false).unwrap_err().message;
        assert!(
            message.contains("[resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided, sendInitialEvents: Forbidden:"),
            "{message}"
        );
        let q = Query::parse("resourceVersionMatch=Exact");
        assert_eq!(ListOptions::new(&q, false).unwrap_err().code, 422);
        assert!(ListOptions::new(&Query::parse("limit=few"), false).is_err());
    }

    #[test]
    fn revisions_are_read_as_go_reads_them() {
        for (text, want) in [
            ("", Ok(0)),
            ("0", Ok(0)),
            ("007", Ok(7)),
            ("18446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616", Err("value out of range")),
            ("+5", Err("invalid syntax")),
            ("-5", Err("invalid syntax")),
            ("latest", Err("invalid syntax")),
        ] {
            let want = want.map_err(|why| {
                format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: {why}")
            });
            assert_eq!(revision(text), want);
        }
    }
}
