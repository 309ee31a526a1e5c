//! What writes and applies do, case by case.

use knarr_json::{Value, json};

use super::*;

struct Case {
    schemas: Schemas,
    ty: Type,
    reset: &'static Set,
    api_version: &'static str,
    kind: &'static str,
}

impl Case {
    fn new(api_version: &'static str, kind: &'static str) -> Case {
        let schemas = Schemas::default();
        let ty = Type::Struct(schemas.by_api_version(api_version, kind).unwrap());
        let reset = reset_fields(kind, "", kind != "ConfigMap", false);
        Case {
            schemas,
            ty,
            reset,
            api_version,
            kind,
        }
    }

    fn config_map() -> Case {
        Case::new("v1", "ConfigMap")
    }

    fn scope(&self, second: u32) -> Scope<'_> {
        Scope {
            schemas: &self.schemas,
            ty: &self.ty,
            api_version: self.api_version,
            kind: self.kind,
            subresource: "",
            replicas: "spec.replicas",
            reset: self.reset,
            now: format!("2026-01-01T00:00:{second:02}Z").parse().unwrap(),
            convert: &|_, _| None,
        }
    }

    fn object(&self, more: Value) -> Value {
        let mut object = json!({"apiVersion": self.api_version, "kind": self.kind, "metadata": {"name": "a", "namespace": "n"}});
        for (key, value) in more.as_object().unwrap() {
            object[key] = value.clone();
        }
        object
    }

    fn apply(
        &self,
        live: Option<&Value>,
        second: u32,
        manager: &str,
        more: Value,
    ) -> Result<Value, Box<Status>> {
        apply(
            &self.scope(second),
            live,
            &self.object(more),
            manager,
            false,
        )
    }

    fn update(&self, live: Option<&Value>, second: u32, manager: &str, mut new: Value) -> Value {
        update(&self.scope(second), live, &mut new, manager);
        new
    }
}

use crate::Status;

/// `manager Operation time`, and the set, of each entry.
fn owners(object: &Value) -> Vec<(String, Value)> {
    let list = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let line = |e: &Value| {
        let time = e["time"]
            .as_str()
            .map_or("never", |t| &t[17..19])
            .to_owned();
        format!(
            "{} {} {time}",
            e["manager"].as_str().unwrap(),
            e["operation"].as_str().unwrap()
        )
    };
    list.iter()
        .map(|e| (line(e), e["fieldsV1"].clone()))
        .collect()
}

#[test]
fn updates_take_what_they_change() {
    let case = Case::config_map();
    let created = case.update(
        None,
        1,
        "ann",
        case.object(json!({"data": {"k": "1", "l": "1"}})),
    );
    assert_eq!(
        owners(&created),
        [(
            "ann Update 01".into(),
            json!({"f:data": {".": {}, "f:k": {}, "f:l": {}}})
        )]
    );
    let mut new = created.clone();
    new["data"]["k"] = "2".into();
    let changed = case.update(Some(&created), 2, "bob", new);
    assert_eq!(
        owners(&changed),
        [
            (
                "ann Update 01".into(),
                json!({"f:data": {".": {}, "f:l": {}}})
            ),
            ("bob Update 02".into(), json!({"f:data": {"f:k": {}}})),
        ]
    );
    // Nothing changed: nobody's time does either.
    assert_eq!(
        case.update(Some(&changed), 3, "ann", changed.clone()),
        changed
    );
    let mut new = changed.clone();
    new["data"].as_object_mut().unwrap().remove("k");
    assert_eq!(
        owners(&case.update(Some(&changed), 4, "ann", new)),
        [owners(&changed)[0].clone()]
    );
}

#[test]
fn entries_may_be_cleared_and_stay_cleared_until_an_apply() {
    let case = Case::config_map();
    let created = case.update(None, 1, "ann", case.object(json!({"data": {"k": "1"}})));
    for clear in [json!([]), json!([{}])] {
        let mut new = created.clone();
        new["metadata"]["managedFields"] = clear;
        let cleared = case.update(Some(&created), 2, "ann", new);
        assert_eq!(cleared["metadata"].get("managedFields"), None);
        let mut new = cleared.clone();
        new["data"]["k"] = "2".into();
        let cleared = case.update(Some(&cleared), 3, "ann", new);
        assert!(owners(&cleared).is_empty());
        let applied = case
            .apply(Some(&cleared), 4, "bob", json!({"data": {"k": "2"}}))
            .unwrap();
        assert_eq!(
            owners(&applied),
            [
                ("bob Apply never".into(), json!({"f:data": {"f:k": {}}})),
                (
                    "before-first-apply Update 04".into(),
                    json!({"f:data": {".": {}, "f:k": {}}})
                ),
            ]
        );
    }
    // A client that does not know them loses nothing.
    let new = case.object(json!({"data": {"k": "1"}}));
    assert_eq!(
        owners(&case.update(Some(&created), 5, "ann", new)),
        owners(&created)
    );
}

#[test]
fn an_apply_takes_back_what_it_no_longer_says() {
    let case = Case::config_map();
    let first = case
        .apply(None, 1, "ann", json!({"data": {"k": "1", "l": "1"}}))
        .unwrap();
    let mut new = first.clone();
    new["data"]["other"] = "1".into();
    let live = case.update(Some(&first), 2, "bob", new);
    let second = case
        .apply(Some(&live), 3, "ann", json!({"data": {"l": "1"}}))
        .unwrap();
    assert_eq!(second["data"], json!({"l": "1", "other": "1"}));
    assert_eq!(
        owners(&second)[0],
        ("ann Apply 03".into(), json!({"f:data": {"f:l": {}}}))
    );
    // The same again is no change.
    assert_eq!(
        case.apply(Some(&second), 4, "ann", json!({"data": {"l": "1"}}))
            .unwrap(),
        second
    );
    let last = case.apply(Some(&second), 5, "ann", json!({})).unwrap();
    assert_eq!(
        (&last["data"], owners(&last).len()),
        (&json!({"other": "1"}), 1)
    );
}

#[test]
fn conflicts_name_every_path_and_its_owner() {
    let case = Case::config_map();
    let live = case
        .apply(None, 1, "ann", json!({"data": {"k": "1", "l": "1"}}))
        .unwrap();
    let mut new = live.clone();
    new["data"]["m"] = "1".into();
    let live = case.update(Some(&live), 2, "bob", new);
    let status = case
        .apply(
            Some(&live),
            3,
            "cat",
            json!({"data": {"k": "2", "l": "2", "m": "2"}}),
        )
        .unwrap_err();
    assert_eq!(
        status.message,
        "Apply failed with 3 conflicts: conflicts with \"ann\":\n- .data.k\n- .data.l\nconflicts with \"bob\" using v1:\n- .data.m"
    );
    let causes = status.details.as_ref().map(|d| d.causes.clone()).unwrap();
    let shown: Vec<_> = causes
        .iter()
        .map(|c| (c.reason.as_str(), c.message.as_str(), c.field.as_str()))
        .collect();
    assert_eq!(
        shown[2],
        (
            "FieldManagerConflict",
            "conflict with \"bob\" using v1",
            ".data.m"
        )
    );
    assert_eq!(
        (status.code, status.reason.as_str(), shown.len()),
        (409, "Conflict", 3)
    );
    let forced = apply(
        &case.scope(4),
        Some(&live),
        &case.object(json!({"data": {"k": "2"}})),
        "cat",
        true,
    )
    .unwrap();
    assert_eq!(forced["data"]["k"], "2");
    assert_eq!(
        owners(&forced)[..2],
        [
            ("ann Apply 01".into(), json!({"f:data": {"f:l": {}}})),
            ("cat Apply 04".into(), json!({"f:data": {"f:k": {}}})),
        ]
    );
}

#[test]
fn what_kubectl_applied_before_is_its_own() {
    let case = Case::config_map();
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let last = case.object(json!({"data": {"k": "1"}})).to_string();
    let mut object = case.object(json!({"data": {"k": "1", "l": "1"}}));
    object["metadata"]["annotations"] = json!({annotation: last});
    let live = case.update(None, 1, "kubectl-client-side-apply", object);
    assert!(
        case.apply(Some(&live), 2, "ann", json!({"data": {"k": "2"}}))
            .is_err()
    );
    let status = case
        .apply(
            Some(&live),
            2,
            "kubectl",
            json!({"data": {"k": "2", "l": "2"}}),
        )
        .unwrap_err();
    assert!(
        status.message.ends_with("using v1: .data.l"),
        "{}",
        status.message
    );
    let applied = case
        .apply(Some(&live), 2, "kubectl", json!({"data": {"k": "2"}}))
        .unwrap();
    assert_eq!(applied["data"], json!({"k": "2", "l": "1"}));
    let recorded = applied["metadata"]["annotations"][annotation]
        .as_str()
        .unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(recorded).unwrap()["data"],
        json!({"k": "2"})
    );
}

#[test]
fn lists_keep_the_applied_order_among_what_is_shared() {
    let case = Case::config_map();
    let finalizers = |live: &[&str], applied: &[&str]| {
        let meta = |list: &[&str]| json!({"metadata": {"name": "a", "finalizers": list}});
        let live = case.update(None, 1, "ann", case.object(meta(live)));
        let merged = case.apply(Some(&live), 2, "bob", meta(applied)).unwrap();
        merged["metadata"]["finalizers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_str().unwrap())
            .collect::<String>()
    };
    for (live, applied, merged) in [
        (&["a", "b"][..], &["c", "b"][..], "acb"),
        (&["a", "b", "c"], &["c", "a"], "bca"),
        (&["a"], &["b"], "ab"),
        (&["a", "b"], &["b", "a"], "ba"),
        (&[], &["b", "a"], "ba"),
    ] {
        assert_eq!(finalizers(live, applied), merged, "{live:?} {applied:?}");
    }
}

#[test]
fn configurations_that_do_not_fit_are_refused() {
    let case = Case::config_map();
    for (more, code, message) in [
        (
            json!({"kind": "Secret"}),
            400,
            "invalid object type: /v1, Kind=Secret",
        ),
        (
            json!({"metadata": {"managedFields": []}}),
            400,
            "metadata.managedFields must be nil",
        ),
        (
            json!({"bricks": 7}),
            500,
            ".bricks: field not declared in schema",
        ),
        (json!({"data": {"k": 7}}), 500, ".data.k: expected string"),
        (
            json!({"metadata": {"finalizers": ["d", "d"]}}),
            500,
            "duplicate entries for key [=\"d\"]",
        ),
    ] {
        let status = case.apply(None, 1, "ann", more).unwrap_err();
        assert_eq!(status.code, code);
        assert!(status.message.contains(message), "{}", status.message);
    }
}

#[test]
fn a_write_that_only_moves_times_is_none() {
    let case = Case::config_map();
    let live = case
        .apply(None, 1, "ann", json!({"data": {"k": "1"}}))
        .unwrap();
    let mut new = live.clone();
    new["metadata"]["managedFields"][0]["time"] = "2026-01-01T00:00:09Z".into();
    let moved = new.clone();
    keep_times(&live, &mut new);
    assert_eq!(new, live);
    let mut new = moved.clone();
    new["data"]["k"] = "2".into();
    let want = new.clone();
    keep_times(&live, &mut new);
    assert_eq!(new, want);
}

#[test]
fn scales_own_replicas_without_a_time_and_zero_is_nothing() {
    let case = Case::new("apps/v1", "Deployment");
    let live = case.update(
        None,
        1,
        "ann",
        case.object(json!({"spec": {"replicas": 2, "paused": true}})),
    );
    let scale = |live: &Value, second: u32, replicas: i64| {
        let mut new = live.clone();
        new["spec"]["replicas"] = replicas.into();
        let scope = Scope {
            subresource: "scale",
            ..case.scope(second)
        };
        update(&scope, Some(live), &mut new, "tide");
        new
    };
    let seven = scale(&live, 2, 7);
    let own = json!({"f:spec": {"f:replicas": {}}});
    assert_eq!(owners(&seven)[0], ("tide Update never".into(), own));
    assert_eq!(
        owners(&seven)[1],
        ("ann Update 01".into(), json!({"f:spec": {"f:paused": {}}}))
    );
    let none = scale(&seven, 3, 0);
    assert_eq!(owners(&none), owners(&seven)[1..]);
    assert_eq!(owners(&scale(&none, 4, 9)), owners(&none));
}

#[test]
fn manager_names_come_from_the_option_or_the_user_agent() {
    for (option, agent, name) in [
        ("ann", "kubectl/v1.36", "ann"),
        ("", "kubectl/v1.36 (linux/amd64)", "kubectl"),
        ("", "ku\u{7}be", "kube"),
        ("", "", ""),
    ] {
        assert_eq!(manager_name(option, agent), name);
    }
    assert_eq!(manager_name("", &"é".repeat(100)).len(), 128);
}

/// Enough that it would take minutes if each manager's set were compared with all that changed.
#[test]
fn thousands_of_managers_are_heard() {
    const MANY: usize = 20_000;
    let case = Case::config_map();
    let data = |value: &str| -> Value {
        let entries = (0..MANY).map(|n| (format!("k{n}"), json!(value)));
        entries.collect()
    };
    let entries = (0..MANY).map(|n| {
        let operation = ["Apply", "Update"][n % 2];
        let own = json!({"f:data": {(format!("f:k{n}")): {}}});
        json!({"manager": format!("m{n}"), "operation": operation, "apiVersion": "v1",
            "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": own})
    });
    let mut live = case.object(json!({"data": data("1")}));
    live["metadata"]["managedFields"] = entries.collect();

    let mut all = live.clone();
    all["data"] = data("2");
    assert_eq!(owners(&case.update(Some(&live), 1, "ann", all)).len(), 1);
    let mut none = live.clone();
    none["data"] = json!({});
    assert!(owners(&case.update(Some(&live), 1, "ann", none)).is_empty());
    let mut one = live.clone();
    one["data"]["z"] = "1".into();
    let one = case.update(Some(&live), 1, "ann", one);
    assert_eq!(owners(&one).len(), MANY / 2 + 10, "old updates are one");

    let applied = case.apply(Some(&live), 1, "ann", json!({"data": {"z": "1"}}));
    assert_eq!(owners(&applied.unwrap()).len(), MANY + 1);
    let taken = case.apply(Some(&live), 1, "ann", json!({"data": data("3")}));
    let causes = taken.unwrap_err().details.unwrap().causes.len();
    assert_eq!(causes, MANY);
}

/// Long enough that it would take minutes if each element were looked for in all others.
#[test]
fn long_lists_and_maps_are_applied() {
    const MANY: usize = 20_000;
    let case = Case::new("v1", "Pod");
    let pod = |image: &str, step: usize| {
        let containers = (0..MANY).step_by(step);
        let containers = containers.map(|n| json!({"name": format!("c{n}"), "image": image}));
        let labels = (0..MANY)
            .step_by(step)
            .map(|n| (format!("l{n}"), json!(image)));
        json!({"metadata": {"name": "a", "namespace": "n", "labels": labels.collect::<Value>(),
            "finalizers": (0..MANY).step_by(step).map(|n| json!(format!("x/{n}"))).collect::<Value>()},
            "spec": {"containers": containers.rev().collect::<Value>()}})
    };
    let live = case.apply(None, 1, "ann", pod("a", 1)).unwrap();
    let again = case.apply(Some(&live), 2, "ann", pod("b", 2)).unwrap();
    assert_eq!(again["spec"]["containers"].items().len(), MANY / 2);
    assert_eq!(again["metadata"]["finalizers"].items().len(), MANY / 2);
    let refused = case.apply(Some(&again), 3, "bob", pod("c", 1)).unwrap_err();
    assert_eq!(refused.details.unwrap().causes.len(), MANY);
}
