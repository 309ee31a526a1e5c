//! Tokens of label selectors.

/// A piece of a selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Identifier,
    End,
    Open,
    Closed,
    Comma,
    Not,
    Equals,
    DoubleEquals,
    NotEquals,
    In,
    NotIn,
    Greater,
    Less,
}

/// Longer symbols before those that they start with.
const SYMBOLS: [(&str, Token); 9] = [
    ("!=", Token::NotEquals),
    ("==", Token::DoubleEquals),
    ("=", Token::Equals),
    ("!", Token::Not),
    ("(", Token::Open),
    (")", Token::Closed),
    (",", Token::Comma),
    (">", Token::Greater),
    ("<", Token::Less),
];

fn ends_word(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<') || c.is_ascii_whitespace()
}

/// Splits a selector; the last token is always [`Token::End`].
pub(super) fn tokens(text: &str) -> Vec<(Token, &str)> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            out.push((Token::End, ""));
            return out;
        }
        let (token, len) = match SYMBOLS.iter().find(|(s, _)| rest.starts_with(s)) {
            Some((s, token)) => (*token, s.len()),
            None => word(rest),
        };
        out.push((token, &rest[..len]));
        rest = &rest[len..];
    }
}

fn word(rest: &str) -> (Token, usize) {
    let len = rest.find(ends_word).unwrap_or(rest.len());
    let token = match &rest[..len] {
        "in" => Token::In,
        "notin" => Token::NotIn,
        _ => Token::Identifier,
    };
    (token, len)
}
