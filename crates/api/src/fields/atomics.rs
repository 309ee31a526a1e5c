//! Lists and maps that are replaced as a whole.

use knarr_json::Value;

use super::shape::{Shape, Use};
use crate::schema::Type;

/// The paths of everything in `value` that is owned as a whole although it is a list or a map: `.spec.args`.
pub fn atomics(ty: &Type, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(Use::plain(ty), value, "", &mut found);
    found
}

fn walk(used: Use<'_>, value: &Value, path: &str, found: &mut Vec<String>) {
    match used.shape(value) {
        Shape::Scalar => {}
        Shape::Atomic => {
            if value.is_array() || value.is_object() {
                found.push(path.to_owned());
            }
        }
        Shape::Map(fields) => {
            for (name, below) in value.as_object().into_iter().flatten() {
                if let Some(used) = fields.get(name) {
                    walk(used, below, &format!("{path}.{name}"), found);
                }
            }
        }
        Shape::List(list) => {
            for (i, below) in value.as_array().into_iter().flatten().enumerate() {
                walk(
                    Use::plain(&list.elem),
                    below,
                    &format!("{path}[{i}]"),
                    found,
                );
            }
        }
    }
}
