//! Values against a schema, with the original's words and order of what is wrong, and its ratcheting: an update may keep
//! what was wrong before.

use knarr_json::{Map, Value};

use super::{
    number,
    schema::{Additional, Kind, ListType, Schema},
};
use crate::field::{Error, Errors, Kind as ErrorKind, Path};

/// Checks a value. `base` is where errors are said to be; what lies below is told relative to it.
pub fn validate(base: &Path, value: &Value, schema: &Schema) -> Errors {
    Checker::new(base).value(schema, value, None).errors
}

/// Checks an update: errors in what did not change are not told.
pub fn validate_update(base: &Path, value: &Value, old: &Value, schema: &Schema) -> Errors {
    Checker::new(base)
        .ratcheted(schema, value, Some(old))
        .errors
}

/// What checking a value against a schema gave.
#[derive(Default)]
struct Outcome {
    errors: Errors,
    /// How many checks succeeded: tells which alternative was meant.
    matches: usize,
}

impl Outcome {
    fn of(error: Error) -> Self {
        Outcome {
            errors: vec![error],
            matches: 0,
        }
    }

    fn matched() -> Self {
        Outcome {
            errors: Errors::new(),
            matches: 1,
        }
    }

    fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }

    fn add(&mut self, error: Error) {
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn merge(&mut self, other: Outcome) {
        self.matches += other.matches;
        for error in other.errors {
            self.add(error);
        }
    }
}

enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

struct Checker<'a> {
    base: &'a Path,
    path: Vec<Step<'a>>,
}

impl<'a> Checker<'a> {
    fn new(base: &'a Path) -> Self {
        Checker {
            base,
            path: Vec::new(),
        }
    }

    /// The path below the base, as messages show it.
    fn shown(&self) -> String {
        let mut out = String::new();
        for step in &self.path {
            match step {
                Step::Name(name) => {
                    if !out.is_empty() {
                        out.push('.');
                    }
                    out.push_str(name);
                }
                Step::Index(i) => out.push_str(&format!("[{i}]")),
            }
        }
        out
    }

    fn field(&self) -> Path {
        match self.shown() {
            shown if shown.is_empty() => self.base.clone(),
            shown => self.base.child(&shown),
        }
    }

    fn below<T>(&mut self, step: Step<'a>, work: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step);
        let out = work(self);
        self.path.pop();
        out
    }

    fn invalid(&self, value: impl Into<Value>, what: impl std::fmt::Display) -> Error {
        let detail = format!("{} in body {what}", self.shown());
        Error::invalid(&self.field(), value, detail)
    }

    /// An error that is about no field.
    fn general(&self, detail: String) -> Error {
        Error::invalid(self.base, "", detail)
    }

    fn wrong_type(&self, wanted: &str, found: &str) -> Error {
        let detail = format!(
            "{} in body must be of type {wanted}: {found:?}",
            self.shown()
        );
        Error::type_invalid(&self.field(), found, detail)
    }

    /// Checks a value; errors are dropped when it is what it was.
    fn ratcheted(
        &mut self,
        schema: &'a Schema,
        value: &'a Value,
        old: Option<&'a Value>,
    ) -> Outcome {
        let mut out = self.value(schema, value, old);
        if !out.is_valid() && old == Some(value) {
            out.errors.clear();
        }
        out
    }

    fn value(&mut self, schema: &'a Schema, value: &'a Value, old: Option<&'a Value>) -> Outcome {
        let mut out = Outcome::default();
        if value.is_null() {
            out.merge(self.of_type(schema, value));
            out.merge(self.enumerated(schema, value));
            return out;
        }
        if schema.kind.is_some() || schema.int_or_string || schema.format.is_some() {
            out.merge(self.of_type(schema, value));
            out.matches += 1;
        }
        out.merge(self.combined(schema, value, old));
        match value {
            Value::String(text) => {
                out.merge(self.string(schema, text));
                out.matches += 1;
                if let Some(format) = &schema.format {
                    if !format.matches(text) {
                        let detail = format!(
                            "{} in body must be of type {}: {text:?}",
                            self.shown(),
                            format.name
                        );
                        out.add(Error::type_invalid(&self.field(), text.as_str(), detail));
                    }
                    out.matches += 1;
                }
            }
            Value::Number(_) => {
                out.merge(self.number(schema, value));
                out.matches += 1;
            }
            Value::Array(items) => {
                out.merge(self.array(schema, items, old));
                out.matches += 1;
            }
            _ => {}
        }
        out.merge(self.enumerated(schema, value));
        out.matches += 2;
        if let Value::Object(map) = value {
            out.merge(self.object(schema, map, old));
            out.matches += 1;
        }
        out.matches += 1;
        out
    }

    fn of_type(&self, schema: &Schema, value: &Value) -> Outcome {
        let wanted = match (schema.int_or_string, schema.kind) {
            (true, _) => "integer,string",
            (false, Some(kind)) => kind.as_str(),
            (false, None) => "",
        };
        let found = match value {
            Value::Null => {
                return if wanted.is_empty() || schema.nullable {
                    Outcome::matched()
                } else {
                    Outcome::of(self.wrong_type(wanted, "null"))
                };
            }
            Value::Bool(_) => "boolean",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
            Value::Number(n) if n.is_i64() => "integer",
            Value::Number(_) => "number",
        };
        if schema.int_or_string {
            let whole = number::is_whole(value);
            return match found {
                "integer" | "string" => Outcome::matched(),
                "number" if whole => Outcome::matched(),
                _ => Outcome::of(self.wrong_type(wanted, found)),
            };
        }
        let fits = match (schema.kind, value) {
            // A format says enough of text and lists.
            (kind, Value::String(_) | Value::Array(_)) if schema.format.is_some() => {
                !matches!(kind, Some(Kind::Integer | Kind::Number))
            }
            (Some(Kind::Integer), Value::Number(_)) => number::is_whole(value),
            (Some(Kind::Number), Value::Number(_)) => true,
            (Some(kind), _) => kind.as_str() == found,
            (None, _) => schema.format.is_none(),
        };
        if fits {
            return Outcome::matched();
        }
        // A number's format is told instead of its type, and that of the value.
        match (schema.number_format, value) {
            (None, _) | (_, Value::String(_) | Value::Array(_)) => {
                Outcome::of(self.wrong_type(wanted, found))
            }
            (Some(format), Value::Number(_)) => {
                Outcome::of(self.wrong_type(format.name(), "float64"))
            }
            (Some(format), _) => Outcome::of(self.wrong_type(format.name(), "")),
        }
    }

    fn enumerated(&self, schema: &Schema, value: &Value) -> Outcome {
        let known = &schema.enumeration;
        if known.is_empty() || known.iter().any(|k| number::equal(k, value)) {
            return Outcome::default();
        }
        let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        let supported: Vec<String> = known.iter().map(text).collect();
        Outcome::of(Error::not_supported(
            &self.field(),
            value.clone(),
            &supported,
        ))
    }

    fn string(&self, schema: &Schema, text: &str) -> Outcome {
        let bounds = &schema.length;
        if bounds.min.is_some() || bounds.max.is_some() {
            let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
            if let Some(max) = bounds.max.filter(|max| length > *max) {
                let max = usize::try_from(max).unwrap_or(0);
                return Outcome::of(Error::too_long(&self.field(), max));
            }
            if let Some(min) = bounds.min.filter(|min| length < *min) {
                let what = format!("should be at least {min} chars long");
                return Outcome::of(self.invalid(text, what));
            }
        }
        let Some(pattern) = &schema.pattern else {
            return Outcome::default();
        };
        match pattern.matches(text) {
            Ok(true) => Outcome::default(),
            Ok(false) => {
                Outcome::of(self.invalid(text, format!("should match '{}'", pattern.text)))
            }
            Err(why) => {
                let text_and_why = format!("{}, but pattern is invalid: {why}", pattern.text);
                Outcome::of(self.invalid(text, format!("should match '{text_and_why}'")))
            }
        }
    }

    fn number(&self, schema: &Schema, value: &Value) -> Outcome {
        let mut out = Outcome {
            errors: Errors::new(),
            matches: 1,
        };
        let whole = schema.kind == Some(Kind::Integer) && !schema.int_or_string;
        let in_range = |value: &Value| number::is_in_range(value, whole, schema.number_format);
        let out_of_range = |what: &str| {
            let of = if whole { "integer" } else { "number" };
            let form = match schema.number_format {
                Some(format) => format!("with format {}", format.name()),
                None => "(default format)".to_owned(),
            };
            let place = self.shown();
            self.general(format!(
                "{what} value must be of type {of} {form} in {place}"
            ))
        };
        if !in_range(value) {
            out.add(out_of_range("Checked"));
        }
        let range = &schema.range;
        if range.is_empty() {
            return out;
        }
        if let Some(factor) = range.multiple_of {
            if !in_range(&factor.into()) {
                out.add(out_of_range("MultipleOf"));
            }
            if !number::is_multiple(value, factor) {
                let what = format!("should be a multiple of {}", number::show(value, factor));
                out.add(self.invalid(value.clone(), what));
            }
        }
        if let Some(minimum) = range.minimum {
            if !in_range(&minimum.into()) {
                out.add(out_of_range("Minimum boundary"));
            }
            let order = number::compare(value, minimum);
            if order.is_lt() || (range.exclusive_minimum && order.is_eq()) {
                let words = if range.exclusive_minimum {
                    ""
                } else {
                    " or equal to"
                };
                let shown = number::show(value, minimum);
                let than = if range.exclusive_minimum {
                    format!("should be greater than {shown}")
                } else {
                    format!("should be greater than{words} {shown}")
                };
                out.add(self.invalid(value.clone(), than));
            }
        }
        if let Some(maximum) = range.maximum {
            if !in_range(&maximum.into()) {
                out.add(out_of_range("Maximum boundary"));
            }
            let order = number::compare(value, maximum);
            if order.is_gt() || (range.exclusive_maximum && order.is_eq()) {
                let words = if range.exclusive_maximum {
                    ""
                } else {
                    " or equal to"
                };
                let shown = number::show(value, maximum);
                out.add(self.invalid(value.clone(), format!("should be less than{words} {shown}")));
            }
        }
        out
    }

    fn array(&mut self, schema: &'a Schema, items: &'a [Value], old: Option<&'a Value>) -> Outcome {
        let mut out = Outcome::default();
        if let Some(item_schema) = schema.items.as_deref() {
            for (i, item) in items.iter().enumerate() {
                let before = correlated(schema, item, old);
                out.merge(self.below(Step::Index(i), |c| match before {
                    Some(before) => c.ratcheted(item_schema, item, Some(before)),
                    None => c.value(item_schema, item, None),
                }));
            }
        }
        let size = i64::try_from(items.len()).unwrap_or(i64::MAX);
        if let Some(min) = schema.count.min.filter(|min| size < *min) {
            out.add(self.invalid(size, format!("should have at least {min} items")));
        }
        if let Some(max) = schema.count.max.filter(|max| size > *max) {
            let max = usize::try_from(max).unwrap_or(0);
            out.add(Error::too_many(&self.field(), items.len(), max));
        }
        if schema.unique && (1..items.len()).any(|i| items[..i].contains(&items[i])) {
            out.add(self.invalid("", "shouldn't contain duplicates"));
        }
        out.matches += 1;
        out
    }

    fn object(&mut self, schema: &'a Schema, map: &'a Map, old: Option<&'a Value>) -> Outcome {
        let size = i64::try_from(map.len()).unwrap_or(i64::MAX);
        if let Some(min) = schema.property_count.min.filter(|min| size < *min) {
            return Outcome::of(
                self.invalid(size, format!("should have at least {min} properties")),
            );
        }
        if let Some(max) = schema.property_count.max.filter(|max| size > *max) {
            let max = usize::try_from(max).unwrap_or(0);
            return Outcome::of(Error::too_many(&self.field(), map.len(), max));
        }
        let mut out = Outcome::default();
        let before = old.and_then(Value::as_object);
        let at_root = self.path.is_empty();
        for (key, value) in map {
            let known = schema.properties.get(key.as_str());
            let (child, additional) = match (known, &schema.additional) {
                (Some(child), _) => (child, false),
                (None, Additional::Schema(child)) => (&**child, true),
                (None, Additional::Any(false)) => {
                    let detail = format!("{}.{key} in body is a forbidden property", self.shown());
                    out.add(Error::invalid(&self.field(), key.as_str(), detail));
                    continue;
                }
                _ => continue,
            };
            // What kind of resource it is shows no change: both sides were made the same.
            let identity = at_root && !additional && (key == "apiVersion" || key == "kind");
            let old = before.and_then(|b| b.get(key)).filter(|_| !identity);
            out.merge(self.below(Step::Name(key), |c| match old {
                Some(_) => c.ratcheted(child, value, old),
                None => c.value(child, value, None),
            }));
        }
        for name in &schema.required {
            if !map.contains_key(name) {
                let path = self.below(Step::Name(name), |c| c.field());
                out.add(Error::required(&path, ""));
            }
        }
        out
    }

    /// `allOf`, `anyOf`, `oneOf` and `not`.
    fn combined(
        &mut self,
        schema: &'a Schema,
        value: &'a Value,
        old: Option<&'a Value>,
    ) -> Outcome {
        let mut out = Outcome::default();
        if !schema.any_of.is_empty() {
            out.merge(self.any_of(&schema.any_of, value, old));
        }
        if !schema.one_of.is_empty() {
            out.merge(self.one_of(&schema.one_of, value, old));
        }
        if !schema.all_of.is_empty() {
            let mut valid = 0;
            for each in &schema.all_of {
                let result = self.value(each, value, old);
                valid += usize::from(result.is_valid());
                out.merge(result);
            }
            if valid != schema.all_of.len() {
                let none = if valid == 0 { ". None validated" } else { "" };
                out.add(self.general(format!(
                    "{:?} must validate all the schemas (allOf){none}",
                    self.shown()
                )));
            }
        }
        if let Some(not) = schema.not.as_deref()
            && self.value(not, value, old).is_valid()
        {
            out.add(self.general(format!(
                "{:?} must not validate the schema (not)",
                self.shown()
            )));
        }
        out.matches += 1;
        out
    }

    fn any_of(
        &mut self,
        alternatives: &'a [Schema],
        value: &'a Value,
        old: Option<&'a Value>,
    ) -> Outcome {
        let mut best: Option<Outcome> = None;
        for each in alternatives {
            let result = self.value(each, value, old);
            if result.is_valid() {
                return result;
            }
            if best.as_ref().is_none_or(|b| result.matches > b.matches) {
                best = Some(result);
            }
        }
        let mut out = Outcome::of(self.general(format!(
            "{:?} must validate at least one schema (anyOf)",
            self.shown()
        )));
        out.merge(best.unwrap_or_default());
        out
    }

    fn one_of(
        &mut self,
        alternatives: &'a [Schema],
        value: &'a Value,
        old: Option<&'a Value>,
    ) -> Outcome {
        let mut best: Option<Outcome> = None;
        let mut first: Option<Outcome> = None;
        let mut valid = 0;
        for each in alternatives {
            let result = self.value(each, value, old);
            if result.is_valid() {
                valid += 1;
                best = None;
                first.get_or_insert(result);
            } else if valid == 0 && best.as_ref().is_none_or(|b| result.matches > b.matches) {
                best = Some(result);
            }
        }
        if valid == 1 {
            return first.unwrap_or_default();
        }
        let found = if valid == 0 {
            "Found none valid".to_owned()
        } else {
            format!("Found {valid} valid alternatives")
        };
        let mut out = Outcome::of(self.general(format!(
            "{:?} must validate one and only one schema (oneOf). {found}",
            self.shown()
        )));
        out.merge(best.unwrap_or_default());
        out
    }
}

/// The element of the old list that has the same keys; only lists with keys know.
pub(super) fn correlated<'v>(
    schema: &Schema,
    item: &Value,
    old: Option<&'v Value>,
) -> Option<&'v Value> {
    let old = old?.as_array()?;
    if schema.list_type != ListType::Map || schema.list_keys.is_empty() {
        return None;
    }
    let same = |other: &&Value| {
        other.is_object()
            && schema
                .list_keys
                .iter()
                .all(|key| other.get(key.as_str()) == item.get(key.as_str()))
    };
    old.iter().find(same)
}

/// Whether such errors make rules not worth running.
pub fn blocks_rules(errors: &[Error]) -> bool {
    errors.iter().any(|e| {
        matches!(
            e.kind,
            ErrorKind::NotSupported
                | ErrorKind::Required
                | ErrorKind::TooLong
                | ErrorKind::TooMany
                | ErrorKind::TypeInvalid
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    fn errors(schema: Value, value: Value) -> Vec<String> {
        let schema = Schema::compile(&schema);
        let root = Path::default();
        validate(&root, &value, &schema)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn what_is_wrong_is_worded_as_the_original_words_it() {
        let of = |property: Value| json!({"type": "object", "properties": {"a": property}});
        for (schema, value, want) in [
            (
                json!({"type": "integer"}),
                json!("1"),
                "a: Invalid value: \"string\": a in body must be of type integer: \"string\"",
            ),
            (
                json!({"type": "integer", "minimum": 1, "exclusiveMinimum": true}),
                json!(1),
                "a: Invalid value: 1: a in body should be greater than 1",
            ),
            (
                json!({"type": "number", "maximum": 1}),
                json!(1.5),
                "a: Invalid value: 1.5: a in body should be less than or equal to 1",
            ),
            (
                json!({"type": "string", "maxLength": 4}),
                json!("abcde"),
                "a: Too long: may not be more than 4 bytes",
            ),
            (
                json!({"type": "string", "format": "ipv4"}),
                json!("x"),
                "a: Invalid value: \"x\": a in body must be of type ipv4: \"x\"",
            ),
            (
                json!({"type": "array", "maxItems": 1, "items": {"type": "string"}}),
                json!(["x", "y"]),
                "a: Too many: 2: must have at most 1 item",
            ),
            (
                json!({"x-kubernetes-int-or-string": true}),
                json!(true),
                "a: Invalid value: \"boolean\": a in body must be of type integer,string: \"boolean\"",
            ),
        ] {
            assert_eq!(errors(of(schema), json!({"a": value})), [want]);
        }
        assert_eq!(
            errors(of(json!({"type": "integer"})), json!({"a": 1.5})),
            [
                "a: Invalid value: \"number\": a in body must be of type integer: \"number\"",
                "<nil>: Invalid value: \"\": Checked value must be of type integer (default format) in a"
            ]
        );
    }

    #[test]
    fn numbers_are_of_their_formats() {
        const MIXED: &str = "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in a";
        let cases: &[(Value, Value, &[&str])] = &[
            (
                json!({"type": "integer", "format": "int32"}),
                json!(2147483648_i64),
                &[MIXED],
            ),
            (
                json!({"type": "integer", "format": "int32", "maximum": 4294967295_i64}),
                json!(1),
                &[
                    "<nil>: Invalid value: \"\": Maximum boundary value must be of type integer with format int32 in a",
                ],
            ),
            (
                json!({"type": "number", "format": "float"}),
                json!(1e39),
                &[
                    "<nil>: Invalid value: \"\": Checked value must be of type number with format float in a",
                ],
            ),
            (
                json!({"type": "integer", "format": "int32"}),
                json!(1.5),
                &[
                    "a: Invalid value: \"float64\": a in body must be of type int32: \"float64\"",
                    MIXED,
                ],
            ),
            (
                json!({"type": "integer", "format": "int64"}),
                json!(true),
                &["a: Invalid value: \"\": a in body must be of type int64: \"\""],
            ),
            (
                json!({"type": "integer", "format": "int64"}),
                json!("1"),
                &["a: Invalid value: \"string\": a in body must be of type integer: \"string\""],
            ),
            (json!({"type": "number", "format": "double"}), json!(3), &[]),
            (
                json!({"type": "integer", "format": "int32"}),
                json!(3.0),
                &[],
            ),
        ];
        for (schema, value, want) in cases {
            let schema = json!({"type": "object", "properties": {"a": schema}});
            assert_eq!(errors(schema, json!({"a": value})), *want, "{value}");
        }
    }

    #[test]
    fn alternatives_tell_the_best_failure() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "oneOf": [{"required": ["disk"]}, {"required": ["net"]}]}}});
        assert_eq!(
            errors(schema.clone(), json!({"spec": {}})),
            [
                "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found none valid",
                "spec.disk: Required value"
            ]
        );
        assert_eq!(
            errors(schema, json!({"spec": {"disk": 1, "net": 1}})),
            [
                "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found 2 valid alternatives"
            ]
        );
    }

    #[test]
    fn updates_may_keep_what_was_wrong() {
        let schema = Schema::compile(&json!({"type": "object", "properties": {
            "n": {"type": "integer", "maximum": 5}, "m": {"type": "integer", "maximum": 5},
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer", "maximum": 5}}}}}}));
        let old = json!({"n": 9, "m": 1, "list": [{"k": "a", "v": 9}]});
        let new = json!({"n": 9, "m": 8, "list": [{"k": "b", "v": 7}, {"k": "a", "v": 9}]});
        let root = Path::default();
        let fields: Vec<String> = validate_update(&root, &new, &old, &schema)
            .into_iter()
            .map(|e| e.field)
            .collect();
        assert_eq!(fields, ["list[0].v", "m"]);
    }
}
