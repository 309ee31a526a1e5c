//! Types of expressions, and what is wrong with them.

mod calls;
mod literals;
mod unify;

use std::collections::HashMap;

use crate::{
    CompileErrors, Env, Issue,
    ast::{Ast, Entry, Expr, Fold, Id, Init, Kind, Literal, Places},
    functions::type_named,
    parse::line_and_column,
    types::{Param, Type},
};
use unify::{Mapping, most_general};

/// A tree whose types are known.
#[derive(Debug)]
pub(crate) struct Checked {
    pub root: Expr,
    types: Vec<Option<Type>>,
    /// Which overloads a call may mean.
    overloads: HashMap<Id, Vec<&'static str>>,
    /// The declared variables that are used.
    pub variables: Vec<String>,
}

impl Checked {
    pub fn ty(&self, id: Id) -> &Type {
        self.types
            .get(id as usize)
            .and_then(Option::as_ref)
            .unwrap_or(&Type::Dyn)
    }

    pub fn overloads(&self, id: Id) -> &[&'static str] {
        self.overloads.get(&id).map_or(&[], Vec::as_slice)
    }
}

/// Finds the types of everything in `ast`.
pub(crate) fn check(ast: Ast, source: &str, env: &Env) -> Result<Checked, CompileErrors> {
    let Ast { mut root, places } = ast;
    let mut checker = Checker {
        env,
        types: vec![None; places.len()],
        places,
        overloads: HashMap::new(),
        variables: Vec::new(),
        scopes: Vec::new(),
        mapping: Mapping::default(),
        fresh: 0,
        issues: Vec::new(),
    };
    checker.check(&mut root);
    if checker.issues.is_empty() {
        literals::check(&root, &mut checker.issues);
    }
    if !checker.issues.is_empty() {
        return Err(errors(&checker, source));
    }
    let mapping = checker.mapping;
    let types = checker.types.into_iter();
    let types = types
        .map(|ty| ty.map(|ty| mapping.resolve(&ty, true)))
        .collect();
    Ok(Checked {
        root,
        types,
        overloads: checker.overloads,
        variables: checker.variables,
    })
}

fn errors(checker: &Checker<'_>, source: &str) -> CompileErrors {
    let chars: Vec<char> = source.chars().collect();
    let issues = checker.issues.iter().map(|(id, message)| {
        let (line, column) = line_and_column(&chars, checker.places.of(*id));
        let message = message.clone();
        Issue {
            message,
            line,
            column,
        }
    });
    CompileErrors {
        issues: issues.collect(),
        source: source.to_owned(),
    }
}

struct Checker<'e> {
    env: &'e Env,
    places: Places,
    types: Vec<Option<Type>>,
    overloads: HashMap<Id, Vec<&'static str>>,
    variables: Vec<String>,
    /// Variables of macros, innermost last.
    scopes: Vec<(String, Type)>,
    mapping: Mapping,
    fresh: u32,
    issues: Vec<(Id, String)>,
}

impl Checker<'_> {
    fn issue(&mut self, id: Id, message: String) {
        self.issues.push((id, message));
    }

    fn set(&mut self, id: Id, ty: Type) {
        if let Some(slot) = self.types.get_mut(id as usize) {
            *slot = Some(ty);
        }
    }

    fn get(&self, expr: &Expr) -> Type {
        let known = self.types.get(expr.id as usize).cloned().flatten();
        known.unwrap_or(Type::Error)
    }

    fn variable(&mut self) -> Type {
        self.fresh += 1;
        Type::Param(Param::Variable(self.fresh - 1))
    }

    fn mismatch(&mut self, id: Id, wanted: &Type, found: &Type) {
        let message = format!("expected type '{wanted}' but found '{found}'");
        self.issue(id, message);
    }

    fn check(&mut self, expr: &mut Expr) {
        match &expr.kind {
            Kind::Literal(literal) => self.set(expr.id, literal_type(literal)),
            Kind::Error => self.set(expr.id, Type::Error),
            Kind::Ident(_) => self.ident(expr),
            Kind::Select { .. } => self.select(expr),
            Kind::Call { .. } => self.call(expr),
            Kind::List(_) => self.list(expr),
            Kind::Map(_) => self.map(expr),
            Kind::Struct { .. } => self.object(expr),
            Kind::Fold(_) => self.fold(expr),
        }
    }

    /// The type of a variable or of a type's name, and the name without a leading dot.
    fn lookup(&mut self, name: &str) -> Option<Type> {
        if let Some((_, ty)) = self.scopes.iter().rev().find(|(n, _)| n == name) {
            return Some(ty.clone());
        }
        let name = name.strip_prefix('.').unwrap_or(name);
        if let Some(ty) = self.env.variable(name) {
            if !self.variables.iter().any(|v| v == name) {
                self.variables.push(name.to_owned());
            }
            return Some(ty.clone());
        }
        type_named(name).map(|ty| Type::Of(ty.into()))
    }

    fn ident(&mut self, expr: &mut Expr) {
        let Kind::Ident(name) = &mut expr.kind else {
            return;
        };
        match self.lookup(name) {
            Some(ty) => {
                if let Some(bare) = name.strip_prefix('.') {
                    *name = bare.to_owned();
                }
                self.set(expr.id, ty);
            }
            None => {
                let message = undeclared(name);
                self.issue(expr.id, message);
                self.set(expr.id, Type::Error);
            }
        }
    }

    fn select(&mut self, expr: &mut Expr) {
        if let Some(name) = expr.qualified_name()
            && let Some(ty) = self.lookup(&name)
        {
            self.set(expr.id, ty);
            expr.kind = Kind::Ident(name.strip_prefix('.').unwrap_or(&name).to_owned());
            return;
        }
        let id = expr.id;
        let Kind::Select {
            operand,
            field,
            test,
        } = &mut expr.kind
        else {
            return;
        };
        self.check(operand);
        let ty = self.get(operand);
        let field = self.field(id, &ty, field, false);
        let ty = if *test {
            Type::Bool
        } else {
            self.mapping.resolve(&field, false)
        };
        self.set(id, ty);
    }

    /// The type of a field of a value of type `ty`.
    fn field(&mut self, id: Id, ty: &Type, field: &str, optional: bool) -> Type {
        let ty = self.mapping.resolve(ty, false);
        let (target, was_optional) = match &ty {
            Type::Optional(inner) => ((**inner).clone(), true),
            other => (other.clone(), false),
        };
        let found = match &target {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(object) => match object.field(field) {
                Some(found) => found,
                None => self.undefined_field(id, field),
            },
            Type::Opaque(name) if name.starts_with("kubernetes.") => {
                self.undefined_field(id, field)
            }
            Type::Param(_) => {
                self.mapping.fits(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            other => {
                let message = format!("type '{other}' does not support field selection");
                self.issue(id, message);
                Type::Dyn
            }
        };
        match was_optional || optional {
            true => Type::optional(found),
            false => found,
        }
    }

    fn undefined_field(&mut self, id: Id, field: &str) -> Type {
        self.issue(id, format!("undefined field '{field}'"));
        Type::Error
    }

    /// The type that several values have in common.
    fn join(&mut self, id: Id, before: Option<Type>, ty: Type) -> Type {
        let Some(before) = before else {
            return ty;
        };
        if self.mapping.fits(&before, &ty) {
            return most_general(&before, &ty).clone();
        }
        self.mismatch(id, &before, &ty);
        Type::Error
    }

    /// What is inside of a value that must be optional: `?x`.
    fn unwrapped(&mut self, id: Id, ty: Type) -> Type {
        match ty {
            Type::Optional(inner) => (*inner).clone(),
            Type::Dyn => Type::Dyn,
            other => {
                self.mismatch(id, &Type::optional(other.clone()), &other);
                other
            }
        }
    }

    fn list(&mut self, expr: &mut Expr) {
        let Kind::List(elements) = &mut expr.kind else {
            return;
        };
        let mut common = None;
        for element in elements {
            self.check(&mut element.value);
            let id = element.value.id;
            let mut ty = self.get(&element.value);
            if element.optional {
                ty = self.unwrapped(id, ty);
            }
            common = Some(self.join(id, common, ty));
        }
        let element = match common {
            Some(ty) => ty,
            None => self.variable(),
        };
        self.set(expr.id, Type::list(element));
    }

    fn map(&mut self, expr: &mut Expr) {
        let Kind::Map(entries) = &mut expr.kind else {
            return;
        };
        let (mut keys, mut values) = (None, None);
        for Entry {
            key,
            value,
            optional,
        } in entries
        {
            self.check(key);
            let ty = self.get(key);
            keys = Some(self.join(key.id, keys, ty));
            self.check(value);
            let mut ty = self.get(value);
            if *optional {
                ty = self.unwrapped(value.id, ty);
            }
            values = Some(self.join(value.id, values, ty));
        }
        let (key, value) = match (keys, values) {
            (Some(key), Some(value)) => (key, value),
            _ => (self.variable(), self.variable()),
        };
        self.set(expr.id, Type::map(key, value));
    }

    fn object(&mut self, expr: &mut Expr) {
        let id = expr.id;
        let Kind::Struct { name, fields } = &mut expr.kind else {
            return;
        };
        let bare = name.strip_prefix('.').unwrap_or(name).to_owned();
        let Some(object) = self.env.object(&bare) else {
            let message = match self.lookup(name) {
                None => undeclared(name),
                Some(Type::Of(inner)) => format!("'{inner}' is not a message type"),
                Some(other) => format!("'{other}' is not a type"),
            };
            self.issue(id, message);
            self.set(id, Type::Error);
            return;
        };
        *name = bare;
        let ty = Type::Object(object);
        self.set(id, ty.clone());
        for Init {
            id,
            name,
            value,
            optional,
        } in fields
        {
            self.check(value);
            let mut given = self.get(value);
            if *optional {
                given = self.unwrapped(value.id, given);
            }
            let wanted = self.field(*id, &ty, name, false);
            if !self.mapping.fits(&wanted, &given) {
                let message = format!(
                    "expected type of field '{name}' is '{wanted}' but provided type is '{given}'"
                );
                self.issue(*id, message);
            }
        }
    }

    fn fold(&mut self, expr: &mut Expr) {
        let id = expr.id;
        let Kind::Fold(fold) = &mut expr.kind else {
            return;
        };
        let Fold {
            range,
            var,
            var2,
            accu,
            init,
            condition,
            step,
            result,
        } = &mut **fold;
        self.check(range);
        self.check(init);
        let range_type = self.get(range);
        let range_type = self.mapping.resolve(&range_type, false);
        let accu_type = self.get(init);
        let depth = self.scopes.len();
        self.scopes.push((accu.clone(), accu_type.clone()));
        let (first, second) = self.loop_variables(range.id, &range_type, var2.is_some());
        self.scopes.push((var.clone(), first));
        if let Some(var2) = var2 {
            self.scopes.push((var2.clone(), second));
        }
        self.check(condition);
        self.must_be(condition, &Type::Bool);
        self.check(step);
        self.must_be(step, &accu_type);
        self.scopes.truncate(depth + 1);
        self.check(result);
        self.scopes.truncate(depth);
        let ty = self.get(result);
        let ty = self.mapping.resolve(&ty, false);
        self.set(id, ty);
    }

    fn loop_variables(&mut self, id: Id, range: &Type, two: bool) -> (Type, Type) {
        match range {
            Type::List(element) if two => (Type::Int, (**element).clone()),
            Type::List(element) => ((**element).clone(), Type::Dyn),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.mapping.fits(&Type::Dyn, range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.issue(id, message);
                (Type::Error, Type::Error)
            }
        }
    }

    fn must_be(&mut self, expr: &Expr, wanted: &Type) {
        let ty = self.get(expr);
        if !self.mapping.fits(wanted, &ty) {
            self.mismatch(expr.id, wanted, &ty);
        }
    }
}

fn undeclared(name: &str) -> String {
    format!("undeclared reference to '{name}' (in container '')")
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}
