//! The functions that expressions can call, read from `functions.decl`.

use std::{collections::HashMap, sync::LazyLock};

use crate::types::{Param, Type};

/// A function by the name that expressions use; operators are called `_+_` and the like.
#[derive(Debug)]
pub(crate) struct Function {
    pub name: &'static str,
    pub overloads: Vec<Overload>,
}

/// One signature of a function.
#[derive(Debug)]
pub(crate) struct Overload {
    pub id: &'static str,
    /// Called on its first argument.
    pub member: bool,
    pub args: Vec<Type>,
    pub result: Type,
    /// It has parameters that stand for types.
    pub generic: bool,
}

/// The function of that name.
pub(crate) fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.get(name)
}

static FUNCTIONS: LazyLock<HashMap<&'static str, Function>> =
    LazyLock::new(|| read(include_str!("functions.decl")));

/// The types of libraries by name.
pub(crate) const OPAQUE: [&str; 11] = [
    "kubernetes.URL",
    "kubernetes.Quantity",
    "kubernetes.Semver",
    "kubernetes.NamedFormat",
    "net.IP",
    "net.CIDR",
    "kubernetes.authorization.Authorizer",
    "kubernetes.authorization.PathCheck",
    "kubernetes.authorization.GroupCheck",
    "kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.Decision",
];

/// Lines that cannot be read are left out; a test reads them all.
fn read(text: &'static str) -> HashMap<&'static str, Function> {
    let mut functions = HashMap::new();
    let mut name = "";
    for line in text.lines() {
        if let Some(next) = line.strip_prefix("fn ") {
            name = next;
            let overloads = Vec::new();
            functions.insert(name, Function { name, overloads });
        } else if let (Some(overload), Some(function)) = (overload(line), functions.get_mut(name)) {
            function.overloads.push(overload);
        }
    }
    functions
}

fn overload(line: &'static str) -> Option<Overload> {
    let (id, signature) = line.strip_prefix("  ")?.split_once(' ')?;
    let (params, result) = signature.split_once(" -> ")?;
    let mut reader = Reader { rest: params };
    let mut args = Vec::new();
    let member = !params.starts_with('(');
    if member {
        args.push(reader.ty()?);
        reader.eat(".")?;
    }
    reader.eat("(")?;
    while reader.eat(")").is_none() {
        args.push(reader.ty()?);
        let _ = reader.eat(", ");
    }
    let result = Reader { rest: result }.ty()?;
    let generic = args.iter().chain([&result]).any(has_params);
    Some(Overload {
        id,
        member,
        args,
        result,
        generic,
    })
}

fn has_params(ty: &Type) -> bool {
    match ty {
        Type::Param(_) => true,
        Type::List(inner) | Type::Optional(inner) | Type::Of(inner) => has_params(inner),
        Type::Map(key, value) => has_params(key) || has_params(value),
        _ => false,
    }
}

struct Reader {
    rest: &'static str,
}

impl Reader {
    fn eat(&mut self, text: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    fn ty(&mut self) -> Option<Type> {
        if let Some(name) = OPAQUE.iter().find(|n| self.rest.starts_with(**n)) {
            self.eat(name)?;
            return Some(Type::Opaque(name));
        }
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if let Some(ty) = plain(word) {
            return Some(ty);
        }
        if let [letter @ b'A'..=b'Z'] = word.as_bytes() {
            return Some(Type::Param(Param::Declared(char::from(*letter))));
        }
        self.eat("(")?;
        let first = self.ty()?;
        let ty = match word {
            "list" => Type::list(first),
            "optional" => Type::optional(first),
            "type" => Type::Of(first.into()),
            "map" => {
                self.eat(", ")?;
                Type::map(first, self.ty()?)
            }
            _ => return None,
        };
        self.eat(")")?;
        Some(ty)
    }
}

fn plain(word: &str) -> Option<Type> {
    Some(match word {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        _ => return None,
    })
}

/// The type that a name stands for where a type is written as a value: `type(x) == int`.
pub(crate) fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "null_type" => Type::Null,
        "type" => Type::Of(Type::Dyn.into()),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        "optional_type" => Type::optional(Type::Dyn),
        "null" | "timestamp" | "duration" | "dyn" => return None,
        _ => match OPAQUE.iter().find(|n| **n == name) {
            Some(opaque) => Type::Opaque(opaque),
            None => plain(name)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read() {
        let text = include_str!("functions.decl");
        let lines = text.lines().filter(|l| l.starts_with("  ")).count();
        let overloads: usize = FUNCTIONS.values().map(|f| f.overloads.len()).sum();
        assert_eq!(lines, overloads);
        for line in text.lines().filter(|l| l.starts_with("  ")) {
            assert!(overload(line).is_some(), "{line}");
        }
        let function = function("isSorted").expect("declared");
        assert_eq!(function.overloads[0].args, [Type::list(Type::Int)]);
    }
}
