//! Conditions of definitions.

use jiff::Timestamp;
use knarr_json::{Value, json};

use crate::rest::meta;

fn list(object: &Value) -> &[Value] {
    object["status"]["conditions"].items()
}

/// A condition by its type.
pub fn find<'o>(object: &'o Value, kind: &str) -> Option<&'o Value> {
    list(object).iter().find(|c| c["type"] == kind)
}

/// Whether a condition is there and true.
pub fn is_true(object: &Value, kind: &str) -> bool {
    find(object, kind).is_some_and(|c| c["status"] == "True")
}

/// Whether a condition says the same, whenever it began to.
pub fn is_same(old: Option<&Value>, new: &Value) -> bool {
    old.is_some_and(|old| {
        ["type", "status", "reason", "message"]
            .iter()
            .all(|key| old[*key] == new[*key])
    })
}

/// Sets a condition. Its time of transition is now when its status is another than before.
pub fn set(object: &mut Value, mut condition: Value, now: Timestamp) {
    let old = find(object, condition["type"].as_str().unwrap_or_default()).cloned();
    let kept = old
        .as_ref()
        .filter(|old| old["status"] == condition["status"])
        .map(|old| old["lastTransitionTime"].clone())
        .filter(Value::is_string);
    condition["lastTransitionTime"] = kept.unwrap_or_else(|| meta::time(now).into());
    let conditions = &mut object["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(conditions) = conditions.as_array_mut() else {
        return;
    };
    match conditions
        .iter_mut()
        .find(|c| c["type"] == condition["type"])
    {
        Some(place) => *place = condition,
        None => conditions.push(condition),
    }
}

/// Takes a condition away; true when it was there.
pub fn remove(object: &mut Value, kind: &str) -> bool {
    let conditions = object["status"]
        .get_mut("conditions")
        .and_then(Value::as_array_mut);
    conditions.is_some_and(|conditions| {
        let before = conditions.len();
        conditions.retain(|c| c["type"] != kind);
        conditions.len() != before
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_move_with_the_status_only() {
        let mut object = json!({});
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let condition = |status: &str, reason: &str| json!({"type": "A", "status": status, "reason": reason, "message": ""});
        set(&mut object, condition("True", "x"), at(1));
        set(&mut object, condition("True", "y"), at(2));
        assert_eq!(
            find(&object, "A").unwrap()["lastTransitionTime"],
            "1970-01-01T00:00:01Z"
        );
        set(&mut object, condition("False", "y"), at(3));
        assert_eq!(
            find(&object, "A").unwrap()["lastTransitionTime"],
            "1970-01-01T00:00:03Z"
        );
        assert!(!is_true(&object, "A") && remove(&mut object, "A") && !remove(&mut object, "A"));
    }
}
