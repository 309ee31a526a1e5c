//! Every keyword of a schema, node by node: which are allowed, where, and together with which.

use knarr_json::Value;

use super::{lists, schema as whole, spec::Leniency};
use crate::{
    field::Errors,
    validation::{At, has, list},
};

const META: [&str; 3] = ["metadata", "kind", "apiVersion"];

/// A walk down a schema, and what it knows of where it is.
#[derive(Clone)]
pub struct Walk<'l> {
    lenient: &'l Leniency,
    /// Why no default may be given here.
    no_defaults: Option<String>,
    /// Inside type or metadata of a resource.
    meta: bool,
}

impl<'l> Walk<'l> {
    pub fn new(lenient: &'l Leniency) -> Self {
        Walk {
            lenient,
            no_defaults: None,
            meta: false,
        }
    }

    /// Checks a schema and all below it.
    pub fn schema(&self, schema: &At, root: bool, errors: &mut Errors) {
        if !schema.v.is_object() {
            return;
        }
        self.keywords(schema, errors);
        if schema.flag("uniqueItems") {
            errors.push(schema.get("uniqueItems").forbidden(
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            ));
        }
        self.additional(schema, errors);
        self.properties(schema, root, errors);
        self.schema(&schema.get("not"), false, errors);
        for key in ["allOf", "oneOf", "anyOf"] {
            for each in schema.items(key) {
                self.schema(&each, false, errors);
            }
        }
        self.keyed(&schema.get("definitions"), errors);
        let items = schema.get("items");
        match items.v {
            Value::Array(_) => items.each().for_each(|i| self.schema(&i, false, errors)),
            _ => self.schema(&items, false, errors),
        }
        self.keyed(&schema.get("dependencies"), errors);
        self.extensions(schema, errors);
        whole::validate_rules(schema, errors);
    }

    fn keyed(&self, schemas: &At, errors: &mut Errors) {
        for (_, schema) in schemas.entries() {
            self.schema(&schema, false, errors);
        }
    }

    fn keywords(&self, schema: &At, errors: &mut Errors) {
        if self.lenient.types {
            whole::kind(schema, errors);
        }
        if let Some(reason) = &self.no_defaults
            && schema.has("default")
        {
            let why = format!("must not be set {reason}");
            errors.push(schema.get("default").forbidden(why));
        }
        let mut unsupported = |key: &str, present: bool| {
            if present {
                errors.push(schema.get(key).forbidden(format!("{key} is not supported")));
            }
        };
        unsupported("id", !schema.text("id").is_empty());
        unsupported("additionalItems", schema.has("additionalItems"));
        let filled = |key: &str| schema.v[key].as_object().is_some_and(|m| !m.is_empty());
        unsupported("patternProperties", filled("patternProperties"));
        unsupported("definitions", filled("definitions"));
        unsupported("dependencies", schema.has("dependencies"));
        unsupported("$ref", schema.has("$ref"));
        if schema.text("type") == "null" {
            errors.push(
                schema
                    .get("type")
                    .forbidden("type cannot be set to null, use nullable as an alternative"),
            );
        }
        if !list(&schema.v["items"]).is_empty() {
            errors.push(
                schema
                    .get("items")
                    .forbidden("items must be a schema object and not an array"),
            );
        }
        if self.meta && schema.flag("x-kubernetes-embedded-resource") {
            errors.push(
                schema
                    .get("x-kubernetes-embedded-resource")
                    .forbidden("must not be used inside of resource meta"),
            );
        }
    }

    fn additional(&self, schema: &At, errors: &mut Errors) {
        let Some(additional) = schema.some("additionalProperties") else {
            return;
        };
        let named = schema.v["properties"]
            .as_object()
            .is_some_and(|p| !p.is_empty());
        if named && *additional.v != true {
            errors.push(
                additional.forbidden("additionalProperties and properties are mutual exclusive"),
            );
        }
        let mut below = self.clone();
        if self.meta {
            below.no_defaults =
                Some("inside additionalProperties applying to object metadata".into());
        }
        below.schema(&additional, false, errors);
    }

    fn properties(&self, schema: &At, root: bool, errors: &mut Errors) {
        let resource = root || schema.flag("x-kubernetes-embedded-resource");
        for (name, property) in schema.get("properties").entries() {
            let mut below = self.clone();
            if resource && META.contains(&name) {
                below.meta = true;
                if root {
                    below.no_defaults = Some(format!("in top-level {name}"));
                }
            }
            below.schema(&property, false, errors);
        }
    }

    fn extensions(&self, schema: &At, errors: &mut Errors) {
        let preserve = schema.get("x-kubernetes-preserve-unknown-fields");
        if *preserve.v == false && has(schema.v, "x-kubernetes-preserve-unknown-fields") {
            errors.push(preserve.invalid("must be true or undefined"));
        }
        typed(schema, "x-kubernetes-map-type", "object", errors);
        one_of(
            schema,
            "x-kubernetes-map-type",
            &["atomic", "granular"],
            errors,
        );
        let right = typed(schema, "x-kubernetes-list-type", "array", errors);
        if right && self.lenient.atomic_sets {
            lists::sets(schema, errors);
        }
        one_of(
            schema,
            "x-kubernetes-list-type",
            &["atomic", "set", "map"],
            errors,
        );
        lists::maps(schema, errors);
        if self.lenient.map_keys {
            lists::keys(schema, errors);
        }
    }
}

/// Whether a schema with this keyword has the type that it is for.
fn typed(schema: &At, keyword: &str, wanted: &str, errors: &mut Errors) -> bool {
    let kind = schema.get("type");
    if !schema.has(keyword) || kind.str() == wanted {
        return true;
    }
    let why = format!("must be {wanted} if {keyword} is specified");
    errors.push(if kind.str().is_empty() {
        kind.required(&why)
    } else {
        kind.invalid(why)
    });
    false
}

fn one_of(schema: &At, keyword: &str, known: &[&str], errors: &mut Errors) {
    let value = schema.get(keyword);
    if schema.has(keyword) && !known.contains(&value.str()) {
        errors.push(value.not_supported(known));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;
    use knarr_json::json;

    #[test]
    fn paths_name_the_keyword() {
        let lenient = Leniency {
            structural: true,
            types: true,
            pruned_defaults: true,
            atomic_sets: true,
            map_keys: true,
        };
        let schema = json!({"type": "object", "properties": {"apiVersion": {"type": "string", "default": "x"}, "a": {"type": "text"}, "l": {"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}}}});
        let mut errors = Errors::new();
        Walk::new(&lenient).schema(
            &At {
                v: &schema,
                path: Path::new("s"),
            },
            true,
            &mut errors,
        );
        let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "s.properties[a].type: Unsupported value: \"text\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
                "s.properties[apiVersion].default: Forbidden: must not be set in top-level apiVersion",
                "s.properties[l].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
            ]
        );
    }
}
