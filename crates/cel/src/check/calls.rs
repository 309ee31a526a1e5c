//! Which overload of a function a call means.

use std::collections::HashMap;

use super::{Checker, undeclared};
use crate::{
    ast::{Expr, Id, Kind, Literal},
    functions::{Function, Overload, function},
    types::{Param, Type},
};

impl Checker<'_> {
    pub(super) fn call(&mut self, expr: &mut Expr) {
        let id = expr.id;
        let Kind::Call {
            function: name,
            target,
            args,
        } = &mut expr.kind
        else {
            return;
        };
        if name == "_?._" {
            return self.optional_select(id, args);
        }
        for arg in &mut *args {
            self.check(arg);
        }
        let Some(receiver) = target else {
            let bare = name.strip_prefix('.').unwrap_or(name);
            let Some(function) = function(bare) else {
                let message = undeclared(name);
                self.issue(id, message);
                return self.set(id, Type::Error);
            };
            *name = function.name.to_owned();
            let types = args.iter().map(|a| self.get(a)).collect();
            let ids: Vec<Id> = args.iter().map(|a| a.id).collect();
            return self.resolve(id, function, false, types, &ids);
        };
        // `a.b.c()` may be the function `a.b.c`.
        let qualified = receiver.qualified_name().map(|q| format!("{q}.{name}"));
        let qualified = qualified.and_then(|q| function(q.strip_prefix('.').unwrap_or(&q)));
        if let Some(function) = qualified {
            *name = function.name.to_owned();
            *target = None;
            let types = args.iter().map(|a| self.get(a)).collect();
            return self.resolve(id, function, false, types, &[]);
        }
        self.check(receiver);
        let Some(function) = function(name) else {
            let message = undeclared(name);
            self.issue(id, message);
            return self.set(id, Type::Error);
        };
        let types = [&**receiver]
            .into_iter()
            .chain(&*args)
            .map(|a| self.get(a))
            .collect();
        self.resolve(id, function, true, types, &[]);
    }

    /// `a.?b`
    fn optional_select(&mut self, id: Id, args: &mut [Expr]) {
        let [operand, field] = args else {
            return self.set(id, Type::Error);
        };
        let Kind::Literal(Literal::String(name)) = &field.kind else {
            return self.set(id, Type::Error);
        };
        let name = name.clone();
        self.set(field.id, Type::String);
        self.check(operand);
        let ty = self.get(operand);
        let ty = self.field(id, &ty, &name, true);
        let ty = self.mapping.resolve(&ty, false);
        self.set(id, ty);
        self.overloads.insert(id, vec!["select_optional_field"]);
    }

    fn resolve(
        &mut self,
        id: Id,
        function: &Function,
        member: bool,
        types: Vec<Type>,
        args: &[Id],
    ) {
        if matches!(function.name, "_&&_" | "_||_") {
            return self.resolve_logic(id, function, &types, args);
        }
        let mut result: Option<Type> = None;
        let mut matching = Vec::new();
        for overload in &function.overloads {
            if overload.member != member || overload.args.len() != types.len() {
                continue;
            }
            let (wanted, result_type) = self.instantiate(overload);
            let pairs: Vec<(&Type, &Type)> = types.iter().zip(&wanted).collect();
            if !self.mapping.all_fit(&pairs) {
                continue;
            }
            matching.push(overload.id);
            let found = self.mapping.resolve(&result_type, false);
            result = Some(match result {
                None => found,
                Some(before) if before.is_dyn() || before == found => before,
                Some(_) => Type::Dyn,
            });
        }
        match result {
            Some(ty) => {
                self.set(id, ty);
                self.overloads.insert(id, matching);
            }
            None => {
                let message = self.no_overload(function.name, member, &types);
                self.issue(id, message);
                self.set(id, Type::Error);
            }
        }
    }

    fn resolve_logic(&mut self, id: Id, function: &Function, types: &[Type], args: &[Id]) {
        let mut good = true;
        for (ty, arg) in types.iter().zip(args) {
            if !self.mapping.fits(ty, &Type::Bool) {
                self.mismatch(*arg, &Type::Bool, ty);
                good = false;
            }
        }
        self.set(id, if good { Type::Bool } else { Type::Error });
        let overloads = function.overloads.iter().map(|o| o.id).collect();
        self.overloads.insert(id, overloads);
    }

    /// The types of an overload, with new variables for its parameters.
    fn instantiate(&mut self, overload: &Overload) -> (Vec<Type>, Type) {
        if !overload.generic {
            return (overload.args.clone(), overload.result.clone());
        }
        let mut variables = HashMap::new();
        let args = overload
            .args
            .iter()
            .map(|t| self.renamed(t, &mut variables))
            .collect();
        let result = self.renamed(&overload.result, &mut variables);
        (args, result)
    }

    fn renamed(&mut self, ty: &Type, variables: &mut HashMap<Param, Type>) -> Type {
        match ty {
            Type::Param(param) => match variables.get(param) {
                Some(known) => known.clone(),
                None => {
                    let variable = self.variable();
                    variables.insert(*param, variable.clone());
                    variable
                }
            },
            Type::List(t) => Type::list(self.renamed(t, variables)),
            Type::Optional(t) => Type::optional(self.renamed(t, variables)),
            Type::Of(t) => Type::Of(self.renamed(t, variables).into()),
            Type::Map(k, v) => Type::map(self.renamed(k, variables), self.renamed(v, variables)),
            _ => ty.clone(),
        }
    }

    fn no_overload(&self, name: &str, member: bool, types: &[Type]) -> String {
        let shown: Vec<String> = types
            .iter()
            .map(|t| self.mapping.resolve(t, true).to_string())
            .collect();
        let (receiver, args) = match shown.split_first() {
            Some((receiver, args)) if member => (format!("{receiver}."), args),
            _ => (String::new(), shown.as_slice()),
        };
        let args = args.join(", ");
        format!("found no matching overload for '{name}' applied to '{receiver}({args})'")
    }
}
