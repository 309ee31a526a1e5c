//! Regular expressions of schemas. They are written for Go's RE2, whose syntax that of the `regex` crate mostly is.

use regex::Regex;

/// Bytes that a compiled pattern may take.
const SIZE: usize = 1 << 22;

/// A pattern with the text it was written as.
#[derive(Debug, Clone)]
pub struct Pattern {
    pub text: String,
    /// None when it cannot be compiled: then nothing matches, and the text says why.
    regex: Result<Regex, String>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Pattern {
    /// None for an empty text, which is no pattern.
    pub fn compile(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Pattern {
            text: text.to_owned(),
            regex: compile(text),
        })
    }

    /// Whether the pattern occurs in `value`; what is wrong with a pattern that cannot be compiled.
    pub fn matches(&self, value: &str) -> Result<bool, &str> {
        match &self.regex {
            Ok(regex) => Ok(regex.is_match(value)),
            Err(why) => Err(why),
        }
    }

    /// What Go says of a pattern that it cannot compile.
    pub fn error(&self) -> Option<&str> {
        self.regex.as_ref().err().map(String::as_str)
    }
}

fn compile(text: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(&translated(text))
        .size_limit(SIZE)
        .build()
        .map_err(|e| words(text, &e.to_string()))
}

/// What RE2 writes differently: `\z`, `\Q…\E`, and classes that mean ASCII only.
fn translated(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('Q') => {
                let rest: String = chars.by_ref().collect();
                let (quoted, after) = rest.split_once("\\E").unwrap_or((&rest, ""));
                out.push_str(&regex::escape(quoted));
                out.push_str(&translated(after));
                return out;
            }
            Some('d') => class(&mut out, "0-9", false),
            Some('D') => class(&mut out, "0-9", true),
            Some('w') => class(&mut out, "0-9A-Za-z_", false),
            Some('W') => class(&mut out, "0-9A-Za-z_", true),
            Some('s') => class(&mut out, r"\t\n\x0C\r\x20", false),
            Some('S') => class(&mut out, r"\t\n\x0C\r\x20", true),
            Some('b') => out.push_str(r"(?-u:\b)"),
            Some(c) => {
                out.push('\\');
                out.push(c);
            }
            None => out.push('\\'),
        }
    }
    out
}

/// A class may stand inside another one, where brackets nest.
fn class(out: &mut String, members: &str, negated: bool) {
    out.push('[');
    if negated {
        out.push('^');
    }
    out.push_str(members);
    out.push(']');
}

/// The error as Go words it; the crate's own words where it has no such error.
fn words(text: &str, error: &str) -> String {
    let last = error.lines().last().unwrap_or(error).trim();
    let last = last.strip_prefix("error: ").unwrap_or(last);
    let go = match last {
        "unclosed group" => format!("missing closing ): `{text}`"),
        "unopened group" => format!("unexpected ): `{text}`"),
        "unclosed character class" => {
            let from = text.find('[').unwrap_or(0);
            format!("missing closing ]: `{}`", &text[from..])
        }
        l if l.starts_with("repetition operator missing expression") => {
            let operator = text.chars().find(|c| "*+?{".contains(*c)).unwrap_or('*');
            format!("missing argument to repetition operator: `{operator}`")
        }
        l if l.starts_with("look-around") => {
            let from = text.find("(?").unwrap_or(0);
            let shown: String = text[from..].chars().take(3).collect();
            format!("invalid or unsupported Perl syntax: `{shown}`")
        }
        l if l.starts_with("incomplete escape sequence") => {
            "trailing backslash at end of expression: ``".to_owned()
        }
        l if l.starts_with("unrecognized escape sequence")
            || l.starts_with("backreferences are not supported") =>
        {
            let from = text.find('\\').unwrap_or(0);
            let shown: String = text[from..].chars().take(2).collect();
            format!("invalid escape sequence: `{shown}`")
        }
        l if l.starts_with("invalid character class range") => {
            format!("invalid character class range: `{text}`")
        }
        other => other.to_owned(),
    };
    format!("error parsing regexp: {go}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_re2_does() {
        for (pattern, value, want) in [
            ("^[a-c]+$", "abz", false),
            (r"^\d+$", "12", true),
            (r"^\d+$", "١٢", false),
            (r"^[\w.-]+$", "a_b.c-9", true),
            (r"^\Qa.b\E$", "a.b", true),
            ("b", "abc", true),
        ] {
            let pattern = Pattern::compile(pattern).unwrap();
            assert_eq!(pattern.matches(value), Ok(want), "{}", pattern.text);
        }
        assert!(Pattern::compile("").is_none());
        assert_eq!(
            Pattern::compile("a(b").unwrap().error(),
            Some("error parsing regexp: missing closing ): `a(b`")
        );
    }
}
