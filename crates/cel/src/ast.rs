//! Expressions as trees.

use std::sync::Arc;

/// Names a node; its place in the source and its type are kept beside the tree.
pub(crate) type Id = u32;

/// A node of the tree.
#[derive(Debug, Clone)]
pub(crate) struct Expr {
    pub id: Id,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Literal(Literal),
    Ident(String),
    Select {
        operand: Box<Expr>,
        field: String,
        /// Only whether there is such a field: `has(a.b)`.
        test: bool,
    },
    Call {
        function: String,
        target: Option<Box<Expr>>,
        args: Vec<Expr>,
    },
    List(Vec<Element>),
    Map(Vec<Entry>),
    Struct {
        name: String,
        fields: Vec<Init>,
    },
    Fold(Box<Fold>),
    /// What could not be parsed; a mistake has been reported.
    Error,
}

/// An element of a list: `x`, or `?x` that is left out if there is no value.
#[derive(Debug, Clone)]
pub(crate) struct Element {
    pub value: Expr,
    pub optional: bool,
}

/// An entry of a map.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: Expr,
    pub value: Expr,
    pub optional: bool,
}

/// A field of an object that is made.
#[derive(Debug, Clone)]
pub(crate) struct Init {
    pub id: Id,
    pub name: String,
    pub value: Expr,
    pub optional: bool,
}

/// What macros like `all` become: a walk over a list or map that carries a result along.
#[derive(Debug, Clone)]
pub(crate) struct Fold {
    pub range: Expr,
    pub var: String,
    pub var2: Option<String>,
    pub accu: String,
    pub init: Expr,
    pub condition: Expr,
    pub step: Expr,
    pub result: Expr,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
}

/// A tree and where its nodes are in the source.
#[derive(Debug, Clone)]
pub(crate) struct Ast {
    pub root: Expr,
    pub places: Places,
}

/// Where nodes begin, as characters before them in the source.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Vec<u32>);

impl Places {
    /// A new node at a place.
    pub fn node(&mut self, offset: u32) -> Id {
        self.0.push(offset);
        (self.0.len() - 1) as Id
    }

    pub fn of(&self, id: Id) -> u32 {
        self.0.get(id as usize).copied().unwrap_or(0)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Expr {
    /// `a.b.c` as a name, if the expression is one.
    pub fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.clone()),
            Kind::Select {
                operand,
                field,
                test: false,
            } => Some(format!("{}.{field}", operand.qualified_name()?)),
            _ => None,
        }
    }

    /// The expressions right below this one.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            Kind::Literal(_) | Kind::Ident(_) | Kind::Error => Vec::new(),
            Kind::Select { operand, .. } => vec![operand],
            Kind::Call { target, args, .. } => target.iter().map(|t| &**t).chain(args).collect(),
            Kind::List(elements) => elements.iter().map(|e| &e.value).collect(),
            Kind::Map(entries) => entries.iter().flat_map(|e| [&e.key, &e.value]).collect(),
            Kind::Struct { fields, .. } => fields.iter().map(|f| &f.value).collect(),
            Kind::Fold(fold) => vec![
                &fold.range,
                &fold.init,
                &fold.condition,
                &fold.step,
                &fold.result,
            ],
        }
    }
}
