//! Pruning: fields that the schema does not know are dropped, and told.

use knarr_json::Value;

use super::schema::{Additional, Schema};

/// Names that every resource has, whatever its schema says.
pub(super) const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Drops from a resource what its schema does not know. Gives the paths of what was dropped, sorted.
pub fn prune(object: &mut Value, schema: &Schema) -> Vec<String> {
    let mut pruner = Pruner::default();
    pruner.value(object, Some(schema), true);
    pruner.dropped.sort();
    pruner.dropped
}

/// The same for a value inside a resource: its default.
pub fn prune_value(value: &mut Value, schema: &Schema) -> bool {
    let mut pruner = Pruner::default();
    pruner.value(value, Some(schema), schema.embedded);
    pruner.dropped.is_empty()
}

#[derive(Default)]
struct Pruner {
    path: Vec<String>,
    dropped: Vec<String>,
}

impl Pruner {
    /// `resource` tells that the value has apiVersion, kind and metadata.
    fn value(&mut self, value: &mut Value, schema: Option<&Schema>, resource: bool) {
        if let Some(schema) = schema.filter(|s| s.preserve) {
            return self.preserved(value, schema, resource);
        }
        match value {
            Value::Object(map) => {
                let mut unknown = Vec::new();
                for (key, child) in map.iter_mut() {
                    if resource && META.contains(&key.as_str()) {
                        continue;
                    }
                    match schema.map(|s| known(s, key)) {
                        Some(Known::As(child_schema)) => self.below(key, |p| {
                            p.value(
                                child,
                                child_schema,
                                child_schema.is_some_and(|s| s.embedded),
                            );
                        }),
                        _ => unknown.push(key.clone()),
                    }
                }
                for key in unknown {
                    map.remove(&key);
                    self.drop(&key);
                }
            }
            Value::Array(items) => {
                let schema = schema.and_then(|s| s.items.as_deref());
                for (i, item) in items.iter_mut().enumerate() {
                    self.below(&format!("[{i}]"), |p| {
                        p.value(item, schema, schema.is_some_and(|s| s.embedded));
                    });
                }
            }
            _ => {}
        }
    }

    /// A value whose unknown fields stay; what lies below its known ones is pruned again.
    fn preserved(&mut self, value: &mut Value, schema: &Schema, resource: bool) {
        match value {
            Value::Object(map) => {
                for (key, child) in map.iter_mut() {
                    if resource && META.contains(&key.as_str()) {
                        continue;
                    }
                    if let Known::As(child_schema) = known(schema, key) {
                        self.below(key, |p| {
                            p.value(
                                child,
                                child_schema,
                                child_schema.is_some_and(|s| s.embedded),
                            );
                        });
                    }
                }
            }
            Value::Array(items) => {
                let Some(schema) = schema.items.as_deref() else {
                    return;
                };
                for (i, item) in items.iter_mut().enumerate() {
                    self.below(&format!("[{i}]"), |p| {
                        p.preserved(item, schema, schema.embedded)
                    });
                }
            }
            _ => {}
        }
    }

    fn below(&mut self, step: &str, work: impl FnOnce(&mut Self)) {
        self.path.push(step.to_owned());
        work(self);
        self.path.pop();
    }

    fn drop(&mut self, key: &str) {
        let mut path = String::new();
        for step in self.path.iter().map(String::as_str).chain([key]) {
            if !path.is_empty() && !step.starts_with('[') {
                path.push('.');
            }
            path.push_str(step);
        }
        self.dropped.push(path);
    }
}

enum Known<'s> {
    /// A value with this schema; none: any scalar.
    As(Option<&'s Schema>),
    No,
}

fn known<'s>(schema: &'s Schema, key: &str) -> Known<'s> {
    match (schema.properties.get(key), &schema.additional) {
        (Some(property), _) => Known::As(Some(property)),
        (None, Additional::Schema(schema)) => Known::As(Some(schema)),
        (None, Additional::Any(_)) => Known::As(None),
        (None, Additional::Absent) => Known::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn unknown_fields_go_unless_the_schema_keeps_them() {
        let schema = Schema::compile(
            &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
                "loose": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"typed": {"type": "object", "properties": {"n": {"type": "integer"}}}}},
                "bag": {"type": "object", "additionalProperties": true},
                "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
                "embedded": {"type": "object", "x-kubernetes-embedded-resource": true},
            }}}}),
        );
        let mut object = json!({"apiVersion": "v", "kind": "K", "metadata": {"name": "n"}, "extra": 1, "spec": {
            "loose": {"a": {"b": 1}, "typed": {"n": 1, "gone": 2}}, "bag": {"k": {"deep": 1}, "l": 2},
            "list": [{"a": "x", "b": 1}], "embedded": {"kind": "X", "spec": 1}, "dropped": 1}});
        assert_eq!(
            prune(&mut object, &schema),
            [
                "extra",
                "spec.bag.k.deep",
                "spec.dropped",
                "spec.embedded.spec",
                "spec.list[0].b",
                "spec.loose.typed.gone"
            ]
        );
        assert_eq!(
            object["spec"],
            json!({"loose": {"a": {"b": 1}, "typed": {"n": 1}}, "bag": {"k": {}, "l": 2}, "list": [{"a": "x"}], "embedded": {"kind": "X"}})
        );
    }
}
