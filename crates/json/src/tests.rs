//! Everything that values do, against `serde_json`'s.

use proptest::prelude::*;
use serde::Deserialize;

use crate::{Map, Value, json};

type Model = serde_json::Value;

/// Values with few keys, so that they collide, and now and then with more than a run holds.
fn value() -> impl Strategy<Value = Model> {
    let leaf = prop_oneof![
        Just(Model::Null),
        any::<bool>().prop_map(Model::from),
        any::<i64>().prop_map(Model::from),
        any::<i16>().prop_map(|n| Model::from(f64::from(n) / 4.0)),
        "[a-z\"\\\\\u{e9}]{0,40}".prop_map(Model::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Model::from),
            prop::collection::vec(("[a-d]{0,2}", inner.clone()), 0..6)
                .prop_map(|entries| Model::Object(entries.into_iter().collect())),
            prop::collection::vec(("[a-z]{1,2}", inner), 60..80)
                .prop_map(|entries| Model::Object(entries.into_iter().collect())),
        ]
    })
}

#[derive(Debug, Clone)]
enum Step {
    Insert(String, i32),
    Remove(String),
    Set(String, i32),
    Entry(String, i32),
    Retain(i32),
    Copy,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || "[a-z]{1,2}";
    prop_oneof![
        8 => (key(), any::<i32>()).prop_map(|(k, n)| Step::Insert(k, n)),
        2 => key().prop_map(Step::Remove),
        2 => (key(), any::<i32>()).prop_map(|(k, n)| Step::Set(k, n)),
        4 => (key(), any::<i32>()).prop_map(|(k, n)| Step::Entry(k, n)),
        1 => (2..9).prop_map(Step::Retain),
        1 => Just(Step::Copy),
    ]
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

proptest! {
    #[test]
    fn texts_go_in_and_out_unchanged(model in value()) {
        let text = model.to_string();
        let value: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(value.to_string(), text);
        prop_assert_eq!(&value, &Value::from(&model));
        prop_assert_eq!(Model::from(&value), model.clone());
        prop_assert_eq!(Model::deserialize(&value).unwrap(), model);
    }

    #[test]
    fn equality_is_that_of_the_model(a in value(), b in value()) {
        let (x, y) = (Value::from(&a), Value::from(&b));
        prop_assert_eq!(x == y, a == b);
        prop_assert_eq!(&x, &x.clone());
        prop_assert!(!x.same(&y) || a == b);
    }

    #[test]
    fn maps_do_what_the_model_does(steps in prop::collection::vec(step(), 0..400)) {
        let (mut map, mut model) = (Map::new(), std::collections::BTreeMap::<String, i64>::new());
        let mut copies = Vec::new();
        for step in steps {
            match step {
                Step::Insert(k, n) => {
                    let before = map.insert(k.as_str(), n.into());
                    prop_assert_eq!(before.map(|v| number(&v)), model.insert(k, n.into()));
                }
                Step::Remove(k) => {
                    prop_assert_eq!(map.remove(&k).map(|v| number(&v)), model.remove(&k));
                }
                Step::Set(k, n) => {
                    let (here, there) = (map.get_mut(&k), model.get_mut(&k));
                    prop_assert_eq!(here.is_some(), there.is_some());
                    if let (Some(here), Some(there)) = (here, there) {
                        (*here, *there) = (n.into(), n.into());
                    }
                }
                Step::Entry(k, n) => {
                    let here = number(map.entry(k.as_str()).or_insert(n.into()));
                    prop_assert_eq!(here, *model.entry(k).or_insert(n.into()));
                }
                Step::Retain(n) => {
                    map.retain(|_, v| number(v) % i64::from(n) != 0);
                    model.retain(|_, v| *v % i64::from(n) != 0);
                }
                Step::Copy => copies.push((map.clone(), model.clone())),
            }
        }
        copies.push((map, model));
        for (map, model) in copies {
            prop_assert_eq!(map.len(), model.len());
            let here: Vec<(String, i64)> = map.iter().map(|(k, v)| (k.to_string(), number(v))).collect();
            let there: Vec<(String, i64)> = model.into_iter().collect();
            prop_assert_eq!(&here, &there);
            let turned: Vec<(String, i64)> = map.iter().rev().map(|(k, v)| (k.to_string(), number(v))).collect();
            prop_assert_eq!(turned, there.into_iter().rev().collect::<Vec<_>>());
            for (k, n) in here {
                prop_assert_eq!(map.get(&k).map(number), Some(n));
            }
        }
    }
}

#[test]
fn a_copy_shares_until_it_is_changed() {
    let value = json!({"spec": {"a": {"b": [1, 2]}, "c": {"d": 1}}});
    let mut copy = value.clone();
    copy["spec"]["c"]["d"] = 2.into();
    assert!(copy["spec"]["a"].same(&value["spec"]["a"]));
    assert!(!copy["spec"].same(&value["spec"]));
    assert_eq!(
        (&value["spec"]["c"]["d"], &copy["spec"]["c"]["d"]),
        (&1.into(), &2.into())
    );
}

#[test]
fn missing_things_read_as_null_and_are_made_when_written() {
    let mut value = Value::Null;
    assert!(value["a"][3]["b"].is_null());
    value["a"]["b"] = "c".into();
    assert_eq!(value, json!({"a": {"b": "c"}}));
}

#[test]
fn pointers_lead_where_rfc_6901_says() {
    let mut value = json!({"foo": ["bar", "baz"], "": 0, "a/b": 1, "m~n": 8});
    for (pointer, found) in [
        ("/foo/0", Some(json!("bar"))),
        ("/", Some(json!(0))),
        ("/a~1b", Some(json!(1))),
        ("/m~0n", Some(json!(8))),
        ("/foo/00", None),
        ("/foo/+1", None),
        ("foo", None),
    ] {
        assert_eq!(value.pointer(pointer).cloned(), found, "{pointer}");
        assert_eq!(value.pointer_mut(pointer).cloned(), found, "{pointer}");
    }
    assert_eq!(value.pointer(""), Some(&value));
}

#[test]
fn types_are_read_out_of_values_and_become_values() {
    #[derive(Debug, PartialEq, serde::Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Choice {
        Nothing,
        Some(u8),
        Named { a: Option<String> },
    }
    #[derive(Debug, PartialEq, serde::Serialize, Deserialize)]
    struct All {
        choices: Vec<Choice>,
        map: std::collections::BTreeMap<String, f64>,
        wrapped: Box<Option<i64>>,
    }
    let all = All {
        choices: vec![Choice::Nothing, Choice::Some(3), Choice::Named { a: None }],
        map: [("x".to_owned(), 1.5)].into(),
        wrapped: Box::new(None),
    };
    let value = crate::to_value(&all).unwrap();
    assert_eq!(crate::from_value::<All>(value.clone()).unwrap(), all);
    let borrowed = <std::collections::BTreeMap<&str, serde::de::IgnoredAny>>::deserialize(&value);
    assert_eq!(borrowed.unwrap().len(), 3);
    assert!(crate::from_value::<All>(json!({"choices": 7})).is_err());
}

#[test]
fn written_values_are_those_of_serde() {
    let (name, list, none) = ("n".to_owned(), vec![1, 2], None::<u8>);
    macro_rules! both {
        ($($json:tt)+) => {
            assert_eq!(json!($($json)+), Value::from(serde_json::json!($($json)+)))
        };
    }
    both!(null);
    both!([]);
    both!({});
    both!(-3);
    both!([null, true, [1.5, {}], {"a": null}, name, list[0] + 1, &list]);
    both!({"a": null, "b": [], "c": {"d": [{"e": -1}]}, (name.clone()): format!("{name}!"), "f": none, "g": list.len(),});
    both!([name, list,]);
}
