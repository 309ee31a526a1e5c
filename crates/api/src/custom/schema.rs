//! The schema of a custom resource, read once per generation of its definition into a form that is cheap to walk.

use std::collections::BTreeMap;

use knarr_json::Value;

use super::{format::Format, number::NumberFormat, pattern::Pattern};

/// What `type` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Kind {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "object" => Kind::Object,
            "array" => Kind::Array,
            "string" => Kind::String,
            "integer" => Kind::Integer,
            "number" => Kind::Number,
            "boolean" => Kind::Boolean,
            _ => return None,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Object => "object",
            Kind::Array => "array",
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
        }
    }
}

/// `additionalProperties`.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Additional {
    /// Not given.
    #[default]
    Absent,
    /// `true` or `false`.
    Any(bool),
    Schema(Box<Schema>),
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ListType {
    #[default]
    Atomic,
    Set,
    Map,
}

/// Bounds of a number.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Range {
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub exclusive_minimum: bool,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<f64>,
}

impl Range {
    pub fn is_empty(&self) -> bool {
        self.minimum.is_none() && self.maximum.is_none() && self.multiple_of.is_none()
    }
}

/// Bounds of a length or a count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    pub min: Option<i64>,
    pub max: Option<i64>,
}

/// One rule of `x-kubernetes-validations`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rule {
    pub rule: String,
    pub message: String,
    pub message_expression: String,
    pub reason: Option<String>,
    pub field_path: String,
    pub optional_old_self: Option<bool>,
}

/// A node of a schema.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schema {
    pub kind: Option<Kind>,
    pub nullable: bool,
    pub format: Option<Format>,
    pub number_format: Option<NumberFormat>,
    pub default: Option<Value>,
    pub properties: BTreeMap<String, Schema>,
    pub additional: Additional,
    pub items: Option<Box<Schema>>,
    pub required: Vec<String>,
    pub enumeration: Vec<Value>,
    pub range: Range,
    pub length: Bounds,
    pub pattern: Option<Pattern>,
    pub count: Bounds,
    pub unique: bool,
    pub property_count: Bounds,
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Box<Schema>>,
    pub preserve: bool,
    pub embedded: bool,
    pub int_or_string: bool,
    pub list_type: ListType,
    pub list_keys: Vec<String>,
    pub map_atomic: bool,
    pub rules: Vec<Rule>,
    /// Summary of what is at or below this node, so that walks skip what cannot matter to them.
    pub below: Below,
}

/// What is found at or below a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Below {
    pub embedded: bool,
    pub keyed_lists: bool,
    pub rules: bool,
}

impl Schema {
    /// Reads `openAPIV3Schema`. What validation of the definition would refuse is left out.
    pub fn compile(schema: &Value) -> Schema {
        let text = |key: &str| schema[key].as_str().unwrap_or_default();
        let flag = |key: &str| schema[key].as_bool().unwrap_or(false);
        let bounds = |what: &str| Bounds {
            min: schema[format!("min{what}")].as_i64(),
            max: schema[format!("max{what}")].as_i64(),
        };
        let strings = |key: &str| strings(&schema[key]);
        let mut out = Schema {
            kind: Kind::parse(text("type")),
            nullable: flag("nullable"),
            format: Format::parse(text("format")),
            number_format: NumberFormat::parse(text("format")),
            default: schema.get("default").filter(|d| !d.is_null()).cloned(),
            properties: schema["properties"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, property)| (name.to_string(), Schema::compile(property)))
                .collect(),
            additional: match &schema["additionalProperties"] {
                Value::Bool(any) => Additional::Any(*any),
                object @ Value::Object(_) => Additional::Schema(Schema::compile(object).into()),
                _ => Additional::Absent,
            },
            items: one(&schema["items"]),
            required: strings("required"),
            enumeration: schema["enum"].items().to_vec(),
            range: Range {
                minimum: schema["minimum"].as_f64(),
                maximum: schema["maximum"].as_f64(),
                exclusive_minimum: flag("exclusiveMinimum"),
                exclusive_maximum: flag("exclusiveMaximum"),
                multiple_of: schema["multipleOf"].as_f64(),
            },
            length: bounds("Length"),
            pattern: Pattern::compile(text("pattern")),
            count: bounds("Items"),
            unique: flag("uniqueItems"),
            property_count: bounds("Properties"),
            all_of: many(&schema["allOf"]),
            any_of: many(&schema["anyOf"]),
            one_of: many(&schema["oneOf"]),
            not: one(&schema["not"]),
            preserve: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            list_type: match text("x-kubernetes-list-type") {
                "set" => ListType::Set,
                "map" => ListType::Map,
                _ => ListType::Atomic,
            },
            list_keys: strings("x-kubernetes-list-map-keys"),
            map_atomic: text("x-kubernetes-map-type") == "atomic",
            rules: schema["x-kubernetes-validations"]
                .as_array()
                .into_iter()
                .flatten()
                .map(rule)
                .collect(),
            below: Below::default(),
        };
        out.below = out.sum();
        out
    }

    fn sum(&self) -> Below {
        let mut below = Below {
            embedded: self.embedded,
            keyed_lists: self.list_type != ListType::Atomic,
            rules: !self.rules.is_empty(),
        };
        let additional = match &self.additional {
            Additional::Schema(schema) => Some(&**schema),
            _ => None,
        };
        for child in self
            .properties
            .values()
            .chain(self.items.as_deref())
            .chain(additional)
        {
            below.embedded |= child.below.embedded;
            below.keyed_lists |= child.below.keyed_lists;
            below.rules |= child.below.rules;
        }
        below
    }

    /// The schema of values under keys that are not properties.
    pub fn additional_schema(&self) -> Option<&Schema> {
        match &self.additional {
            Additional::Schema(schema) => Some(schema),
            _ => None,
        }
    }

    /// The schema of the value under `key`.
    pub fn child(&self, key: &str) -> Option<&Schema> {
        self.properties
            .get(key)
            .or_else(|| self.additional_schema())
    }
}

fn one(schema: &Value) -> Option<Box<Schema>> {
    schema.is_object().then(|| Schema::compile(schema).into())
}

fn many(schemas: &Value) -> Vec<Schema> {
    let list = schemas.as_array().into_iter().flatten();
    list.map(Schema::compile).collect()
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|s| s.as_str().map(str::to_owned)).collect()
}

fn rule(rule: &Value) -> Rule {
    let text = |key: &str| rule[key].as_str().unwrap_or_default().to_owned();
    Rule {
        rule: text("rule"),
        message: text("message"),
        message_expression: text("messageExpression"),
        reason: rule["reason"].as_str().map(str::to_owned),
        field_path: text("fieldPath"),
        optional_old_self: rule["optionalOldSelf"].as_bool(),
    }
}
