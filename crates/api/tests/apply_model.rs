//! Server-side apply and updates against a model that knows nothing of schemas: an object is a map of leaves, and each
//! manager owns some of them. Whatever several managers do in whatever order, both agree on the object, on who owns
//! what, and on who conflicts with whom.

use std::collections::{BTreeMap, BTreeSet};

use knarr_api::{
    Schemas,
    fields::{self, Scope, reset_fields},
    schema::Type,
};
use knarr_json::{Map, Value, json};
use proptest::prelude::*;

/// `data/a`, `labels/b`, `finalizers/c.d/e`; those of sets have no value.
type Leaf = (&'static str, String);
type Leaves = BTreeMap<Leaf, String>;
/// `Apply` or `Update`, and the manager.
type Owner = (&'static str, String);

const MANAGERS: [&str; 3] = ["ann", "bob", "eve"];

/// The object and its owners as plain rules have them.
#[derive(Debug, Default, Clone)]
struct Model {
    live: Leaves,
    owners: BTreeMap<Owner, BTreeSet<Leaf>>,
}

impl Model {
    fn owned_by_others(&self, own: &Owner, leaf: &Leaf) -> bool {
        let mut others = self.owners.iter().filter(|(owner, _)| *owner != own);
        others.any(|(_, leaves)| leaves.contains(leaf))
    }

    /// Leaves that somebody else owns with another value, once for each owner.
    fn conflicts(&self, own: &Owner, config: &Leaves) -> usize {
        let differs = |leaf: &Leaf| self.live.get(leaf).is_some_and(|v| *v != config[leaf]);
        let others = self.owners.iter().filter(|(owner, _)| *owner != own);
        let taken = others.map(|(_, leaves)| {
            let both = leaves.iter().filter(|leaf| config.contains_key(*leaf));
            both.filter(|leaf| differs(leaf)).count()
        });
        taken.sum()
    }

    /// `Err` with the number of conflicts.
    fn apply(&mut self, manager: &str, config: &Leaves, force: bool) -> Result<(), usize> {
        let own: Owner = ("Apply", manager.to_owned());
        let conflicts = self.conflicts(&own, config);
        if conflicts > 0 && !force {
            return Err(conflicts);
        }
        let changed: Vec<Leaf> = config
            .iter()
            .filter(|(leaf, value)| self.live.get(*leaf) != Some(value))
            .map(|(leaf, _)| leaf.clone())
            .collect();
        self.disown(&changed);
        let said_before = self.owners.remove(&own).unwrap_or_default();
        for leaf in said_before {
            if !config.contains_key(&leaf) && !self.owned_by_others(&own, &leaf) {
                self.live.remove(&leaf);
            }
        }
        self.live.extend(config.clone());
        self.own(own, config.keys().cloned());
        Ok(())
    }

    fn update(&mut self, manager: &str, new: &Leaves) {
        let differs =
            |(leaf, value): (&Leaf, &String)| (new.get(leaf) != Some(value)).then(|| leaf.clone());
        let removed_or_changed: Vec<Leaf> = self.live.iter().filter_map(differs).collect();
        let set: Vec<Leaf> = new
            .iter()
            .filter(|(leaf, value)| self.live.get(*leaf) != Some(value))
            .map(|(leaf, _)| leaf.clone())
            .collect();
        self.disown(&removed_or_changed);
        self.live = new.clone();
        self.own(("Update", manager.to_owned()), set);
    }

    fn disown(&mut self, leaves: &[Leaf]) {
        for owned in self.owners.values_mut() {
            owned.retain(|leaf| !leaves.contains(leaf));
        }
    }

    fn own(&mut self, owner: Owner, leaves: impl IntoIterator<Item = Leaf>) {
        self.owners.entry(owner).or_default().extend(leaves);
    }

    fn owners(&self) -> BTreeMap<Owner, BTreeSet<Leaf>> {
        let mut owners = self.owners.clone();
        owners.retain(|_, leaves| !leaves.is_empty());
        owners
    }
}

/// Leaves as the ConfigMap that has them.
fn object(leaves: &Leaves) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}});
    for ((kind, name), value) in leaves {
        match *kind {
            "data" => object["data"][name] = json!(value),
            "labels" => object["metadata"]["labels"][name] = json!(value),
            _ => {
                let list = &mut object["metadata"]["finalizers"];
                if list.is_null() {
                    *list = json!([]);
                }
                list.as_array_mut().unwrap().push(json!(name));
            }
        }
    }
    object
}

fn leaves(object: &Value) -> Leaves {
    let mut leaves = Leaves::new();
    let maps = [
        ("data", &object["data"]),
        ("labels", &object["metadata"]["labels"]),
    ];
    for (kind, map) in maps {
        for (name, value) in map.as_object().into_iter().flatten() {
            let value = value.as_str().unwrap().to_owned();
            leaves.insert((kind, name.to_string()), value);
        }
    }
    let finalizers = object["metadata"]["finalizers"].as_array();
    for name in finalizers.into_iter().flatten() {
        let leaf = ("finalizers", name.as_str().unwrap().to_owned());
        let twice = leaves.insert(leaf, String::new());
        assert_eq!(twice, None, "a set has each element once");
    }
    leaves
}

/// Who owns which leaves by the object's managedFields.
fn owners(object: &Value) -> BTreeMap<Owner, BTreeSet<Leaf>> {
    let mut owners = BTreeMap::new();
    let entries = object["metadata"]["managedFields"].as_array();
    for entry in entries.into_iter().flatten() {
        let operation = match entry["operation"].as_str().unwrap() {
            "Apply" => "Apply",
            _ => "Update",
        };
        let fields = &entry["fieldsV1"];
        let meta = &fields["f:metadata"];
        let mut owned = BTreeSet::new();
        for (kind, set) in [
            ("data", &fields["f:data"]),
            ("labels", &meta["f:labels"]),
            ("finalizers", &meta["f:finalizers"]),
        ] {
            // `.` is the map or list itself, which is no leaf.
            let names = set.as_object().into_iter().flatten().map(|(name, _)| name);
            owned.extend(names.filter(|name| *name != ".").map(|name| {
                let quoted = name.strip_prefix("v:").map(|v| v.trim_matches('"'));
                let name = quoted.or(name.strip_prefix("f:")).unwrap();
                (kind, name.to_owned())
            }));
        }
        if !owned.is_empty() {
            let owner = (operation, entry["manager"].as_str().unwrap().to_owned());
            assert!(owners.insert(owner, owned).is_none(), "one entry each");
        }
    }
    owners
}

#[derive(Debug, Clone)]
enum Step {
    Apply {
        manager: usize,
        config: Leaves,
        force: bool,
    },
    /// Set and remove some leaves of what is there.
    Update {
        manager: usize,
        set: Leaves,
        remove: Vec<usize>,
    },
}

fn some_leaves() -> impl Strategy<Value = Leaves> {
    let leaf = prop_oneof![
        ("[a-d]", "[0-2]").prop_map(|(name, value)| (("data", name), value)),
        ("[a-c]", "[0-1]").prop_map(|(name, value)| (("labels", name), value)),
        "[a-c]".prop_map(|name| (("finalizers", format!("x.io/{name}")), String::new())),
    ];
    prop::collection::btree_map(any::<u8>(), leaf, 0..6)
        .prop_map(|chosen| chosen.into_values().collect())
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..3usize, some_leaves(), any::<bool>())
            .prop_map(|(manager, config, force)| Step::Apply { manager, config, force }),
        2 => (0..3usize, some_leaves(), prop::collection::vec(0..10usize, 0..3))
            .prop_map(|(manager, set, remove)| Step::Update { manager, set, remove }),
    ];
    prop::collection::vec(step, 1..12)
}

/// The real thing.
struct Real {
    schemas: Schemas,
    ty: Type,
    reset: &'static fields::Set,
    live: Option<Value>,
    second: i64,
}

impl Real {
    fn new() -> Real {
        let schemas = Schemas::default();
        let schema = schemas.by_api_version("v1", "ConfigMap").unwrap();
        Real {
            ty: Type::Struct(schema),
            schemas,
            reset: reset_fields("ConfigMap", "", false, false),
            live: None,
            second: 0,
        }
    }

    fn scope(&mut self) -> Scope<'_> {
        self.second += 1;
        Scope {
            schemas: &self.schemas,
            ty: &self.ty,
            api_version: "v1",
            kind: "ConfigMap",
            replicas: "spec.replicas",
            subresource: "",
            reset: self.reset,
            now: jiff::Timestamp::from_second(1_800_000_000 + self.second).unwrap(),
            convert: &|_, _| None,
        }
    }

    fn apply(&mut self, manager: &str, config: &Leaves, force: bool) -> Result<(), usize> {
        let live = self.live.clone();
        let applied = object(config);
        let done = fields::apply(&self.scope(), live.as_ref(), &applied, manager, force);
        match done {
            Ok(object) => {
                self.live = Some(object);
                Ok(())
            }
            Err(status) => {
                assert_eq!(status.code, 409, "{status:?}");
                let details = status.details.expect("a conflict has causes");
                Err(details.causes.len())
            }
        }
    }

    fn update(&mut self, manager: &str, new: &Leaves) {
        let live = self.live.clone();
        let mut object = object(new);
        if let Some(live) = &live {
            object["metadata"]["managedFields"] = live["metadata"]["managedFields"].clone();
        }
        fields::update(&self.scope(), live.as_ref(), &mut object, manager);
        self.live = Some(object);
    }

    fn object(&self) -> Value {
        self.live.clone().unwrap_or(Value::Object(Map::new()))
    }
}

fn check(steps: Vec<Step>) {
    let (mut model, mut real) = (Model::default(), Real::new());
    for step in steps {
        match &step {
            Step::Apply {
                manager,
                config,
                force,
            } => {
                let manager = MANAGERS[*manager];
                let want = model.apply(manager, config, *force);
                assert_eq!(real.apply(manager, config, *force), want, "{step:?}");
            }
            Step::Update {
                manager,
                set,
                remove,
            } => {
                // Nobody updates what is not there, and what nobody owns gets no owners by updates.
                if model.owners().is_empty() {
                    continue;
                }
                let mut new = model.live.clone();
                for n in remove {
                    if let Some(leaf) = new.keys().nth(*n).cloned() {
                        new.remove(&leaf);
                    }
                }
                new.extend(set.clone());
                model.update(MANAGERS[*manager], &new);
                real.update(MANAGERS[*manager], &new);
            }
        }
        let object = real.object();
        assert_eq!(leaves(&object), model.live, "{step:?}");
        assert_eq!(owners(&object), model.owners(), "{step:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn apply_and_update_agree_with_the_model(steps in steps()) {
        check(steps);
    }
}
