//! Numbers, strings and bytes.

use super::{Parsed, Parser, lexer::Kind};
use crate::ast::{Expr, Kind as Node, Literal};

impl Parser<'_> {
    pub(super) fn literal(&mut self) -> Parsed<Expr> {
        let first = self.look(0);
        let minus = first.kind == Kind::Minus;
        if minus && !matches!(self.kind(1), Kind::Int | Kind::Float) {
            return Err(self.no_viable(first, self.look(1)));
        }
        if minus {
            self.advance();
        }
        let token = self.look(0);
        let text = self.text(token);
        let literal = match token.kind {
            Kind::Int => int(minus, &text)
                .map(Literal::Int)
                .ok_or("invalid int literal".to_owned()),
            Kind::Uint => uint(&text)
                .map(Literal::Uint)
                .ok_or("invalid uint literal".to_owned()),
            Kind::Float => double(minus, &text)
                .map(Literal::Double)
                .ok_or("invalid double literal".to_owned()),
            Kind::String => string(&text).map(|s| Literal::String(s.into())),
            Kind::Bytes => bytes(&text[1..]).map(|b| Literal::Bytes(b.into())),
            Kind::True => Ok(Literal::Bool(true)),
            Kind::False => Ok(Literal::Bool(false)),
            Kind::Null => Ok(Literal::Null),
            _ => return Err(self.no_viable(first, token)),
        };
        self.advance();
        match literal {
            Ok(literal) => Ok(self.node(first.start, Node::Literal(literal))),
            Err(message) => {
                self.issue(first.start, message);
                Ok(self.node(first.start, Node::Error))
            }
        }
    }
}

fn signed(minus: bool, digits: &str) -> String {
    format!("{}{digits}", if minus { "-" } else { "" })
}

fn int(minus: bool, text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(&signed(minus, hex), 16).ok(),
        None => signed(minus, text).parse().ok(),
    }
}

fn uint(text: &str) -> Option<u64> {
    let text = text.trim_end_matches(['u', 'U']);
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn double(minus: bool, text: &str) -> Option<f64> {
    let value: f64 = signed(minus, text).parse().ok()?;
    value.is_finite().then_some(value)
}

/// The text between the quotes, and whether its backslashes stand for themselves.
fn inside(text: &str) -> (&str, bool) {
    let raw = text.starts_with(['r', 'R']);
    let text = if raw { &text[1..] } else { text };
    for quotes in ["\"\"\"", "'''"] {
        if text.len() >= 6 && text.starts_with(quotes) && text.ends_with(quotes) {
            return (&text[3..text.len() - 3], raw);
        }
    }
    (&text[1..text.len().max(2) - 1], raw)
}

/// One thing between quotes.
enum Piece {
    Char(char),
    /// `\x41`, `\101`: a character in strings, a byte in bytes.
    Code(u8),
}

fn pieces(text: &str, for_bytes: bool) -> Result<Vec<Piece>, String> {
    let (text, raw) = inside(text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    if raw {
        return Ok(text.chars().map(Piece::Char).collect());
    }
    let mut out = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(Piece::Char(c));
            continue;
        }
        let escape = chars.next().ok_or("unable to unescape string")?;
        out.push(match escape {
            'a' => Piece::Char('\u{7}'),
            'b' => Piece::Char('\u{8}'),
            'f' => Piece::Char('\u{c}'),
            'n' => Piece::Char('\n'),
            'r' => Piece::Char('\r'),
            't' => Piece::Char('\t'),
            'v' => Piece::Char('\u{b}'),
            '\\' | '\'' | '"' | '`' | '?' => Piece::Char(escape),
            'x' | 'X' => Piece::Code(number(&mut chars, 2, 16)? as u8),
            'u' | 'U' if for_bytes => return Err("unable to unescape string".to_owned()),
            'u' => Piece::Char(scalar(number(&mut chars, 4, 16)?)?),
            'U' => Piece::Char(scalar(number(&mut chars, 8, 16)?)?),
            '0'..='3' => {
                let high = escape.to_digit(8).unwrap_or(0) * 64;
                Piece::Code((high + number(&mut chars, 2, 8)?) as u8)
            }
            _ => return Err("unable to unescape string".to_owned()),
        });
    }
    Ok(out)
}

fn number(chars: &mut std::str::Chars<'_>, digits: usize, radix: u32) -> Result<u32, String> {
    let mut value = 0u32;
    for _ in 0..digits {
        let digit = chars.next().and_then(|c| c.to_digit(radix));
        value = value.wrapping_mul(radix) + digit.ok_or("unable to unescape string")?;
    }
    Ok(value)
}

fn scalar(code: u32) -> Result<char, String> {
    char::from_u32(code).ok_or_else(|| "invalid unicode code point".to_owned())
}

fn string(text: &str) -> Result<String, String> {
    Ok(pieces(text, false)?
        .into_iter()
        .map(|piece| match piece {
            Piece::Char(c) => c,
            Piece::Code(code) => char::from(code),
        })
        .collect())
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    for piece in pieces(text, true)? {
        match piece {
            Piece::Char(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Piece::Code(code) => out.push(code),
        }
    }
    Ok(out)
}
