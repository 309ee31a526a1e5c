//! Custom resources in OpenAPI documents.

use knarr_json::{Map, Value, json};

use super::{Definition, Version};
use crate::schema::words::of_every_kind;

/// Which document a schema is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    V2,
    V3,
}

/// `com.example.v1.Widget`: the group turned around.
pub fn name(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.split('.').collect();
    parts.reverse();
    format!("{}.{version}.{kind}", parts.join("."))
}

/// The schema of a resource.
pub fn kind(
    definition: &Definition,
    version: &Version,
    flavor: Flavor,
    link: &dyn Fn(&str) -> Value,
) -> Value {
    let mut out = body(definition, version, flavor, link);
    out["x-kubernetes-group-version-kind"] =
        json!([{"group": definition.group, "kind": definition.kind, "version": version.name}]);
    out
}

fn body(
    definition: &Definition,
    version: &Version,
    flavor: Flavor,
    link: &dyn Fn(&str) -> Value,
) -> Value {
    // A schema that keeps everything is not told to clients of v2: they would refuse what it does not name.
    let open = definition.preserve || version.schema.preserve;
    let mut out: Value = serde_json::from_str(&version.written).unwrap_or_default();
    if !out.is_object() || (flavor == Flavor::V2 && open) {
        return json!({"type": "object"});
    }
    if flavor == Flavor::V2 {
        to_v2(&mut out);
    }
    embed(&mut out, flavor, link);
    type_and_metadata(&mut out, flavor, link);
    out
}

/// The schema of a list of resources.
pub fn list(
    definition: &Definition,
    version: &Version,
    list_kind: &str,
    item: Value,
    link: &dyn Fn(&str) -> Value,
) -> Value {
    let described = |of: &str, text: &str| with_description(link(of), text);
    json!({
        "description": format!("A list of {}.", plural_of(definition)),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": of_every_kind("apiVersion"), "type": "string"},
            "items": {"description": format!("The {} of this list.", plural_of(definition)), "type": "array", "items": item},
            "kind": {"description": of_every_kind("kind"), "type": "string"},
            "metadata": described("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta", "Revision of the list, and how it goes on."),
        },
        "x-kubernetes-group-version-kind": [{"group": definition.group, "kind": list_kind, "version": version.name}],
    })
}

fn plural_of(definition: &Definition) -> &str {
    definition.name.split('.').next().unwrap_or_default()
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

fn with_description(link: Value, text: &str) -> Value {
    let mut link = link;
    if link.get("$ref").is_some()
        && link.as_object().is_some_and(|m| m.len() == 1)
        && text.is_empty()
    {
        return link;
    }
    link["description"] = text.into();
    link
}

fn type_and_metadata(schema: &mut Value, flavor: Flavor, link: &dyn Fn(&str) -> Value) {
    let properties = properties(schema);
    properties.insert(
        "apiVersion",
        json!({"description": of_every_kind("apiVersion"), "type": "string"}),
    );
    properties.insert(
        "kind",
        json!({"description": of_every_kind("kind"), "type": "string"}),
    );
    let words = of_every_kind("metadata");
    let metadata = match flavor {
        Flavor::V2 => with_description(link(OBJECT_META), words),
        Flavor::V3 => json!({"allOf": [link(OBJECT_META)], "description": words}),
    };
    properties.insert("metadata", metadata);
}

fn properties(schema: &mut Value) -> &mut Map {
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    match &mut schema["properties"] {
        Value::Object(map) => map,
        _ => unreachable!("just made an object"),
    }
}

/// Adds to resources inside the resource what every resource has.
fn embed(schema: &mut Value, flavor: Flavor, link: &dyn Fn(&str) -> Value) {
    each_child(schema, &mut |child| embed(child, flavor, link));
    let is = |key: &str| schema[key] == true;
    if flavor == Flavor::V2 && is("x-kubernetes-preserve-unknown-fields") {
        return;
    }
    if is("x-kubernetes-embedded-resource") {
        type_and_metadata(schema, flavor, link);
    }
}

/// Takes away what OpenAPI 2, and clients that validate by it, cannot express.
fn to_v2(schema: &mut Value) {
    let nullable: Vec<String> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, p)| p["nullable"] == true)
        .map(|(name, _)| name.to_string())
        .collect();
    each_child(schema, &mut to_v2);
    let Some(map) = schema.as_object_mut() else {
        return;
    };
    for key in ["allOf", "oneOf", "anyOf", "not"] {
        map.remove(key);
    }
    if let Some(required) = map.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|r| !nullable.iter().any(|n| r == n));
        if required.is_empty() {
            map.remove("required");
        }
    }
    let is = |map: &Map, key: &str| map.get(key) == Some(&Value::Bool(true));
    if is(map, "nullable") {
        for key in ["type", "nullable", "items", "properties"] {
            map.remove(key);
        }
    }
    if is(map, "x-kubernetes-preserve-unknown-fields") {
        map.remove("items");
        map.remove("properties");
        if map.get("type").is_some_and(|t| t == "object") {
            map.remove("type");
        }
    }
    if !map.contains_key("items") && map.get("type").is_some_and(|t| t == "array") {
        map.remove("type");
    }
}

fn each_child(schema: &mut Value, work: &mut dyn FnMut(&mut Value)) {
    let Some(map) = schema.as_object_mut() else {
        return;
    };
    for key in ["items", "additionalProperties"] {
        if let Some(child) = map.get_mut(key).filter(|c| c.is_object()) {
            work(child);
        }
    }
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_what_clients_can_use() {
        let crd = json!({"metadata": {"name": "widgets.e.com"}, "spec": {"group": "e.com", "names": {"kind": "Widget"}, "versions": [
            {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "required": ["a", "b"], "properties": {
                    "a": {"type": "string", "nullable": true}, "b": {"type": "string", "anyOf": [{"pattern": "x"}]},
                    "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"z": {"type": "string"}}}}}}}}}]}});
        let definition = Definition::compile(&crd);
        let link = |name: &str| json!({"$ref": format!("#/definitions/{name}")});
        let v2 = kind(&definition, &definition.versions[0], Flavor::V2, &link);
        assert_eq!(
            v2["properties"]["spec"],
            json!({"type": "object", "required": ["b"], "properties": {"a": {}, "b": {"type": "string"}, "open": {"x-kubernetes-preserve-unknown-fields": true}}})
        );
        let v3 = kind(&definition, &definition.versions[0], Flavor::V3, &link);
        assert_eq!(
            v3["properties"]["spec"]["properties"]["a"]["nullable"],
            true
        );
        assert_eq!(v3["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
        assert_eq!(
            name("stable.e.com", "v1", "Widget"),
            "com.e.stable.v1.Widget"
        );
    }
}
