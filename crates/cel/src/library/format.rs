//! Named formats: `format.dns1123Label().validate(x)`.

use base64::Engine;

use super::{Answer, Native, no_overload, time, url};
use crate::value::{Opaque, Value};

/// A format that texts can be held against.
#[derive(Debug)]
pub struct Format {
    /// What the function that gives it is called.
    pub name: &'static str,
    /// The length of the regular expression that costs reckon with.
    pub regex_size: u64,
    check: fn(&str) -> Vec<String>,
}

/// The length of the longest such expression.
pub(crate) const LONGEST_REGEX: f64 = 128.0;

macro_rules! formats {
    ($($name:literal, $size:literal, $check:expr;)*) => {
        static FORMATS: &[Format] = &[$(Format { name: $name, regex_size: $size, check: $check }),*];

        fn constant(name: &str) -> Option<Native> {
            match name {
                $(concat!("format.", $name) => Some(|_| named($name)),)*
                _ => None,
            }
        }
    };
}

formats! {
    "dns1123Label", 30, |s| dns_label(s);
    "dns1123Subdomain", 60, |s| dns_subdomain(s);
    "dns1035Label", 30, |s| dns1035_label(s);
    "qualifiedName", 60, qualified_name;
    "dns1123LabelPrefix", 30, |s| dns_label(&masked(s));
    "dns1123SubdomainPrefix", 60, |s| dns_subdomain(&masked(s));
    "dns1035LabelPrefix", 30, |s| dns1035_label(&masked(s));
    "labelValue", 40, label_value;
    "uri", 1214, |s| match url::parse(s) {
        Ok(_) => Vec::new(),
        Err(why) => vec![format!("parse {s:?}: {why}")],
    };
    "uuid", 93, |s| unless(is_uuid(s), "does not match the UUID format");
    "byte", 90, |s| unless(is_base64(s), "invalid base64");
    "date", 133, |s| unless(time::parse_date(s).is_some(), "invalid date");
    "datetime", 133, |s| unless(time::parse_timestamp(s).is_some(), "invalid datetime");
}

pub(super) fn native(name: &str) -> Option<Native> {
    match name {
        "format.named" => Some(|args| match args {
            [Value::String(name)] => match FORMATS.iter().find(|f| f.name == name.as_str()) {
                Some(format) => Ok(Value::some(Value::Opaque(Opaque::Format(format)))),
                None => Ok(Value::none()),
            },
            _ => no_overload(),
        }),
        "validate" => Some(|args| match args {
            [Value::Opaque(Opaque::Format(format)), Value::String(text)] => {
                let wrong = (format.check)(text.as_str());
                if wrong.is_empty() {
                    return Ok(Value::none());
                }
                let wrong = wrong.into_iter().map(Value::from).collect();
                Ok(Value::some(Value::list(wrong)))
            }
            _ => no_overload(),
        }),
        _ => constant(name),
    }
}

fn named<'a>(name: &str) -> Answer<'a> {
    match FORMATS.iter().find(|f| f.name == name) {
        Some(format) => Ok(Value::Opaque(Opaque::Format(format))),
        None => no_overload(),
    }
}

fn unless(good: bool, message: &str) -> Vec<String> {
    if good {
        Vec::new()
    } else {
        vec![message.to_owned()]
    }
}

/// A prefix of names may end in `-`.
fn masked(name: &str) -> String {
    match name.strip_suffix('-') {
        Some(start) if !start.is_empty() => format!("{start}a"),
        _ => name.to_owned(),
    }
}

fn too_long(most: usize) -> String {
    format!("must be no more than {most} bytes")
}

fn is_word(text: &str, inside: fn(u8) -> bool, ends: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let ends_are_good =
        bytes.first().is_some_and(|b| ends(*b)) && bytes.last().is_some_and(|b| ends(*b));
    ends_are_good && bytes.iter().all(|b| inside(*b) || ends(*b))
}

fn is_low(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

fn dns_label(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 63 {
        wrong.push(too_long(63));
    }
    if !is_word(text, |b| b == b'-', is_low) {
        wrong.push(LABEL.to_owned());
    }
    wrong
}

fn dns_subdomain(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 253 {
        wrong.push(too_long(253));
    }
    if !text
        .split('.')
        .all(|part| is_word(part, |b| b == b'-', is_low))
    {
        wrong.push(SUBDOMAIN.to_owned());
    }
    wrong
}

fn dns1035_label(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 63 {
        wrong.push(too_long(63));
    }
    let letter_first = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    if !letter_first || !is_word(text, |b| b == b'-', is_low) {
        wrong.push(LABEL_1035.to_owned());
    }
    wrong
}

const NAME: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

fn is_name(text: &str) -> bool {
    is_word(
        text,
        |b| matches!(b, b'-' | b'_' | b'.'),
        |b| b.is_ascii_alphanumeric(),
    )
}

fn label_value(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 63 {
        wrong.push(too_long(63));
    }
    if !text.is_empty() && !is_name(text) {
        wrong.push(VALUE.to_owned());
    }
    wrong
}

fn qualified_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(
                    dns_subdomain(prefix)
                        .iter()
                        .map(|m| format!("prefix part {m}")),
                );
            }
            *name
        }
        _ => {
            return vec![format!(
                "a qualified name {NAME} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        wrong.push(format!("name part {}", too_long(63)));
    }
    if !is_name(name) {
        wrong.push(format!("name part {NAME}"));
    }
    wrong
}

fn is_uuid(text: &str) -> bool {
    let bytes: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    let hyphens_fit = text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) || !text.contains('-');
    bytes.len() == 32 && hyphens_fit && bytes.iter().all(u8::is_ascii_hexdigit)
}

fn is_base64(text: &str) -> bool {
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .is_ok()
}
