//! A checked tree made ready to run: functions and local variables are found once, not each time.

use std::sync::Arc;

use crate::{
    Type,
    ast::{Expr, Fold, Kind, Literal},
    check::Checked,
    functions::type_named,
    library::{self, Native},
};

/// One step.
#[derive(Debug)]
pub(crate) enum Node {
    Literal(Literal),
    Type(Arc<Type>),
    Variable(String),
    /// A variable of a macro, by its place on the stack of such variables.
    Local(usize),
    Select(Box<Select>),
    And(Box<(Node, Node)>),
    Or(Box<(Node, Node)>),
    Condition(Box<(Node, Node, Node)>),
    NotStrictlyFalse(Box<Node>),
    /// `a.or(b)`, `a.orValue(b)`
    OrElse {
        wrapped: bool,
        args: Box<(Node, Node)>,
    },
    Index {
        optional: bool,
        args: Box<(Node, Node)>,
    },
    /// `accu + [x]`, where nobody needs the old list: it grows where it is.
    Grow {
        accu: usize,
        added: Box<Node>,
    },
    Call(Box<Call>),
    List(Vec<(Node, bool)>),
    Map(Vec<(Node, Node, bool)>),
    Object {
        name: String,
        fields: Vec<(String, Node, bool)>,
    },
    Fold(Box<FoldNode>),
    /// Nothing that can run; it cannot come out of a checked tree.
    Nothing,
}

#[derive(Debug)]
pub(crate) struct Select {
    pub operand: Node,
    pub field: Arc<str>,
    pub test: bool,
    pub optional: bool,
}

pub(crate) struct Call {
    pub function: &'static str,
    pub overload: Option<&'static str>,
    pub native: Native,
    pub args: Vec<Node>,
    /// The expression that a text is matched against, if it is known.
    pub regex: Option<regex::Regex>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("function", &self.function)
            .field("args", &self.args)
            .finish()
    }
}

#[derive(Debug)]
pub(crate) struct FoldNode {
    pub range: Node,
    pub init: Node,
    pub condition: Node,
    pub step: Node,
    pub result: Node,
    pub two: bool,
    /// The result is carried in this place, the variables follow it.
    pub place: usize,
    /// Only binds a name to a value.
    pub bind: bool,
}

/// Makes a tree ready.
pub(crate) fn plan(checked: &Checked) -> Node {
    let mut planner = Planner {
        checked,
        locals: Vec::new(),
    };
    planner.plan(&checked.root)
}

struct Planner<'c> {
    checked: &'c Checked,
    locals: Vec<String>,
}

impl Planner<'_> {
    fn plan(&mut self, expr: &Expr) -> Node {
        match &expr.kind {
            Kind::Literal(literal) => Node::Literal(literal.clone()),
            Kind::Ident(name) => self.ident(name),
            Kind::Select {
                operand,
                field,
                test,
            } => Node::Select(Box::new(Select {
                operand: self.plan(operand),
                field: field.as_str().into(),
                test: *test,
                optional: false,
            })),
            Kind::Call {
                function,
                target,
                args,
            } => self.call(expr, function, target.as_deref(), args),
            Kind::List(elements) => Node::List(
                elements
                    .iter()
                    .map(|e| (self.plan(&e.value), e.optional))
                    .collect(),
            ),
            Kind::Map(entries) => {
                let entries = entries.iter();
                Node::Map(
                    entries
                        .map(|e| (self.plan(&e.key), self.plan(&e.value), e.optional))
                        .collect(),
                )
            }
            Kind::Struct { name, fields } => {
                let fields = fields
                    .iter()
                    .map(|f| (f.name.clone(), self.plan(&f.value), f.optional));
                Node::Object {
                    name: name.clone(),
                    fields: fields.collect(),
                }
            }
            Kind::Fold(fold) => self.fold(fold),
            Kind::Error => Node::Nothing,
        }
    }

    fn ident(&mut self, name: &str) -> Node {
        if let Some(place) = self.locals.iter().rposition(|n| n == name) {
            return Node::Local(place);
        }
        match type_named(name) {
            Some(ty) if !self.checked.variables.iter().any(|v| v == name) => {
                Node::Type(Arc::new(ty))
            }
            _ => Node::Variable(name.to_owned()),
        }
    }

    fn two(&mut self, args: &[Expr]) -> Option<Box<(Node, Node)>> {
        match args {
            [a, b] => Some(Box::new((self.plan(a), self.plan(b)))),
            _ => None,
        }
    }

    fn call(&mut self, expr: &Expr, function: &str, target: Option<&Expr>, args: &[Expr]) -> Node {
        let special = match (function, target, args) {
            ("_&&_", None, _) => self.two(args).map(Node::And),
            ("_||_", None, _) => self.two(args).map(Node::Or),
            ("_?_:_", None, [c, a, b]) => Some(Node::Condition(Box::new((
                self.plan(c),
                self.plan(a),
                self.plan(b),
            )))),
            ("@not_strictly_false", None, [a]) => {
                Some(Node::NotStrictlyFalse(Box::new(self.plan(a))))
            }
            ("_?._", None, [operand, field]) => self.optional_select(operand, field),
            ("_[_]", None, _) => self.two(args).map(|args| Node::Index {
                optional: false,
                args,
            }),
            ("_[?_]", None, _) => self.two(args).map(|args| Node::Index {
                optional: true,
                args,
            }),
            ("or" | "orValue", Some(target), [other]) => {
                let args = Box::new((self.plan(target), self.plan(other)));
                Some(Node::OrElse {
                    wrapped: function == "or",
                    args,
                })
            }
            _ => None,
        };
        special.unwrap_or_else(|| self.plain_call(expr, function, target, args))
    }

    fn optional_select(&mut self, operand: &Expr, field: &Expr) -> Option<Node> {
        let Kind::Literal(Literal::String(field)) = &field.kind else {
            return None;
        };
        Some(Node::Select(Box::new(Select {
            operand: self.plan(operand),
            field: field.clone(),
            test: false,
            optional: true,
        })))
    }

    fn plain_call(
        &mut self,
        expr: &Expr,
        function: &str,
        target: Option<&Expr>,
        args: &[Expr],
    ) -> Node {
        let (Some(known), Some(native)) = (
            crate::functions::function(function),
            library::native(function),
        ) else {
            return Node::Nothing;
        };
        let regex = match (function, args.last().map(|a| &a.kind)) {
            ("matches", Some(Kind::Literal(Literal::String(pattern)))) => {
                library::regex::compile(pattern).ok()
            }
            _ => None,
        };
        let overload = match self.checked.overloads(expr.id) {
            [one] => Some(*one),
            _ => None,
        };
        let args = target
            .into_iter()
            .chain(args)
            .map(|a| self.plan(a))
            .collect();
        Node::Call(Box::new(Call {
            function: known.name,
            overload,
            native,
            args,
            regex,
        }))
    }

    fn fold(&mut self, fold: &Fold) -> Node {
        let range = self.plan(&fold.range);
        let init = self.plan(&fold.init);
        let place = self.locals.len();
        self.locals.push(fold.accu.clone());
        self.locals.push(fold.var.clone());
        self.locals.extend(fold.var2.clone());
        let condition = self.plan(&fold.condition);
        let step = self.plan(&fold.step);
        let step = growing(step, place);
        self.locals.truncate(place + 1);
        let result = self.plan(&fold.result);
        self.locals.truncate(place);
        let bind = matches!(&condition, Node::Literal(Literal::Bool(false)));
        let two = fold.var2.is_some();
        Node::Fold(Box::new(FoldNode {
            range,
            init,
            condition,
            step,
            result,
            two,
            place,
            bind,
        }))
    }
}

/// Steps that only add to the list they carry do so in place.
fn growing(step: Node, place: usize) -> Node {
    match step {
        Node::Condition(parts) => {
            let (test, then, otherwise) = *parts;
            let then = growing(then, place);
            Node::Condition(Box::new((test, then, otherwise)))
        }
        Node::Call(mut call) if call.function == "_+_" && call.args.len() == 2 => {
            let carries = matches!(call.args.first(), Some(Node::Local(p)) if *p == place);
            let adds = matches!(call.args.get(1), Some(Node::List(_)));
            match call.args.pop() {
                Some(added) if carries && adds => Node::Grow {
                    accu: place,
                    added: Box::new(added),
                },
                Some(added) => {
                    call.args.push(added);
                    Node::Call(call)
                }
                None => Node::Call(call),
            }
        }
        other => other,
    }
}
