//! `metadata.managedFields`: who owns what, since when, by which operation.

use std::collections::HashMap;

use knarr_json::{Map, Value};

use super::set::Set;

/// How many entries of updates an object keeps; older ones are put together.
const MAX_UPDATERS: usize = 10;
/// The manager that old updates are put together under.
const ANCIENT: &str = "ancient-changes";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// What makes an entry the same entry: an applier keeps its entry when it changes to another API version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    pub operation: Operation,
    pub manager: String,
    pub subresource: String,
    /// Empty for appliers.
    version: String,
}

impl Identity {
    pub fn new(operation: Operation, manager: &str, api_version: &str, subresource: &str) -> Self {
        let version = if operation == Operation::Apply {
            ""
        } else {
            api_version
        };
        Identity {
            operation,
            manager: manager.into(),
            subresource: subresource.into(),
            version: version.into(),
        }
    }

    /// As conflicts name it: `"kubectl" with subresource "status" using apps/v1`.
    pub fn show(&self) -> String {
        let mut out = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            out += &format!(" with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            out += &format!(" using {}", self.version);
        }
        out
    }
}

/// One manager's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub api_version: String,
    /// RFC 3339. Absent for an apply that never changed the object.
    pub time: Option<String>,
    pub set: Set,
}

/// All entries of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Managed(pub HashMap<Identity, Entry>);

impl Managed {
    /// Reads the entries; `Err` says why they are not such.
    pub fn decode(entries: &Value) -> Result<Managed, String> {
        let list = match entries {
            Value::Null => return Ok(Managed::default()),
            Value::Array(list) => list,
            _ => return Err("managedFields must be a list".into()),
        };
        let mut managed = Managed::default();
        for (i, entry) in list.iter().enumerate() {
            let text = |key: &str| entry[key].as_str().unwrap_or_default();
            let operation = match text("operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err("operation must be `Apply` or `Update`".into()),
            };
            let api_version = text("apiVersion");
            if api_version.is_empty() {
                return Err("apiVersion must not be empty".into());
            }
            match text("fieldsType") {
                "FieldsV1" => {}
                "" => return Err(format!("missing fieldsType in managed fields entry {i}")),
                other => {
                    return Err(format!(
                        "invalid fieldsType {other:?} in managed fields entry {i}"
                    ));
                }
            }
            let set = match &entry["fieldsV1"] {
                Value::Null => Set::default(),
                fields => Set::decode(fields)
                    .ok_or_else(|| format!("error decoding the set of managed fields entry {i}"))?,
            };
            let identity =
                Identity::new(operation, text("manager"), api_version, text("subresource"));
            let time = entry["time"].as_str().map(str::to_owned);
            managed.0.insert(
                identity,
                Entry {
                    api_version: api_version.into(),
                    time,
                    set,
                },
            );
        }
        Ok(managed)
    }

    /// The list as it is stored: appliers first, then by time; `None` when nobody owns anything.
    pub fn encode(&self) -> Option<Value> {
        let mut sorted: Vec<(&Identity, &Entry)> = self.0.iter().collect();
        sorted.sort_by_key(|(id, entry)| {
            (
                id.operation,
                seconds(entry),
                &id.manager,
                &entry.api_version,
                &id.subresource,
            )
        });
        let list: Vec<Value> = sorted
            .into_iter()
            .map(|(id, entry)| encode_entry(id, entry))
            .collect();
        (!list.is_empty()).then(|| list.into())
    }

    /// Puts the oldest updates of each API version together until there are not too many.
    pub fn cap(&mut self) {
        let mut updaters: Vec<Identity> = self
            .0
            .keys()
            .filter(|id| id.operation == Operation::Update)
            .cloned()
            .collect();
        let mut over = updaters.len().saturating_sub(MAX_UPDATERS);
        updaters.sort_by_cached_key(|id| (self.0.get(id).map_or(0, seconds), id.clone()));
        let mut first: HashMap<String, Identity> = HashMap::new();
        for id in updaters {
            if over == 0 {
                return;
            }
            let Some(version) = self.0.get(&id).map(|entry| entry.api_version.clone()) else {
                continue;
            };
            let Some(oldest) = first.get(&version) else {
                first.insert(version, id);
                continue;
            };
            let bucket = Identity::new(Operation::Update, ANCIENT, &version, "");
            if !self.0.contains_key(&bucket)
                && let Some(entry) = self.0.remove(oldest)
            {
                self.0.insert(bucket.clone(), entry);
            }
            if id != bucket
                && let Some(entry) = self.0.remove(&id)
                && let Some(old) = self.0.get_mut(&bucket)
            {
                old.set.extend(entry.set);
                old.time = entry.time;
                over -= 1;
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn encode_entry(id: &Identity, entry: &Entry) -> Value {
    let mut out = Map::new();
    let mut text = |key: &str, value: &str| {
        if !value.is_empty() {
            out.insert(key, value.into());
        }
    };
    text("manager", &id.manager);
    text("operation", id.operation.as_str());
    text("apiVersion", &entry.api_version);
    text("time", entry.time.as_deref().unwrap_or_default());
    text("fieldsType", "FieldsV1");
    text("subresource", &id.subresource);
    // Moved in: the set of a pod is hundreds of small maps.
    out.insert("fieldsV1", entry.set.encode());
    Value::Object(out)
}

fn seconds(entry: &Entry) -> i64 {
    let parsed = entry
        .time
        .as_deref()
        .and_then(|time| time.parse::<jiff::Timestamp>().ok());
    parsed.map_or(0, jiff::Timestamp::as_second)
}

/// Takes `metadata.managedFields` out of an object.
pub(super) fn take(object: &mut Value) -> Value {
    let meta = object.get_mut("metadata").and_then(Value::as_object_mut);
    meta.and_then(|meta| meta.remove("managedFields"))
        .unwrap_or_default()
}

/// Writes the entries into an object.
pub(super) fn put(object: &mut Value, managed: &Managed) {
    match managed.encode() {
        Some(list) => set(object, list),
        None => drop(take(object)),
    }
}

/// Writes an encoded list into an object.
pub(super) fn set(object: &mut Value, list: Value) {
    if let Value::Object(object) = object {
        let meta = object
            .entry("metadata")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(meta) = meta {
            meta.insert("managedFields", list);
        }
    }
}

#[cfg(test)]
mod tests {
    use knarr_json::json;

    use super::*;

    fn updater(n: usize) -> Value {
        json!({"manager": format!("m{n:02}"), "operation": "Update", "apiVersion": "v1", "time": format!("2026-01-01T00:00:{n:02}Z"),
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {(format!("f:{n}")): {}}}})
    }

    #[test]
    fn entries_come_back_sorted() {
        let apply = json!({"manager": "a", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:x": {}}});
        let mut status = updater(1);
        status["subresource"] = "status".into();
        let managed = Managed::decode(&json!([updater(2), status, apply])).unwrap();
        assert_eq!(managed.encode(), Some(json!([apply, status, updater(2)])));
        assert_eq!(Managed::default().encode(), None);
    }

    #[test]
    fn bad_entries_are_told() {
        for (change, why) in [
            (("operation", json!("Patch")), "operation must be"),
            (("apiVersion", json!("")), "apiVersion must not be empty"),
            (("fieldsType", json!("V2")), "invalid fieldsType \"V2\""),
            (("fieldsV1", json!({"x": {}})), "error decoding"),
        ] {
            let mut entry = updater(1);
            entry[change.0] = change.1;
            assert!(Managed::decode(&json!([entry])).unwrap_err().contains(why));
        }
    }

    #[test]
    fn the_oldest_updates_are_put_together() {
        let mut managed = Managed::decode(&Value::Array((0..12).map(updater).collect())).unwrap();
        managed.cap();
        let list = managed.encode().unwrap();
        assert_eq!(list.as_array().unwrap().len(), 10);
        assert_eq!(
            (&list[0]["manager"], &list[0]["time"]),
            (&json!("ancient-changes"), &json!("2026-01-01T00:00:02Z"))
        );
        assert_eq!(
            list[0]["fieldsV1"],
            json!({"f:data": {"f:0": {}, "f:1": {}, "f:2": {}}})
        );
        assert_eq!(list[1]["manager"], "m03");
    }
}
