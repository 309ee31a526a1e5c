//! Helpers for filling in what a user left out. A field counts as left out when it is absent or null: empty values of
//! fields that cannot be empty are already gone when a strategy sees an object.

use knarr_json::{Map, Value};

/// Sets a field that was left out.
pub fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut()
        && map.get(key).is_none_or(Value::is_null)
    {
        map.insert(key.to_owned(), value.into());
    }
}

/// Sets a number that was left out or is zero, for fields in which zero means unset.
pub fn set_zero(object: &mut Value, key: &str, value: i64) {
    if object.get(key).and_then(Value::as_i64) == Some(0) {
        object[key] = value.into();
    } else {
        set(object, key, value);
    }
}

/// Sets a string that was left out or is empty.
pub fn set_text(object: &mut Value, key: &str, value: &str) {
    if object.get(key).and_then(Value::as_str) == Some("") {
        object[key] = value.into();
    } else {
        set(object, key, value);
    }
}

/// The struct in field `key`, when it is there.
pub fn at<'a>(object: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    object.get_mut(key).filter(|v| v.is_object())
}

/// The struct in field `key`, made when it is not there.
pub fn ensure<'a>(object: &'a mut Value, key: &str) -> &'a mut Value {
    set(object, key, Value::Object(Map::new()));
    if object.is_object() {
        &mut object[key]
    } else {
        object
    }
}

/// The elements of the list in field `key`.
pub fn each<'a>(object: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    object
        .get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}
