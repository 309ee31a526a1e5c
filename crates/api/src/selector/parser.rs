//! The string form of label selectors, with the original's words for what is wrong.

use std::collections::BTreeSet;

use super::{
    labels::{Operator, Requirement, valid_key},
    lexer::{Token, tokens},
};
use crate::field::Path;

/// Parses a whole selector.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, String> {
    Parser {
        tokens: tokens(text),
        next: 0,
    }
    .all()
}

struct Parser<'a> {
    tokens: Vec<(Token, &'a str)>,
    next: usize,
}

impl<'a> Parser<'a> {
    fn raw(&self) -> (Token, &'a str) {
        self.tokens
            .get(self.next)
            .copied()
            .unwrap_or((Token::End, ""))
    }

    /// The next token where a value may stand: there `in` and `notin` are ordinary words.
    fn peek(&self) -> (Token, &'a str) {
        match self.raw() {
            (Token::In | Token::NotIn, word) => (Token::Identifier, word),
            other => other,
        }
    }

    fn take(&mut self) -> (Token, &'a str) {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn all(&mut self) -> Result<Vec<Requirement>, String> {
        let mut out = Vec::new();
        loop {
            match self.peek() {
                (Token::End, _) => return Ok(out),
                (Token::Identifier | Token::Not, _) => {
                    out.push(
                        self.requirement()
                            .map_err(|e| format!("unable to parse requirement: {e}"))?,
                    );
                }
                (_, found) => {
                    return Err(format!(
                        "found '{found}', expected: !, identifier, or 'end of string'"
                    ));
                }
            }
            match self.take() {
                (Token::End, _) => return Ok(out),
                (Token::Comma, _) => match self.peek() {
                    (Token::Identifier | Token::Not, _) => {}
                    (_, found) => {
                        return Err(format!("found '{found}', expected: identifier after ','"));
                    }
                },
                (_, found) => {
                    return Err(format!("found '{found}', expected: ',' or 'end of string'"));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut token = self.take();
        let absent = token.0 == Token::Not;
        if absent {
            token = self.take();
        }
        let (Token::Identifier, key) = token else {
            return Err(format!("found '{}', expected: identifier", token.1));
        };
        valid_key(key, &Path::default()).map_err(|e| e.to_string())?;
        if absent {
            return Requirement::new(key, Operator::DoesNotExist, BTreeSet::new());
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, BTreeSet::new());
        }
        let (operator, set) = self.operator()?;
        let values = if set { self.set()? } else { self.exact()? };
        Requirement::new(key, operator, values)
    }

    /// The operator, and whether a set in brackets follows it.
    fn operator(&mut self) -> Result<(Operator, bool), String> {
        let (token, found) = self.raw();
        self.next += 1;
        Ok(match token {
            Token::In => (Operator::In, true),
            Token::NotIn => (Operator::NotIn, true),
            Token::Equals | Token::DoubleEquals => (Operator::In, false),
            Token::NotEquals => (Operator::NotIn, false),
            Token::Greater => (Operator::GreaterThan, false),
            Token::Less => (Operator::LessThan, false),
            _ => {
                return Err(format!(
                    "found '{found}', expected: in, notin, =, ==, !=, gt, lt"
                ));
            }
        })
    }

    fn exact(&mut self) -> Result<BTreeSet<String>, String> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(BTreeSet::from([String::new()]));
        }
        match self.take() {
            (Token::Identifier, value) => Ok(BTreeSet::from([value.to_owned()])),
            (_, found) => Err(format!("found '{found}', expected: identifier")),
        }
    }

    fn set(&mut self) -> Result<BTreeSet<String>, String> {
        let (token, found) = self.take();
        if token != Token::Open {
            return Err(format!("found '{found}' expected: '('"));
        }
        match self.peek() {
            (Token::Identifier | Token::Comma, _) => {}
            (Token::Closed, _) => {
                self.next += 1;
                return Ok(BTreeSet::from([String::new()]));
            }
            (_, found) => return Err(format!("found '{found}', expected: ',', ')' or identifier")),
        }
        let out = self.members()?;
        let (token, found) = self.take();
        if token == Token::Closed {
            Ok(out)
        } else {
            Err(format!("found '{found}', expected: ')'"))
        }
    }

    fn members(&mut self) -> Result<BTreeSet<String>, String> {
        let mut out = BTreeSet::new();
        loop {
            match self.take() {
                (Token::Identifier, value) => {
                    out.insert(value.to_owned());
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::Closed, _) => return Ok(out),
                        (_, found) => return Err(format!("found '{found}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if self.empty_member(&mut out) {
                        return Ok(out);
                    }
                }
                (_, found) => return Err(format!("found '{found}', expected: ',', or identifier")),
            }
        }
    }

    /// After a comma: a place between commas, or before the bracket, stands for the empty value. True at the bracket.
    fn empty_member(&mut self, out: &mut BTreeSet<String>) -> bool {
        if out.is_empty() {
            out.insert(String::new());
        }
        match self.peek().0 {
            Token::Closed => {
                out.insert(String::new());
                true
            }
            Token::Comma => {
                self.next += 1;
                out.insert(String::new());
                false
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::selector::LabelSelector;
    use knarr_json::json;

    #[test]
    fn selectors_in_queries_match() {
        let labels = json!({"kind": "fox", "legs": "4", "wild": ""});
        for (text, want) in [
            ("", true),
            ("kind=fox", true),
            ("kind==fox,legs", true),
            ("kind!=fox", false),
            ("tail!=long", true),
            ("kind in (cat, fox)", true),
            ("kind notin (cat,fox)", false),
            ("!tail", true),
            ("!kind", false),
            ("legs>3,legs<5", true),
            ("legs > 4", false),
            ("wild=", true),
            ("wild in ()", true),
            ("in", false),
            ("kind in (,)", false),
        ] {
            let selector = LabelSelector::parse(text).unwrap();
            assert_eq!(selector.matches_labels(&labels), want, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_the_original_words() {
        let not_a_number = "unable to parse requirement: values[0]: Invalid value: \"two\": for 'Gt', 'Lt' operators, the value must be an integer";
        for (text, want) in [
            (
                "kind in fox",
                "unable to parse requirement: found 'fox' expected: '('",
            ),
            (
                "=fox",
                "found '=', expected: !, identifier, or 'end of string'",
            ),
            (
                "kind=red fox",
                "found 'fox', expected: ',' or 'end of string'",
            ),
            ("legs>two", not_a_number),
            ("kind=fox=", "found '=', expected: ',' or 'end of string'"),
            (
                "kind=fox,,legs",
                "found ',', expected: identifier after ','",
            ),
            ("kind=x,", "found '', expected: identifier after ','"),
            (
                "tier near (web)",
                "unable to parse requirement: found 'near', expected: in, notin, =, ==, !=, gt, lt",
            ),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap_err(), want);
        }
        let bad_value = LabelSelector::parse("kind in (fox,-)").unwrap_err();
        assert!(bad_value.starts_with(
            "unable to parse requirement: values[0][kind]: Invalid value: \"-\": a valid label"
        ));
        let bad_key = LabelSelector::parse("-kind").unwrap_err();
        assert!(bad_key.starts_with(
            "unable to parse requirement: <nil>: Invalid value: \"-kind\": name part"
        ));
    }
}
