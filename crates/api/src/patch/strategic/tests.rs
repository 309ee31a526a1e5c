use super::*;
use crate::Schemas;
use knarr_json::json;
use proptest::prelude::*;

fn pod(patch: Value) -> std::result::Result<Value, String> {
    let pod = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x/a", "x/b"]}, "spec": {
        "nodeSelector": {"disk": "fast"},
        "containers": [{"name": "one", "image": "i", "args": ["-v"], "env": [{"name": "K", "value": "1"}, {"name": "T", "value": "2"}]},
            {"name": "two", "image": "i"}, {"name": "three", "image": "i"}],
        "volumes": [{"name": "v", "emptyDir": {}}]}});
    let schema = Schemas::default().by_kind("", "v1", "Pod").unwrap();
    apply(&schema, &pod, patch.as_object().unwrap()).map_err(|e| e.to_string())
}

proptest! {
    #[test]
    fn no_patch_panics(patch in any_value(4)) {
        let _ = pod(json!({"spec": {"containers": patch, "$setElementOrder/containers": patch}, "metadata": patch}));
        let _ = pod(json!({"spec": patch}));
    }
}

/// Objects of names that mean something to patches.
fn any_value(depth: u32) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!("delete")),
        Just(json!("replace")),
        Just(json!(1)),
        "[a-z]{1,3}".prop_map(Value::from)
    ];
    leaf.prop_recursive(depth, 32, 4, |inner| {
        let key = prop_oneof![
            Just("name"),
            Just("containers"),
            Just("$patch"),
            Just("$retainKeys"),
            Just("$setElementOrder/containers"),
            Just("$deleteFromPrimitiveList/finalizers"),
            Just("finalizers"),
            Just("volumes"),
            Just("labels")
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key, inner), 0..4).prop_map(|kv| kv.into_iter().collect()),
        ]
    })
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect()
}

#[test]
fn lists_merge_by_key_and_new_elements_come_first() {
    let out = pod(json!({"spec": {"containers": [{"name": "four", "image": "n", "x": null}, {"name": "one", "image": "j", "args": ["-q"],
        "env": [{"name": "M", "value": "3"}, {"name": "K", "value": "9"}]}]}})).unwrap();
    let containers = &out["spec"]["containers"];
    assert_eq!(names(containers), ["four", "one", "two", "three"]);
    assert_eq!(containers[0], json!({"name": "four", "image": "n"}));
    assert_eq!(containers[1]["image"], "j");
    assert_eq!(containers[1]["args"], json!(["-q"]));
    assert_eq!(names(&containers[1]["env"]), ["M", "K", "T"]);
}

#[test]
fn directives_delete_replace_retain_and_order() {
    let out = pod(json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}, "$deleteFromPrimitiveList/finalizers": ["x/a"]},
        "spec": {"nodeSelector": {"$patch": "delete"}, "containers": [{"name": "two", "$patch": "delete"}, {"name": "no", "$patch": "delete"}],
        "volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}})).unwrap();
    assert_eq!(
        out["metadata"],
        json!({"labels": {"c": "3"}, "finalizers": ["x/b"]})
    );
    assert_eq!(names(&out["spec"]["containers"]), ["one", "three"]);
    assert_eq!(out["spec"]["nodeSelector"], json!({}));
    assert_eq!(
        out["spec"]["volumes"],
        json!([{"name": "v", "hostPath": {"path": "/"}}])
    );
    let out = pod(
        json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "new", "image": "n"}]}}),
    )
    .unwrap();
    assert_eq!(names(&out["spec"]["containers"]), ["new"]);
    let out = pod(json!({"spec": {"$setElementOrder/containers": [{"name": "three"}, {"name": "one"}, {"name": "two"}]}})).unwrap();
    assert_eq!(names(&out["spec"]["containers"]), ["three", "one", "two"]);
    let out = pod(json!({"spec": {"$setElementOrder/containers": [{"name": "two"}, {"name": "new"}, {"name": "three"}],
        "containers": [{"name": "new", "image": "n"}]}})).unwrap();
    assert_eq!(
        names(&out["spec"]["containers"]),
        ["one", "two", "new", "three"]
    );
    let out = pod(json!({"metadata": {"finalizers": ["x/c"]}})).unwrap();
    assert_eq!(out["metadata"]["finalizers"], json!(["x/c", "x/a", "x/b"]));
    assert_eq!(
        pod(json!({"metadata": {"$deleteFromPrimitiveList/finalizers": "x/b"}})).unwrap(),
        pod(json!({})).unwrap()
    );
}

#[test]
fn bad_patches_say_why() {
    for (patch, want) in [
        (
            json!({"spec": {"containers": [{"image": "example.test/noname:1"}]}}),
            "map: map[image:example.test/noname:1] does not contain declared merge key: name",
        ),
        (
            json!({"metadata": {"labels": {"$patch": "sideways"}}}),
            "unknown patch type: sideways in map: map[$patch:sideways]",
        ),
        (
            json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name"], "hostPath": {}}]}}),
            "Invalid patch format of retainKeys, retainKeys list must be a list and contain all fields of the patch",
        ),
        (
            json!({"metadata": {"finalizers": [1]}}),
            "list element types are not identical: [[x/a x/b] [1]]",
        ),
        (
            json!({"spec": {"$deleteFromPrimitiveList/volumes": ["v"]}}),
            "list element types are not identical: [[map[emptyDir:map[] name:v]] [v]]",
        ),
        (
            json!({"metadata": {"finalizers": [["x/c"]]}}),
            "list element types are not identical: [[x/a x/b] [[x/c]]]",
        ),
    ] {
        assert_eq!(pod(patch).unwrap_err(), want);
    }
    let order = pod(
        json!({"spec": {"$setElementOrder/containers": [{"name": "one"}], "containers": [{"name": "five"}]}}),
    );
    assert!(order.unwrap_err().starts_with("The order in patch list:"));
    assert_eq!(of_maps(&[json!([])], &[]), Err(Failure::ListOfLists));
}

/// Long enough that it would take minutes to look for each element in all others.
#[test]
fn long_lists_merge() {
    const MANY: usize = 50_000;
    let schema = Schemas::default().by_kind("", "v1", "Pod").unwrap();
    let named = |n: usize, image: &str| json!({"name": format!("c{n}"), "image": image});
    let all = |image: &str| (0..MANY).map(|n| named(n, image)).collect::<Value>();
    let texts = || {
        (0..MANY)
            .map(|n| json!(format!("x/{n}")))
            .collect::<Value>()
    };
    let live = json!({"metadata": {"finalizers": texts()}, "spec": {"containers": all("a")}});
    let gone: Value = (0..MANY)
        .step_by(2)
        .map(|n| json!({"$patch": "delete", "name": format!("c{n}")}))
        .collect();
    let fields: knarr_json::Map = (0..MANY).map(|n| (format!("k{n}"), json!(1))).collect();
    let kept: Value = fields.keys().map(|key| json!(key.as_str())).collect();
    let mut retained = Value::Object(fields);
    retained["$retainKeys"] = kept;
    for (patch, left) in [
        (
            json!({"metadata": {"finalizers": texts()}, "spec": {"containers": all("b")}}),
            MANY,
        ),
        (json!({"spec": {"containers": gone}}), MANY / 2),
        (
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": texts()}, "spec": {"$setElementOrder/containers": all("")}}),
            MANY,
        ),
        (json!({"spec": retained, "status": {"containers": []}}), 0),
    ] {
        let out = apply(&schema, &live, patch.as_object().unwrap()).unwrap();
        assert_eq!(out["spec"]["containers"].items().len(), left);
    }
}

/// What names an element may change as it is merged; then others are found by that name.
#[test]
fn long_lists_merge_as_short_ones_do() {
    let schema = Schemas::default().by_kind("", "v1", "Pod").unwrap();
    let odd = [
        json!({"name": {"a": null, "b": 1}, "image": "1"}),
        json!({"name": {"b": 1}, "image": "2"}),
        json!({"name": "x", "image": "4"}),
        json!({"name": "x", "image": "5"}),
    ];
    let merged = |length: usize| {
        let filled = |image: &str| {
            let filler = (0..length).map(|n| json!({"name": n, "image": image}));
            odd.iter()
                .chain(&odd)
                .cloned()
                .chain(filler)
                .collect::<Value>()
        };
        let live = json!({"spec": {"containers": filled("old")}});
        let patch = json!({"spec": {"containers": filled("new")}});
        let out = apply(&schema, &live, patch.as_object().unwrap()).unwrap();
        let found = out["spec"]["containers"].items().iter();
        found
            .filter(|c| !c["name"].is_number())
            .cloned()
            .collect::<Vec<_>>()
    };
    let (short, long) = (merged(0), merged(50));
    assert!(!short.is_empty());
    assert_eq!(short, long);
}
