//! Names, selections, calls, and what is written in brackets.

use super::{
    DEEPEST, Fault, Parsed, Parser, Rule,
    lexer::{Kind, Set, Token},
    recover::{FIRST_EXPR, FIRST_PRIMARY},
};
use crate::{
    ast::{Expr, Init, Kind as Node, Literal},
    escape::is_reserved,
};

impl Parser<'_> {
    /// `a.b(c)[d].?e`
    pub(super) fn member(&mut self) -> Parsed<Expr> {
        const NEXT: Set = Set::of(&[Kind::Dot, Kind::LBracket]);
        self.enter(Rule::Member)?;
        let mut expr = self.below(NEXT, Self::primary)?;
        let mut levels = 0;
        while NEXT.has(self.kind(0)) {
            // The tree grows by a level with each step, to the left.
            self.enter(Rule::Member)?;
            self.nest(1)?;
            levels += 1;
            let step = match self.kind(0) {
                Kind::Dot => self.dot(expr),
                _ => self.index(expr),
            };
            expr = match step {
                Ok(expr) => expr,
                Err(fault) => {
                    self.nesting -= levels;
                    self.leave(Rule::Member, levels + 1);
                    return Err(fault);
                }
            };
        }
        self.nesting -= levels;
        self.leave(Rule::Member, levels + 1);
        debug_assert!(levels <= DEEPEST);
        Ok(expr)
    }

    fn dot(&mut self, operand: Expr) -> Parsed<Expr> {
        let dot = self.look(0);
        let optional = self.kind(1) == Kind::Question;
        let name_at = 1 + usize::from(optional);
        let name = self.look(name_at);
        if !matches!(name.kind, Kind::Ident | Kind::EscapedIdent) {
            return if optional {
                self.advance();
                self.advance();
                self.sync(Set::of(&[Kind::Ident, Kind::EscapedIdent]))?;
                let name = self.advance();
                self.select(dot, operand, name, true)
            } else {
                Err(self.no_viable(dot, name))
            };
        }
        for _ in 0..=name_at {
            self.advance();
        }
        let is_call = !optional && name.kind == Kind::Ident && self.kind(0) == Kind::LParen;
        if !is_call {
            return self.select(dot, operand, name, optional);
        }
        let open = self.advance();
        let args = self.arguments()?;
        self.expect(Kind::RParen, Set(0))?;
        let id = self.places.node(open.start);
        let function = self.text(name);
        self.call_or_macro(id, function, Some(operand), args)
    }

    fn select(&mut self, dot: Token, operand: Expr, name: Token, optional: bool) -> Parsed<Expr> {
        let text = self.text(name);
        let field = text.trim_matches('`').to_owned();
        if !optional {
            let operand = Box::new(operand);
            return Ok(self.node(
                dot.start,
                Node::Select {
                    operand,
                    field,
                    test: false,
                },
            ));
        }
        let field = self.node(name.start, Node::Literal(Literal::String(field.into())));
        let id = self.places.node(dot.start);
        Ok(self.call(id, "_?._", vec![operand, field]))
    }

    fn index(&mut self, operand: Expr) -> Parsed<Expr> {
        let open = self.advance();
        let id = self.places.node(open.start);
        self.sync(FIRST_EXPR.with(Set::of(&[Kind::Question])))?;
        let optional = self.kind(0) == Kind::Question;
        if optional {
            self.advance();
        }
        let index = self.below(Set::of(&[Kind::RBracket]), Self::expr)?;
        self.expect(Kind::RBracket, Set(0))?;
        let function = if optional { "_[?_]" } else { "_[_]" };
        Ok(self.call(id, function, vec![operand, index]))
    }

    fn primary(&mut self) -> Parsed<Expr> {
        self.sync(FIRST_PRIMARY)?;
        match self.kind(0) {
            Kind::LParen => self.nested(),
            Kind::LBracket => self.list(),
            Kind::LBrace => self.map(),
            Kind::Dot | Kind::Ident => self.name(),
            _ => self.literal(),
        }
    }

    fn nested(&mut self) -> Parsed<Expr> {
        self.advance();
        let expr = self.below(Set::of(&[Kind::RParen]), Self::expr)?;
        self.expect(Kind::RParen, Set(0))?;
        Ok(expr)
    }

    fn list(&mut self) -> Parsed<Expr> {
        let open = self.advance();
        let id = self.places.node(open.start);
        let first = FIRST_EXPR.with(Set::of(&[Kind::Question]));
        self.sync(first.with(Set::of(&[Kind::RBracket, Kind::Comma])))?;
        let elements = match first.has(self.kind(0)) {
            true => self.elements()?,
            false => Vec::new(),
        };
        self.close(Kind::RBracket)?;
        Ok(Expr {
            id,
            kind: Node::List(elements),
        })
    }

    /// A last comma and what closes.
    fn close(&mut self, kind: Kind) -> Parsed<()> {
        self.sync(Set::of(&[Kind::Comma]).with(Set(kind.bit())))?;
        if self.kind(0) == Kind::Comma {
            self.advance();
        }
        self.expect(kind, Set(0)).map(drop)
    }

    fn map(&mut self) -> Parsed<Expr> {
        let open = self.advance();
        let id = self.places.node(open.start);
        let first = FIRST_EXPR.with(Set::of(&[Kind::Question]));
        self.sync(first.with(Set::of(&[Kind::RBrace, Kind::Comma])))?;
        let entries = match first.has(self.kind(0)) {
            true => self.entries()?,
            false => Vec::new(),
        };
        self.close(Kind::RBrace)?;
        Ok(Expr {
            id,
            kind: Node::Map(entries),
        })
    }

    /// A variable, a call of a function, or the making of an object.
    fn name(&mut self) -> Parsed<Expr> {
        let first = self.look(0);
        let dot = first.kind == Kind::Dot;
        let name = self.look(usize::from(dot));
        if name.kind != Kind::Ident {
            return Err(self.no_viable(first, name));
        }
        if self.makes_object(usize::from(dot)) {
            return self.object(dot);
        }
        if dot {
            self.advance();
        }
        self.advance();
        let text = self.text(name);
        let full = if dot {
            format!(".{text}")
        } else {
            text.clone()
        };
        let open = self.look(0);
        let args = if open.kind == Kind::LParen {
            self.advance();
            let args = self.arguments()?;
            self.expect(Kind::RParen, Set(0))?;
            Some(args)
        } else {
            None
        };
        if is_reserved(&text) {
            self.issue(first.start, format!("reserved identifier: {text}"));
            return Ok(self.error_node());
        }
        match args {
            Some(args) => {
                let id = self.places.node(open.start);
                self.call_or_macro(id, full, None, args)
            }
            None => Ok(self.node(name.start, Node::Ident(full))),
        }
    }

    /// Whether names with dots between them lead up to `{`.
    fn makes_object(&self, mut ahead: usize) -> bool {
        while self.kind(ahead) == Kind::Ident {
            match self.kind(ahead + 1) {
                Kind::LBrace => return true,
                Kind::Dot => ahead += 2,
                _ => return false,
            }
        }
        false
    }

    fn object(&mut self, dot: bool) -> Parsed<Expr> {
        let mut name = String::new();
        if dot {
            self.advance();
            name.push('.');
        }
        while self.kind(0) != Kind::LBrace {
            let token = self.advance();
            name.push_str(&self.text(token));
        }
        let open = self.advance();
        let id = self.places.node(open.start);
        let first = Set::of(&[Kind::Question, Kind::Ident, Kind::EscapedIdent]);
        self.sync(first.with(Set::of(&[Kind::RBrace, Kind::Comma])))?;
        let fields = match first.has(self.kind(0)) {
            true => self.fields()?,
            false => Vec::new(),
        };
        self.close(Kind::RBrace)?;
        Ok(Expr {
            id,
            kind: Node::Struct { name, fields },
        })
    }

    fn fields(&mut self) -> Parsed<Vec<Init>> {
        let mut fields = Vec::new();
        loop {
            let optional = self.kind(0) == Kind::Question;
            if optional {
                self.advance();
            }
            self.sync(Set::of(&[Kind::Ident, Kind::EscapedIdent]))?;
            let token = self.advance();
            let name = self.text(token).trim_matches('`').to_owned();
            let colon = self.expect(Kind::Colon, FIRST_EXPR)?;
            let id = self.places.node(colon.start);
            let value = self
                .below(Set::of(&[Kind::Comma, Kind::RBrace]), Self::expr)
                .map_err(Fault::Stop)?;
            fields.push(Init {
                id,
                name,
                value,
                optional,
            });
            if self.kind(0) != Kind::Comma || self.kind(1) == Kind::RBrace {
                return Ok(fields);
            }
            self.advance();
            self.sync(Set::of(&[Kind::Question, Kind::Ident, Kind::EscapedIdent]))?;
        }
    }
}
