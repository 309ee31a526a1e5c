//! Characters to tokens.

/// Kinds of tokens, in the order in which error messages list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    Eof = 0,
    Equals,
    NotEquals,
    In,
    Less,
    LessEquals,
    GreaterEquals,
    Greater,
    And,
    Or,
    LBracket,
    RBracket,
    LBrace,
    RBrace,
    LParen,
    RParen,
    Dot,
    Comma,
    Minus,
    Not,
    Question,
    Colon,
    Plus,
    Star,
    Slash,
    Percent,
    True,
    False,
    Null,
    Float,
    Int,
    Uint,
    String,
    Bytes,
    Ident,
    EscapedIdent,
}

impl Kind {
    const ALL: [(Kind, &'static str); 36] = [
        (Kind::Eof, "<EOF>"),
        (Kind::Equals, "'=='"),
        (Kind::NotEquals, "'!='"),
        (Kind::In, "'in'"),
        (Kind::Less, "'<'"),
        (Kind::LessEquals, "'<='"),
        (Kind::GreaterEquals, "'>='"),
        (Kind::Greater, "'>'"),
        (Kind::And, "'&&'"),
        (Kind::Or, "'||'"),
        (Kind::LBracket, "'['"),
        (Kind::RBracket, "']'"),
        (Kind::LBrace, "'{'"),
        (Kind::RBrace, "'}'"),
        (Kind::LParen, "'('"),
        (Kind::RParen, "')'"),
        (Kind::Dot, "'.'"),
        (Kind::Comma, "','"),
        (Kind::Minus, "'-'"),
        (Kind::Not, "'!'"),
        (Kind::Question, "'?'"),
        (Kind::Colon, "':'"),
        (Kind::Plus, "'+'"),
        (Kind::Star, "'*'"),
        (Kind::Slash, "'/'"),
        (Kind::Percent, "'%'"),
        (Kind::True, "'true'"),
        (Kind::False, "'false'"),
        (Kind::Null, "'null'"),
        (Kind::Float, "NUM_FLOAT"),
        (Kind::Int, "NUM_INT"),
        (Kind::Uint, "NUM_UINT"),
        (Kind::String, "STRING"),
        (Kind::Bytes, "BYTES"),
        (Kind::Ident, "IDENTIFIER"),
        (Kind::EscapedIdent, "ESC_IDENTIFIER"),
    ];

    pub fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Set(pub u64);

impl Set {
    pub const fn of(kinds: &[Kind]) -> Set {
        let mut bits = 0;
        let mut i = 0;
        while i < kinds.len() {
            bits |= 1 << kinds[i] as u8;
            i += 1;
        }
        Set(bits)
    }

    pub const fn with(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }

    pub fn has(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }
}

impl std::fmt::Display for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = Kind::ALL
            .iter()
            .filter(|(k, _)| self.has(*k))
            .map(|(_, name)| *name)
            .collect();
        match names.as_slice() {
            [one] => f.write_str(one),
            many => write!(f, "{{{}}}", many.join(", ")),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub kind: Kind,
    /// Characters before its first and after its last.
    pub start: u32,
    pub end: u32,
}

/// A run of characters that is no token.
#[derive(Debug)]
pub(crate) struct Unknown {
    pub start: u32,
    pub text: String,
}

/// The tokens of an expression, the last one being its end, and what is none.
pub(crate) fn tokens(source: &[char]) -> (Vec<Token>, Vec<Unknown>) {
    let mut lexer = Lexer { source, at: 0 };
    let mut tokens = Vec::new();
    let mut unknown = Vec::new();
    while lexer.at < source.len() {
        let start = lexer.at;
        match lexer.next() {
            Next::Token(kind) => tokens.push(Token {
                kind,
                start: start as u32,
                end: lexer.at as u32,
            }),
            Next::Hidden => {}
            Next::Unknown => unknown.push(Unknown {
                start: start as u32,
                text: source[start..lexer.at].iter().collect(),
            }),
        }
    }
    let end = source.len() as u32;
    tokens.push(Token {
        kind: Kind::Eof,
        start: end,
        end,
    });
    (tokens, unknown)
}

enum Next {
    Token(Kind),
    Hidden,
    Unknown,
}

struct Lexer<'a> {
    source: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.source.get(self.at + ahead).copied()
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> usize {
        let start = self.at;
        while self.peek(0).is_some_and(&keep) {
            self.at += 1;
        }
        self.at - start
    }

    /// Consumes at least one character.
    fn next(&mut self) -> Next {
        let Some(c) = self.peek(0) else {
            return Next::Hidden;
        };
        if is_space(c) {
            self.take_while(is_space);
            return Next::Hidden;
        }
        if c == '/' && self.peek(1) == Some('/') {
            self.take_while(|c| c != '\n');
            return Next::Hidden;
        }
        if let Some(kind) = self.text() {
            return kind;
        }
        if c.is_ascii_alphabetic() || c == '_' {
            return Next::Token(self.word());
        }
        if c.is_ascii_digit() || (c == '.' && self.peek(1).is_some_and(|d| d.is_ascii_digit())) {
            return Next::Token(self.number());
        }
        if c == '`' {
            return self.escaped();
        }
        self.sign(c)
    }

    fn word(&mut self) -> Kind {
        let start = self.at;
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        let word: String = self.source[start..self.at].iter().collect();
        match word.as_str() {
            "in" => Kind::In,
            "true" => Kind::True,
            "false" => Kind::False,
            "null" => Kind::Null,
            _ => Kind::Ident,
        }
    }

    /// `` `a-b` ``
    fn escaped(&mut self) -> Next {
        let start = self.at;
        self.at += 1;
        let inside =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ' ');
        let length = self.take_while(inside);
        if length > 0 && self.peek(0) == Some('`') {
            self.at += 1;
            return Next::Token(Kind::EscapedIdent);
        }
        self.fail_at(start)
    }

    /// What ANTLR does with characters that begin no token: it drops those it has looked at, the one that broke it included.
    fn fail_at(&mut self, start: usize) -> Next {
        self.at = (self.at + 1).min(self.source.len()).max(start + 1);
        Next::Unknown
    }

    fn number(&mut self) -> Kind {
        if self.peek(0) == Some('0')
            && self.peek(1) == Some('x')
            && self.peek(2).is_some_and(|c| c.is_ascii_hexdigit())
        {
            self.at += 2;
            self.take_while(|c| c.is_ascii_hexdigit());
            return self.whole();
        }
        self.take_while(|c| c.is_ascii_digit());
        let mut float = false;
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
            float = true;
        }
        if self.exponent() {
            float = true;
        }
        if float { Kind::Float } else { self.whole() }
    }

    fn exponent(&mut self) -> bool {
        if !matches!(self.peek(0), Some('e' | 'E')) {
            return false;
        }
        let sign = usize::from(matches!(self.peek(1), Some('+' | '-')));
        if !self.peek(1 + sign).is_some_and(|c| c.is_ascii_digit()) {
            return false;
        }
        self.at += 1 + sign;
        self.take_while(|c| c.is_ascii_digit());
        true
    }

    fn whole(&mut self) -> Kind {
        if matches!(self.peek(0), Some('u' | 'U')) {
            self.at += 1;
            Kind::Uint
        } else {
            Kind::Int
        }
    }

    /// A string or bytes, if this is where one begins.
    fn text(&mut self) -> Option<Next> {
        let mut ahead = 0;
        let bytes = matches!(self.peek(0), Some('b' | 'B'));
        if bytes {
            ahead += 1;
        }
        let raw = matches!(self.peek(ahead), Some('r' | 'R'));
        if raw {
            ahead += 1;
        }
        let quote = self.peek(ahead).filter(|c| matches!(c, '"' | '\''))?;
        let start = self.at;
        let triple = self.peek(ahead + 1) == Some(quote) && self.peek(ahead + 2) == Some(quote);
        if triple {
            self.at += ahead + 3;
            if self.long_text(quote, raw).is_ok() {
                return Some(Next::Token(if bytes { Kind::Bytes } else { Kind::String }));
            }
            // `""` may still be an empty string, with a stray quote behind.
            self.at = start;
        }
        self.at += ahead + 1;
        Some(match self.short_text(quote, raw) {
            Ok(()) => Next::Token(if bytes { Kind::Bytes } else { Kind::String }),
            Err(()) if ahead > 0 => {
                // The prefix alone is a name.
                self.at = start;
                Next::Token(self.word())
            }
            Err(()) => self.fail_at(start),
        })
    }

    fn short_text(&mut self, quote: char, raw: bool) -> Result<(), ()> {
        loop {
            match self.peek(0).ok_or(())? {
                c if c == quote => {
                    self.at += 1;
                    return Ok(());
                }
                '\n' | '\r' => return Err(()),
                '\\' if !raw => self.escape()?,
                _ => self.at += 1,
            }
        }
    }

    fn long_text(&mut self, quote: char, raw: bool) -> Result<(), ()> {
        loop {
            let c = self.peek(0).ok_or(())?;
            if c == quote && self.peek(1) == Some(quote) && self.peek(2) == Some(quote) {
                self.at += 3;
                return Ok(());
            }
            if c == '\\' && !raw {
                self.escape()?;
            } else {
                self.at += 1;
            }
        }
    }

    fn escape(&mut self) -> Result<(), ()> {
        self.at += 1;
        let digits = match self.peek(0).ok_or(())? {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`' => {
                self.at += 1;
                return Ok(());
            }
            '0'..='3' => {
                self.at += 1;
                return self.digits(2, |c| matches!(c, '0'..='7'));
            }
            'x' | 'X' => 2,
            'u' => 4,
            'U' => 8,
            _ => return Err(()),
        };
        self.at += 1;
        self.digits(digits, |c| c.is_ascii_hexdigit())
    }

    fn digits(&mut self, count: usize, good: impl Fn(char) -> bool) -> Result<(), ()> {
        for _ in 0..count {
            self.peek(0).filter(|c| good(*c)).ok_or(())?;
            self.at += 1;
        }
        Ok(())
    }

    fn sign(&mut self, c: char) -> Next {
        let two = |next: char| self.peek(1) == Some(next);
        let (kind, length) = match c {
            '=' if two('=') => (Kind::Equals, 2),
            '!' if two('=') => (Kind::NotEquals, 2),
            '<' if two('=') => (Kind::LessEquals, 2),
            '>' if two('=') => (Kind::GreaterEquals, 2),
            '&' if two('&') => (Kind::And, 2),
            '|' if two('|') => (Kind::Or, 2),
            '<' => (Kind::Less, 1),
            '>' => (Kind::Greater, 1),
            '!' => (Kind::Not, 1),
            '[' => (Kind::LBracket, 1),
            ']' => (Kind::RBracket, 1),
            '{' => (Kind::LBrace, 1),
            '}' => (Kind::RBrace, 1),
            '(' => (Kind::LParen, 1),
            ')' => (Kind::RParen, 1),
            '.' => (Kind::Dot, 1),
            ',' => (Kind::Comma, 1),
            '-' => (Kind::Minus, 1),
            '?' => (Kind::Question, 1),
            ':' => (Kind::Colon, 1),
            '+' => (Kind::Plus, 1),
            '*' => (Kind::Star, 1),
            '/' => (Kind::Slash, 1),
            '%' => (Kind::Percent, 1),
            '=' | '&' | '|' => {
                // The beginning of a longer sign.
                let start = self.at;
                self.at += 1;
                return self.fail_at(start);
            }
            _ => {
                self.at += 1;
                return Next::Unknown;
            }
        };
        self.at += length;
        Next::Token(kind)
    }
}

fn is_space(c: char) -> bool {
    matches!(c, '\t' | ' ' | '\r' | '\n' | '\u{c}')
}
