//! Patches: an object and a patch body in, the patched object out, decoded by schema as if a client had sent it.

pub mod json;
mod reread;
pub mod strategic;

use knarr_json::{Map, Text, Value};

use crate::{
    Status,
    decode::{self, FieldValidation, Read},
    field,
    schema::{Field, Patch, Presence, Struct, Type},
};

/// Operations that one JSON patch may have.
const MAX_OPERATIONS: usize = 10_000;

/// What a patch body is, by its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `application/json-patch+json`
    Json,
    /// `application/merge-patch+json`
    Merge,
    /// `application/strategic-merge-patch+json`; built-in kinds only.
    Strategic,
}

impl Kind {
    /// By media type, without parameters.
    pub fn of(media_type: &str) -> Option<Self> {
        match media_type {
            "application/json-patch+json" => Some(Kind::Json),
            "application/merge-patch+json" => Some(Kind::Merge),
            "application/strategic-merge-patch+json" => Some(Kind::Strategic),
            _ => None,
        }
    }
}

/// A patched object.
#[derive(Debug, Clone, PartialEq)]
pub struct Patched {
    /// The object as the patch left it, with what decoding forgets: empty lists and maps.
    pub written: Value,
    pub object: Value,
    /// Texts for `Warning: 299` headers.
    pub warnings: Vec<String>,
}

/// Applies a patch. `schema` is the object's type, none for a custom resource without one.
///
/// # Errors
/// 400 for a patch that cannot be read, 413 for too many operations, 422 for one that does not apply or whose result is no
/// object of this kind, 500 where the original has nothing better.
pub fn apply(
    kind: Kind,
    schema: Option<&Struct>,
    object: &Value,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Patched, Status> {
    apply_known(kind, schema, object, body, validation, &|_| Ok(()))
}

/// [`apply`] where `check` knows whether a patched object may be what its `kind` and `apiVersion` say.
///
/// # Errors
/// As [`apply`].
pub fn apply_known(
    kind: Kind,
    schema: Option<&Struct>,
    object: &Value,
    body: &[u8],
    validation: FieldValidation,
    check: &dyn Fn(&Value) -> Result<(), String>,
) -> Result<Patched, Status> {
    let read = |patched: &Value| {
        // A strategic patch is of the kind's fields; what it says of the kind itself is not looked at.
        if kind != Kind::Strategic {
            check(patched)?;
        }
        let mut read = match schema {
            Some(schema) => reread::reread(schema, object, patched)?,
            None => Read {
                value: patched.clone(),
                strict: Vec::new(),
            },
        };
        for key in ["apiVersion", "kind"] {
            read.value[key] = object[key].clone();
        }
        Ok(read)
    };
    apply_and(kind, schema, object, body, validation, &read)
}

/// [`apply`] to a custom resource, which `coerce` brings to its schema. Its kind may change: that is found later.
///
/// # Errors
/// As [`apply`].
pub fn apply_custom(
    kind: Kind,
    object: &Value,
    body: &[u8],
    validation: FieldValidation,
    coerce: &decode::Coerce<'_>,
) -> Result<Patched, Status> {
    let read = |patched: &Value| {
        if patched["kind"].as_str().is_none_or(str::is_empty) {
            return Err(format!("Object 'Kind' is missing in '{patched}'"));
        }
        let mut patched = patched.clone();
        let strict = coerce(&mut patched)?;
        patched["apiVersion"] = object["apiVersion"].clone();
        Ok(Read {
            value: patched,
            strict,
        })
    };
    apply_and(kind, None, object, body, validation, &read)
}

type ReadPatched<'r> = dyn Fn(&Value) -> Result<Read, String> + 'r;

fn apply_and(
    kind: Kind,
    schema: Option<&Struct>,
    object: &Value,
    body: &[u8],
    validation: FieldValidation,
    read: &ReadPatched<'_>,
) -> Result<Patched, Status> {
    let (patched, mut strict, strategic) = match (kind, schema) {
        (Kind::Json, _) => {
            let (operations, strict) = operations(body)?;
            let patched = json::apply(object, &operations).map_err(|_| unprocessable())?;
            (patched, strict, None)
        }
        (Kind::Strategic, Some(schema)) => {
            let (patch, strict) = object_body(body).map_err(Status::bad_request)?;
            let patched = strategic::apply(schema, object, &patch).map_err(|e| match e {
                strategic::Failure::Format(why) => Status::bad_request(why),
                strategic::Failure::ListOfLists => unprocessable(),
                strategic::Failure::Other(why) => Status::failure(500, "", why),
            })?;
            (patched, strict, Some(patch))
        }
        (Kind::Merge | Kind::Strategic, _) => {
            let (patch, strict) = object_body(body)
                .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
            (json::merge(object, &Value::Object(patch)), strict, None)
        }
    };
    let refused = |why: String| {
        let shown = match &strategic {
            Some(patch) => go_print(&Value::Object(patch.clone())),
            None => patched.to_string(),
        };
        Status::invalid(
            "",
            "",
            "",
            &[field::Error::invalid(
                &field::Path::new("patch"),
                shown,
                why,
            )],
        )
    };
    let found = read(&patched).map_err(refused)?;
    strict.extend(found.strict);
    if !strict.is_empty() && validation == FieldValidation::Strict {
        return Err(refused(decode::strict_error(&strict)));
    }
    let warnings = if validation == FieldValidation::Warn {
        decode::warnings(&strict)
    } else {
        Vec::new()
    };
    Ok(Patched {
        object: found.value,
        written: patched,
        warnings,
    })
}

/// A patch that does not apply; the reason is not told.
fn unprocessable() -> Status {
    let mut status = Status::failure(
        422,
        "Invalid",
        "the server rejected our request due to an error in our request",
    );
    status.details = Some(crate::status::Details::default());
    status
}

/// Reads a JSON patch, and what is unknown or repeated in its operations.
fn operations(body: &[u8]) -> Result<(Vec<Value>, Vec<String>), Status> {
    let refused = |why: String| Status::bad_request(format!("error decoding patch: {why}"));
    let read = decode::read_list(&operation(), "handlers.jsonPatchOp", body).map_err(refused)?;
    let Value::Array(operations) = read.value else {
        return Ok((Vec::new(), Vec::new()));
    };
    if operations.len() > MAX_OPERATIONS {
        let count = operations.len();
        let mut status = Status::failure(
            413,
            "RequestEntityTooLarge",
            format!(
                "Request entity too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {count}"
            ),
        );
        status.details = None;
        return Err(status);
    }
    Ok((
        operations.into(),
        read.strict
            .iter()
            .map(|e| format!("json patch {e}"))
            .collect(),
    ))
}

/// The type of one JSON patch operation.
fn operation() -> Struct {
    let field = |name: &'static str, ty: Type| Field {
        name: name.into(),
        ty,
        presence: Presence::Verbatim,
        required: false,
        atomic: false,
        patch: Patch::default(),
        default: None,
        number: 0,
        inside: 0,
    };
    Struct {
        name: "jsonPatchOp".into(),
        go: "handlers.jsonPatchOp".into(),
        fields: vec![
            field("from", Type::String(None)),
            field("op", Type::String(None)),
            field("path", Type::String(None)),
            field("value", Type::Any),
        ],
        ..Struct::default()
    }
}

/// Reads a patch that must be an object, and its repeated fields.
fn object_body(body: &[u8]) -> Result<(Map, Vec<String>), String> {
    let read = decode::read_any(body)?;
    match read.value {
        Value::Object(map) => Ok((map, read.strict)),
        Value::Null => Ok((Map::new(), read.strict)),
        value => {
            let what = match value {
                Value::Array(_) => "array",
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                _ => "number",
            };
            Err(format!(
                "json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"
            ))
        }
    }
}

/// A value as Go's `%v` prints it: `map[a:1 b:[x y]]`.
pub fn go_print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(s) => s.to_string(),
        Value::Array(list) => format!(
            "[{}]",
            list.iter().map(go_print).collect::<Vec<_>>().join(" ")
        ),
        Value::Object(map) => {
            let mut entries: Vec<(&Text, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let entries: Vec<String> = entries
                .iter()
                .map(|(k, v)| format!("{k}:{}", go_print(v)))
                .collect();
            format!("map[{}]", entries.join(" "))
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Schemas;
    use knarr_json::json;

    fn patch(
        kind: Kind,
        object: &Value,
        body: &str,
        validation: FieldValidation,
    ) -> Result<Patched, Status> {
        let schema = Schemas::default().by_api_version(
            object["apiVersion"].as_str().unwrap(),
            object["kind"].as_str().unwrap(),
        );
        apply(kind, schema.as_deref(), object, body.as_bytes(), validation)
    }

    fn config_map() -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "slate"}, "data": {"k": "v"}})
    }

    #[test]
    fn unknown_and_repeated_fields_of_patch_and_result_are_told() {
        let body = r#"[{"op":"add","path":"/date","value":{"k":"w"},"why":"typo"},{"op":"test","op":"add","path":"/data/z","value":"1"}]"#;
        let patched = patch(Kind::Json, &config_map(), body, FieldValidation::Warn).unwrap();
        assert_eq!(
            patched.warnings,
            [
                "json patch unknown field \"[0].why\"",
                "json patch duplicate field \"[1].op\"",
                "unknown field \"date\""
            ]
        );
        assert_eq!(patched.object["data"], json!({"k": "v", "z": "1"}));
        let body = r#"{"date":{"k":"w"},"data":{"k":"x","k":"y"}}"#;
        let patched = patch(Kind::Merge, &config_map(), body, FieldValidation::Warn).unwrap();
        assert_eq!(
            patched.warnings,
            ["duplicate field \"data.k\"", "unknown field \"date\""]
        );
        assert_eq!(
            patch(
                Kind::Strategic,
                &config_map(),
                body,
                FieldValidation::Strict
            )
            .unwrap_err()
            .code,
            422
        );
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {}});
        let body = r#"{"spec":{"template":{"spec":{"containers":[{"name":"c","imgae":"x"}]}}}}"#;
        assert_eq!(
            patch(Kind::Strategic, &deployment, body, FieldValidation::Strict)
                .unwrap_err()
                .message,
            " \"\" is invalid: patch: Invalid value: \"map[spec:map[template:map[spec:map[containers:[map[imgae:x name:c]]]]]]\": strict decoding error: unknown field \"spec.template.spec.containers[0].imgae\""
        );
    }

    #[test]
    fn unreadable_and_failing_patches_are_refused_as_the_original_does() {
        for (kind, body, code, message) in [
            (
                Kind::Json,
                r#"[{"op":"add","path":"/data/x""#,
                400,
                "error decoding patch: unexpected end of JSON input",
            ),
            (
                Kind::Json,
                r#"{"op":"remove"}"#,
                400,
                "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
            ),
            (
                Kind::Json,
                r#"[{"op":"remove","path":"/nope"}]"#,
                422,
                "the server rejected our request due to an error in our request",
            ),
            (
                Kind::Merge,
                "[1]",
                400,
                "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
            ),
            (
                Kind::Merge,
                "{\"metadata\": ",
                400,
                "error decoding patch: unexpected end of JSON input",
            ),
            (
                Kind::Strategic,
                "[]",
                400,
                "json: cannot unmarshal array into Go value of type map[string]interface {}",
            ),
        ] {
            let status = patch(kind, &config_map(), body, FieldValidation::Warn).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (code, message));
        }
        let many = format!(
            "[{}]",
            vec![r#"{"op":"test","path":"/data/k","value":"v"}"#; MAX_OPERATIONS + 1].join(",")
        );
        assert_eq!(
            patch(Kind::Json, &config_map(), &many, FieldValidation::Warn)
                .unwrap_err()
                .code,
            413
        );
    }
}
