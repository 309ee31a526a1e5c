//! Metadata that the server keeps: names, uids, times, generations, finalizers.

use jiff::Timestamp;
use knarr_api::{Head, Status};
use knarr_json::{Map, Value};

use super::Target;
use crate::Outcome;

/// Letters and digits of generated names: no vowels, so that no words come out, and nothing that looks alike.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Longest `generateName` of which everything is kept.
const LONGEST_BASE: usize = 63 - 5;

/// The metadata of an object, which is made when it is missing or no object.
pub fn of(object: &mut Value) -> &mut Map {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let meta = &mut object["metadata"];
    if !meta.is_object() {
        *meta = Value::Object(Map::new());
    }
    match meta {
        Value::Object(map) => map,
        _ => unreachable!("just made an object"),
    }
}

pub fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"][key].as_str().unwrap_or_default()
}

/// Now, to the second, as metadata writes times.
pub fn now() -> String {
    time(Timestamp::now())
}

pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A name from `generateName`: its start and five random characters.
pub fn generate(base: &str) -> String {
    let mut kept = base.len().min(LONGEST_BASE);
    while !base.is_char_boundary(kept) {
        kept -= 1;
    }
    let mut name = base[..kept].to_owned();
    for _ in 0..5 {
        name.push(char::from(ALPHABET[rand::random_range(0..ALPHABET.len())]));
    }
    name
}

/// Clears what only the server sets and nobody can bring along.
pub fn wipe(object: &mut Value) {
    let meta = of(object);
    for key in [
        "resourceVersion",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "uid",
        "creationTimestamp",
    ] {
        meta.remove(key);
    }
}

/// Leaves out owners that are named again in the same words.
pub fn name_owners_once(object: &mut Value) {
    let owners = object["metadata"].get_mut("ownerReferences");
    if let Some(owners) = owners.and_then(Value::as_array_mut) {
        let mut seen = std::collections::HashSet::new();
        owners.retain(|owner| seen.insert(owner.clone()));
    }
}

/// A random UUID. It comes from this thread's generator, which asks the kernel only now and then.
pub fn fresh_uid() -> String {
    uuid::Builder::from_random_bytes(rand::random())
        .into_uuid()
        .to_string()
}

/// What every new object gets.
pub fn stamp_new(object: &mut Value) {
    let meta = of(object);
    meta.insert("uid", fresh_uid().into());
    meta.insert("creationTimestamp", now().into());
}

/// Metadata that no update can change: carried over from the object before.
pub fn keep(object: &mut Value, old: &Value) {
    let before = &old["metadata"];
    let meta = of(object);
    meta.remove("selfLink");
    let uid_given = meta
        .get("uid")
        .and_then(Value::as_str)
        .is_some_and(|u| !u.is_empty());
    let mut carried = vec!["creationTimestamp", "generation"];
    if !uid_given {
        carried.push("uid");
    }
    if before["deletionTimestamp"].is_string() {
        carried.push("deletionTimestamp");
        if meta
            .get("deletionGracePeriodSeconds")
            .is_none_or(Value::is_null)
        {
            carried.push("deletionGracePeriodSeconds");
        }
    }
    for key in carried {
        match &before[key] {
            Value::Null => meta.remove(key),
            value => meta.insert(key, value.clone()),
        };
    }
}

pub fn generation(object: &Value) -> i64 {
    object["metadata"]["generation"].as_i64().unwrap_or(0)
}

pub fn finalizers(object: &Value) -> Vec<String> {
    let list = object["metadata"]["finalizers"].as_array();
    list.into_iter()
        .flatten()
        .filter_map(|f| f.as_str().map(str::to_owned))
        .collect()
}

pub fn set_finalizers(object: &mut Value, finalizers: Vec<String>) {
    let meta = of(object);
    if finalizers.is_empty() {
        meta.remove("finalizers");
    } else {
        meta.insert("finalizers", finalizers.into());
    }
}

pub fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// The head of an object to be written.
pub fn head(target: &Target, object: &Value) -> Head {
    target.resource.strategy.head(object)
}

/// Puts the request's namespace into the object, or finds that they disagree.
///
/// # Errors
/// 400.
pub fn settle_namespace(target: &Target, object: &mut Value) -> Outcome<()> {
    let asked = if target.resource.namespaced {
        target.namespace.as_str()
    } else {
        ""
    };
    let given = text(object, "namespace").to_owned();
    if asked.is_empty() {
        of(object).remove("namespace");
    } else if given.is_empty() {
        of(object).insert("namespace", asked.into());
    } else if given != asked {
        let why =
            "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(why).into());
    }
    Ok(())
}

/// Checks that the object of an update is the one of the path.
///
/// # Errors
/// 400.
pub fn settle_name(target: &Target, object: &Value) -> Outcome<()> {
    let (given, wanted) = (text(object, "name"), &target.name);
    if given.is_empty() {
        let why = format!(
            "the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
        );
        return Err(Status::bad_request(why).into());
    }
    if given != wanted {
        let why = format!(
            "the name of the object ({given}) does not match the name on the URL ({wanted})"
        );
        return Err(Status::bad_request(why).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn generated_names_fit() {
        let name = generate(&"x".repeat(100));
        assert_eq!(name.len(), 63);
        assert!(generate("web-").starts_with("web-"));
    }

    #[test]
    fn updates_keep_what_the_server_set() {
        let old = json!({"metadata": {"name": "a", "uid": "u", "creationTimestamp": "t", "generation": 3, "deletionTimestamp": "d", "deletionGracePeriodSeconds": 30}});
        let mut new = json!({"metadata": {"name": "a", "generation": 9, "creationTimestamp": "x"}});
        keep(&mut new, &old);
        assert_eq!(new["metadata"], old["metadata"]);
    }
}
