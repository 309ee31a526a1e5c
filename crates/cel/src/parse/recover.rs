//! What the parser does about tokens that do not fit: drop one, add one, or skip to where it can go on.

use super::{
    Fault, Parsed, Parser, Stop,
    lexer::{Kind, Set, Token},
};

pub(super) const FIRST_PRIMARY: Set = Set::of(&[
    Kind::LBracket,
    Kind::LBrace,
    Kind::LParen,
    Kind::Dot,
    Kind::Minus,
    Kind::True,
    Kind::False,
    Kind::Null,
    Kind::Float,
    Kind::Int,
    Kind::Uint,
    Kind::String,
    Kind::Bytes,
    Kind::Ident,
]);
pub(super) const FIRST_UNARY: Set = FIRST_PRIMARY.with(Set::of(&[Kind::Not]));
pub(super) const FIRST_EXPR: Set = FIRST_UNARY;

/// More mistakes than this are not told one by one.
const REPORTS: usize = 100;
/// How often parsing goes on after a mistake.
const RECOVERIES: usize = 30;
/// How many tokens are skipped at most after one mistake.
const SKIPPED: usize = 256;

/// A token that does not fit.
pub(super) struct Mismatch {
    at: u32,
    message: String,
}

impl Parser<'_> {
    fn shown(&self, token: Token) -> String {
        let text = match token.kind {
            Kind::Eof => "<EOF>".to_owned(),
            _ => self.text(token),
        };
        let text = text
            .replace('\n', "\\n")
            .replace('\r', "\\r")
            .replace('\t', "\\t");
        format!("'{text}'")
    }

    /// Takes the next token as it is.
    pub(super) fn advance(&mut self) -> Token {
        let token = self.look(0);
        self.recovering = false;
        self.last_error_at = None;
        self.consume();
        token
    }

    fn consume(&mut self) {
        if self.kind(0) != Kind::Eof {
            self.at += 1;
        }
    }

    fn mismatch(&self, expected: Set) -> Fault {
        let token = self.look(0);
        let shown = self.shown(token);
        Fault::Mismatch(Mismatch {
            at: token.start,
            message: format!("Syntax error: mismatched input {shown} expecting {expected}"),
        })
    }

    /// No way to read on from `first`, as `offending` shows.
    pub(super) fn no_viable(&self, first: Token, offending: Token) -> Fault {
        let end = match offending.kind {
            Kind::Eof => self.source.len() as u32,
            _ => offending.end,
        };
        let text: String = match first.kind {
            Kind::Eof => "<EOF>".to_owned(),
            _ => self.source[first.start as usize..end as usize]
                .iter()
                .collect(),
        };
        let word = text
            .strip_prefix('.')
            .filter(|w| matches!(*w, "true" | "false" | "null"));
        let message = match word {
            Some(word) => format!("Syntax error: mismatched input '{word}' expecting IDENTIFIER"),
            None => format!(
                "Syntax error: no viable alternative at input '{}'",
                text.replace('\n', "\\n")
            ),
        };
        Fault::Mismatch(Mismatch {
            at: offending.start,
            message,
        })
    }

    pub(super) fn report(&mut self, mismatch: &Mismatch) {
        if self.recovering {
            return;
        }
        self.recovering = true;
        self.tell(mismatch.at, mismatch.message.clone());
    }

    fn tell(&mut self, at: u32, message: String) {
        match self.issues.len().cmp(&REPORTS) {
            std::cmp::Ordering::Less => self.issue(at, message),
            std::cmp::Ordering::Equal => {
                self.issue(
                    at,
                    format!("Syntax error: More than {REPORTS} syntax errors"),
                );
            }
            std::cmp::Ordering::Greater => {}
        }
    }

    /// The next token, which must be of this kind. `then` is what may come after it.
    pub(super) fn expect(&mut self, kind: Kind, then: Set) -> Parsed<Token> {
        if self.kind(0) == kind {
            return Ok(self.advance());
        }
        self.attempt()?;
        let expected = Set(kind.bit());
        if self.kind(1) == kind && self.kind(0) != Kind::Eof {
            self.unwanted(expected);
            self.consume();
            return Ok(self.advance());
        }
        // What would come next if the token were there.
        let after = if then.0 != 0 {
            then
        } else {
            self.right_after()
        };
        if kind != Kind::Eof && after.has(self.kind(0)) {
            let token = self.look(0);
            if !self.recovering {
                self.recovering = true;
                let shown = self.shown(token);
                self.tell(
                    token.start,
                    format!("Syntax error: missing {expected} at {shown}"),
                );
            }
            return Ok(Token {
                kind,
                start: token.start,
                end: token.start,
            });
        }
        Err(self.mismatch(expected))
    }

    fn unwanted(&mut self, expected: Set) {
        if self.recovering {
            return;
        }
        self.recovering = true;
        let token = self.look(0);
        let shown = self.shown(token);
        self.tell(
            token.start,
            format!("Syntax error: extraneous input {shown} expecting {expected}"),
        );
    }

    /// What may come after everything that has been entered.
    fn after(&self) -> Set {
        self.follow.iter().fold(Set(0), |all, set| all.with(*set))
    }

    /// What may come next where everything that has been entered may end, up to what is still open.
    fn right_after(&self) -> Set {
        const OPEN: Set = Set::of(&[
            Kind::RParen,
            Kind::RBracket,
            Kind::RBrace,
            Kind::Colon,
            Kind::Eof,
        ]);
        let mut after = Set::of(&[Kind::Dot, Kind::LBracket]);
        for set in self.follow.iter().rev() {
            after = after.with(*set);
            if set.0 & OPEN.0 != 0 {
                break;
            }
        }
        after
    }

    /// Before a choice: the next token must be one of these, or the one after it when the next is dropped.
    pub(super) fn sync(&mut self, expected: Set) -> Parsed<()> {
        if self.recovering || expected.has(self.kind(0)) {
            return if self.recovering && !expected.has(self.kind(0)) {
                Err(self.mismatch(expected))
            } else {
                Ok(())
            };
        }
        if self.kind(0) != Kind::Eof && expected.has(self.kind(1)) {
            self.unwanted(expected);
            self.consume();
            // The dropped token is behind; what follows fits.
            self.recovering = false;
            return Ok(());
        }
        Err(self.mismatch(expected))
    }

    /// Within a loop: tokens that do not fit are skipped.
    pub(super) fn sync_loop(&mut self, expected: Set) -> Parsed<()> {
        if self.recovering || expected.has(self.kind(0)) {
            return Ok(());
        }
        self.unwanted(expected);
        let until = expected.with(self.after());
        self.skip(until)?;
        Ok(())
    }

    /// Goes on after a mistake.
    pub(super) fn recover(&mut self) -> Result<(), Stop> {
        self.attempt()?;
        if self.last_error_at == Some(self.at) {
            // Nothing was consumed since the last mistake: drop a token, so as not to go round in a circle.
            self.consume();
        }
        self.last_error_at = Some(self.at);
        self.skip(self.after())
    }

    fn attempt(&mut self) -> Result<(), Stop> {
        if self.recoveries == RECOVERIES {
            let at = self.look(0).start;
            self.tell(
                at,
                format!("Syntax error: error recovery attempt limit exceeded: {RECOVERIES}"),
            );
            self.recoveries += 1;
            return Err(Stop);
        }
        self.recoveries += 1;
        Ok(())
    }

    fn skip(&mut self, until: Set) -> Result<(), Stop> {
        let mut skipped = 0;
        while self.kind(0) != Kind::Eof && !until.has(self.kind(0)) {
            if skipped >= SKIPPED {
                return Err(self.limit(format!(
                    "error recovery token lookahead limit exceeded: {SKIPPED}"
                )));
            }
            skipped += 1;
            self.consume();
        }
        Ok(())
    }
}
