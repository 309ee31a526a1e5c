//! Objects of every kind that are of their types and otherwise as odd as can be: defaults, strategies, tables, protobuf and field
//! ownership take them all, and what is said twice stays the same.

#[path = "common/fuzz.rs"]
mod fuzz;
#[path = "common/objects.rs"]
mod objects;

use fuzz::Dice;
use knarr_api::{
    Schemas, builtin,
    custom::{Definition, defaults, jsonpath::JsonPath, lists, prune, validate},
    decode::{self, Expect, FieldValidation, Format, yaml},
    encode::protobuf,
    field::Path,
    fields::{self, Scope, Set},
    head::Encoded,
    old, patch,
    schema::Type,
    strategy::Context,
};
use knarr_json::{Value, json};
use objects::{api_version, expect};

/// Random numbers for an input; the harness's inputs are seeds here.
fn dice(input: &[u8]) -> Dice {
    let seed = input.iter().fold(7u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
    });
    Dice::new(seed)
}

const SEEDS: &[&[u8]] = &[b"some bytes that become numbers", b"others"];

#[test]
fn strategies() {
    let (schemas, registry) = (Schemas::default(), builtin::registry());
    let now = jiff::Timestamp::now();
    fuzz::run(SEEDS, &[], |input| {
        let mut dice = dice(input);
        let all: Vec<_> = registry.iter().collect();
        let resource = all[dice.roll(all.len())];
        let version = &resource.versions[dice.roll(resource.versions.len())];
        let Some(schema) = schemas.by_kind(&resource.group, version, &resource.kind) else {
            return;
        };
        let (group, kind) = (resource.group.as_str(), resource.kind.as_str());
        let expect = expect(group, version, kind);
        let make = |dice: &mut Dice| {
            let mut object = Value::Object(objects::object(&schema, dice, 0));
            object["apiVersion"] = api_version(group, version).into();
            object["kind"] = kind.into();
            if object["metadata"].is_null() {
                object["metadata"] = json!({"name": "a"});
            }
            let body = object.to_string();
            let read = decode::decode(
                &schemas,
                body.as_bytes(),
                Format::Json,
                &expect,
                FieldValidation::Ignore,
            );
            read.ok().map(|d| d.object)
        };
        let (Some(mut old), Some(mut new)) = (make(&mut dice), make(&mut dice)) else {
            return;
        };
        let strategy = &resource.strategy;
        for subresource in ["", "status"] {
            let ctx = Context {
                version: version.clone(),
                subresource: subresource.into(),
                user: "u".into(),
                ..Context::default()
            };
            for object in [&mut old, &mut new] {
                strategy.default(&ctx, object);
                decode::settle(&schema, object);
                let once = object.clone();
                strategy.default(&ctx, object);
                decode::settle(&schema, object);
                assert_eq!(*object, once, "{kind}: defaults are given once");
            }
            let mut created = new.clone();
            strategy.prepare_create(&ctx, &mut created);
            let _ = strategy.validate_create(&ctx, &created);
            let _ = strategy.warnings(&ctx, &created, None);
            let mut updated = new.clone();
            strategy.prepare_update(&ctx, &mut updated, &old);
            let _ = strategy.validate_update(&ctx, &updated, &old);
            let _ = strategy.warnings(&ctx, &updated, Some(&old));
            let _ = strategy.generation_changed(&updated, &old);
            let _ = strategy.grace_period(&updated, Some(i64::MAX));
        }
        assert_eq!(
            strategy.cells_at(version, &new, now).len(),
            strategy.columns_at(version).len(),
            "{kind}"
        );
        let _ = (
            strategy.fields(&new),
            strategy.head(&new),
            strategy.row_conditions(&new),
        );
        for other in &resource.versions {
            let mut converted = new.clone();
            strategy.convert(&mut converted, version, other);
        }
        comes_back(&schemas, &new, &expect);
    });
}

/// Told in protobuf, and as text with a revision in it, and read again.
fn comes_back(schemas: &Schemas, object: &Value, expect: &Expect) {
    // What is stored always has a name.
    let Ok(encoded) = Encoded::new(object) else {
        let meta = object["metadata"].as_object();
        assert!(meta.is_none_or(|meta| meta.keys().all(|key| key == "resourceVersion")));
        return;
    };
    let shown: Value = serde_json::from_slice(&encoded.at_revision(7)).unwrap();
    assert_eq!(shown["metadata"]["resourceVersion"], "7");
    if protobuf::message_of(&api_version(expect.group, expect.version), expect.kind).is_err() {
        return;
    }
    let body = protobuf::body(object.to_string().as_bytes()).unwrap();
    let again = decode::decode(
        schemas,
        &body,
        Format::Protobuf,
        expect,
        FieldValidation::Ignore,
    );
    let mut again = again
        .unwrap_or_else(|e| panic!("{}: {object}", e.message))
        .object;
    let schema = schemas
        .by_kind(expect.group, expect.version, expect.kind)
        .unwrap();
    decode::settle(&schema, &mut again);
    let second = protobuf::body(again.to_string().as_bytes()).unwrap();
    assert_eq!(body.len(), second.len(), "{object}\n{again}");
}

#[test]
fn protobuf_of_every_kind() {
    let schemas = Schemas::default();
    let kinds: Vec<_> = schemas.builtin_kinds().collect();
    for ((group, version, kind), schema) in &kinds {
        let api_version = api_version(group, version);
        let mut sample = Value::Object(objects::object(
            schema,
            &mut Dice::new(kind.len() as u64),
            2,
        ));
        sample["apiVersion"] = api_version.into();
        sample["kind"] = kind.clone().into();
        let Ok(body) = protobuf::body(sample.to_string().as_bytes()) else {
            continue;
        };
        let expect = expect(group, version, kind);
        fuzz::run_few(40, &[&body], fuzz::PROTOBUF, |bytes| {
            let read = decode::decode(
                &schemas,
                bytes,
                Format::Protobuf,
                &expect,
                FieldValidation::Strict,
            );
            if let Ok(read) = read {
                let again = protobuf::body(read.object.to_string().as_bytes()).unwrap();
                decode::decode(
                    &schemas,
                    &again,
                    Format::Protobuf,
                    &expect,
                    FieldValidation::Strict,
                )
                .unwrap();
            }
        });
    }
}

const LIVE: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"x":"y"},"managedFields":[
{"manager":"m","operation":"Apply","apiVersion":"v1","time":"2024-05-06T07:08:09Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{"f:x":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:name":{},"f:image":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}},
{"manager":"n","operation":"Update","apiVersion":"v1","time":"2024-05-06T07:08:09Z","fieldsType":"FieldsV1","subresource":"status","fieldsV1":{"f:status":{"f:phase":{}}}}]},
"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80,"protocol":"TCP"}]}],"tolerations":[{"key":"t"}]},"status":{"phase":"Running"}}"#;

/// What a configuration for server-side apply is made of.
const WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"null",
    b"\"",
    b",",
    b":",
    b"- ",
    b"&a ",
    b"*a",
    b"<<: ",
    b"\n  ",
    b"containers",
    b"name: c",
    b"\"name\":\"c\"",
    b"\"f:spec\":{}",
    b"\"k:{\\\"name\\\":\\\"c\\\"}\":{}",
    b"\".\":{}",
    b"v:1",
    b"i:9999999999",
    b"FieldsV1",
    b"Apply",
    b"apps/v1",
];

/// Does what is to be done with [`LIVE`].
fn on_pods(work: impl FnOnce(&Scope<'_>, &Value)) {
    let schemas = Schemas::default();
    let ty = Type::Struct(schemas.by_kind("", "v1", "Pod").unwrap());
    let none = Set::default();
    let scope = Scope {
        schemas: &schemas,
        ty: &ty,
        api_version: "v1",
        kind: "Pod",
        subresource: "",
        replicas: "spec.replicas",
        reset: &none,
        now: "2025-01-01T00:00:00Z".parse().unwrap(),
        convert: &|object, _| Some(object.clone()),
    };
    work(&scope, &serde_json::from_str(LIVE).unwrap());
}

#[test]
fn applied_configurations() {
    let json = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"x":"z"}},"spec":{"containers":[{"name":"c","ports":[{"containerPort":80}]},{"name":"d","env":[{"name":"A","value":"B"}]}],"volumes":[{"name":"v","emptyDir":{}}]}}"#;
    let yaml = b"apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations: {a: b}\nspec:\n  containers:\n  - name: c\n    image: j\n    ports:\n    - containerPort: 80\n      protocol: TCP\n  tolerations:\n  - key: t\n";
    on_pods(|scope, live| {
        fuzz::run(&[json, yaml], WORDS, |body| {
            let Ok(document) = yaml::read(body) else {
                return;
            };
            for live in [None, Some(live)] {
                let Ok(once) = fields::apply(scope, live, &document.value, "me", true) else {
                    continue;
                };
                // Applied once more it changes nothing but times.
                let mut twice = fields::apply(scope, Some(&once), &document.value, "me", false)
                    .unwrap_or_else(|e| panic!("{}: {}", e.message, document.value));
                fields::keep_times(&once, &mut twice);
                assert_eq!(twice, once);
            }
        });
    });
}

#[test]
fn hostile_managed_fields() {
    let applied = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "k"}]}});
    on_pods(|scope, live| {
        let seed = live["metadata"]["managedFields"].to_string();
        fuzz::run(&[seed.as_bytes()], WORDS, |bytes| {
            let Ok(entries) = serde_json::from_slice::<Value>(bytes) else {
                return;
            };
            let mut new = live.clone();
            new["metadata"]["managedFields"] = entries;
            // As a client sends them, and as they might be stored.
            let mut sent = new.clone();
            fields::update(scope, Some(live), &mut sent, "me");
            let mut changed = new.clone();
            changed["spec"]["containers"][0]["image"] = "other".into();
            fields::update(scope, Some(&new), &mut changed, "me");
            for live in [&sent, &new, &changed] {
                let _ = fields::apply(scope, Some(live), &applied, "me", true);
                let _ = fields::apply(scope, Some(live), &applied, "m", false);
            }
        });
    });
}

#[test]
fn definitions() {
    let crd = br#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"ws.x.io"},"spec":{"group":"x.io","scope":"Namespaced","names":{"plural":"ws","singular":"w","kind":"W","listKind":"WList"},"versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{},"scale":{"specReplicasPath":".spec.n","statusReplicasPath":".status.n","labelSelectorPath":".status.s"}},"selectableFields":[{"jsonPath":".spec.a"}],"additionalPrinterColumns":[{"name":"A","type":"string","jsonPath":".spec.l[?(@.k==\"x\")].v"},{"name":"B","type":"date","jsonPath":".metadata.creationTimestamp"}],"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","required":["a"],"properties":{"a":{"type":"string","pattern":"^(a|b)*$","format":"date-time","default":"aa","maxLength":5},"n":{"type":"integer","maximum":3,"multipleOf":2},"l":{"type":"array","maxItems":3,"x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","required":["k"],"properties":{"k":{"type":"string"},"v":{"x-kubernetes-int-or-string":true}}}},"m":{"type":"object","additionalProperties":{"type":"number","enum":[1,2.5]}},"r":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true},"o":{"oneOf":[{"type":"integer"},{"not":{}}]}},"x-kubernetes-validations":[{"rule":"self.a.size() < 4","messageExpression":"'x' + self.a"}]}}}}}]}}"#;
    let words: &[&[u8]] = &[
        b"null",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"true",
        b"\"type\":\"object\"",
        b"\"items\":{}",
        b"\"not\":{",
        b"\"$ref\":\"#/a\"",
        b"\"default\":{}",
        b"\"x-kubernetes-list-type\":\"set\"",
        b"\"pattern\":\"(a*)*b\"",
        b"\"pattern\":\"a{1000}{1000}\"",
        b"..",
        b"[*]",
        b"[?(",
        b"-1",
        b"1e400",
        b"\"format\":\"cidr\"",
        b"\"nullable\":true",
        b"\"uniqueItems\":true",
        b"\"maximum\":9223372036854775807",
    ];
    let schemas = Schemas::default();
    let schema = schemas
        .by_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
        .unwrap();
    let registry = builtin::registry();
    let strategy = &registry
        .get("apiextensions.k8s.io", "customresourcedefinitions")
        .unwrap()
        .strategy;
    let expect = expect("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let ctx = Context {
        version: "v1".into(),
        ..Context::default()
    };
    let objects = [
        json!({"apiVersion": "x.io/v1", "kind": "W", "metadata": {"name": "w"}, "spec": {"a": "ab", "n": 2, "l": [{"k": "x", "v": 1}, {"k": "x"}], "m": {"q": 2.5}, "r": {"apiVersion": "v1", "kind": "K"}, "o": 1, "z": [null, {}]}}),
        json!({"apiVersion": "x.io/v1", "kind": "W", "metadata": {"name": "w"}, "spec": [1, "2", {"a": null}]}),
    ];
    fuzz::run(&[crd], words, |bytes| {
        let Ok(read) = decode::decode(
            &schemas,
            bytes,
            Format::Json,
            &expect,
            FieldValidation::Ignore,
        ) else {
            return;
        };
        let mut crd = read.object;
        strategy.default(&ctx, &mut crd);
        decode::settle(&schema, &mut crd);
        let errors = strategy.validate_create(&ctx, &crd);
        // Also what is refused: it may be stored from before.
        let definition = Definition::compile(&crd);
        for object in &objects {
            custom(&definition, object, errors.is_empty());
        }
        comes_back(&schemas, &crd, &expect);
    });
}

fn custom(definition: &Definition, object: &Value, sound: bool) {
    for version in &definition.versions {
        let mut object = object.clone();
        let _ = definition.coerce(&version.name, &mut object);
        prune::prune(&mut object, &version.schema);
        defaults::apply(&mut object, &version.schema);
        let once = object.clone();
        prune::prune(&mut object, &version.schema);
        defaults::apply(&mut object, &version.schema);
        if sound {
            assert_eq!(object, once, "pruned and defaulted once is enough");
        }
        let _ = validate::validate(&Path::default(), &object, &version.schema);
        let _ = validate::validate_update(&Path::default(), &object, &once, &version.schema);
        let _ = lists::validate(&Path::default(), &object, &version.schema);
        for column in &version.columns {
            let _ = column.cell(&object, jiff::Timestamp::now());
        }
    }
}

#[test]
fn paths_in_json() {
    let words: &[&[u8]] = &[
        b"..",
        b"[*]",
        b"[?(@.",
        b"==",
        b"\"",
        b"'",
        b"[-1]",
        b"[0:",
        b"{",
        b"}",
        b"\\",
        b"range",
        b"@",
        b",",
        b"[9999999999999999999]",
    ];
    let object = json!({"a": [{"b": 1}, {"b": [2, {"c": null}]}], "d.e": {"f": "g"}});
    let seeds: &[&[u8]] = &[
        b".a[*].b",
        b"..b",
        b".a[?(@.b==1)].b",
        b".d\\.e.f",
        b"{.a[0:2:1]['b','c']}",
        b".a[-1].b[1].c",
    ];
    fuzz::run(seeds, words, |bytes| {
        if let Some(path) = JsonPath::parse(&String::from_utf8_lossy(bytes)) {
            let _ = path.find(&object);
        }
    });
}

#[test]
fn versions_of_old() {
    let all: Vec<_> = old::all().collect();
    let schemas = Schemas::default();
    fuzz::run(SEEDS, &[], |input| {
        let mut dice = dice(input);
        let old = all[dice.roll(all.len())];
        let (group, version) = old.now;
        let Some(schema) = schemas.by_kind(group, version, old.kind) else {
            return;
        };
        let mut object = Value::Object(objects::object(&schema, &mut dice, 0));
        object["apiVersion"] = old.api_version().into();
        old.modernize(&mut object);
        old.age(&mut object);
        for odd in [
            json!({"spec": 7}),
            json!({"spec": {"template": [], "rules": [null, {"http": 1}]}, "status": "x"}),
        ] {
            let mut odd = odd;
            old.modernize(&mut odd);
            old.age(&mut odd);
        }
    });
}

#[test]
fn patches_of_patched_objects() {
    let schemas = Schemas::default();
    let schema = schemas.by_kind("", "v1", "Pod").unwrap();
    let live: Value = serde_json::from_str(LIVE).unwrap();
    let seeds: &[&[u8]] = &[
        br#"{"spec":{"$setElementOrder/containers":[{"name":"d"},{"name":"c"}],"containers":[{"name":"d","image":"x"},{"$patch":"merge","name":"c","$deleteFromPrimitiveList/args":["a"]}],"$retainKeys":["containers"],"tolerations":[{"$patch":"replace"},{"key":"u"}]}}"#,
        br#"{"metadata":{"$patch":"replace","labels":{"$patch":"delete"}},"spec":{"containers":[{"$patch":"delete","name":"c"}],"volumes":[{"name":"v","$retainKeys":["name","emptyDir"],"emptyDir":{}}]}}"#,
    ];
    let words: &[&[u8]] = &[
        b"\"$patch\":\"delete\"",
        b"\"$patch\":\"replace\"",
        b"\"$patch\":\"merge\"",
        b"\"$patch\":7",
        b"\"$retainKeys\":[\"x\"]",
        b"\"$retainKeys\":{}",
        b"\"$setElementOrder/containers\":[]",
        b"\"$deleteFromPrimitiveList/finalizers\":[\"a\"]",
        b"\"$setElementOrder/\":1",
        b"null",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b"\"name\":null",
    ];
    fuzz::run(seeds, words, |bytes| {
        let kind = patch::Kind::Strategic;
        let patched = patch::apply(kind, Some(&schema), &live, bytes, FieldValidation::Ignore);
        if let Ok(patched) = patched {
            let _ = patch::apply(
                kind,
                Some(&schema),
                &patched.object,
                bytes,
                FieldValidation::Strict,
            );
        }
    });
}

/// Each port of the same number conflicts with each: what a large object is warned of does not grow with the square of it.
#[test]
fn warnings_are_bounded() {
    let registry = builtin::registry();
    let strategy = &registry.get("", "pods").unwrap().strategy;
    let containers: Vec<Value> = (0..2000)
        .map(|n| json!({"name": format!("c{n}"), "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}]}))
        .collect();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": containers}});
    let warnings = strategy.warnings(&Context::default(), &pod, None);
    assert!((1000..5000).contains(&warnings.len()), "{}", warnings.len());
}
