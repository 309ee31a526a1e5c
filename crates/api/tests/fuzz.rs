//! Parsers that meet bytes from outside: none may panic, hang, or let through what it cannot give back.

#[path = "common/fuzz.rs"]
mod fuzz;
#[path = "common/objects.rs"]
mod objects;

use knarr_api::{
    Quantity, Schemas,
    decode::{self, Expect, FieldValidation, Format, time},
    encode::protobuf,
    fields::{self, Managed, Set},
    patch,
    selector::{FieldSelector, LabelSelector},
};
use knarr_json::Value;

const POD: &[u8] = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"x":"y"},"creationTimestamp":"2024-05-06T07:08:09Z","managedFields":[{"manager":"m","operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"k:{\"name\":\"c\"}":{".":{}}}}}]},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{"limits":{"cpu":"100m","memory":"2Gi"}},"livenessProbe":{"httpGet":{"port":"http"}},"env":[{"name":"A","value":"\u00fc\ud834\udd1e"}]}],"volumes":[{"name":"v","emptyDir":{}}]}}"#;
const SECRET: &[u8] = br#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"data":{"k":"AP8="},"immutable":true}"#;
const DEFINITION: &[u8] = br#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"w.x.io"},"spec":{"group":"x.io","scope":"Namespaced","names":{"plural":"w","kind":"W"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"a":{"type":"array","items":{"type":"number","maximum":1.5,"enum":[1,null]}},"b":{"additionalProperties":false,"default":{"x":[]}}}}}}]}}"#;

fn expect(json: &[u8]) -> Expect<'static> {
    match json {
        _ if json == POD => objects::expect("", "v1", "Pod"),
        _ if json == SECRET => objects::expect("", "v1", "Secret"),
        _ => objects::expect("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
    }
}

/// Reads a body of which nothing is overlooked.
fn read(schemas: &Schemas, body: &[u8], format: Format, expect: &Expect) -> Option<Value> {
    let read = decode::decode(schemas, body, format, expect, FieldValidation::Strict);
    read.ok().map(|decoded| decoded.object)
}

/// What was taken in is settled, can be told in protobuf, and comes back the same.
fn comes_back(schemas: &Schemas, mut object: Value, expect: &Expect) {
    let schema = schemas
        .by_kind(expect.group, expect.version, expect.kind)
        .unwrap();
    let before = object.clone();
    decode::settle(&schema, &mut object);
    assert_eq!(object, before, "decoded objects are settled");
    let body = protobuf::body(object.to_string().as_bytes()).unwrap();
    // Empty lists and maps, and what stands for null, are not told apart in protobuf.
    let mut again = read(schemas, &body, Format::Protobuf, expect).unwrap();
    decode::settle(&schema, &mut again);
    assert_eq!(again["metadata"]["name"], object["metadata"]["name"]);
}

fn bodies(format: Format, make: impl Fn(&[u8]) -> Vec<u8>, words: &[&[u8]]) {
    let schemas = Schemas::default();
    for sample in [POD, SECRET, DEFINITION] {
        let (expect, seed) = (expect(sample), make(sample));
        fuzz::run(&[&seed], words, |bytes| {
            for validation in [FieldValidation::Strict, FieldValidation::Warn] {
                if let Ok(decoded) = decode::decode(&schemas, bytes, format, &expect, validation) {
                    comes_back(&schemas, decoded.object, &expect);
                }
            }
        });
    }
}

#[test]
fn bodies_in_json() {
    bodies(Format::Json, <[u8]>::to_vec, fuzz::JSON);
}

#[test]
fn bodies_in_yaml() {
    let words: &[&[u8]] = &[
        b"&a ",
        b"*a",
        b"<<: ",
        b"!!binary ",
        b"---\n",
        b"- ",
        b"? ",
        b"|\n",
        b">-\n",
        b"\t",
        b"~",
        b"0x_1",
        b".inf",
        b"%YAML 9\n",
        b"#",
        b"'",
        b"[",
        b"{",
    ];
    let print = |json: &[u8]| {
        let value: Value = serde_json::from_slice(json).unwrap();
        knarr_api::yaml::print(&value).into_bytes()
    };
    bodies(Format::Yaml, print, words);
}

#[test]
fn bodies_in_protobuf() {
    let make = |json: &[u8]| protobuf::body(json).unwrap();
    bodies(Format::Protobuf, make, fuzz::PROTOBUF);
}

#[test]
fn stored_text_into_protobuf() {
    fuzz::run(&[POD, SECRET, DEFINITION], fuzz::JSON, |bytes| {
        let _ = protobuf::body(bytes);
        let _ = protobuf::watch_frame("ADDED", bytes);
        let _ = knarr_api::encode::metadata(bytes);
    });
}

#[test]
fn patches() {
    let schemas = Schemas::default();
    let schema = schemas.by_kind("", "v1", "Pod").unwrap();
    let object: Value = serde_json::from_slice(POD).unwrap();
    let seeds: [(patch::Kind, &[&[u8]]); 3] = [
        (patch::Kind::Json, &[br#"[{"op":"add","path":"/metadata/labels/a~1b","value":{}},{"op":"move","from":"/spec/containers/0","path":"/spec/containers/-"},{"op":"test","path":"/spec","value":1}]"#, br#"[{"op":"copy","from":"/spec","path":"/spec/x"}]"#]),
        (patch::Kind::Merge, &[br#"{"metadata":{"labels":{"x":null}},"spec":{"containers":[]}}"#]),
        (patch::Kind::Strategic, &[br#"{"spec":{"$setElementOrder/containers":[{"name":"c"}],"containers":[{"name":"c","$patch":"replace"},{"name":"d","$patch":"delete"}],"$deleteFromPrimitiveList/x":[1],"$retainKeys":["a"]}}"#]),
    ];
    for (kind, seeds) in seeds {
        fuzz::run(seeds, fuzz::JSON, |bytes| {
            let _ = patch::apply(kind, Some(&schema), &object, bytes, FieldValidation::Strict);
            let _ = patch::apply(kind, None, &object, bytes, FieldValidation::Warn);
        });
    }
}

#[test]
fn selectors() {
    let words: &[&[u8]] = &[
        b" in ", b"notin", b"(", b")", b"!", b"==", b"!=", b",", b"\\,", b">", b"<", b"/",
    ];
    fuzz::run(
        &[
            b"a=b,c!=d,e in (f,g),!h,i notin (j),k>1",
            b"metadata.name=x,status.phase!=Running",
        ],
        words,
        |bytes| {
            let text = String::from_utf8_lossy(bytes);
            if let Ok(selector) = LabelSelector::parse(&text) {
                let again = LabelSelector::parse(&selector.to_string()).unwrap();
                assert_eq!(again.to_string(), selector.to_string());
            }
            let _ = FieldSelector::parse(&text);
        },
    );
}

#[test]
fn quantities_and_times() {
    let words: &[&[u8]] = &[
        b"e",
        b"E",
        b"Ki",
        b"m",
        b"n",
        b"-",
        b".",
        b"999999999999999999999",
        b"+",
        b"Z",
        b"T",
    ];
    fuzz::run(
        &[
            b"1.5Gi",
            b"100m",
            b"12e6",
            b"0.000000001",
            b"2024-05-06T07:08:09.123456+02:00",
        ],
        words,
        |bytes| {
            let text = String::from_utf8_lossy(bytes);
            if let Ok(quantity) = text.parse::<Quantity>() {
                let again: Quantity = quantity.to_string().parse().unwrap();
                assert_eq!(again.to_string(), quantity.to_string());
            }
            for precision in [time::Precision::Seconds, time::Precision::Micros] {
                if let Ok(shown) = time::canonical(&text, precision) {
                    assert_eq!(time::canonical(&shown, precision).as_ref(), Ok(&shown));
                }
            }
        },
    );
}

#[test]
fn field_ownership() {
    let seeds: &[&[u8]] = &[br#"{"f:spec":{".":{},"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{}}},"v:\"x\"":{},"i:0":{}}}"#];
    let words: &[&[u8]] = &[
        b"\"k:{}\":{}",
        b"\"v:\":{}",
        b"\"i:x\":{}",
        b"\"f:\":{}",
        b"\\\"",
        b"{",
        b"}",
        b",",
    ];
    fuzz::run(seeds, words, |bytes| {
        let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
            return;
        };
        if let Some(set) = Set::decode(&value) {
            assert_eq!(Set::decode(&set.encode()).as_ref(), Some(&set));
            let _ = set.paths();
        }
        let entry = knarr_json::json!([{"manager": "m", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": value}]);
        let _ = Managed::decode(&entry);
    });
    let _ = fields::manager_name("", "kubectl/v1");
}

/// As deep as a body may be, on a stack as small as a worker's.
#[test]
fn deep_schemas_fit_on_the_stack() {
    let schemas = Schemas::default();
    for part in ["items", "not", "additionalProperties"] {
        let deep = format!(
            "{}true{}",
            format!("{{\"{part}\":").repeat(489),
            "}".repeat(489)
        );
        let deep = deep
            .replace("{\"not\":true}", "{}")
            .replace("{\"items\":true}", "{}");
        let text = format!(
            "{{\"apiVersion\":\"apiextensions.k8s.io/v1\",\"kind\":\"CustomResourceDefinition\",\"metadata\":{{\"name\":\"w\"}},\"spec\":{{\"versions\":[{{\"schema\":{{\"openAPIV3Schema\":{deep}}}}}]}}}}"
        );
        let expect = expect(DEFINITION);
        if let Some(object) = read(&schemas, text.as_bytes(), Format::Json, &expect) {
            let body = protobuf::body(object.to_string().as_bytes()).unwrap();
            // Refused when it is too deep, but never more than that.
            let _ = read(&schemas, &body, Format::Protobuf, &expect);
        }
    }
}
