//! Formats of strings that are checked; others are only remarks.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use regex::Regex;

type Check = fn(&str) -> bool;

/// Formats checked, by their names without dashes.
const CHECKED: &[(&str, Check)] = &[
    ("bsonobjectid", |s| {
        s.len() == 24 && s.bytes().all(|b| b.is_ascii_hexdigit())
    }),
    ("byte", |s| STANDARD.decode(s).is_ok()),
    ("cidr", |s| s.parse::<ipnet::IpNet>().is_ok()),
    ("creditcard", credit_card),
    ("date", |s| {
        s.len() == 10 && s.parse::<jiff::civil::Date>().is_ok()
    }),
    ("datetime", date_time),
    ("duration", duration),
    ("email", email),
    ("hexcolor", |s| HEX_COLOR.is_match(s)),
    ("hostname", hostname),
    ("ipv4", |s| s.parse::<Ipv4Addr>().is_ok()),
    ("ipv6", |s| s.parse::<Ipv6Addr>().is_ok()),
    ("isbn", |s| isbn10(s) || isbn13(s)),
    ("isbn10", isbn10),
    ("isbn13", isbn13),
    ("k8slongname", |s| {
        crate::names::dns1123_subdomain(s).is_empty()
    }),
    ("k8sshortname", |s| {
        crate::names::dns1123_label(s).is_empty()
    }),
    ("mac", |s| MAC.is_match(s)),
    ("password", |_| true),
    ("rgbcolor", |s| RGB_COLOR.is_match(s)),
    ("ssn", |s| SSN.is_match(s)),
    ("uri", uri),
    ("uuid", |s| uuid(s, None)),
    ("uuid3", |s| uuid(s, Some('3'))),
    ("uuid4", |s| uuid(s, Some('4'))),
    ("uuid5", |s| uuid(s, Some('5'))),
];

/// A format of strings that has a name and no check.
const UNCHECKED: &str = "quantity";

macro_rules! regex {
    ($name:ident, $text:literal) => {
        static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($text).expect("a constant pattern"));
    };
}

regex!(HEX_COLOR, "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$");
regex!(
    MAC,
    "^(([0-9A-Fa-f]{2}[:-]){5,7}[0-9A-Fa-f]{2}|([0-9A-Fa-f]{4}\\.){2,3}[0-9A-Fa-f]{4})$"
);
regex!(
    RGB_COLOR,
    "^rgb\\(\\s*(0|[1-9]\\d?|1\\d\\d?|2[0-4]\\d|25[0-5])\\s*,\\s*(0|[1-9]\\d?|1\\d\\d?|2[0-4]\\d|25[0-5])\\s*,\\s*(0|[1-9]\\d?|1\\d\\d?|2[0-4]\\d|25[0-5])\\s*\\)$"
);
regex!(SSN, "^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$");
regex!(
    UUID,
    "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?([0-9a-f])[0-9a-f]{3}-?([0-9a-f])[0-9a-f]{3}-?[0-9a-f]{12}$"
);
regex!(
    CREDIT_CARD,
    "^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$"
);
regex!(
    HOST_LABEL,
    r"^[a-zA-Z0-9\p{S}\p{L}]([a-zA-Z0-9\-\p{S}\p{L}]*[a-zA-Z0-9\p{S}\p{L}])?$"
);
regex!(
    EMAIL,
    r#"^(?:[^<>"]*<)?(?:[^\s@<>()\[\],;:"\\]+|"[^"\r\n]*")@(?:[A-Za-z0-9\p{L}._-]+|\[[^\]\s]+\])>?$"#
);
regex!(
    SCALA_DURATION,
    r"^\s*(-?\d+(?:\.\d+)?)\s*(ns|nanos?|nanoseconds?|us|micros?|microseconds?|ms|millis?|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?|hrs?|d|days?|w|weeks?)\s*$"
);
regex!(
    GO_DURATION,
    r"^[+-]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+$"
);

/// A format that strings are checked against.
#[derive(Debug, Clone)]
pub struct Format {
    /// As the schema writes it: `date-time`.
    pub name: String,
    check: fn(&str) -> bool,
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Format {
    /// None for a format that is not checked.
    pub fn parse(name: &str) -> Option<Self> {
        let plain = name.replace('-', "");
        let (_, check) = CHECKED.iter().find(|(known, _)| *known == plain)?;
        Some(Format {
            name: name.to_owned(),
            check: *check,
        })
    }

    pub fn matches(&self, value: &str) -> bool {
        (self.check)(value)
    }

    /// Whether the name means anything for values of a type (empty when the schema has none).
    pub fn is_recognized(name: &str, kind: &str) -> bool {
        let plain = name.replace('-', "");
        match kind {
            "" | "string" => plain == UNCHECKED || CHECKED.iter().any(|(known, _)| *known == plain),
            "integer" => ["int32", "int64"].contains(&name),
            "number" => ["float", "double"].contains(&name),
            _ => false,
        }
    }
}

fn date_time(text: &str) -> bool {
    // The original takes a few layouts, all of them RFC 3339 but for the zone's colon and its absence.
    let upper = text.to_ascii_uppercase();
    upper.parse::<jiff::Timestamp>().is_ok()
        || (upper.contains('T') && upper.parse::<jiff::civil::DateTime>().is_ok())
}

fn duration(text: &str) -> bool {
    text == "0" || GO_DURATION.is_match(text) || SCALA_DURATION.is_match(text)
}

fn email(text: &str) -> bool {
    EMAIL.is_match(text.trim())
}

fn hostname(text: &str) -> bool {
    let mut labels = text.split('.');
    text.len() <= 255
        && !text.is_empty()
        && labels.all(|label| label.len() <= 63 && HOST_LABEL.is_match(label))
}

fn uri(text: &str) -> bool {
    if text.chars().any(|c| c.is_control() || c == ' ') {
        return false;
    }
    // A request URI is a path from the root or has a scheme.
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let named = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    text.starts_with('/') || named
}

fn uuid(text: &str, version: Option<char>) -> bool {
    let Some(found) = UUID.captures(text) else {
        return false;
    };
    let Some(version) = version else {
        return true;
    };
    let variant = found[2].to_ascii_lowercase();
    found[1].starts_with(version) && (version == '3' || ["8", "9", "a", "b"].contains(&&*variant))
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).collect()
}

fn credit_card(text: &str) -> bool {
    let number: String = text.chars().filter(char::is_ascii_digit).collect();
    if !CREDIT_CARD.is_match(&number) {
        return false;
    }
    let sum: u32 = number
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, b)| {
            let n = u32::from(b - b'0');
            match (i % 2, n * 2) {
                (0, _) => n,
                (_, double) if double > 9 => double - 9,
                (_, double) => double,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn isbn10(text: &str) -> bool {
    let number = digits(text);
    let value = |(i, c): (usize, char)| match c {
        'X' if i == 9 => Some(10),
        c => c.to_digit(10),
    };
    let values: Option<Vec<u32>> = number.chars().enumerate().map(value).collect();
    values.is_some_and(|v| {
        v.len() == 10 && v.iter().zip(1..).map(|(n, weight)| n * weight).sum::<u32>() % 11 == 0
    })
}

fn isbn13(text: &str) -> bool {
    let number = digits(text);
    let values: Option<Vec<u32>> = number.chars().map(|c| c.to_digit(10)).collect();
    values.is_some_and(|v| {
        let weighted = v.iter().zip([1, 3].iter().cycle()).map(|(n, w)| n * w);
        v.len() == 13 && weighted.sum::<u32>() % 10 == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_checked() {
        for (name, good, bad) in [
            ("date-time", "2014-12-15T19:30:20.000Z", "yesterday"),
            ("date", "2006-01-02", "2006-13-02"),
            ("ipv4", "10.0.0.1", "10.0.0"),
            ("ipv6", "::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0"),
            ("uri", "https://a.b/c?d", "no uri"),
            ("email", "a@b.c", "a.b.c"),
            ("hostname", "a-b.example", "-a"),
            ("duration", "1h30m", "soon"),
            ("duration", "22 ns", "22 x"),
            ("uuid", "f47ac10b-58cc-4372-a567-0e02b2c3d479", "f47ac10b"),
            (
                "uuid4",
                "f47ac10b-58cc-4372-a567-0e02b2c3d479",
                "f47ac10b-58cc-3372-a567-0e02b2c3d479",
            ),
            ("byte", "aGk=", "?"),
            ("isbn", "978-0321751041", "978-0321751042"),
            ("isbn10", "0321751043", "0321751044"),
            ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
            ("hexcolor", "#ffF", "#ff"),
            ("mac", "00:11:22:33:44:55", "00:11"),
            ("k8s-short-name", "a-b", "a.b"),
        ] {
            let format = Format::parse(name).unwrap();
            assert!(format.matches(good), "{name} {good}");
            assert!(!format.matches(bad), "{name} {bad}");
        }
        for (name, kind, recognized) in [
            ("int32", "integer", true),
            ("int128", "integer", false),
            ("int32", "number", false),
            ("double", "number", true),
            ("date-time", "string", true),
            ("date-time", "", true),
            ("quantity", "string", true),
            ("uri", "object", false),
        ] {
            assert_eq!(
                Format::is_recognized(name, kind),
                recognized,
                "{name} {kind}"
            );
            assert!(
                kind == "string" || !recognized || kind.is_empty() || Format::parse(name).is_none()
            );
        }
    }
}
