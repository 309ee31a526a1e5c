//! Defaults of a schema, and the nulls that it does not allow.

use knarr_json::Value;

use super::schema::Schema;

/// Fills in defaults, then drops nulls that the schema neither allows nor fills.
pub fn apply(object: &mut Value, schema: &Schema) {
    fill(object, Some(schema));
    drop_nulls(object, Some(schema));
}

/// Whether null stands where the schema does not allow it.
fn is_refused_null(value: &Value, schema: &Schema) -> bool {
    value.is_null() && !schema.nullable
}

fn fill(value: &mut Value, schema: Option<&Schema>) {
    let Some(schema) = schema else { return };
    match value {
        Value::Object(map) => {
            for (name, property) in &schema.properties {
                let Some(default) = &property.default else {
                    continue;
                };
                if map.get(name).is_none_or(|v| is_refused_null(v, property)) {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (key, child) in map.iter_mut() {
                match schema.properties.get(key.as_str()) {
                    Some(property) => fill(child, Some(property)),
                    None => or_default(child, schema.additional_schema()),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                or_default(item, schema.items.as_deref());
            }
        }
        _ => {}
    }
}

fn or_default(value: &mut Value, schema: Option<&Schema>) {
    if let Some(schema) = schema
        && is_refused_null(value, schema)
        && let Some(default) = &schema.default
    {
        *value = default.clone();
    }
    fill(value, schema);
}

fn drop_nulls(value: &mut Value, schema: Option<&Schema>) {
    let Some(schema) = schema else { return };
    match value {
        Value::Object(map) => {
            map.retain(|key, child| schema.child(key).is_none_or(|s| !is_refused_null(child, s)));
            for (key, child) in map.iter_mut() {
                drop_nulls(child, schema.child(key));
            }
        }
        Value::Array(items) => {
            for item in items {
                drop_nulls(item, schema.items.as_deref());
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn defaults_fill_gaps_and_refused_nulls() {
        let schema = Schema::compile(
            &json!({"type": "object", "properties": {"spec": {"type": "object", "default": {}, "properties": {
                "size": {"type": "string", "default": "medium"},
                "plain": {"type": "string"},
                "note": {"type": "string", "nullable": true, "default": "none"},
                "fan": {"type": "object", "default": {}, "properties": {"speed": {"type": "integer", "default": 3}}},
                "modes": {"type": "object", "additionalProperties": {"type": "object", "properties": {"degrees": {"type": "number", "default": 180.5}}}},
                "trays": {"type": "array", "items": {"type": "object", "properties": {"coating": {"type": "string", "default": "enamel"}}}},
            }}}}),
        );
        let filled = |mut object: Value| {
            apply(&mut object, &schema);
            object
        };
        assert_eq!(
            filled(json!({})),
            json!({"spec": {"size": "medium", "note": "none", "fan": {"speed": 3}}})
        );
        assert_eq!(
            filled(
                json!({"spec": {"size": null, "plain": null, "note": null, "fan": null, "modes": {"grill": {}}, "trays": [{}, {"coating": null}]}})
            ),
            json!({"spec": {"size": "medium", "note": null, "fan": {"speed": 3}, "modes": {"grill": {"degrees": 180.5}}, "trays": [{"coating": "enamel"}, {"coating": "enamel"}]}})
        );
    }
}
