//! Patched objects, decoded as if a client had sent them whole, at the cost of what the patch changed.

use knarr_json::{Map, Value};

use crate::{
    decode::{self, Read},
    schema::{Presence, Struct, Type},
};

/// How far down what is as it was is told from what is not: `spec.template.spec` and its fields.
const LEVELS: u32 = 4;

/// Decodes `patched`, which was made of `before`, a decoded object: what the two share was decoded then and is not again.
///
/// # Errors
/// As [`decode::read`].
pub fn reread(schema: &Struct, before: &Value, patched: &Value) -> Result<Read, String> {
    let (Value::Object(was), Value::Object(is)) = (before, patched) else {
        return decode::read(schema, patched.to_string().as_bytes());
    };
    let part = Value::Object(changed(schema, was, is, LEVELS));
    let Read { value, strict } = decode::read(schema, part.to_string().as_bytes())?;
    let value = match value {
        Value::Object(read) => Value::Object(whole(schema, was, is, read, LEVELS)),
        other => other,
    };
    Ok(Read { value, strict })
}

/// The fields of `is` that are not as they were.
fn changed(schema: &Struct, was: &Map, is: &Map, levels: u32) -> Map {
    let fields = is.iter().filter(|(key, _)| !kept(was, is, key));
    let fields = fields.map(|(key, value)| match both(schema, was, is, key, levels) {
        Some((schema, was, is)) => {
            let part = changed(schema, was, is, levels - 1);
            (key.clone(), Value::Object(part))
        }
        None => (key.clone(), value.clone()),
    });
    fields.collect()
}

/// The object that `is` decodes to, of `read`, which its changed fields decoded to, and the others as they were.
fn whole(schema: &Struct, was: &Map, is: &Map, mut read: Map, levels: u32) -> Map {
    // What stands in two levels is put together first: a part of it may be nothing although the whole is not.
    for key in is.keys().filter(|key| !kept(was, is, key)) {
        let Some((inner, was, is)) = both(schema, was, is, key, levels) else {
            continue;
        };
        let part = match read.remove(key) {
            Some(Value::Object(part)) => part,
            _ => Map::new(),
        };
        let together = whole(inner, was, is, part, levels - 1);
        let omitted = schema.field(key).is_some_and(|field| {
            matches!(field.presence, Presence::OmitEmpty | Presence::OmitZero)
        });
        if !(omitted && together.is_empty()) {
            read.insert(key.clone(), Value::Object(together));
        }
    }
    let mut out = was.clone();
    for key in was.keys().filter(|key| !kept(was, is, key)) {
        out.remove(key);
    }
    for (key, value) in read {
        // What was not given to the decoder, it may have filled in.
        if !kept(was, is, &key) {
            out.insert(key, value);
        }
    }
    out
}

/// Whether a field was left alone.
fn kept(was: &Map, is: &Map, key: &str) -> bool {
    matches!((was.get(key), is.get(key)), (Some(was), Some(is)) if was.same(is))
}

/// A field's type and its value before and after, when it was and is an object of which the fields can be looked at.
fn both<'a>(
    schema: &'a Struct,
    was: &'a Map,
    is: &'a Map,
    key: &str,
    levels: u32,
) -> Option<(&'a Struct, &'a Map, &'a Map)> {
    let field = schema.field(key).filter(|_| levels > 0)?;
    let Type::Struct(inner) = &field.ty else {
        return None;
    };
    if inner.preserve_unknown || field.presence == Presence::Verbatim {
        return None;
    }
    Some((inner, was.get(key)?.as_object()?, is.get(key)?.as_object()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Schemas, patch::json::merge};
    use knarr_json::json;
    use proptest::prelude::*;

    /// Patches that hit and miss fields of a Deployment, with right and wrong values.
    fn patches() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            Just(json!(0)),
            Just(json!(3)),
            Just(json!("")),
            Just(json!("x")),
            Just(json!({})),
            Just(json!([])),
            Just(json!([{"name": "c", "image": "i", "oops": 1}])),
            Just(json!({"a": "b"})),
        ];
        let key = prop::sample::select(vec![
            "metadata",
            "name",
            "labels",
            "annotations",
            "creationTimestamp",
            "spec",
            "replicas",
            "selector",
            "strategy",
            "rollingUpdate",
            "template",
            "containers",
            "securityContext",
            "status",
            "unknown",
        ]);
        leaf.prop_recursive(5, 24, 4, move |inner| {
            prop::collection::vec((key.clone(), inner), 0..4)
                .prop_map(|entries| entries.into_iter().collect::<Value>())
        })
    }

    fn deployment() -> Value {
        let text = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","labels":{"a":"b"},"annotations":{"n":"1"}},
            "spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"strategy":{"rollingUpdate":{"maxSurge":1}},
            "template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}],"securityContext":{"runAsUser":1}}}},
            "status":{"replicas":2}}"#;
        let schema = Schemas::default()
            .by_kind("apps", "v1", "Deployment")
            .unwrap();
        decode::read(&schema, text.as_bytes()).unwrap().value
    }

    proptest! {
        #[test]
        fn a_part_decodes_as_the_whole(patch in patches()) {
            let schema = Schemas::default().by_kind("apps", "v1", "Deployment").unwrap();
            let before = deployment();
            let patched = merge(&before, &patch);
            let whole = decode::read(&schema, patched.to_string().as_bytes());
            let part = reread(&schema, &before, &patched);
            prop_assert_eq!(part, whole);
        }
    }

    #[test]
    fn what_is_left_alone_is_shared() {
        let schema = Schemas::default()
            .by_kind("apps", "v1", "Deployment")
            .unwrap();
        let before = deployment();
        let patched = merge(&before, &json!({"spec": {"replicas": 5}}));
        let after = reread(&schema, &before, &patched).unwrap().value;
        assert_eq!(after["spec"]["replicas"], 5);
        assert!(after["metadata"].same(&before["metadata"]));
        assert!(after["spec"]["template"].same(&before["spec"]["template"]));
    }
}
