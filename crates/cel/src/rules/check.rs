//! What is wrong with the rules of a schema.

use std::sync::Arc;

use knarr_json::Value as Json;

use super::{
    Reason, Rule, Violation,
    compile::{Compiled, compiled},
    flag, list_correlates, map_correlates,
};
use crate::{
    Schema,
    budget::{ESTIMATED_PER_EXPRESSION, ESTIMATED_PER_SCHEMA},
    escape,
};

/// What is wrong with the rules of a CustomResourceDefinition's schema (`openAPIV3Schema`) found at `path`
/// (`spec.validation.openAPIV3Schema`), the total cost included. Where something else is wrong, expressions at and above
/// the place are not looked at: `wrong` has these places.
pub fn check(schema: &Json, path: &str, wrong: &[String]) -> Vec<Violation> {
    let declared = Schema::new(schema, true, "selfType");
    let mut checker = Checker {
        wrong,
        issues: Vec::new(),
        total: 0,
        expensive: Vec::new(),
    };
    let place = Place {
        path: path.to_owned(),
        often: Some(1),
        uncorrelatable: None,
    };
    checker.node(schema, Some(&declared), &place);
    checker.total(path);
    checker.issues
}

/// Where a schema node is.
#[derive(Clone)]
struct Place {
    path: String,
    /// How many such values an object can have; none if there is no limit.
    often: Option<u64>,
    /// The part above in which old values cannot be found.
    uncorrelatable: Option<String>,
}

struct Checker<'w> {
    wrong: &'w [String],
    issues: Vec<Violation>,
    /// The cost of all rules.
    total: u64,
    /// The most expensive expressions.
    expensive: Vec<(String, u64)>,
}

/// So many of them are told.
const TOLD: usize = 4;

impl Checker<'_> {
    fn issue(&mut self, path: &str, reason: Reason, value: Option<Json>, detail: &str) {
        self.issues
            .push(Violation::new(path, reason, value, detail));
    }

    fn node(&mut self, schema: &Json, declared: Option<&Arc<Schema>>, place: &Place) {
        self.children(schema, declared, place);
        let at = |i: usize| format!("{}.x-kubernetes-validations[{i}]", place.path);
        let Some(declared) = declared.filter(|d| d.ty().is_some()) else {
            return;
        };
        if self.wrong.iter().any(|w| is_at_or_below(w, &place.path)) {
            return;
        }
        for (i, rule) in Rule::of(schema).into_iter().enumerate() {
            let compiled = compiled(rule, schema, declared);
            self.compiled(&compiled, declared, place, &at(i));
        }
    }

    fn children(&mut self, schema: &Json, declared: Option<&Arc<Schema>>, place: &Place) {
        let below = |path: String, most: Option<u64>, correlates: bool| Place {
            path,
            often: place.often.zip(most).map(|(a, b)| a.saturating_mul(b)),
            uncorrelatable: match (&place.uncorrelatable, correlates) {
                (None, false) => Some(place.path.clone()),
                (known, _) => known.clone(),
            },
        };
        let limit = |name: &str| schema.get(name).and_then(Json::as_u64);
        let element = declared.and_then(|d| d.element());
        for (name, property) in schema
            .get("properties")
            .and_then(Json::as_object)
            .into_iter()
            .flatten()
        {
            let path = format!("{}.properties[{name}]", place.path);
            let node = declared.and_then(|d| d.property(name));
            // Properties that no expression can name are typed by themselves.
            let own = match (node, escape(name)) {
                (None, None) => Some(Schema::new(
                    property,
                    flag(property, "x-kubernetes-embedded-resource"),
                    "selfType",
                )),
                _ => None,
            };
            let place = below(path, Some(1), map_correlates(schema));
            self.node(property, node.or(own.as_ref()), &place);
        }
        if let Some(items) = schema.get("items").filter(|i| i.is_object()) {
            let path = format!("{}.items", place.path);
            let place = below(path, limit("maxItems"), list_correlates(schema));
            self.node(items, element, &place);
        }
        if let Some(values) = schema.get("additionalProperties").filter(|a| a.is_object()) {
            let path = format!("{}.additionalProperties", place.path);
            let place = below(path, limit("maxProperties"), map_correlates(schema));
            self.node(values, element, &place);
        }
    }

    fn compiled(&mut self, compiled: &Compiled, declared: &Schema, place: &Place, path: &str) {
        let often = place.often.unwrap_or_else(|| declared.most_often());
        let cost = compiled.cost().saturating_mul(often);
        let rule_path = format!("{path}.rule");
        self.cost("estimated rule cost", &rule_path, cost);
        if let Some(Err(why)) = &compiled.program {
            self.of_rule(&rule_path, &compiled.rule, why);
        }
        let message_path = format!("{path}.messageExpression");
        match &compiled.message {
            Some(Err(why)) => self.of_rule(&message_path, &compiled.rule, why),
            Some(Ok(_)) => self.cost(
                "estimated messageExpression cost",
                &message_path,
                compiled.message_cost(),
            ),
            None => {}
        }
        if compiled.uses_old_self {
            if let Some(part) = &place.uncorrelatable {
                let detail = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {part}"
                );
                let value = Some(Json::from(compiled.rule.rule.as_str()));
                self.issue(&rule_path, Reason::Invalid, value, &detail);
            }
        } else if let Some(set) = compiled.rule.optional_old_self {
            let path = format!("{path}.optionalOldSelf");
            let detail = "may not be set if oldSelf is not used in rule";
            self.issue(&path, Reason::Invalid, Some(Json::from(set)), detail);
        }
    }

    fn of_rule(&mut self, path: &str, rule: &Rule, detail: &str) {
        self.issues.push(Violation {
            shown: Some(rule.as_value()),
            ..Violation::new(
                path,
                Reason::Invalid,
                Some(Json::from(rule.rule.as_str())),
                detail,
            )
        });
    }

    fn cost(&mut self, what: &str, path: &str, cost: u64) {
        if cost > ESTIMATED_PER_EXPRESSION {
            let detail = too_expensive(what, cost, ESTIMATED_PER_EXPRESSION);
            self.issue(path, Reason::Forbidden, None, &detail);
        }
        self.total = self.total.saturating_add(cost);
        // Only what is at least a hundredth of the limit is told.
        if cost >= ESTIMATED_PER_SCHEMA / 100 {
            self.expensive.push((path.to_owned(), cost));
            self.expensive
                .sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.expensive.truncate(TOLD);
        }
    }

    fn total(&mut self, path: &str) {
        if self.total <= ESTIMATED_PER_SCHEMA {
            return;
        }
        for (path, _) in std::mem::take(&mut self.expensive) {
            let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            self.issue(&path, Reason::Forbidden, None, detail);
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        let detail = too_expensive(what, self.total, ESTIMATED_PER_SCHEMA);
        self.issue(path, Reason::Forbidden, None, &detail);
    }
}

/// Whether a path leads to `place` or further.
fn is_at_or_below(path: &str, place: &str) -> bool {
    let rest = path.strip_prefix(place);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn too_expensive(what: &str, cost: u64, limit: u64) -> String {
    let times = cost as f64 / limit as f64;
    let factor = if times > 100.0 {
        "more than 100x".to_owned()
    } else if times < 1.5 {
        format!("{times:.6}x")
    } else {
        format!("{times:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
