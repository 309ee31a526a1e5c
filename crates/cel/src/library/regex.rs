//! Regular expressions as RE2 reads them.

use regex::{Regex, RegexBuilder};

use super::{Answer, Native, err, no_overload};
use crate::{EvalError, value::Value};

/// A compiled expression takes no more memory than this, in bytes.
const LARGEST: usize = 2 << 20;
/// How often something may be repeated: `x{1000}`.
const MOST_REPEATS: u32 = 1000;

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "matches" => |args| match args {
            [Value::String(text), Value::String(pattern)] => Ok(Value::Bool(
                runtime(pattern.as_str())?.is_match(text.as_str()),
            )),
            _ => no_overload(),
        },
        "find" => |args| match args {
            [Value::String(text), Value::String(pattern)] => {
                let regex = runtime(pattern.as_str())?;
                let found = regex.find(text.as_str()).map_or("", |m| m.as_str());
                Ok(Value::from(found.to_owned()))
            }
            _ => no_overload(),
        },
        "findAll" => |args| match args {
            [Value::String(text), Value::String(pattern)] => {
                find_all(text.as_str(), pattern.as_str(), -1)
            }
            [
                Value::String(text),
                Value::String(pattern),
                Value::Int(most),
            ] => find_all(text.as_str(), pattern.as_str(), *most),
            _ => no_overload(),
        },
        _ => return None,
    })
}

fn runtime(pattern: &str) -> Result<Regex, EvalError> {
    compile(pattern).map_err(|e| EvalError::other(format!("error parsing regexp: {e}")))
}

fn find_all<'a>(text: &str, pattern: &str, most: i64) -> Answer<'a> {
    let regex = match runtime(pattern) {
        Ok(regex) => regex,
        Err(EvalError::Other(_)) => return err(format!("Illegal regex: {pattern}")),
        Err(other) => return Err(other),
    };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let found = regex
        .find_iter(text)
        .take(most)
        .map(|m| Value::from(m.as_str().to_owned()));
    Ok(Value::list(found.collect()))
}

/// Compiles an expression in RE2's syntax.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern)?;
    RegexBuilder::new(&translated)
        .size_limit(LARGEST)
        .nest_limit(250)
        .build()
        .map_err(|_| format!("invalid expression: `{pattern}`"))
}

/// Writes what RE2 and the engine read differently so that it means the same: classes of letters are of ASCII,
/// brackets within classes stand for themselves, `\Q…\E` quotes.
fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    let mut class = false;
    // What may be repeated: nothing, something, or something that is repeated already.
    let mut repeated = false;
    while let Some(c) = chars.next() {
        if c == '\\' {
            repeated = false;
            escape(&mut chars, class, &mut out)?;
            continue;
        }
        if class {
            match c {
                '[' if chars.peek() == Some(&':') => named_class(&mut chars, &mut out),
                '[' => out.push_str("\\["),
                '&' | '~' => {
                    out.push('\\');
                    out.push(c);
                }
                '-' if chars.peek() == Some(&'-') => out.push_str("\\-"),
                ']' => {
                    class = false;
                    out.push(c);
                }
                _ => out.push(c),
            }
            continue;
        }
        match c {
            '[' => {
                class = true;
                repeated = false;
                out.push(c);
                if chars.peek() == Some(&'^') {
                    chars.next();
                    out.push('^');
                }
                if chars.peek() == Some(&']') {
                    chars.next();
                    out.push_str("\\]");
                }
            }
            '*' | '+' | '?' => {
                if repeated {
                    return Err(format!("invalid nested repetition operator: `{c}`"));
                }
                out.push(c);
                lazy(&mut chars, &mut out);
                repeated = true;
            }
            '{' => {
                let counts = counts(&mut chars);
                match counts {
                    Some(counts) if repeated => {
                        return Err(format!(
                            "invalid nested repetition operator: `{{{counts}}}`"
                        ));
                    }
                    Some(counts) => {
                        check_counts(&counts)?;
                        out.push('{');
                        out.push_str(&counts);
                        out.push('}');
                        lazy(&mut chars, &mut out);
                        repeated = true;
                    }
                    None => {
                        out.push_str("\\{");
                        repeated = false;
                    }
                }
            }
            '}' => {
                out.push_str("\\}");
                repeated = false;
            }
            _ => {
                out.push(c);
                repeated = false;
            }
        }
    }
    Ok(out)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn lazy(chars: &mut Chars<'_>, out: &mut String) {
    if chars.peek() == Some(&'?') {
        chars.next();
        out.push('?');
    }
}

/// `2,5` of `{2,5}`; nothing is taken if this is no count.
fn counts(chars: &mut Chars<'_>) -> Option<String> {
    let mut ahead = chars.clone();
    let mut text = String::new();
    loop {
        match ahead.next()? {
            '}' => break,
            c if c.is_ascii_digit() || c == ',' => text.push(c),
            _ => return None,
        }
    }
    let (from, to) = text.split_once(',').unwrap_or((&text, ""));
    if from.is_empty() || to.contains(',') {
        return None;
    }
    *chars = ahead;
    Some(text)
}

fn check_counts(counts: &str) -> Result<(), String> {
    let good = |n: &str| n.is_empty() || n.parse().is_ok_and(|n: u32| n <= MOST_REPEATS);
    match counts.split(',').all(good) {
        true => Ok(()),
        false => Err(format!("invalid repeat count: `{{{counts}}}`")),
    }
}

fn named_class(chars: &mut Chars<'_>, out: &mut String) {
    out.push('[');
    for c in chars.by_ref() {
        out.push(c);
        if c == ']' {
            return;
        }
    }
}

fn escape(chars: &mut Chars<'_>, class: bool, out: &mut String) -> Result<(), String> {
    let Some(c) = chars.next() else {
        return Err("trailing backslash at end of expression: ``".to_owned());
    };
    let (inside, outside) = match c {
        'd' => ("0-9", "[0-9]"),
        'w' => ("0-9A-Za-z_", "[0-9A-Za-z_]"),
        's' => ("\\t\\n\\f\\r ", "[\\t\\n\\f\\r ]"),
        'D' => ("[^0-9]", "[^0-9]"),
        'W' => ("[^0-9A-Za-z_]", "[^0-9A-Za-z_]"),
        'S' => ("[^\\t\\n\\f\\r ]", "[^\\t\\n\\f\\r ]"),
        'b' if !class => ("", "(?-u:\\b)"),
        'B' if !class => ("", "(?-u:\\B)"),
        'C' => return Err(format!("invalid escape sequence: `\\{c}`")),
        'Q' if !class => {
            quoted(chars, out);
            return Ok(());
        }
        'a' | 'f' | 'n' | 'r' | 't' | 'v' | 'A' | 'z' | 'x' | 'p' | 'P' => {
            out.push('\\');
            out.push(c);
            return Ok(());
        }
        '0'..='7' => {
            octal(c, chars, out)?;
            return Ok(());
        }
        c if c.is_ascii_alphanumeric() => return Err(format!("invalid escape sequence: `\\{c}`")),
        c => {
            if c.is_ascii_punctuation() {
                out.push('\\');
            }
            out.push(c);
            return Ok(());
        }
    };
    out.push_str(if class { inside } else { outside });
    Ok(())
}

fn quoted(chars: &mut Chars<'_>, out: &mut String) {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        if c == '\\' && chars.peek() == Some(&'E') {
            chars.next();
            break;
        }
        text.push(c);
    }
    out.push_str(&regex::escape(&text));
}

/// `\0`, `\123`: characters by their number. References to groups do not exist.
fn octal(first: char, chars: &mut Chars<'_>, out: &mut String) -> Result<(), String> {
    let mut value = first.to_digit(8).unwrap_or(0);
    let next_is_digit =
        |chars: &mut Chars<'_>| chars.peek().is_some_and(|c| ('0'..='7').contains(c));
    if first != '0' && !next_is_digit(chars) {
        return Err(format!("invalid escape sequence: `\\{first}`"));
    }
    for _ in 0..2 {
        if next_is_digit(chars) {
            value = value * 8 + chars.next().and_then(|c| c.to_digit(8)).unwrap_or(0);
        }
    }
    out.push_str(&format!("\\x{{{value:x}}}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn expressions_are_read_as_re2_reads_them() {
        for (pattern, text, matches) in [
            (r"^\d+$", "12", true),
            (r"^\d+$", "١٢", false),
            (r"^\w+$", "ä", false),
            (r"^[\w-]+$", "a-b_c", true),
            (r"^[[a]+$", "[a", true),
            (r"^[]a]+$", "]a", true),
            (r"^[&&a]+$", "a&", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"^a{2,3}$", "aaa", true),
            (r"^a{,3}$", "a{,3}", true),
            (r"\bfoo\b", "a foo b", true),
            (r"^[[:alpha:]]+$", "abc", true),
            (r"(?i)ABC", "abc", true),
            (r"^\.\/$", "./", true),
            (r"^\x41\101$", "AA", true),
        ] {
            let regex = compile(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            assert_eq!(regex.is_match(text), matches, "{pattern} {text}");
        }
        for pattern in [
            r"a**",
            r"(",
            r"\1",
            r"a{1001}",
            r"(?=a)",
            r"\",
            r"[",
            r"((((a{1000}){1000}){1000}){1000})",
        ] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }
}
