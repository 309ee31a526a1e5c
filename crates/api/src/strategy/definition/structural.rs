//! Structural schemas: every field is specified outside of `allOf`, `anyOf`, `oneOf` and `not`, which only narrow it.

use knarr_json::{Value, json};

use crate::{
    custom::pattern::Pattern,
    field::{Error, Errors},
    validation::{At, is_empty, list},
};

/// The first keyword that no structural schema can have.
pub fn unsupported(schema: &Value) -> Option<String> {
    let mut found = None;
    super::spec::each_schema(schema, &mut |s| {
        if found.is_none() {
            found = unsupported_here(s);
        }
    });
    found
}

fn unsupported_here(schema: &Value) -> Option<String> {
    let named = [
        ("id", "id"),
        ("$schema", "schema"),
        ("$ref", "$ref"),
        ("patternProperties", "patternProperties"),
        ("dependencies", "dependencies"),
        ("additionalItems", "additionalItems"),
        ("definitions", "definitions"),
    ];
    if let Some((_, name)) = named.iter().find(|(key, _)| match &schema[*key] {
        Value::Bool(_) => true,
        value => !is_empty(value),
    }) {
        return Some(format!("OpenAPIV3Schema '{name}' is not supported"));
    }
    if !list(&schema["items"]).is_empty() {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".into());
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        return Some(
            "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined"
                .into(),
        );
    }
    None
}

/// Where in a schema a node is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What keeps a schema from being structural, sorted.
pub fn validate(schema: &At) -> Errors {
    let mut errors = Errors::new();
    node(schema, Level::Root, &mut errors);
    complete(schema, schema, &schema.path.clone(), &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

fn node(schema: &At, level: Level, errors: &mut Errors) {
    let items = schema.get("items");
    if schema.text("type") == "array" && !items.v.is_object() {
        errors.push(items.required("must be specified"));
    }
    if items.v.is_object() {
        node(&items, Level::Item, errors);
    }
    for (_, property) in schema.get("properties").entries() {
        node(&property, Level::Field, errors);
    }
    if let Some(additional) = schema.some("additionalProperties") {
        if level == Level::Root {
            errors.push(additional.forbidden("must not be used at the root"));
        }
        if additional.v.is_object() {
            node(&additional, Level::Field, errors);
        }
    }
    extensions(schema, errors);
    narrowing(
        schema,
        is_int_or_string(&schema.v["anyOf"]),
        first_all_of(schema.v),
        errors,
    );
    kind(schema, level, errors);
    resource(schema, level, errors);
}

fn extensions(schema: &At, errors: &mut Errors) {
    if !schema.flag("x-kubernetes-int-or-string") {
        return;
    }
    for key in [
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
    ] {
        if schema.flag(key) {
            errors.push(
                schema
                    .get(key)
                    .invalid("must be false if x-kubernetes-int-or-string is true"),
            );
        }
    }
}

fn kind(schema: &At, level: Level, errors: &mut Errors) {
    let kind = schema.get("type");
    let embedded = schema.flag("x-kubernetes-embedded-resource");
    let open = schema.flag("x-kubernetes-int-or-string")
        || schema.flag("x-kubernetes-preserve-unknown-fields");
    if embedded && kind.str() != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if kind.str().is_empty() {
            kind.required(why)
        } else {
            kind.invalid(why)
        });
    } else if kind.str().is_empty() && !open {
        errors.push(kind.required(match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        }));
    }
    if embedded && schema.has("additionalProperties") {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(schema.get("additionalProperties").forbidden(why));
    }
    if level == Level::Root && !["", "object"].contains(&kind.str()) {
        errors.push(kind.invalid("must be object at the root"));
    }
}

fn resource(schema: &At, level: Level, errors: &mut Errors) {
    let embedded = schema.flag("x-kubernetes-embedded-resource");
    let resource = level == Level::Root || embedded;
    let properties = schema.get("properties");
    let is = |name: &str, wanted: &str, errors: &mut Errors| {
        let Some(property) = properties.v.get(name).filter(|_| resource) else {
            return;
        };
        let found = property["type"].as_str().unwrap_or_default();
        if found != wanted {
            let path = properties.path.key(name).child("type");
            errors.push(Error::invalid(&path, found, format!("must be {wanted}")));
        }
    };
    is("kind", "string", errors);
    is("apiVersion", "string", errors);
    is("metadata", "object", errors);
    if level == Level::Root
        && let Some(metadata) = properties.v.get("metadata")
        && !only_names(metadata)
    {
        errors.push(Error::forbidden(&properties.path.key("metadata"), "must not specify anything other than name and generateName, but metadata is implicitly specified"));
    }
    let open = schema.flag("x-kubernetes-preserve-unknown-fields");
    if embedded && !open && is_empty(properties.v) {
        errors.push(properties.required("must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"));
    }
}

/// Whether the schema of metadata says nothing but what names look like.
fn only_names(metadata: &Value) -> bool {
    metadata.as_object().is_some_and(|map| {
        map.iter().all(|(key, value)| match key.as_str() {
            "type" | "default" => true,
            "properties" => value
                .as_object()
                .is_some_and(|p| p.keys().all(|k| k == "name" || k == "generateName")),
            _ => is_empty(value) || *value == false,
        })
    })
}

/// `anyOf: [{type: integer}, {type: string}]`, which may say types.
fn is_int_or_string(any_of: &Value) -> bool {
    *any_of == json!([{"type": "integer"}, {"type": "string"}])
}

fn first_all_of(schema: &Value) -> bool {
    list(&schema["allOf"])
        .first()
        .is_some_and(|first| is_int_or_string(&first["anyOf"]))
}

/// Checks what narrows a node.
fn narrowing(schema: &At, skip_any_of: bool, skip_first: bool, errors: &mut Errors) {
    if !skip_any_of {
        schema
            .items("anyOf")
            .for_each(|s| nested(&s, false, errors));
    }
    for (i, each) in schema.items("allOf").enumerate() {
        nested(&each, skip_first && i == 0, errors);
    }
    schema
        .items("oneOf")
        .for_each(|s| nested(&s, false, errors));
    if let Some(not) = schema.some("not") {
        nested(&not, false, errors);
    }
    let pattern = schema.get("pattern");
    if let Some(why) = Pattern::compile(pattern.str())
        .as_ref()
        .and_then(Pattern::error)
    {
        errors.push(pattern.invalid(format!(
            "must be a valid regular expression, but isn't: {why}"
        )));
    }
}

fn nested(schema: &At, skip_any_of: bool, errors: &mut Errors) {
    narrowing(schema, skip_any_of, false, errors);
    if let Some(items) = schema.some("items") {
        nested(&items, false, errors);
    }
    for (_, property) in schema.get("properties").entries() {
        nested(&property, false, errors);
    }
    let mut forbid = |key: &str, present: bool, what: &str| {
        if present {
            let why = format!("must be {what} to be structural");
            errors.push(schema.get(key).forbidden(why));
        }
    };
    let filled = |key: &str| !is_empty(schema.get(key).v);
    forbid("type", filled("type"), "empty");
    forbid(
        "additionalProperties",
        schema.has("additionalProperties"),
        "undefined",
    );
    forbid("default", schema.has("default"), "undefined");
    forbid("title", filled("title"), "empty");
    forbid("description", filled("description"), "empty");
    forbid("externalDocs", schema.has("externalDocs"), "undefined");
    for key in [
        "nullable",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
    ] {
        forbid(key, schema.flag(key), "false");
    }
    forbid(
        "x-kubernetes-list-map-keys",
        filled("x-kubernetes-list-map-keys"),
        "empty",
    );
    forbid(
        "x-kubernetes-list-type",
        schema.has("x-kubernetes-list-type"),
        "undefined",
    );
    forbid(
        "x-kubernetes-map-type",
        schema.has("x-kubernetes-map-type"),
        "undefined",
    );
    forbid(
        "x-kubernetes-validations",
        filled("x-kubernetes-validations"),
        "empty",
    );
    if schema.v["properties"].get("metadata").is_some() {
        let path = schema.path.child("properties").key("metadata");
        errors.push(Error::forbidden(
            &path,
            "must not be specified in a nested context",
        ));
    }
}

/// What narrows fields must be about fields that are specified. `spine` is the node that `narrowing` narrows.
fn complete(spine: &At, narrowing: &At, shown: &crate::field::Path, errors: &mut Errors) {
    if let Some(not) = narrowing.some("not") {
        complete_nested(spine, &not, &shown.child("not"), errors);
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        for (i, each) in narrowing.items(key).enumerate() {
            complete_nested(spine, &each, &shown.child(key).index(i), errors);
        }
    }
}

fn complete_nested(spine: &At, nested: &At, shown: &crate::field::Path, errors: &mut Errors) {
    complete(spine, nested, shown, errors);
    let missing = |path: &crate::field::Path, shown: &crate::field::Path| {
        Error::required(path, format!("because it is defined in {shown}"))
    };
    if let Some(items) = nested.some("items") {
        let (spine, shown) = (spine.get("items"), shown.child("items"));
        if spine.v.is_object() {
            complete_nested(&spine, &items, &shown, errors);
        } else {
            errors.push(missing(&spine.path, &shown));
        }
    }
    for (name, property) in nested.get("properties").entries() {
        let shown = shown.child("properties").key(name);
        let path = spine.path.child("properties").key(name);
        match spine.v["properties"].get(name) {
            Some(found) => complete_nested(&At { v: found, path }, &property, &shown, errors),
            None => errors.push(missing(&path, &shown)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(schema: Value) -> Vec<String> {
        validate(&At::new(&schema, "s"))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn structure_is_demanded() {
        assert_eq!(
            errors(
                json!({"properties": {"spec": {"type": "object", "anyOf": [{"properties": {"a": {"description": "x"}}}]}}})
            ),
            [
                "s.properties[spec].anyOf[0].properties[a].description: Forbidden: must be empty to be structural",
                "s.type: Required value: must not be empty at the root",
            ]
        );
        assert_eq!(
            errors(json!({"type": "object", "anyOf": [{"properties": {"a": {"minimum": 1}}}]})),
            ["s.properties[a]: Required value: because it is defined in s.anyOf[0].properties[a]"]
        );
        assert!(errors(json!({"type": "object", "properties": {"port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}}})).is_empty());
        assert_eq!(
            unsupported(&json!({"properties": {"a": {"$ref": "#"}}})).unwrap(),
            "OpenAPIV3Schema '$ref' is not supported"
        );
    }
}
