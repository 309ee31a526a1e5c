//! Macros: what `has`, `all`, `map` and the like stand for.

use super::{Parsed, Parser};
use crate::ast::{Element, Entry, Expr, Fold, Id, Kind as Node, Literal};

/// The result that a walk carries along.
const ACCU: &str = "__result__";

/// A mistake in a macro's arguments: where, and what.
type Wrong = (Id, String);

impl Parser<'_> {
    /// A call, or what the macro of that name stands for.
    pub(super) fn call_or_macro(
        &mut self,
        id: Id,
        function: String,
        target: Option<Expr>,
        args: Vec<Expr>,
    ) -> Parsed<Expr> {
        let place = self.places.of(id);
        let mut maker = Maker {
            parser: self,
            place,
        };
        let expanded = match (target, function.as_str(), args.len()) {
            (None, "has", 1) => maker.has(args),
            (Some(target), name, count) if is_macro(name, count) => {
                maker.receiver(name, target, args)
            }
            (target, _, _) => {
                let target = target.map(Box::new);
                return Ok(Expr {
                    id,
                    kind: Node::Call {
                        function,
                        target,
                        args,
                    },
                });
            }
        };
        match expanded {
            Ok(expr) => Ok(expr),
            Err((at, message)) => {
                let offset = self.places.of(at);
                self.issue(offset, message);
                Ok(self.node(offset, Node::Error))
            }
        }
    }
}

fn is_macro(name: &str, args: usize) -> bool {
    match name {
        "all" | "exists" | "exists_one" | "existsOne" | "map" => matches!(args, 2 | 3),
        "filter" | "optMap" | "optFlatMap" | "sortBy" => args == 2,
        "transformList" | "transformMap" | "transformMapEntry" => matches!(args, 3 | 4),
        _ => false,
    }
}

/// Makes nodes, all at the macro's place.
struct Maker<'p, 's> {
    parser: &'p mut Parser<'s>,
    place: u32,
}

impl Maker<'_, '_> {
    fn node(&mut self, kind: Node) -> Expr {
        self.parser.node(self.place, kind)
    }

    fn literal(&mut self, literal: Literal) -> Expr {
        self.node(Node::Literal(literal))
    }

    fn bool(&mut self, value: bool) -> Expr {
        self.literal(Literal::Bool(value))
    }

    fn accu(&mut self) -> Expr {
        self.node(Node::Ident(ACCU.to_owned()))
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.node(Node::Call {
            function: function.to_owned(),
            target: None,
            args,
        })
    }

    fn member(&mut self, target: Expr, function: &str, args: Vec<Expr>) -> Expr {
        self.node(Node::Call {
            function: function.to_owned(),
            target: Some(Box::new(target)),
            args,
        })
    }

    fn list_of(&mut self, value: Expr) -> Expr {
        let optional = false;
        self.node(Node::List(vec![Element { value, optional }]))
    }

    fn has(&mut self, mut args: Vec<Expr>) -> Result<Expr, Wrong> {
        match args.pop() {
            Some(Expr {
                kind:
                    Node::Select {
                        operand,
                        field,
                        test: false,
                    },
                ..
            }) => Ok(self.node(Node::Select {
                operand,
                field,
                test: true,
            })),
            Some(Expr {
                kind: Node::Error, ..
            }) => Ok(self.node(Node::Error)),
            other => Err((
                other.map_or(0, |e| e.id),
                "invalid argument to has() macro".to_owned(),
            )),
        }
    }

    fn receiver(&mut self, name: &str, target: Expr, args: Vec<Expr>) -> Result<Expr, Wrong> {
        let two = args.len() == 3 && !matches!(name, "map") || name.starts_with("transform");
        match name {
            "all" | "exists" | "exists_one" | "existsOne" => {
                self.quantifier(name, two, target, args)
            }
            "map" => self.map(target, args),
            "filter" => self.filter(target, args),
            "optMap" | "optFlatMap" => self.opt_map(name, target, args),
            "sortBy" => self.sort_by(target, args),
            _ => self.transform(name, target, args),
        }
    }

    /// The name of a loop variable.
    fn variable(&mut self, arg: &Expr, what: &str) -> Result<String, Wrong> {
        match &arg.kind {
            Node::Ident(name) if name == ACCU => Err((
                arg.id,
                "iteration variable overwrites accumulator variable".to_owned(),
            )),
            Node::Ident(name) if !name.starts_with('.') => Ok(name.clone()),
            Node::Error => Ok("_".to_owned()),
            _ => Err((arg.id, what.to_owned())),
        }
    }

    /// The loop variables and what is left of the arguments.
    fn variables(
        &mut self,
        two: bool,
        args: Vec<Expr>,
    ) -> Result<(Vars, std::vec::IntoIter<Expr>), Wrong> {
        let mut args = args.into_iter();
        let first = self.next(&mut args);
        if !two {
            let var = self.variable(&first, "argument must be a simple name")?;
            return Ok((Vars { var, var2: None }, args));
        }
        let second = self.next(&mut args);
        let var = self.variable(&first, "argument must be a simple name")?;
        let var2 = self.variable(&second, "argument must be a simple name")?;
        if var == var2 {
            let message = format!("duplicate variable name: {var}");
            return Err((second.id, message));
        }
        Ok((
            Vars {
                var,
                var2: Some(var2),
            },
            args,
        ))
    }

    fn next(&mut self, args: &mut std::vec::IntoIter<Expr>) -> Expr {
        match args.next() {
            Some(arg) => arg,
            None => self.node(Node::Error),
        }
    }

    fn fold(
        &mut self,
        range: Expr,
        vars: Vars,
        init: Expr,
        condition: Expr,
        step: Expr,
        result: Expr,
    ) -> Expr {
        self.node(Node::Fold(Box::new(Fold {
            range,
            var: vars.var,
            var2: vars.var2,
            accu: ACCU.to_owned(),
            init,
            condition,
            step,
            result,
        })))
    }

    fn quantifier(
        &mut self,
        name: &str,
        two: bool,
        range: Expr,
        args: Vec<Expr>,
    ) -> Result<Expr, Wrong> {
        let (vars, mut args) = self.variables(two, args)?;
        let test = self.next(&mut args);
        let accu = self.accu();
        if name == "all" || name == "exists" {
            let all = name == "all";
            let init = self.bool(all);
            let seen = if all {
                accu
            } else {
                self.call("!_", vec![accu])
            };
            let condition = self.call("@not_strictly_false", vec![seen]);
            let accu = self.accu();
            let join = if all { "_&&_" } else { "_||_" };
            let step = self.call(join, vec![accu, test]);
            let result = self.accu();
            return Ok(self.fold(range, vars, init, condition, step, result));
        }
        let init = self.literal(Literal::Int(0));
        let condition = self.bool(true);
        let one = self.literal(Literal::Int(1));
        let more = self.call("_+_", vec![accu, one]);
        let same = self.accu();
        let step = self.call("_?_:_", vec![test, more, same]);
        let accu = self.accu();
        let one = self.literal(Literal::Int(1));
        let result = self.call("_==_", vec![accu, one]);
        Ok(self.fold(range, vars, init, condition, step, result))
    }

    /// `accu + [item]`, only where `test` holds if there is one.
    fn collect(&mut self, range: Expr, vars: Vars, test: Option<Expr>, item: Expr) -> Expr {
        let init = self.node(Node::List(Vec::new()));
        let condition = self.bool(true);
        let accu = self.accu();
        let item = self.list_of(item);
        let step = self.call("_+_", vec![accu, item]);
        let step = self.where_holds(test, step);
        let result = self.accu();
        self.fold(range, vars, init, condition, step, result)
    }

    fn where_holds(&mut self, test: Option<Expr>, step: Expr) -> Expr {
        match test {
            Some(test) => {
                let same = self.accu();
                self.call("_?_:_", vec![test, step, same])
            }
            None => step,
        }
    }

    fn map(&mut self, range: Expr, args: Vec<Expr>) -> Result<Expr, Wrong> {
        let filtered = args.len() == 3;
        let (vars, mut args) = self.variables(false, args)?;
        let test = if filtered {
            Some(self.next(&mut args))
        } else {
            None
        };
        let item = self.next(&mut args);
        Ok(self.collect(range, vars, test, item))
    }

    fn filter(&mut self, range: Expr, args: Vec<Expr>) -> Result<Expr, Wrong> {
        let (vars, mut args) = self.variables(false, args)?;
        let test = self.next(&mut args);
        let item = self.node(Node::Ident(vars.var.clone()));
        Ok(self.collect(range, vars, Some(test), item))
    }

    fn transform(&mut self, name: &str, range: Expr, args: Vec<Expr>) -> Result<Expr, Wrong> {
        let filtered = args.len() == 4;
        let (vars, mut args) = self.variables(true, args)?;
        let test = if filtered {
            Some(self.next(&mut args))
        } else {
            None
        };
        let item = self.next(&mut args);
        if name == "transformList" {
            return Ok(self.collect(range, vars, test, item));
        }
        let init = self.node(Node::Map(Vec::<Entry>::new()));
        let condition = self.bool(true);
        let accu = self.accu();
        let step = if name == "transformMap" {
            let key = self.node(Node::Ident(vars.var.clone()));
            self.call("cel.@mapInsert", vec![accu, key, item])
        } else {
            self.call("cel.@mapInsert", vec![accu, item])
        };
        let step = self.where_holds(test, step);
        let result = self.accu();
        Ok(self.fold(range, vars, init, condition, step, result))
    }

    /// `name` bound to a value while `body` is computed.
    fn bind(&mut self, name: &str, value: Expr, body: Expr) -> Expr {
        let range = self.node(Node::List(Vec::new()));
        let condition = self.bool(false);
        let step = self.node(Node::Ident(name.to_owned()));
        self.node(Node::Fold(Box::new(Fold {
            range,
            var: "#unused".to_owned(),
            var2: None,
            accu: name.to_owned(),
            init: value,
            condition,
            step,
            result: body,
        })))
    }

    fn opt_map(&mut self, name: &str, target: Expr, args: Vec<Expr>) -> Result<Expr, Wrong> {
        let mut args = args.into_iter();
        let var = self.next(&mut args);
        let what = format!("{name}() variable name must be a simple identifier");
        let var = self.variable(&var, &what)?;
        let body = self.next(&mut args);
        let has_value = self.member(target.clone(), "hasValue", Vec::new());
        let value = self.member(target, "value", Vec::new());
        let mut found = self.bind(&var, value, body);
        if name == "optMap" {
            found = self.call("optional.of", vec![found]);
        }
        let none = self.call("optional.none", Vec::new());
        Ok(self.call("_?_:_", vec![has_value, found, none]))
    }

    fn sort_by(&mut self, target: Expr, args: Vec<Expr>) -> Result<Expr, Wrong> {
        let mut args = args.into_iter();
        let var = self.next(&mut args);
        let what = "sortBy can only be applied with a simple identifier as its variable";
        let var = self.variable(&var, what)?;
        let key = self.next(&mut args);
        const SORTED: &str = "@__sortBy_input__";
        let input = self.node(Node::Ident(SORTED.to_owned()));
        let keys = self.collect(input, Vars { var, var2: None }, None, key);
        let input = self.node(Node::Ident(SORTED.to_owned()));
        let sorted = self.member(input, "@sortByAssociatedKeys", vec![keys]);
        Ok(self.bind(SORTED, target, sorted))
    }
}

/// The variables of a walk.
struct Vars {
    var: String,
    var2: Option<String>,
}
