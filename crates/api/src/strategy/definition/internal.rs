//! Versions and schemas as the original's internal structs, written by Go's encoder: errors show them so.

use knarr_json::Value;

use crate::{go, validation::list};

/// How a field is written.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Flag,
    Number,
    /// As it is, or null.
    Raw,
    Schema,
    Schemas,
    /// Schemas by name.
    Named,
    Items,
    /// A schema or a boolean.
    OrBool,
    /// Schemas or names of properties, by name.
    Dependencies,
    /// A struct with these fields, or null.
    Struct(Fields),
    /// A list of such structs.
    List(Fields),
}

/// Names in Go and in JSON, in Go's order.
type Fields = &'static [(&'static str, &'static str, Form)];

const VERSION: Fields = &[
    ("Name", "name", Form::Text),
    ("Served", "served", Form::Flag),
    ("Storage", "storage", Form::Flag),
    ("Deprecated", "deprecated", Form::Flag),
    ("DeprecationWarning", "deprecationWarning", Form::Raw),
    ("Schema", "schema", Form::Struct(VALIDATION)),
    ("Subresources", "subresources", Form::Struct(SUBRESOURCES)),
    (
        "AdditionalPrinterColumns",
        "additionalPrinterColumns",
        Form::List(COLUMN),
    ),
    (
        "SelectableFields",
        "selectableFields",
        Form::List(SELECTABLE),
    ),
];

const VALIDATION: Fields = &[("OpenAPIV3Schema", "openAPIV3Schema", Form::Schema)];

const SUBRESOURCES: Fields = &[
    ("Status", "status", Form::Struct(&[])),
    ("Scale", "scale", Form::Struct(SCALE)),
];

const SCALE: Fields = &[
    ("SpecReplicasPath", "specReplicasPath", Form::Text),
    ("StatusReplicasPath", "statusReplicasPath", Form::Text),
    ("LabelSelectorPath", "labelSelectorPath", Form::Raw),
];

const COLUMN: Fields = &[
    ("Name", "name", Form::Text),
    ("Type", "type", Form::Text),
    ("Format", "format", Form::Text),
    ("Description", "description", Form::Text),
    ("Priority", "priority", Form::Number),
    ("JSONPath", "jsonPath", Form::Text),
];

const SELECTABLE: Fields = &[("JSONPath", "jsonPath", Form::Text)];

const RULE: Fields = &[
    ("Rule", "rule", Form::Text),
    ("Message", "message", Form::Text),
    ("MessageExpression", "messageExpression", Form::Text),
    ("Reason", "reason", Form::Raw),
    ("FieldPath", "fieldPath", Form::Text),
    ("OptionalOldSelf", "optionalOldSelf", Form::Raw),
];

const SCHEMA: Fields = &[
    ("ID", "id", Form::Text),
    ("Schema", "$schema", Form::Text),
    ("Ref", "$ref", Form::Raw),
    ("Description", "description", Form::Text),
    ("Type", "type", Form::Text),
    ("Nullable", "nullable", Form::Flag),
    ("Format", "format", Form::Text),
    ("Title", "title", Form::Text),
    ("Default", "default", Form::Raw),
    ("Maximum", "maximum", Form::Raw),
    ("ExclusiveMaximum", "exclusiveMaximum", Form::Flag),
    ("Minimum", "minimum", Form::Raw),
    ("ExclusiveMinimum", "exclusiveMinimum", Form::Flag),
    ("MaxLength", "maxLength", Form::Raw),
    ("MinLength", "minLength", Form::Raw),
    ("Pattern", "pattern", Form::Text),
    ("MaxItems", "maxItems", Form::Raw),
    ("MinItems", "minItems", Form::Raw),
    ("UniqueItems", "uniqueItems", Form::Flag),
    ("MultipleOf", "multipleOf", Form::Raw),
    ("Enum", "enum", Form::Raw),
    ("MaxProperties", "maxProperties", Form::Raw),
    ("MinProperties", "minProperties", Form::Raw),
    ("Required", "required", Form::Raw),
    ("Items", "items", Form::Items),
    ("AllOf", "allOf", Form::Schemas),
    ("OneOf", "oneOf", Form::Schemas),
    ("AnyOf", "anyOf", Form::Schemas),
    ("Not", "not", Form::Schema),
    ("Properties", "properties", Form::Named),
    ("AdditionalProperties", "additionalProperties", Form::OrBool),
    ("PatternProperties", "patternProperties", Form::Named),
    ("Dependencies", "dependencies", Form::Dependencies),
    ("AdditionalItems", "additionalItems", Form::OrBool),
    ("Definitions", "definitions", Form::Named),
    (
        "ExternalDocs",
        "externalDocs",
        Form::Struct(&[
            ("Description", "description", Form::Text),
            ("URL", "url", Form::Text),
        ]),
    ),
    ("Example", "example", Form::Raw),
    (
        "XPreserveUnknownFields",
        "x-kubernetes-preserve-unknown-fields",
        Form::Raw,
    ),
    (
        "XEmbeddedResource",
        "x-kubernetes-embedded-resource",
        Form::Flag,
    ),
    ("XIntOrString", "x-kubernetes-int-or-string", Form::Flag),
    ("XListMapKeys", "x-kubernetes-list-map-keys", Form::Raw),
    ("XListType", "x-kubernetes-list-type", Form::Raw),
    ("XMapType", "x-kubernetes-map-type", Form::Raw),
    ("XValidations", "x-kubernetes-validations", Form::List(RULE)),
];

/// The versions of a definition. What `hoisted` names is told of at the top of the spec, and of no version.
pub fn versions(versions: &Value, hoisted: &dyn Fn(&str) -> bool) -> String {
    let shown = list(versions).iter().map(|version| {
        let mut version = version.clone();
        for key in [
            "schema",
            "subresources",
            "additionalPrinterColumns",
            "selectableFields",
        ] {
            if hoisted(key)
                && let Some(map) = version.as_object_mut()
            {
                map.remove(key);
            }
        }
        object(&version, VERSION)
    });
    match versions.is_array() {
        true => format!("[{}]", shown.collect::<Vec<_>>().join(",")),
        false => "null".to_owned(),
    }
}

/// Names of a schema's fields in Go and in JSON, in Go's order.
pub fn keywords() -> impl Iterator<Item = (&'static str, &'static str)> {
    SCHEMA.iter().map(|(name, key, _)| (*name, *key))
}

/// A schema.
pub fn schema(schema: &Value) -> String {
    object(schema, SCHEMA)
}

/// `items`: a schema or many.
pub fn items(items: &Value) -> String {
    match items {
        Value::Null => "null".to_owned(),
        Value::Array(_) => format!(
            "{{\"Schema\":null,\"JSONSchemas\":{}}}",
            field(items, Form::Schemas)
        ),
        one => format!("{{\"Schema\":{},\"JSONSchemas\":null}}", schema(one)),
    }
}

fn object(value: &Value, fields: Fields) -> String {
    let shown = fields.iter().map(|(name, key, form)| {
        let value = value.get(key).unwrap_or(&Value::Null);
        format!("\"{name}\":{}", field(value, *form))
    });
    format!("{{{}}}", shown.collect::<Vec<_>>().join(","))
}

fn field(value: &Value, form: Form) -> String {
    let all = |form: &dyn Fn(&Value) -> String| {
        let items = value.as_array().map(|items| items.iter().map(form));
        items.map_or("null".to_owned(), |i| {
            format!("[{}]", i.collect::<Vec<_>>().join(","))
        })
    };
    let by_name = |form: &dyn Fn(&Value) -> String| {
        let entries = value.as_object().into_iter().flatten();
        let shown: Vec<String> = entries
            .map(|(name, v)| format!("{}:{}", go::json(&name.as_str().into()), form(v)))
            .collect();
        format!("{{{}}}", shown.join(","))
    };
    match (form, value) {
        (Form::Text, Value::Null) => "\"\"".to_owned(),
        (Form::Flag, Value::Null) => "false".to_owned(),
        (Form::Number, Value::Null) => "0".to_owned(),
        (_, Value::Null) => "null".to_owned(),
        (Form::Text | Form::Flag | Form::Number | Form::Raw, _) => go::json(value),
        (Form::Schema, _) => schema(value),
        (Form::Schemas, _) => all(&schema),
        (Form::Named, _) => by_name(&schema),
        (Form::Items, _) => items(value),
        (Form::OrBool, Value::Bool(allows)) => format!("{{\"Allows\":{allows},\"Schema\":null}}"),
        (Form::OrBool, _) => format!("{{\"Allows\":true,\"Schema\":{}}}", schema(value)),
        (Form::Dependencies, _) => by_name(&|v| match v {
            Value::Array(_) => format!("{{\"Schema\":null,\"Property\":{}}}", go::json(v)),
            _ => format!("{{\"Schema\":{},\"Property\":null}}", schema(v)),
        }),
        (Form::Struct(fields), _) => object(value, fields),
        (Form::List(fields), _) => all(&|v| object(v, fields)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn versions_read_as_go_writes_them() {
        let given = json!([{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object"}},
            "additionalPrinterColumns": [{"name": "A", "type": "string", "jsonPath": ".a"}]}]);
        let of = |hoisted: bool| versions(&given, &|_| hoisted);
        assert_eq!(
            of(true),
            r#"[{"Name":"v1","Served":true,"Storage":true,"Deprecated":false,"DeprecationWarning":null,"Schema":null,"Subresources":null,"AdditionalPrinterColumns":null,"SelectableFields":null}]"#
        );
        let whole = of(false);
        assert!(
            whole.contains(r#""Subresources":{"Status":{},"Scale":null}"#),
            "{whole}"
        );
        assert!(whole.contains(r#"[{"Name":"A","Type":"string","Format":"","Description":"","Priority":0,"JSONPath":".a"}]"#), "{whole}");
        assert!(whole.contains(r#""Schema":{"OpenAPIV3Schema":{"ID":"","Schema":"","Ref":null,"Description":"","Type":"object","Nullable":false,"#), "{whole}");
    }

    #[test]
    fn schemas_read_as_go_writes_them() {
        let given = json!({"properties": {"a": {"type": "array", "items": {"type": "string"}}}, "additionalProperties": false,
            "x-kubernetes-validations": [{"rule": "self < 1"}], "dependencies": {"a": ["b"]}});
        let text = schema(&given);
        for part in [
            r#""Properties":{"a":{"ID":"""#,
            r#""Items":{"Schema":{"ID":"","#,
            r#""AdditionalProperties":{"Allows":false,"Schema":null}"#,
            r#""Dependencies":{"a":{"Schema":null,"Property":["b"]}}"#,
            r#""XValidations":[{"Rule":"self \u003c 1","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}]"#,
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
