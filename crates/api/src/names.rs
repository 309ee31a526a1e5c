//! What names may look like (RFC 1123, RFC 1035, qualified names), with the original's words for what is wrong.
//!
//! Every function answers with the errors; an empty list means that the name is fine.

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const UNDERSCORED_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";
const WILDCARD: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const NAME_PART: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const ENV_NAME: &str = "a valid environment variable name must consist only of printable ASCII characters other than '='";
const HTTP_HEADER: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
const C_IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";

/// `must be no more than 63 characters`.
pub fn max_length(limit: usize) -> String {
    format!("must be no more than {limit} characters")
}

fn is_label(s: &str, first_alpha: bool) -> bool {
    let b = s.as_bytes();
    let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    !b.is_empty()
        && if first_alpha {
            b[0].is_ascii_lowercase()
        } else {
            edge(b[0])
        }
        && edge(b[b.len() - 1])
        && b.iter().all(|&c| edge(c) || c == b'-')
}

fn is_subdomain(s: &str) -> bool {
    !s.is_empty() && s.split('.').all(|l| is_label(l, false))
}

/// How the same is said of labels and annotations.
fn max_bytes(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

fn checked(name: &str, limit: usize, ok: bool, words: &str) -> Vec<String> {
    let mut out = Vec::new();
    if name.len() > limit {
        out.push(max_length(limit));
    }
    if !ok {
        out.push(words.to_owned());
    }
    out
}

/// DNS-1123 subdomain: most names. At most 253 bytes.
pub fn dns1123_subdomain(name: &str) -> Vec<String> {
    checked(name, 253, is_subdomain(name), SUBDOMAIN)
}

/// A subdomain whose labels may start with and contain `_`: DNS search paths.
pub fn dns1123_subdomain_underscored(name: &str) -> Vec<String> {
    let label = |l: &str| {
        let l = l.strip_prefix('_').unwrap_or(l);
        is_label(&l.replace('_', "-"), false) && !l.starts_with('_') && !l.ends_with('_')
    };
    checked(
        name,
        253,
        !name.is_empty() && name.split('.').all(label),
        UNDERSCORED_SUBDOMAIN,
    )
}

/// `*.example.com`.
pub fn wildcard_subdomain(name: &str) -> Vec<String> {
    let ok = name.strip_prefix("*.").is_some_and(is_subdomain);
    let mut out = checked(name, 253, ok, WILDCARD);
    // the original words the length of wildcard names without a unit of its own
    out.dedup();
    out
}

/// DNS-1123 label: namespaces, containers, volumes, Services. At most 63 bytes. A name that would only be wrong for its dots
/// gets short words.
pub fn dns1123_label(name: &str) -> Vec<String> {
    if is_subdomain(name) && name.contains('.') {
        return checked(name, 63, false, "must not contain dots");
    }
    checked(name, 63, is_label(name, false), LABEL)
}

/// DNS-1035 label: at most 63 bytes, starting with a letter.
pub fn dns1035_label(name: &str) -> Vec<String> {
    checked(name, 63, is_label(name, true), LABEL_1035)
}

/// What a name made of `name` and a random suffix would be checked as: a trailing dash is fine.
pub fn mask_trailing_dash(name: &str) -> String {
    if name.len() > 1 && name.ends_with('-') {
        format!("{}a", &name[..name.len() - 2])
    } else {
        name.to_owned()
    }
}

/// Any name that can be one segment of a URL path: RBAC objects.
pub fn path_segment(name: &str) -> Vec<String> {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    let mut out = Vec::new();
    for bad in ["/", "%"] {
        if name.contains(bad) {
            out.push(format!("may not contain '{bad}'"));
        }
    }
    out
}

fn is_name_part(s: &str) -> bool {
    let b = s.as_bytes();
    !b.is_empty()
        && b[0].is_ascii_alphanumeric()
        && b[b.len() - 1].is_ascii_alphanumeric()
        && b.iter()
            .all(|&c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
}

/// A label key, taint key, annotation key or condition type: `name` or `example.com/name`.
pub fn qualified_name(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                out.push("prefix part must be non-empty".to_owned());
            } else {
                out.extend(
                    dns1123_subdomain(prefix)
                        .into_iter()
                        .map(|m| format!("prefix part {m}")),
                );
            }
            *name
        }
        _ => {
            return vec![format!(
                "a valid label key {NAME_PART} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        out.push(format!("name part {}", max_bytes(63)));
    }
    if !is_name_part(name) {
        out.push(format!("name part {NAME_PART}"));
    }
    out
}

/// The value of a label: at most 63 bytes.
pub fn label_value(value: &str) -> Vec<String> {
    let mut out = Vec::new();
    if value.len() > 63 {
        out.push(max_bytes(63));
    }
    if !value.is_empty() && !is_name_part(value) {
        out.push(LABEL_VALUE.to_owned());
    }
    out
}

/// A key of a ConfigMap or Secret.
pub fn config_key(key: &str) -> Vec<String> {
    let ok = !key.is_empty()
        && key
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c));
    let mut out = checked(key, 253, ok, CONFIG_KEY);
    match key {
        "." => out.push("must not be '.'".to_owned()),
        ".." => out.push("must not be '..'".to_owned()),
        _ if key.starts_with("..") => out.push("must not start with '..'".to_owned()),
        _ => {}
    }
    out
}

/// A name of an environment variable, under the relaxed rule: printable ASCII other than `=`.
pub fn env_name(name: &str) -> Vec<String> {
    let ok = !name.is_empty() && name.bytes().all(|c| (0x20..0x7f).contains(&c) && c != b'=');
    if ok {
        Vec::new()
    } else {
        vec![ENV_NAME.to_owned()]
    }
}

/// A name of an environment variable under the strict rule; what fails it gets a warning only in old clusters.
pub fn c_identifier(name: &str) -> Vec<String> {
    let b = name.as_bytes();
    let ok = !b.is_empty()
        && (b[0].is_ascii_alphabetic() || b[0] == b'_')
        && b.iter().all(|&c| c.is_ascii_alphanumeric() || c == b'_');
    if ok {
        Vec::new()
    } else {
        vec![C_IDENTIFIER.to_owned()]
    }
}

/// A name of an HTTP header of a probe.
pub fn http_header(name: &str) -> Vec<String> {
    let ok = !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    if ok {
        Vec::new()
    } else {
        vec![HTTP_HEADER.to_owned()]
    }
}

/// A name of a port (RFC 6335 service name): at most 15 bytes, a letter in it, no doubled dash.
pub fn port_name(port: &str) -> Vec<String> {
    let mut out = Vec::new();
    if port.len() > 15 {
        out.push(max_length(15));
    }
    if !port
        .bytes()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        || port.is_empty()
    {
        out.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !port.bytes().any(|c| c.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".to_owned());
    }
    if port.contains("--") {
        out.push("must not contain consecutive hyphens".to_owned());
    }
    if port.starts_with('-') || port.ends_with('-') {
        out.push("must not begin or end with a hyphen".to_owned());
    }
    out
}

/// A number of a port.
pub fn port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) {
        Vec::new()
    } else {
        vec!["must be between 1 and 65535, inclusive".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_pass_and_names_that_do_not() {
        type Case = (fn(&str) -> Vec<String>, &'static str, usize);
        let cases: &[Case] = &[
            (dns1123_subdomain, "a.b-c", 0),
            (dns1123_subdomain, "a..b", 1),
            (dns1123_label, "a-b", 0),
            (dns1123_label, "a.b", 1),
            (dns1035_label, "1a", 1),
            (qualified_name, "example.com/Name_1", 0),
            (qualified_name, "a/b/c", 1),
            (qualified_name, "", 2),
            (qualified_name, "/x", 1),
            (qualified_name, "not valid/", 3),
            (label_value, "", 0),
            (label_value, "a b", 1),
            (config_key, "..", 1),
            (config_key, "a/b", 1),
            (port_name, "8080", 1),
            (port_name, "a--b", 1),
            (port_name, "sixteen-letters-", 2),
            (env_name, "a b", 0),
            (env_name, "a=b", 1),
            (wildcard_subdomain, "*.a.b", 0),
            (wildcard_subdomain, "*", 1),
            (dns1123_subdomain_underscored, "_a.b_c.d", 0),
            (dns1123_subdomain_underscored, "bad_search..test", 1),
        ];
        for (check, name, errors) in cases {
            assert_eq!(check(name).len(), *errors, "{name:?}: {:?}", check(name));
        }
        assert_eq!(mask_trailing_dash("web-"), "wea");
    }
}
