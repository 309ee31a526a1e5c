//! What an expression may cost, by the sizes that schemas declare. Rules of schemas are refused by it, so it has to be exact.

mod calls;
mod estimate;

use std::{collections::HashMap, sync::Arc};

pub use estimate::CostEstimate;
use estimate::Size;

use crate::{
    Env, Schema, Type,
    ast::{Expr, Fold, Id, Kind, Literal},
    check::Checked,
};

const ONE: CostEstimate = CostEstimate::fixed(1);
const LIST: CostEstimate = CostEstimate::fixed(10);
const MAP: CostEstimate = CostEstimate::fixed(30);
const OBJECT: CostEstimate = CostEstimate::fixed(40);

/// Estimates a checked expression.
pub(crate) fn estimate(checked: &Checked, env: &Env) -> CostEstimate {
    let mut coster = Coster {
        checked,
        env,
        paths: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
        locals: Vec::new(),
    };
    coster.cost(&checked.root)
}

/// A way from a variable to a part of it.
type Path = Vec<String>;

/// Sizes of what is in a list or map.
#[derive(Clone, Copy)]
struct Entries {
    list: bool,
    key: Size,
    value: Size,
}

impl Entries {
    fn union(a: Option<Entries>, b: Option<Entries>) -> Option<Entries> {
        match (a, b) {
            (Some(a), Some(b)) => Some(Entries {
                list: a.list,
                key: a.key.union(b.key),
                value: a.value.union(b.value),
            }),
            (a, b) => a.or(b),
        }
    }
}

/// What a variable of a macro stands for.
struct Local {
    name: String,
    path: Path,
    size: Option<Size>,
    entries: Option<Entries>,
}

struct Coster<'c> {
    checked: &'c Checked,
    env: &'c Env,
    paths: HashMap<Id, Path>,
    sizes: HashMap<Id, Size>,
    entries: HashMap<Id, Entries>,
    locals: Vec<Local>,
}

impl Coster<'_> {
    fn ty(&self, expr: &Expr) -> &Type {
        self.checked.ty(expr.id)
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|l| l.name == name)
    }

    fn path(&self, expr: &Expr) -> Path {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    /// The size that the schema declares for a path.
    fn declared(&self, path: &[String]) -> Option<Size> {
        let (variable, steps) = path.split_first()?;
        let mut node: &Arc<Schema> = self.env.schema(variable)?;
        for step in steps {
            node = match step.as_str() {
                "@items" | "@values" => node.element()?,
                // Names of entries can be of any length, as a rule.
                "@keys" => {
                    return Some(Size {
                        min: 0,
                        max: node.max_key,
                    });
                }
                name => node.field(name).or_else(|| node.named_entry())?,
            };
        }
        Some(Size {
            min: 0,
            max: node.max_elements.max(0) as u64,
        })
    }

    fn size(&self, expr: &Expr) -> Option<Size> {
        if let Some(size) = self.sizes.get(&expr.id) {
            return Some(*size);
        }
        if let Some(size) = literal_size(expr) {
            return Some(Size::fixed(size));
        }
        let declared = self.declared(&self.path(expr));
        if declared.is_some() {
            return declared;
        }
        if self.ty(expr).is_scalar() {
            return Some(ONE);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name)?.size,
            _ => None,
        }
    }

    fn size_or_unknown(&self, expr: &Expr) -> Size {
        self.size(expr).unwrap_or(Size::UNKNOWN)
    }

    fn entries(&self, expr: &Expr) -> Option<Entries> {
        if let Some(entries) = self.entries.get(&expr.id) {
            return Some(*entries);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name)?.entries,
            _ => None,
        }
    }

    fn copy_sizes(&mut self, to: Id, from: &Expr) {
        if let Some(size) = self.size(from) {
            self.sizes.insert(to, size);
        }
        if let Some(entries) = self.entries(from) {
            self.entries.insert(to, entries);
        }
    }

    fn cost(&mut self, expr: &Expr) -> CostEstimate {
        match &expr.kind {
            Kind::Literal(_) | Kind::Error => CostEstimate::default(),
            Kind::Ident(name) => {
                let path = match self.local(name) {
                    Some(local) => local.path.clone(),
                    None => vec![name.clone()],
                };
                self.paths.insert(expr.id, path);
                ONE
            }
            Kind::Select {
                operand,
                field,
                test,
            } => self.select(expr, operand, field, *test),
            Kind::Call {
                function,
                target,
                args,
            } => self.call(expr, function, target.as_deref(), args),
            Kind::List(elements) => {
                let mut sum = LIST;
                let mut item = None;
                for element in elements {
                    sum = sum.plus(self.cost(&element.value));
                    item = widened(item, self.size_or_unknown(&element.value));
                }
                let value = item.unwrap_or_default();
                self.entries.insert(
                    expr.id,
                    Entries {
                        list: true,
                        key: ONE,
                        value,
                    },
                );
                sum
            }
            Kind::Map(entries) => {
                let mut sum = MAP;
                let (mut key, mut value) = (None, None);
                for entry in entries {
                    sum = sum
                        .plus(self.cost(&entry.key))
                        .plus(self.cost(&entry.value));
                    key = widened(key, self.size_or_unknown(&entry.key));
                    value = widened(value, self.size_or_unknown(&entry.value));
                }
                let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
                self.entries.insert(
                    expr.id,
                    Entries {
                        list: false,
                        key,
                        value,
                    },
                );
                sum
            }
            Kind::Struct { fields, .. } => {
                let fields = fields.iter();
                fields.fold(OBJECT, |sum, field| sum.plus(self.cost(&field.value)))
            }
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, test: bool) -> CostEstimate {
        let mut sum = self.cost(operand);
        if test {
            return sum;
        }
        if matches!(self.ty(operand), Type::Map(..) | Type::Object(_)) {
            sum = sum.plus(ONE);
        }
        let mut path = self.path(operand);
        path.push(field.to_owned());
        self.paths.insert(expr.id, path);
        sum
    }

    fn fold(&mut self, expr: &Expr, fold: &Fold) -> CostEstimate {
        let sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        let depth = self.locals.len();
        self.locals.push(Local {
            name: fold.accu.clone(),
            path: self.path(&fold.init),
            size: self.size(&fold.init),
            entries: self.entries(&fold.init),
        });
        if is_bind(fold) {
            let sum = sum.plus(self.cost(&fold.result));
            self.copy_sizes(expr.id, &fold.result);
            self.locals.truncate(depth);
            return sum;
        }
        self.push_variables(fold);
        let each = self.cost(&fold.condition).plus(self.cost(&fold.step));
        let step_entries = self.entries(&fold.step);
        self.locals.truncate(depth + 1);
        let sum = sum.plus(self.cost(&fold.result));
        self.locals.truncate(depth);
        let count = self.size_or_unknown(&fold.range);
        match &fold.init.kind {
            Kind::Literal(_) => self.copy_size(expr.id, &fold.init),
            Kind::List(_) | Kind::Map(_) => {
                self.sizes.insert(expr.id, count);
                if let Some(entries) = step_entries {
                    self.entries.insert(expr.id, entries);
                }
            }
            _ => {}
        }
        sum.plus(count.times(each))
    }

    fn copy_size(&mut self, to: Id, from: &Expr) {
        if let Some(size) = self.size(from) {
            self.sizes.insert(to, size);
        }
    }

    fn push_variables(&mut self, fold: &Fold) {
        let entries = self.entries(&fold.range);
        let list = match self.ty(&fold.range) {
            Type::List(_) => true,
            Type::Map(..) => false,
            _ => entries.is_some_and(|e| e.list),
        };
        let path = self.path(&fold.range);
        let below = |step: &str| {
            let mut path = path.clone();
            path.push(step.to_owned());
            path
        };
        let key = entries.map(|e| e.key);
        let value = entries.map(|e| e.value);
        let (first, second) = match (&fold.var2, list) {
            (None, true) => ((below("@items"), value), None),
            (None, false) => ((below("@keys"), key), None),
            (Some(_), true) => ((below("@indices"), key), Some((below("@items"), value))),
            (Some(_), false) => ((below("@keys"), key), Some((below("@values"), value))),
        };
        let variable = |name: &str, (path, size): (Path, Option<Size>)| Local {
            name: name.to_owned(),
            path,
            size,
            entries: None,
        };
        self.locals.push(variable(&fold.var, first));
        if let (Some(name), Some(second)) = (&fold.var2, second) {
            self.locals.push(variable(name, second));
        }
    }
}

fn widened(size: Option<Size>, more: Size) -> Option<Size> {
    Some(size.map_or(more, |s| s.union(more)))
}

fn is_bind(fold: &Fold) -> bool {
    let empty = matches!(&fold.range.kind, Kind::List(elements) if elements.is_empty());
    empty && matches!(fold.condition.kind, Kind::Literal(Literal::Bool(false)))
}

/// Sizes that can be read off the expression.
fn literal_size(expr: &Expr) -> Option<u64> {
    Some(match &expr.kind {
        Kind::Literal(Literal::String(text)) => text.chars().count() as u64,
        Kind::Literal(Literal::Bytes(bytes)) => bytes.len() as u64,
        Kind::Literal(_) => 1,
        Kind::List(elements) => elements.len() as u64,
        Kind::Map(entries) => entries.len() as u64,
        _ => return None,
    })
}
