//! Applying the rules of a schema to objects.

use std::{collections::BTreeMap, sync::Arc};

use knarr_json::Value as Json;

use super::{
    Reason, Rule, Violation,
    compile::{Compiled, compiled},
    flag, list_correlates, map_correlates,
};
use crate::{Activation, Budget, EvalError, Program, Schema, Value, escape};

/// Messages that expressions make are no longer, in bytes.
const LONGEST_MESSAGE: usize = 5 * 1024;
const NO_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// All rules of one schema, compiled.
#[derive(Debug)]
pub struct Validator {
    root: Node,
}

/// The rules of a schema node and of what is below it.
#[derive(Debug)]
struct Node {
    schema: Arc<Schema>,
    /// `object`, `array`, …
    kind: String,
    rules: Vec<Compiled>,
    all_of: Vec<Node>,
    properties: BTreeMap<String, Node>,
    element: Option<Box<Node>>,
    /// Keys of a map-like list; none if elements cannot be found in the old list.
    keys: Option<Vec<String>>,
    map_correlates: bool,
}

impl Validator {
    /// Compiles the rules of a schema; none if it has no rules. What does not compile is reported when values are validated.
    pub fn new(schema: &Json) -> Option<Validator> {
        let declared = Schema::new(schema, true, "selfType");
        node(schema, schema, &declared).map(|root| Validator { root })
    }

    /// The rules of a part of a resource's schema, to be applied to values of that part.
    pub fn of_part(schema: &Json) -> Option<Validator> {
        let resource = flag(schema, "x-kubernetes-embedded-resource");
        let declared = Schema::new(schema, resource, "selfType");
        node(schema, schema, &declared).map(|root| Validator { root })
    }

    /// What the rules say against `object`. `old` is the object before, if there was one: rules that use `oldSelf` run only then.
    /// The whole costs no more than the budget ([`crate::budget::PER_REQUEST`]).
    /// Violations in parts that have not changed come as the second list: they are warnings.
    pub fn validate(
        &self,
        path: &str,
        object: &Json,
        old: Option<&Json>,
        budget: &mut Budget,
    ) -> (Vec<Violation>, Vec<Violation>) {
        let mut run = Run {
            errors: Vec::new(),
            warnings: Vec::new(),
            budget,
            stopped: false,
        };
        let same = Same {
            here: old,
            above: false,
            is_root: true,
        };
        run.node(&self.root, path, object, old, same);
        (run.errors, run.warnings)
    }
}

/// `rules` may be a part of `schema` that only adds rules (`allOf`).
fn node(rules: &Json, schema: &Json, declared: &Arc<Schema>) -> Option<Node> {
    let own: Vec<Compiled> = match declared.ty() {
        Some(_) => Rule::of(rules)
            .into_iter()
            .map(|r| compiled(r, schema, declared))
            .collect(),
        None => Vec::new(),
    };
    let mut properties = BTreeMap::new();
    for (name, below) in rules
        .get("properties")
        .and_then(Json::as_object)
        .into_iter()
        .flatten()
    {
        let Some(spine) = schema.get("properties").and_then(|p| p.get(name)) else {
            continue;
        };
        let known = declared.property(name).cloned();
        let typed = match (known, escape(name)) {
            (Some(known), _) => known,
            (None, None) => Schema::new(
                spine,
                flag(spine, "x-kubernetes-embedded-resource"),
                "selfType",
            ),
            (None, Some(_)) => continue,
        };
        if let Some(node) = node(below, spine, &typed) {
            properties.insert(name.to_string(), node);
        }
    }
    let element = ["items", "additionalProperties"]
        .into_iter()
        .find_map(|name| {
            let below = rules.get(name).filter(|b| b.is_object())?;
            node(below, schema.get(name)?, declared.element()?).map(Box::new)
        });
    let parts = rules.get("allOf").and_then(Json::as_array);
    let all_of: Vec<Node> = parts
        .into_iter()
        .flatten()
        .filter_map(|part| node(part, schema, declared))
        .collect();
    if own.is_empty() && properties.is_empty() && element.is_none() && all_of.is_empty() {
        return None;
    }
    let keys = schema
        .get("x-kubernetes-list-map-keys")
        .and_then(Json::as_array);
    let keys = keys
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .map(str::to_owned);
    Some(Node {
        schema: declared.clone(),
        kind: schema
            .get("type")
            .and_then(Json::as_str)
            .unwrap_or("")
            .to_owned(),
        rules: own,
        all_of,
        properties,
        element,
        keys: list_correlates(schema).then(|| keys.collect()),
        map_correlates: map_correlates(schema),
    })
}

/// The old value that errors are held against: what was wrong before, and has not changed, may stay.
#[derive(Clone, Copy)]
struct Same<'a> {
    /// The old value of this place, if it can be found.
    here: Option<&'a Json>,
    /// Whether what surrounds this place, and could be found, is the same as before.
    above: bool,
    is_root: bool,
}

impl<'a> Same<'a> {
    fn is_same(&self, object: &Json) -> bool {
        match self.here {
            Some(old) => old == object,
            None => self.above,
        }
    }

    fn below(&self, object: &Json, old: Option<&'a Json>) -> Same<'a> {
        match self.here {
            Some(_) => Same {
                here: old,
                above: self.is_same(object),
                is_root: false,
            },
            None => Same {
                is_root: false,
                ..*self
            },
        }
    }
}

struct Run<'b> {
    errors: Vec<Violation>,
    warnings: Vec<Violation>,
    budget: &'b mut Budget,
    stopped: bool,
}

fn child(path: &str, name: &str) -> String {
    match path.is_empty() {
        true => name.to_owned(),
        false => format!("{path}.{name}"),
    }
}

impl Run<'_> {
    fn node<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        object: &'a Json,
        old: Option<&'a Json>,
        same: Same<'a>,
    ) {
        if self.stopped || object.is_null() {
            return;
        }
        self.rules(node, path, object, old.filter(|o| !o.is_null()), same);
        for part in &node.all_of {
            let same = Same { here: None, ..same };
            self.node(part, path, object, old, same);
        }
        match object {
            Json::Array(values) => self.list(node, path, (object, values), old, same),
            Json::Object(entries) => self.map(node, path, (object, entries), old, same),
            _ => {}
        }
    }

    fn list<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        (object, values): (&'a Json, &'a [Json]),
        old: Option<&'a Json>,
        same: Same<'a>,
    ) {
        let Some(element) = &node.element else {
            return;
        };
        for (i, value) in values.iter().enumerate() {
            let find = |list: Option<&'a Json>| {
                let keys = node.keys.as_ref()?;
                let key = |v: &Json| keys.iter().map(|k| v.get(k).cloned()).collect::<Vec<_>>();
                let wanted = key(value);
                list?.as_array()?.iter().find(|v| key(v) == wanted)
            };
            let same = same.below(object, find(same.here));
            self.node(element, &format!("{path}[{i}]"), value, find(old), same);
        }
    }

    fn map<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        (object, entries): (&'a Json, &'a knarr_json::Map),
        old: Option<&'a Json>,
        same: Same<'a>,
    ) {
        for (name, value) in entries {
            let below = node.properties.get(name.as_str());
            let (below, path) = match (below, &node.element) {
                (Some(below), _) => (below, child(path, name)),
                (None, Some(element)) => (&**element, format!("{path}[{name}]")),
                (None, None) => continue,
            };
            let find = |map: Option<&'a Json>| {
                map.and_then(|m| m.get(name))
                    .filter(|_| node.map_correlates)
            };
            let same = match same.is_root && matches!(name.as_str(), "apiVersion" | "kind") {
                true => Same {
                    here: None,
                    above: false,
                    is_root: false,
                },
                false => same.below(object, find(same.here)),
            };
            self.node(below, &path, value, find(old), same);
        }
    }

    fn rules<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        object: &'a Json,
        old: Option<&'a Json>,
        same: Same<'a>,
    ) {
        if node.rules.is_empty() {
            return;
        }
        if self.budget.is_exhausted() {
            return self.stop(node, path, NO_BUDGET.to_owned());
        }
        for rule in &node.rules {
            if self.stopped {
                return;
            }
            match &rule.program {
                Some(Ok(program))
                    if !rule.uses_old_self || old.is_some() || rule.rule.is_optional() =>
                {
                    self.rule(node, rule, program, path, object, old, same);
                }
                Some(Err(why)) => {
                    let value = Some(Json::from(node.kind.as_str()));
                    let detail = format!("rule compile error: {why}");
                    self.errors
                        .push(Violation::new(path, Reason::Invalid, value, detail));
                }
                _ => {}
            }
        }
    }

    /// Nothing more is run.
    fn stop(&mut self, node: &Node, path: &str, detail: String) {
        let value = Some(Json::from(node.kind.as_str()));
        self.errors
            .push(Violation::new(path, Reason::Invalid, value, detail));
        self.stopped = true;
    }

    #[allow(clippy::too_many_arguments)]
    fn rule<'a>(
        &mut self,
        node: &'a Node,
        compiled: &Compiled,
        program: &Program,
        path: &str,
        object: &'a Json,
        old: Option<&'a Json>,
        same: Same<'a>,
    ) {
        let activation = activation(node, compiled, object, old);
        let answer = program.evaluate(&activation, self.budget);
        if self.budget.is_exhausted() {
            return self.stop(node, path, NO_BUDGET.to_owned());
        }
        let rule = &compiled.rule;
        let error = match answer {
            Ok(Value::Bool(true)) => return,
            Ok(_) => None,
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            return self.failed(node, rule, path, &error);
        }
        let Some(message) = self.message(node, compiled, path, &activation) else {
            return;
        };
        let message = message.unwrap_or_else(|| match rule.message.is_empty() {
            true => format!("failed rule: {}", rule.rule.trim()),
            false => rule.message.trim().to_owned(),
        });
        let path = match &compiled.field_path {
            Some(below) => child(path, below),
            None => path.to_owned(),
        };
        let simple = !matches!(node.kind.as_str(), "object" | "array");
        let value = simple.then(|| object.clone());
        let violation = match rule.reason.as_deref() {
            Some("FieldValueForbidden") => Violation::new(&path, Reason::Forbidden, None, message),
            Some("FieldValueRequired") => Violation::new(&path, Reason::Required, None, message),
            Some("FieldValueDuplicate") => Violation::new(&path, Reason::Duplicate, value, ""),
            _ => Violation::new(&path, Reason::Invalid, value, message),
        };
        match !compiled.uses_old_self && same.is_same(object) {
            true => self.warnings.push(violation),
            false => self.errors.push(violation),
        }
    }

    fn failed(&mut self, node: &Node, rule: &Rule, path: &str, error: &EvalError) {
        let value = Some(Json::from(node.kind.as_str()));
        let shown = rule.shown();
        let detail = match error {
            EvalError::CostLimit => {
                let detail = format!(
                    "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {shown}"
                );
                return self.stop(node, path, detail);
            }
            EvalError::NoSuchOverload | EvalError::NoSuchOverloadOf(_) => format!(
                "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {shown}"
            ),
            _ => format!("{error} evaluating rule: {shown}"),
        };
        self.errors
            .push(Violation::new(path, Reason::Invalid, value, detail));
    }

    /// What the rule's message expression says, if it says something; none if nothing more may run.
    fn message(
        &mut self,
        node: &Node,
        compiled: &Compiled,
        path: &str,
        activation: &Activation<'_>,
    ) -> Option<Option<String>> {
        let Some(Ok(program)) = &compiled.message else {
            return Some(None);
        };
        let answer = program.evaluate(activation, self.budget);
        if self.budget.is_exhausted() {
            let detail = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run";
            self.stop(node, path, detail.to_owned());
            return None;
        }
        if let Err(EvalError::CostLimit) = answer {
            let source = Json::from(program.source());
            let detail = format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {source}"
            );
            self.stop(node, path, detail);
            return None;
        }
        let text = answer
            .ok()
            .and_then(|v| v.as_str().map(|t| t.trim().to_owned()));
        let good = |t: &String| !t.is_empty() && t.len() <= LONGEST_MESSAGE && !t.contains('\n');
        Some(text.filter(good))
    }
}

fn activation<'a>(
    node: &'a Node,
    compiled: &Compiled,
    object: &'a Json,
    old: Option<&'a Json>,
) -> Activation<'a> {
    let schema = &*node.schema;
    let activation = Activation::new().with("self", Value::typed(object, schema));
    let old = old.map(|old| Value::typed(old, schema));
    match (compiled.rule.is_optional(), old) {
        (true, Some(old)) => activation.with("oldSelf", old.map(Value::some)),
        (true, None) => activation.with("oldSelf", Ok(Value::none())),
        (false, Some(old)) => activation.with("oldSelf", old),
        (false, None) => activation,
    }
}
