//! Running expressions.

mod cost;
mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use plan::{Node, plan};

use crate::{
    Activation, Budget, EvalError, Value,
    ast::Literal,
    library,
    value::{Key, Map, Object, Text},
};
use plan::{Call, FoldNode, Select};

type Answer<'a> = Result<Value<'a>, EvalError>;

/// What an expression runs with.
pub(crate) struct Run<'r, 'a> {
    pub activation: &'r Activation<'a>,
    pub budget: &'r mut Budget,
    /// Variables of macros. They may hold errors: `all` goes on after one.
    locals: Vec<Answer<'a>>,
}

/// Texts of names that an expression does not know.
fn no_such_attribute<'a>(name: &str) -> Answer<'a> {
    Err(EvalError::NoSuchAttribute(name.to_owned()))
}

impl<'r, 'a> Run<'r, 'a> {
    pub fn new(activation: &'r Activation<'a>, budget: &'r mut Budget) -> Self {
        Run {
            activation,
            budget,
            locals: Vec::new(),
        }
    }

    pub fn eval(&mut self, node: &Node) -> Answer<'a> {
        match node {
            Node::Literal(literal) => Ok(literal_value(literal)),
            Node::Type(ty) => {
                self.budget.spend(1)?;
                Ok(Value::Type(ty.clone()))
            }
            Node::Variable(name) => {
                self.budget.spend(1)?;
                self.activation
                    .value(name)
                    .unwrap_or_else(|| no_such_attribute(name))
            }
            Node::Local(place) => {
                self.budget.spend(1)?;
                self.locals
                    .get(*place)
                    .cloned()
                    .unwrap_or_else(|| no_such_attribute("?"))
            }
            Node::Select(select) => self.select(select),
            Node::And(parts) => self.logic(parts, false),
            Node::Or(parts) => self.logic(parts, true),
            Node::Condition(parts) => self.condition(parts),
            Node::NotStrictlyFalse(inner) => self.not_strictly_false(inner),
            Node::OrElse { wrapped, args } => self.or_else(*wrapped, args),
            Node::Index { optional, args } => self.index(*optional, args),
            Node::Grow { accu, added } => self.grow(*accu, added),
            Node::Call(call) => self.call(call),
            Node::List(elements) => self.list(elements),
            Node::Map(entries) => self.map(entries),
            Node::Object { name, fields } => self.object(name, fields),
            Node::Fold(fold) => self.fold(fold),
            Node::Nothing => Err(EvalError::NoSuchOverload),
        }
    }

    fn select(&mut self, select: &Select) -> Answer<'a> {
        let operand = match &select.operand {
            Node::Variable(name) if self.activation.fields(name).is_some() => {
                return self.computed(name, select);
            }
            other => self.eval(other)?,
        };
        if !select.test {
            self.budget.spend(1)?;
        }
        field(&operand, &select.field, select.test, select.optional)
    }

    /// A field that is computed when it is asked for.
    fn computed(&mut self, name: &str, select: &Select) -> Answer<'a> {
        self.budget.spend(2)?;
        let found = self
            .activation
            .fields(name)
            .and_then(|f| f.field(&select.field, self.budget));
        match found {
            Some(value) if select.test => value.map(|_| Value::Bool(true)),
            Some(value) if select.optional => value.map(Value::some),
            Some(value) => value,
            None if select.test => Ok(Value::Bool(false)),
            None if select.optional => Ok(Value::none()),
            None => Err(EvalError::NoSuchKey(select.field.to_string())),
        }
    }

    /// `&&` and `||`: an error on one side does not matter if the other side decides.
    fn logic(&mut self, (left, right): &(Node, Node), decides: bool) -> Answer<'a> {
        let left = self.eval(left);
        match &left {
            Ok(Value::Bool(value)) if *value == decides => return left,
            Err(EvalError::CostLimit) => return left,
            _ => {}
        }
        let right = self.eval(right);
        match (&left, &right) {
            (_, Ok(Value::Bool(value))) if *value == decides => right,
            (_, Err(EvalError::CostLimit)) => right,
            (Ok(Value::Bool(_)), Ok(Value::Bool(_))) => right,
            (Err(_), _) => left,
            (_, Err(_)) => right,
            _ => Err(EvalError::NoSuchOverload),
        }
    }

    fn condition(&mut self, (test, then, otherwise): &(Node, Node, Node)) -> Answer<'a> {
        match self.eval(test)? {
            Value::Bool(true) => self.eval(then),
            Value::Bool(false) => self.eval(otherwise),
            _ => Err(EvalError::NoSuchOverload),
        }
    }

    fn not_strictly_false(&mut self, inner: &Node) -> Answer<'a> {
        let value = self.eval(inner);
        self.budget.spend(1)?;
        match value {
            Ok(Value::Bool(value)) => Ok(Value::Bool(value)),
            Err(EvalError::CostLimit) => Err(EvalError::CostLimit),
            _ => Ok(Value::Bool(true)),
        }
    }

    fn or_else(&mut self, wrapped: bool, (optional, other): &(Node, Node)) -> Answer<'a> {
        match self.eval(optional)? {
            value @ Value::Optional(Some(_)) if wrapped => Ok(value),
            Value::Optional(Some(value)) => Ok((*value).clone()),
            Value::Optional(None) => {
                let other = self.eval(other)?;
                match (wrapped, &other) {
                    (true, Value::Optional(_)) | (false, _) => Ok(other),
                    _ => Err(EvalError::NoSuchOverload),
                }
            }
            _ => Err(EvalError::NoSuchOverload),
        }
    }

    fn index(&mut self, optional: bool, (target, index): &(Node, Node)) -> Answer<'a> {
        let target = self.eval(target)?;
        let index = self.eval(index)?;
        self.budget.spend(1)?;
        let name = if optional { "_[?_]" } else { "_[_]" };
        match library::native(name) {
            Some(native) => native(&[target, index]),
            None => Err(EvalError::NoSuchOverload),
        }
    }

    fn grow(&mut self, accu: usize, added: &Node) -> Answer<'a> {
        // The variable, the list that is added, and the call.
        self.budget.spend(1)?;
        let added = self.eval(added)?;
        self.budget.spend(1)?;
        let slot = self.locals.get_mut(accu).ok_or(EvalError::NoSuchOverload)?;
        let list = std::mem::replace(slot, Ok(Value::Null))?;
        library::add(list, &added)
    }

    fn call(&mut self, call: &Call) -> Answer<'a> {
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(self.eval(arg)?);
        }
        // What costs much is paid for before it is done.
        if cost::before(call, &args) {
            self.budget.spend(cost::of_call(call, &args, None))?;
            return run(call, &args);
        }
        let value = run(call, &args);
        self.budget
            .spend(cost::of_call(call, &args, value.as_ref().ok()))?;
        value
    }

    fn list(&mut self, elements: &[(Node, bool)]) -> Answer<'a> {
        let mut values = Vec::with_capacity(elements.len());
        for (node, optional) in elements {
            match (self.eval(node)?, optional) {
                (Value::Optional(None), true) => {}
                (Value::Optional(Some(value)), true) => values.push((*value).clone()),
                (_, true) => return Err(EvalError::NoSuchOverload),
                (value, false) => values.push(value),
            }
        }
        self.budget.spend(10)?;
        Ok(Value::list(values))
    }

    fn map(&mut self, entries: &[(Node, Node, bool)]) -> Answer<'a> {
        let mut map = BTreeMap::new();
        for (key, value, optional) in entries {
            let key = self.eval(key)?;
            let value = match (self.eval(value)?, optional) {
                (Value::Optional(None), true) => continue,
                (Value::Optional(Some(value)), true) => (*value).clone(),
                (_, true) => return Err(EvalError::NoSuchOverload),
                (value, false) => value,
            };
            let key = Key::of(&key).ok_or_else(|| EvalError::other("unsupported key type"))?;
            let shown = key.to_string();
            if map.insert(key, value).is_some() {
                return Err(EvalError::other(format!(
                    "Failed with repeated key: {shown}"
                )));
            }
        }
        self.budget.spend(30)?;
        Ok(Value::map(map))
    }

    fn object(&mut self, name: &str, nodes: &[(String, Node, bool)]) -> Answer<'a> {
        let mut fields = BTreeMap::new();
        for (name, node, optional) in nodes {
            let value = match (self.eval(node)?, optional) {
                (Value::Optional(None), true) => continue,
                (Value::Optional(Some(value)), true) => (*value).clone(),
                (_, true) => return Err(EvalError::NoSuchOverload),
                (value, false) => value,
            };
            fields.insert(name.clone(), value);
        }
        self.budget.spend(40)?;
        let name = name.to_owned();
        Ok(Value::Map(Map::Object(Arc::new(Object { name, fields }))))
    }

    fn fold(&mut self, fold: &FoldNode) -> Answer<'a> {
        let range = self.eval(&fold.range)?;
        let init = self.eval(&fold.init);
        if let Err(EvalError::CostLimit) = init {
            return init;
        }
        self.locals.truncate(fold.place);
        self.locals.push(init);
        let walked = if fold.bind {
            Ok(())
        } else {
            self.walk(fold, range)
        };
        self.locals.truncate(fold.place + 1);
        let result = walked.and_then(|()| self.eval(&fold.result));
        self.locals.truncate(fold.place);
        result
    }

    fn walk(&mut self, fold: &FoldNode, range: Value<'a>) -> Result<(), EvalError> {
        match range {
            Value::List(list) => {
                for i in 0..list.len() {
                    let value = list.get(i).unwrap_or(Ok(Value::Null))?;
                    let index = Value::Int(i as i64);
                    let (first, second) = if fold.two {
                        (index, Some(value))
                    } else {
                        (value, None)
                    };
                    if !self.step(fold, first, second)? {
                        break;
                    }
                }
                Ok(())
            }
            Value::Map(map) => {
                for (key, value) in map.entries()? {
                    let second = fold.two.then_some(value);
                    if !self.step(fold, key.value(), second)? {
                        break;
                    }
                }
                Ok(())
            }
            _ => Err(EvalError::NoSuchOverload),
        }
    }

    /// One step of a walk; `false` where it ends.
    fn step(
        &mut self,
        fold: &FoldNode,
        first: Value<'a>,
        second: Option<Value<'a>>,
    ) -> Result<bool, EvalError> {
        self.locals.truncate(fold.place + 1);
        self.locals.push(Ok(first));
        self.locals.extend(second.map(Ok));
        match self.eval(&fold.condition) {
            Ok(Value::Bool(true)) => {}
            Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
            _ => return Ok(false),
        }
        let stepped = self.eval(&fold.step);
        if let Err(EvalError::CostLimit) = stepped {
            return Err(EvalError::CostLimit);
        }
        if let Some(slot) = self.locals.get_mut(fold.place) {
            *slot = stepped;
        }
        Ok(true)
    }
}

fn run<'a>(call: &Call, args: &[Value<'a>]) -> Answer<'a> {
    if let (Some(regex), [Value::String(text), _]) = (&call.regex, args) {
        return Ok(Value::Bool(regex.is_match(text.as_str())));
    }
    let answer = (call.native)(args);
    match answer {
        // Operators say only that there is none, functions say of what.
        Err(EvalError::NoSuchOverload) if !call.function.starts_with(['_', '!', '-', '@']) => {
            let names: Vec<String> = args.iter().map(library::runtime_name).collect();
            Err(EvalError::NoSuchOverloadOf(format!(
                "{}({})",
                call.function,
                names.join(", ")
            )))
        }
        answer => answer,
    }
}

fn field<'a>(operand: &Value<'a>, name: &str, test: bool, optional: bool) -> Answer<'a> {
    let found = match operand {
        Value::Map(map) => map.field(name),
        Value::Optional(None) if test => return Ok(Value::Bool(false)),
        Value::Optional(None) => return Ok(Value::none()),
        Value::Optional(Some(inner)) if test => return field(inner, name, true, false),
        Value::Optional(Some(inner)) => return field(inner, name, false, true),
        _ => return Err(EvalError::NoSuchOverload),
    };
    match found {
        Some(_) if test => Ok(Value::Bool(true)),
        Some(value) if optional => value.map(Value::some),
        Some(value) => value,
        None if test => Ok(Value::Bool(false)),
        None if optional => Ok(Value::none()),
        None => Err(EvalError::NoSuchKey(name.to_owned())),
    }
}

fn literal_value<'a>(literal: &Literal) -> Value<'a> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::String(Text::Shared(text.clone())),
        Literal::Bytes(bytes) => Value::Bytes(bytes.clone()),
    }
}
