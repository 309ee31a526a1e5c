//! Empty lists and maps in messages. Go tells a list that was given empty (`[]`) from one that was not given (`null`), and
//! messages show which it was. Objects here do not keep the difference, as nothing else depends on it and the original
//! forgets it when it stores them. So an object that was found wrong is checked a second time with the empty lists and maps
//! of the request's body put back, and the second check says how values are shown.

use std::collections::{HashMap, VecDeque};

use knarr_json::Value;

use crate::field::{Error, Errors};

/// Puts the empty lists and maps of `given` back where `object` has nothing; true when there were any.
pub fn restore(object: &mut Value, given: &Value) -> bool {
    match (object, given) {
        (Value::Object(object), Value::Object(given)) => {
            let mut any = false;
            for (key, given) in given {
                match object.get_mut(key.as_str()).filter(|v| !v.is_null()) {
                    Some(value) => any |= restore(value, given),
                    None if is_empty(given) => {
                        object.insert(key.clone(), given.clone());
                        any = true;
                    }
                    None => {}
                }
            }
            any
        }
        // Lists of another length were changed on the way: there is no telling which element is which.
        (Value::Array(items), Value::Array(given)) if items.len() == given.len() => items
            .iter_mut()
            .zip(given)
            .fold(false, |any, (item, given)| restore(item, given) || any),
        _ => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Shows the values of `errors` as `second` does, which are the errors of the same object with its empty lists.
pub fn show(errors: &mut Errors, second: Errors) {
    // An object may have as many errors as it has fields: they are looked up.
    let key = |e: &Error| (e.kind.reason(), e.field.clone(), e.detail.clone());
    let mut found: HashMap<_, VecDeque<Error>> = HashMap::new();
    for error in second {
        found.entry(key(&error)).or_default().push_back(error);
    }
    for error in errors {
        if let Some(same) = found.get_mut(&key(error)).and_then(VecDeque::pop_front) {
            *error = same;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;
    use knarr_json::json;

    #[test]
    fn what_was_given_empty_is_put_back() {
        for (object, given, want) in [
            (
                json!({}),
                json!({"a": [], "b": {}}),
                json!({"a": [], "b": {}}),
            ),
            (json!({"a": null}), json!({"a": []}), json!({"a": []})),
            (json!({"a": [1]}), json!({"a": []}), json!({"a": [1]})),
            (
                json!({"a": [{"x": 1}, {}]}),
                json!({"a": [{"y": {}}, {"z": []}]}),
                json!({"a": [{"x": 1, "y": {}}, {"z": []}]}),
            ),
            (
                json!({"a": [{}]}),
                json!({"a": [{"z": []}, 1]}),
                json!({"a": [{}]}),
            ),
            (json!({}), json!({"a": "", "b": null, "c": 0}), json!({})),
        ] {
            let mut restored = object.clone();
            let any = restore(&mut restored, &given);
            assert_eq!((&restored, any), (&want, object != want), "{given}");
        }
    }

    #[test]
    fn errors_show_what_the_second_look_saw() {
        let path = Path::new("a");
        let mut errors = vec![
            Error::invalid(&path, Value::Null, "x"),
            Error::required(&path, "y"),
            Error::invalid(&path, Value::Null, "x"),
        ];
        let second = vec![
            Error::invalid(&path, json!([]), "other"),
            Error::invalid(&path, json!([]), "x"),
        ];
        show(&mut errors, second);
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let want = [
            "a: Invalid value: []: x",
            "a: Required value: y",
            "a: Invalid value: null: x",
        ];
        assert_eq!(texts, want);
    }
}
