//! Patches against models: what is documented of each kind, written down as plainly as can be.

use std::collections::BTreeMap;

use knarr_api::{
    Schemas,
    decode::FieldValidation,
    patch::{self, Kind, json, strategic},
};
use knarr_json::{Map, Value, json};
use proptest::prelude::*;

/// Any JSON without nulls, not too deep.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (-9..9i64).prop_map(Value::from),
        "[a-c~/]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object_of(inner),
        ]
    })
}

fn object_of(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-c~/]{1,2}", inner, 0..4)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

/// What a merge patch must say to make `new` of `old`.
fn merge_patch(old: &Value, new: &Value) -> Value {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        return new.clone();
    };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            Some(same) if same == value => {}
            // An object merges into an object and stands for itself elsewhere.
            Some(other) => drop(patch.insert(key.clone(), merge_patch(other, value))),
            None => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    Value::Object(patch)
}

/// JSON patch operations, pointed at places that may exist.
fn operations() -> impl Strategy<Value = Vec<Value>> {
    let pointer = prop::collection::vec(
        prop_oneof![
            "[a-c]{1,2}".prop_map(|s| s),
            Just("~0".to_owned()),
            Just("~1".to_owned()),
            (0..4u8).prop_map(|n| n.to_string()),
            Just("-".to_owned()),
        ],
        1..4,
    )
    .prop_map(|parts| format!("/{}", parts.join("/")));
    let operation =
        (0..6u8, pointer.clone(), pointer, value()).prop_map(|(op, path, from, value)| match op {
            0 => json!({"op": "add", "path": path, "value": value}),
            1 => json!({"op": "remove", "path": path}),
            2 => json!({"op": "replace", "path": path, "value": value}),
            3 => json!({"op": "move", "from": from, "path": path}),
            4 => json!({"op": "copy", "from": from, "path": path}),
            _ => json!({"op": "test", "path": path, "value": value}),
        });
    prop::collection::vec(operation, 1..5)
}

/// A list of containers as a map of them.
type Containers = BTreeMap<String, BTreeMap<String, String>>;

fn containers(object: &Value) -> (Containers, Vec<String>) {
    let list = object["spec"]["containers"].as_array();
    let (mut map, mut order) = (Containers::new(), Vec::new());
    for container in list.into_iter().flatten() {
        let name = container["name"].as_str().unwrap().to_owned();
        let fields = container.as_object().unwrap().iter();
        let fields = fields.map(|(k, v)| (k.to_string(), v.as_str().unwrap().to_owned()));
        order.push(name.clone());
        assert!(
            map.insert(name, fields.collect()).is_none(),
            "names are unique"
        );
    }
    (map, order)
}

fn pod(containers: &Containers, finalizers: &[String]) -> Value {
    let list: Vec<Value> = containers.values().map(|fields| json!(fields)).collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "finalizers": finalizers}, "spec": {"containers": list}})
}

fn some_containers() -> impl Strategy<Value = Containers> {
    let fields = ("[x-z]", "[0-3]", prop::option::of("[0-3]"));
    prop::collection::vec(fields, 0..4).prop_map(|all| {
        let container = |(name, image, dir): (String, String, Option<String>)| {
            let mut fields = BTreeMap::from([
                ("name".to_owned(), name.clone()),
                ("image".to_owned(), image),
            ]);
            fields.extend(dir.map(|dir| ("workingDir".to_owned(), dir)));
            (name, fields)
        };
        all.into_iter().map(container).collect()
    })
}

/// What a strategic patch says of one container.
#[derive(Debug, Clone)]
enum Change {
    Merge(BTreeMap<String, String>),
    /// A field is removed by null.
    Clear(&'static str),
    Delete,
}

fn changes() -> impl Strategy<Value = BTreeMap<String, Change>> {
    let fields = || {
        prop::collection::btree_map(
            prop_oneof![Just("image".to_owned()), Just("workingDir".to_owned())],
            "[4-7]",
            0..3,
        )
    };
    let change = prop_oneof![
        3 => fields().prop_map(Change::Merge),
        1 => Just(Change::Clear("workingDir")),
        2 => Just(Change::Delete),
    ];
    prop::collection::btree_map("[w-z]", change, 0..4)
}

/// The rules: merge by name, add what is not there, delete what is to be deleted.
fn changed(mut containers: Containers, changes: &BTreeMap<String, Change>) -> Containers {
    for (name, change) in changes {
        let named = || BTreeMap::from([("name".to_owned(), name.clone())]);
        match change {
            Change::Delete => {
                containers.remove(name);
            }
            Change::Merge(fields) => containers
                .entry(name.clone())
                .or_insert_with(named)
                .extend(fields.clone()),
            Change::Clear(field) => {
                containers
                    .entry(name.clone())
                    .or_insert_with(named)
                    .remove(*field);
            }
        }
    }
    containers
}

fn strategic_patch(changes: &BTreeMap<String, Change>) -> Value {
    let list = changes.iter().map(|(name, change)| {
        let mut item = json!({"name": name});
        match change {
            Change::Merge(fields) => fields.iter().for_each(|(k, v)| item[k] = json!(v)),
            Change::Clear(field) => item[*field] = Value::Null,
            Change::Delete => item["$patch"] = json!("delete"),
        }
        item
    });
    json!({"spec": {"containers": list.collect::<Vec<_>>()}})
}

fn strategic(object: &Value, patch: &Value) -> Value {
    let schema = Schemas::default().by_api_version("v1", "Pod").unwrap();
    let patch = patch.as_object().unwrap();
    strategic::apply(&schema, object, patch).unwrap_or_else(|_| panic!("{patch:?} applies"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_merge_patch_leads_where_it_shall(old in object_of(value()), new in object_of(value())) {
        let patch = merge_patch(&old, &new);
        let done = json::merge(&old, &patch);
        prop_assert_eq!(&done, &new);
        prop_assert_eq!(json::merge(&done, &patch), new, "twice is once");
        prop_assert_eq!(json::merge(&old, &json!({})), old);
    }

    #[test]
    fn json_patch_agrees_with_another_implementation(object in object_of(value()), operations in operations()) {
        let ours = json::apply(&object, &operations);
        let mut theirs = serde_json::Value::from(&object);
        let patch: json_patch::Patch = knarr_json::from_value(json!(operations)).unwrap();
        // Without undoing what was done before a failure: that can fail in itself, and panics then.
        let done = json_patch::patch_unsafe(&mut theirs, &patch);
        if let Ok(ours) = &ours && done.is_ok() {
            prop_assert_eq!(ours, &theirs);
        }
        // Where they differ in what is allowed, ours follows the original; both must refuse what leads nowhere.
        let plain = |op: &Value| matches!(op["op"].as_str(), Some("add" | "remove"))
            && !op["path"].as_str().unwrap().contains('-');
        if operations.iter().all(plain) {
            prop_assert_eq!(ours.is_ok(), done.is_ok());
        }
    }

    #[test]
    fn a_json_patch_of_differences_leads_where_it_shall(old in object_of(value()), new in object_of(value())) {
        let patch = json_patch::diff(&(&old).into(), &(&new).into());
        let operations: Vec<Value> = knarr_json::from_value(knarr_json::to_value(&patch).unwrap()).unwrap();
        prop_assert_eq!(json::apply(&old, &operations).ok(), Some(new));
    }

    #[test]
    fn lists_merge_by_key(before in some_containers(), changes in changes()) {
        let object = pod(&before, &[]);
        let done = strategic(&object, &strategic_patch(&changes));
        let (found, order) = containers(&done);
        prop_assert_eq!(&found, &changed(before.clone(), &changes));
        // What was there stays in its order, and what is new comes behind it.
        let (_, old_order) = containers(&object);
        let stayed: Vec<_> = order.iter().filter(|name| before.contains_key(*name)).cloned().collect();
        let kept: Vec<_> = old_order.into_iter().filter(|name| found.contains_key(name)).collect();
        prop_assert_eq!(stayed, kept);
    }

    #[test]
    fn an_order_is_kept_when_it_is_told(before in some_containers(), changes in changes(), seed: u64) {
        let object = pod(&before, &[]);
        let want = changed(before, &changes);
        let mut order: Vec<String> = want.keys().cloned().collect();
        if !order.is_empty() {
            let middle = usize::try_from(seed % order.len() as u64).unwrap();
            order.rotate_left(middle);
        }
        let mut patch = strategic_patch(&changes);
        patch["spec"]["$setElementOrder/containers"] = order.iter().map(|name| json!({"name": name})).collect();
        // In the list of changes, too, what is ordered comes in that order.
        let place = |item: &Value| order.iter().position(|name| item["name"] == **name);
        patch["spec"]["containers"].as_array_mut().unwrap().sort_by_key(place);
        let (found, shown) = containers(&strategic(&object, &patch));
        prop_assert_eq!(found, want);
        prop_assert_eq!(shown, order);
    }

    #[test]
    fn lists_of_values_are_sets_when_they_merge(
        before in prop::collection::btree_set("[a-e]", 0..4),
        add in prop::collection::btree_set("[a-e]", 0..3),
        delete in prop::collection::btree_set("[a-e]", 0..3),
    ) {
        let delete: Vec<&String> = delete.iter().filter(|name| !add.contains(*name)).collect();
        let before: Vec<String> = before.into_iter().collect();
        let object = pod(&Containers::new(), &before);
        let mut patch = json!({"metadata": {"finalizers": add}});
        if !delete.is_empty() {
            patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = json!(delete);
        }
        let done = strategic(&object, &patch);
        let shown = done["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let mut found: Vec<String> = shown.iter().map(|v| v.as_str().unwrap().to_owned()).collect();
        found.sort();
        let mut want: Vec<String> = before.iter().filter(|name| !delete.contains(name)).cloned().collect();
        want.extend(add.iter().filter(|name| !before.contains(name)).cloned());
        want.sort();
        prop_assert_eq!(found, want);
    }

    #[test]
    fn a_whole_list_or_map_can_be_replaced(before in some_containers(), after in some_containers()) {
        let object = pod(&before, &[]);
        let mut list: Vec<Value> = after.values().map(|fields| json!(fields)).collect();
        list.push(json!({"$patch": "replace"}));
        let done = strategic(&object, &json!({"spec": {"containers": list}}));
        prop_assert_eq!(containers(&done).0, after.clone());
        let whole = json!({"spec": {"$patch": "replace", "containers": after.values().collect::<Vec<_>>()}});
        prop_assert_eq!(containers(&strategic(&object, &whole)).0, after);
    }

    #[test]
    fn no_patch_makes_it_panic(body in "\\PC{0,40}", object in object_of(value()), patch in value()) {
        let schema = Schemas::default().by_api_version("v1", "Pod").unwrap();
        for kind in [Kind::Json, Kind::Merge, Kind::Strategic] {
            for body in [body.as_bytes(), patch.to_string().as_bytes()] {
                let _ = patch::apply(kind, Some(&schema), &object, body, FieldValidation::Strict);
                let _ = patch::apply(kind, None, &object, body, FieldValidation::Warn);
            }
        }
    }
}
