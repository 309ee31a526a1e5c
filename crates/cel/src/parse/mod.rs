//! Source text to a tree.
//!
//! The grammar is small enough for a parser by hand; it follows the steps that the original's generated parser takes when
//! something is wrong (which token it drops, which it adds, where it goes on), because those show in error messages.

mod lexer;
mod literal;
mod macros;
mod member;
mod recover;

use lexer::{Kind, Set, Token};
use recover::{FIRST_EXPR, FIRST_UNARY, Mismatch};

use crate::{
    Issue,
    ast::{Ast, Element, Entry, Expr, Id, Kind as Node, Places},
    error::CompileErrors,
};

/// The longest source, in characters.
const LONGEST: usize = 100_000;
/// How deep any one rule of the grammar may nest.
const DEEPEST: u16 = 250;

/// Parses an expression; macros are expanded.
pub(crate) fn parse(source: &str) -> Result<Ast, CompileErrors> {
    let chars: Vec<char> = source.chars().collect();
    if chars.len() > LONGEST {
        let message = format!(
            "expression code point size exceeds limit: size: {}, limit {LONGEST}",
            chars.len()
        );
        return Err(CompileErrors {
            issues: vec![Issue {
                message,
                line: 0,
                column: 0,
            }],
            source: source.to_owned(),
        });
    }
    let (tokens, unknown) = lexer::tokens(&chars);
    let mut parser = Parser::new(&chars, tokens);
    for run in unknown {
        let message = format!("Syntax error: token recognition error at: '{}'", run.text);
        parser.issue(run.start, message);
    }
    let root = parser.start();
    if parser.issues.is_empty() {
        return Ok(Ast {
            root,
            places: parser.places,
        });
    }
    Err(CompileErrors {
        issues: parser.issues,
        source: source.to_owned(),
    })
}

/// Line (from 1) and column (from 0) of a character.
pub(crate) fn line_and_column(source: &[char], offset: u32) -> (usize, usize) {
    let before = &source[..(offset as usize).min(source.len())];
    let line = before.iter().filter(|c| **c == '\n').count() + 1;
    let column = before.iter().rev().take_while(|c| **c != '\n').count();
    (line, column)
}

/// Rules whose nesting is limited, each for itself.
#[derive(Clone, Copy)]
enum Rule {
    Expr,
    Relation,
    Calc,
    Member,
}

/// Parsing cannot go on; the reason has been reported.
struct Stop;

/// What a rule of the grammar returns.
type Parsed<T> = Result<T, Fault>;

/// Why a rule ends early.
enum Fault {
    Mismatch(Mismatch),
    Stop(Stop),
}

impl From<Stop> for Fault {
    fn from(stop: Stop) -> Self {
        Fault::Stop(stop)
    }
}

struct Parser<'a> {
    source: &'a [char],
    tokens: Vec<Token>,
    at: usize,
    places: Places,
    issues: Vec<Issue>,
    /// What may come after each rule that has been entered: where to go on after a mistake.
    follow: Vec<Set>,
    /// A mistake has been reported and nothing has matched since.
    recovering: bool,
    /// How often it was tried to go on after a mistake.
    recoveries: usize,
    last_error_at: Option<usize>,
    depth: [u16; 4],
    /// Nesting of expressions with operators, which is limited once more as a whole.
    nesting: u16,
}

impl<'a> Parser<'a> {
    fn new(source: &'a [char], tokens: Vec<Token>) -> Self {
        Parser {
            source,
            tokens,
            at: 0,
            places: Places::default(),
            issues: Vec::new(),
            follow: Vec::new(),
            recovering: false,
            recoveries: 0,
            last_error_at: None,
            depth: [0; 4],
            nesting: 0,
        }
    }

    fn issue(&mut self, offset: u32, message: String) {
        let (line, column) = line_and_column(self.source, offset);
        self.issues.push(Issue {
            message,
            line,
            column,
        });
    }

    /// An issue without a place: a limit that was hit.
    fn limit(&mut self, message: String) -> Stop {
        self.issues.push(Issue {
            message,
            line: 0,
            column: 0,
        });
        Stop
    }

    fn node(&mut self, offset: u32, kind: Node) -> Expr {
        Expr {
            id: self.places.node(offset),
            kind,
        }
    }

    fn error_node(&mut self) -> Expr {
        let offset = self.look(0).start;
        self.node(offset, Node::Error)
    }

    fn look(&self, ahead: usize) -> Token {
        let last = self.tokens.len() - 1;
        self.tokens[(self.at + ahead).min(last)]
    }

    fn kind(&self, ahead: usize) -> Kind {
        self.look(ahead).kind
    }

    fn text(&self, token: Token) -> String {
        self.source[token.start as usize..token.end as usize]
            .iter()
            .collect()
    }

    fn enter(&mut self, rule: Rule) -> Result<(), Stop> {
        self.depth[rule as usize] += 1;
        if self.depth[rule as usize] > DEEPEST {
            return Err(self.limit(format!("expression recursion limit exceeded: {DEEPEST}")));
        }
        Ok(())
    }

    fn leave(&mut self, rule: Rule, times: u16) {
        self.depth[rule as usize] = self.depth[rule as usize].saturating_sub(times);
    }

    /// One level of operators, counted over all of them.
    fn nest(&mut self, levels: u16) -> Result<(), Stop> {
        self.nesting += levels;
        if self.nesting > DEEPEST {
            return Err(self.limit("max recursion depth exceeded".to_owned()));
        }
        Ok(())
    }

    fn start(&mut self) -> Expr {
        let parsed = self.below(Set::of(&[Kind::Eof]), Self::expr);
        match parsed {
            Ok(root) => {
                if let Err(Fault::Mismatch(mismatch)) = self.expect(Kind::Eof, Set(0)) {
                    self.report(&mismatch);
                }
                root
            }
            Err(_) => self.error_node(),
        }
    }

    /// Runs a rule after which `follow` may come. A mistake in it is reported, and parsing goes on after it.
    fn below(
        &mut self,
        follow: Set,
        rule: impl FnOnce(&mut Self) -> Parsed<Expr>,
    ) -> Result<Expr, Stop> {
        self.follow.push(follow);
        let parsed = rule(self);
        let parsed = match parsed {
            Ok(expr) => Ok(expr),
            Err(Fault::Stop(stop)) => Err(stop),
            Err(Fault::Mismatch(mismatch)) => {
                self.report(&mismatch);
                self.recover().map(|()| self.error_node())
            }
        };
        self.follow.pop();
        parsed
    }

    /// `a ? b : c`
    fn expr(&mut self) -> Parsed<Expr> {
        self.enter(Rule::Expr)?;
        let condition = self.below(Set::of(&[Kind::Question]), Self::or)?;
        if self.kind(0) != Kind::Question {
            self.leave(Rule::Expr, 1);
            return Ok(condition);
        }
        let operator = self.expect(Kind::Question, FIRST_EXPR)?;
        let id = self.places.node(operator.start);
        self.nest(1)?;
        let then = self.below(Set::of(&[Kind::Colon]), Self::or)?;
        if let Err(fault) = self.expect(Kind::Colon, FIRST_EXPR) {
            self.leave(Rule::Expr, 1);
            self.nesting -= 1;
            return Err(fault);
        }
        let otherwise = self.below(Set(0), Self::expr)?;
        self.nesting -= 1;
        self.leave(Rule::Expr, 1);
        Ok(self.call(id, "_?_:_", vec![condition, then, otherwise]))
    }

    fn or(&mut self) -> Parsed<Expr> {
        self.chain(Kind::Or, "_||_", Self::and)
    }

    fn and(&mut self) -> Parsed<Expr> {
        self.chain(Kind::And, "_&&_", |p| p.relation(0))
    }

    /// `a && b && c`, made a balanced tree so that long chains are not deep.
    fn chain(
        &mut self,
        sign: Kind,
        function: &str,
        rule: fn(&mut Self) -> Parsed<Expr>,
    ) -> Parsed<Expr> {
        let follow = Set::of(&[]).with(Set(sign.bit()));
        let mut terms = vec![self.below(follow, rule)?];
        let mut operators = Vec::new();
        while self.kind(0) == sign {
            let operator = self.expect(sign, FIRST_EXPR)?;
            terms.push(self.below(follow, rule)?);
            operators.push(self.places.node(operator.start));
        }
        let mut terms: Vec<Option<Expr>> = terms.into_iter().map(Some).collect();
        Ok(self.balance(function, &operators, &mut terms))
    }

    fn balance(&mut self, function: &str, operators: &[Id], terms: &mut [Option<Expr>]) -> Expr {
        if operators.is_empty() {
            let only = terms.first_mut().and_then(Option::take);
            return match only {
                Some(term) => term,
                None => self.error_node(),
            };
        }
        let middle = operators.len() / 2;
        let (left, right) = terms.split_at_mut(middle + 1);
        let left = self.balance(function, &operators[..middle], left);
        let right = self.balance(function, &operators[middle + 1..], right);
        self.call(operators[middle], function, vec![left, right])
    }

    fn call(&mut self, id: Id, function: &str, args: Vec<Expr>) -> Expr {
        Expr {
            id,
            kind: Node::Call {
                function: function.to_owned(),
                target: None,
                args,
            },
        }
    }

    /// `a < b`, `a in b`; left to right.
    fn relation(&mut self, _: u8) -> Parsed<Expr> {
        const SIGNS: Set = Set::of(&[
            Kind::Equals,
            Kind::NotEquals,
            Kind::In,
            Kind::Less,
            Kind::LessEquals,
            Kind::GreaterEquals,
            Kind::Greater,
        ]);
        self.enter(Rule::Relation)?;
        let mut left = self.below(SIGNS, |p| p.calc(0))?;
        let mut levels = 0;
        while SIGNS.has(self.kind(0)) {
            self.enter(Rule::Relation)?;
            self.nest(1)?;
            levels += 1;
            let operator = self.advance();
            let id = self.places.node(operator.start);
            // What is on the right binds more strongly: relations go from left to right.
            let right = self.below(SIGNS, |p| p.calc(0))?;
            left = self.call(id, function_of(operator.kind), vec![left, right]);
        }
        self.nesting -= levels;
        self.leave(Rule::Relation, levels + 1);
        Ok(left)
    }

    /// `a + b * c`; `binding` is 0 for sums and 1 for what stands beside `+` or `-`, 2 beside `*`.
    fn calc(&mut self, binding: u8) -> Parsed<Expr> {
        const PRODUCT: Set = Set::of(&[Kind::Star, Kind::Slash, Kind::Percent]);
        const SUM: Set = Set::of(&[Kind::Plus, Kind::Minus]);
        self.enter(Rule::Calc)?;
        let all = PRODUCT.with(SUM);
        let mut left = self.below(all, Self::unary)?;
        let mut levels = 0;
        loop {
            let kind = self.kind(0);
            let right_binding = if PRODUCT.has(kind) && binding < 2 {
                2
            } else if SUM.has(kind) && binding < 1 {
                1
            } else {
                break;
            };
            self.enter(Rule::Calc)?;
            self.nest(1)?;
            levels += 1;
            let operator = self.advance();
            let id = self.places.node(operator.start);
            let right = self.below(all, |p| p.calc(right_binding))?;
            left = self.call(id, function_of(operator.kind), vec![left, right]);
        }
        self.nesting -= levels;
        self.leave(Rule::Calc, levels + 1);
        Ok(left)
    }

    /// `!a`, `--a`
    fn unary(&mut self) -> Parsed<Expr> {
        self.sync(FIRST_UNARY)?;
        let sign = self.kind(0);
        let literal = matches!(self.kind(1), Kind::Int | Kind::Float);
        if sign == Kind::Not || (sign == Kind::Minus && !literal) {
            return self.signs(sign);
        }
        self.below(Set(0), Self::member).map_err(Fault::Stop)
    }

    fn signs(&mut self, sign: Kind) -> Parsed<Expr> {
        let first = self.look(0);
        if sign == Kind::Minus && !FIRST_UNARY.has(self.kind(1)) {
            return Err(self.no_viable(first, self.look(1)));
        }
        let id = self.places.node(first.start);
        let mut count = 0;
        while self.kind(0) == sign {
            self.advance();
            count += 1;
            if sign == Kind::Not {
                self.sync_loop(FIRST_UNARY)?;
            }
        }
        let operand = self.below(Set(0), Self::member)?;
        if count % 2 == 0 {
            return Ok(operand);
        }
        let function = if sign == Kind::Not { "!_" } else { "-_" };
        Ok(self.call(id, function, vec![operand]))
    }

    /// `a, ?b` up to what closes the list.
    fn elements(&mut self) -> Parsed<Vec<Element>> {
        let mut elements = Vec::new();
        loop {
            let optional = self.optional_mark();
            let value = self.below(Set::of(&[Kind::Comma, Kind::RBracket]), Self::expr)?;
            elements.push(Element { value, optional });
            // A comma may also be the last before the bracket.
            if self.kind(0) != Kind::Comma || self.kind(1) == Kind::RBracket {
                return Ok(elements);
            }
            self.advance();
            self.sync(FIRST_EXPR.with(Set::of(&[Kind::Question])))?;
        }
    }

    fn entries(&mut self) -> Parsed<Vec<Entry>> {
        let mut entries = Vec::new();
        loop {
            let optional = self.optional_mark();
            let key = self.below(Set::of(&[Kind::Colon]), Self::expr)?;
            self.expect(Kind::Colon, FIRST_EXPR)?;
            let value = self.below(Set::of(&[Kind::Comma, Kind::RBrace]), Self::expr)?;
            entries.push(Entry {
                key,
                value,
                optional,
            });
            if self.kind(0) != Kind::Comma || self.kind(1) == Kind::RBrace {
                return Ok(entries);
            }
            self.advance();
            self.sync(FIRST_EXPR.with(Set::of(&[Kind::Question])))?;
        }
    }

    fn optional_mark(&mut self) -> bool {
        let marked = self.kind(0) == Kind::Question;
        if marked {
            self.advance();
        }
        marked
    }

    /// Arguments up to the closing parenthesis.
    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        self.sync(FIRST_EXPR.with(Set::of(&[Kind::RParen])))?;
        let mut args = Vec::new();
        if self.kind(0) == Kind::RParen {
            return Ok(args);
        }
        loop {
            args.push(self.below(Set::of(&[Kind::Comma, Kind::RParen]), Self::expr)?);
            if self.kind(0) != Kind::Comma {
                return Ok(args);
            }
            self.advance();
        }
    }
}

fn function_of(sign: Kind) -> &'static str {
    match sign {
        Kind::Equals => "_==_",
        Kind::NotEquals => "_!=_",
        Kind::In => "@in",
        Kind::Less => "_<_",
        Kind::LessEquals => "_<=_",
        Kind::GreaterEquals => "_>=_",
        Kind::Greater => "_>_",
        Kind::Plus => "_+_",
        Kind::Minus => "_-_",
        Kind::Star => "_*_",
        Kind::Slash => "_/_",
        _ => "_%_",
    }
}
