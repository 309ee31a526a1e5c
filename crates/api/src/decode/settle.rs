//! An object that code has changed, brought back to what a Go server prints of it.

use knarr_json::{Map, Value};

use super::zero::{fill, is_zero, zero};
use crate::schema::{Field, Presence, Struct, Type};

/// Drops what Go does not emit and adds what it emits anyway, in an object that was decoded and then defaulted, merged or
/// cleared. Decoded objects are settled already.
pub fn settle(schema: &Struct, object: &mut Value) {
    if let Value::Object(map) = object {
        fields(schema, map);
    }
}

fn fields(schema: &Struct, map: &mut Map) {
    map.retain(|name, value| schema.field(name).is_none_or(|field| keep(field, value)));
    fill(schema, map);
}

/// Settles a field's value; false when it is not emitted.
fn keep(field: &Field, value: &mut Value) -> bool {
    if field.presence == Presence::Verbatim {
        return true;
    }
    if value.is_null() {
        if field.presence == Presence::Always {
            *value = zero(&field.ty);
        }
        return matches!(field.presence, Presence::Always | Presence::Nullable);
    }
    inner(&field.ty, value);
    match field.presence {
        Presence::OmitEmpty | Presence::OmitZero => !is_zero(value),
        Presence::Always => {
            if matches!(field.ty, Type::List(_) | Type::Map(_)) && is_zero(value) {
                *value = Value::Null;
            }
            true
        }
        _ => true,
    }
}

fn inner(ty: &Type, value: &mut Value) {
    match (ty, value) {
        (Type::Struct(schema), Value::Object(map)) => fields(schema, map),
        (Type::List(list), Value::Array(items)) => {
            items.iter_mut().for_each(|item| element(&list.elem, item));
        }
        (Type::Map(map), Value::Object(entries)) => {
            entries
                .values_mut()
                .for_each(|entry| element(&map.value, entry));
        }
        _ => {}
    }
}

/// Settles an element of a list or map, where null is a value: Go's zero.
fn element(ty: &Type, value: &mut Value) {
    if value.is_null() {
        *value = zero(ty);
    } else if has_fields(ty) {
        inner(ty, value);
    }
}

/// Whether there can be structs inside.
fn has_fields(ty: &Type) -> bool {
    matches!(ty, Type::Struct(_) | Type::List(_) | Type::Map(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Schemas;
    use knarr_json::json;

    #[test]
    fn cleared_and_defaulted_objects_print_as_the_original_prints_them() {
        let settled = |group: &str, kind: &str, mut object: Value| {
            settle(
                &Schemas::default().by_kind(group, "v1", kind).unwrap(),
                &mut object,
            );
            object
        };
        assert_eq!(
            settled(
                "networking.k8s.io",
                "Ingress",
                json!({"metadata": {"labels": {}}, "spec": {"rules": []}, "status": {}})
            ),
            json!({"metadata": {}, "spec": {}, "status": {"loadBalancer": {}}})
        );
        assert_eq!(
            settled(
                "",
                "Pod",
                json!({"metadata": {}, "spec": {"hostNetwork": false, "containers": [{"name": "c", "command": []}]}})
            ),
            json!({"metadata": {}, "spec": {"containers": [{"name": "c", "resources": {}}]}, "status": {}})
        );
        assert_eq!(
            settled(
                "rbac.authorization.k8s.io",
                "Role",
                json!({"metadata": {"name": "r"}, "rules": []})
            ),
            json!({"metadata": {"name": "r"}, "rules": null})
        );
        assert_eq!(
            settled(
                "",
                "ConfigMap",
                json!({"metadata": {"labels": {"a": null}, "finalizers": [null]}, "data": {"b": null}})
            ),
            json!({"metadata": {"labels": {"a": ""}, "finalizers": [""]}, "data": {"b": ""}})
        );
    }
}
