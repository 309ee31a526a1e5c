//! Defaults in schemas: they must be what the schema itself allows.

use knarr_json::{Map, Value};

use knarr_cel::{Budget, budget, rules::Validator};

use crate::{
    custom::{lists, meta, prune, schema::Schema, validate as values},
    field::{Error, Errors, Path},
    strategy::custom::field_error,
    validation::{At, list},
};

/// Checks the defaults of a structural schema. `pruned` demands that they have no unknown fields.
pub fn validate(schema: &At, pruned: bool) -> Errors {
    let mut errors = Errors::new();
    let walk = Walk { pruned };
    walk.node(
        schema,
        Place::Resource(&Surrounding::new()),
        true,
        &mut errors,
    );
    errors
}

/// Whether all defaults have known fields only.
pub fn are_pruned(schema: &Value) -> bool {
    let mut pruned = true;
    super::spec::each_schema(schema, &mut |s| {
        if let Some(default) = s.get("default").filter(|d| !d.is_null()) {
            let mut copy = default.clone();
            pruned &= prune::prune_value(&mut copy, &Schema::compile(s));
        }
    });
    pruned
}

/// The way from a resource to a value inside its metadata.
#[derive(Clone)]
struct Surrounding(Vec<Step>);

#[derive(Clone)]
enum Step {
    Field(String),
    Index,
}

impl Surrounding {
    fn new() -> Self {
        Surrounding(Vec::new())
    }

    fn below(&self, step: Step) -> Self {
        let mut out = self.clone();
        out.0.push(step);
        out
    }

    /// A resource that has this value there.
    fn resource(&self, value: &Value) -> Value {
        let mut out = self
            .0
            .iter()
            .rev()
            .fold(value.clone(), |inner, step| match step {
                Step::Field(name) => Value::Object(Map::from_iter([(name.clone(), inner)])),
                Step::Index => Value::from(vec![inner]),
            });
        for (key, value) in [("apiVersion", "validation/v1"), ("kind", "Validation")] {
            if out.get(key).is_none() && out.is_object() {
                out[key] = value.into();
            }
        }
        out
    }
}

#[derive(Clone, Copy)]
enum Place<'p> {
    /// Somewhere in a resource, not in its type and metadata.
    Resource(&'p Surrounding),
    /// In type or metadata of a resource.
    Meta(&'p Surrounding),
}

struct Walk {
    pruned: bool,
}

impl Walk {
    fn node(&self, schema: &At, place: Place, root: bool, errors: &mut Errors) {
        let resource = root || schema.flag("x-kubernetes-embedded-resource");
        let fresh = Surrounding::new();
        let place = if resource {
            Place::Resource(&fresh)
        } else {
            place
        };
        if schema.has("default") {
            self.default(schema, place, root, errors);
        }
        let (way, inside) = match place {
            Place::Resource(way) => (way, false),
            Place::Meta(way) => (way, true),
        };
        if let Some(items) = schema.some("items").filter(|i| i.v.is_object()) {
            let below = way.below(Step::Index);
            self.node(&items, placed(&below, inside), false, errors);
        }
        for (name, property) in schema.get("properties").entries() {
            let below = way.below(Step::Field(name.to_owned()));
            let inside = inside || (resource && prune_meta(name));
            self.node(&property, placed(&below, inside), false, errors);
        }
    }

    fn default(&self, schema: &At, place: Place, root: bool, errors: &mut Errors) {
        let default = schema.get("default");
        let mut compiled = Schema::compile(schema.v);
        compiled.embedded |= root;
        compiled.below.embedded |= root;
        if let Place::Meta(way) = place {
            inside_metadata(&default, &compiled, way, errors);
            return;
        }
        let mut value = default.v.clone();
        if self.pruned && !prune::prune_value(&mut value, &compiled) {
            errors.push(default.invalid("must not have unknown fields"));
        }
        let mut value = default.v.clone();
        if let Err(error) =
            meta::coerce_embedded(&default.path, &mut value, &compiled, compiled.embedded)
        {
            errors.push(*error);
            return;
        }
        let found = meta::validate_embedded(&default.path, &value, &compiled, compiled.embedded);
        if !found.is_empty() {
            errors.extend(found);
            return;
        }
        by_schema(&default, schema.v, &compiled, errors);
    }
}

fn placed(way: &Surrounding, inside: bool) -> Place<'_> {
    if inside {
        Place::Meta(way)
    } else {
        Place::Resource(way)
    }
}

fn prune_meta(name: &str) -> bool {
    ["apiVersion", "kind", "metadata"].contains(&name)
}

/// A default in type or metadata of a resource must make a valid one.
fn inside_metadata(default: &At, schema: &Schema, way: &Surrounding, errors: &mut Errors) {
    let mut resource = way.resource(default.v);
    let whole = Schema::default();
    let root = Path::default();
    if let Err(error) = meta::coerce_embedded(&root, &mut resource, &whole, true) {
        errors.push(default.invalid(format!("must result in valid metadata: {error}")));
        return;
    }
    let found = meta::validate_embedded(&root, &resource, &whole, true);
    if !found.is_empty() {
        let all = crate::field::aggregate(&found);
        errors.push(default.invalid(format!("must result in valid metadata: {all}")));
        return;
    }
    errors.extend(values::validate(&default.path, default.v, schema));
}

fn by_schema(default: &At, written: &Value, schema: &Schema, errors: &mut Errors) {
    let mut found = values::validate(&default.path, default.v, schema);
    found.extend(lists::validate(&default.path, default.v, schema));
    if found.is_empty()
        && has_rules(written)
        && let Some(rules) = Validator::of_part(written)
    {
        let mut budget = Budget::new(budget::PER_REQUEST);
        let (violations, _) = rules.validate(default.path.as_str(), default.v, None, &mut budget);
        found.extend(
            violations
                .into_iter()
                .map(field_error)
                .map(|e| Error { ..e }),
        );
    }
    errors.extend(found);
}

fn has_rules(schema: &Value) -> bool {
    let mut found = false;
    super::spec::each_schema(schema, &mut |s| {
        found |= !list(&s["x-kubernetes-validations"]).is_empty();
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn defaults_must_fit_their_schema() {
        let schema = json!({"type": "object", "properties": {
            "count": {"type": "integer", "default": "x"},
            "box": {"type": "object", "required": ["width"], "default": {"height": 3}, "properties": {"width": {"type": "integer"}}}}});
        let shown: Vec<String> = validate(&At::new(&schema, "s"), true)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            shown,
            [
                "s.properties[box].default: Invalid value: {\"height\":3}: must not have unknown fields",
                "s.properties[box].default.width: Required value",
                "s.properties[count].default: Invalid value: \"string\":  in body must be of type integer: \"string\"",
            ]
        );
    }
}
