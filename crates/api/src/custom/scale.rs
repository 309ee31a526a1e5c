//! The `scale` subresource of custom resources: where its numbers are.

use knarr_json::{Map, Value};

use crate::field::{Error, Errors, Path};
use crate::go;

/// Paths of a scale, as the definition writes them: `.spec.replicas`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    pub spec: String,
    pub status: String,
    pub selector: Option<String>,
}

impl Scale {
    pub(super) fn compile(scale: &Value) -> Option<Self> {
        let text = |key: &str| {
            scale[key]
                .as_str()
                .filter(|t| !t.is_empty())
                .map(str::to_owned)
        };
        Some(Scale {
            spec: text("specReplicasPath")?,
            status: text("statusReplicasPath")?,
            selector: text("labelSelectorPath"),
        })
    }

    /// The replicas wanted; none when the object does not say.
    pub fn replicas(&self, object: &Value) -> Option<i64> {
        at(object, &self.spec)?.as_i64()
    }

    /// The replicas there are.
    pub fn current(&self, object: &Value) -> i64 {
        at(object, &self.status)
            .and_then(Value::as_i64)
            .unwrap_or(0)
    }

    /// The selector as the object has it; empty when it has none.
    pub fn selector<'o>(&self, object: &'o Value) -> &'o str {
        let path = self.selector.as_deref();
        path.and_then(|p| at(object, p)?.as_str())
            .unwrap_or_default()
    }

    /// Sets the replicas wanted.
    pub fn set_replicas(&self, object: &mut Value, replicas: i64) {
        let mut place = object;
        for key in self.spec.trim_start_matches('.').split('.') {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[key];
        }
        *place = replicas.into();
    }

    /// A configuration that has only the replicas: what applying a scale applies.
    pub fn configuration(&self, replicas: Option<&Value>) -> Value {
        let mut out = Value::Object(Map::new());
        let mut place = &mut out;
        let keys: Vec<&str> = self.spec.trim_start_matches('.').split('.').collect();
        for (i, key) in keys.iter().enumerate() {
            if i + 1 == keys.len() {
                if let Some(replicas) = replicas {
                    place[*key] = replicas.clone();
                }
                break;
            }
            place[*key] = Value::Object(Map::new());
            place = &mut place[*key];
        }
        out
    }

    /// The path of the replicas as field ownership writes it: `spec.replicas`.
    pub fn owned_path(&self) -> &str {
        self.spec.trim_start_matches('.')
    }

    /// Checks the numbers of an object.
    pub fn validate(&self, object: &Value, spec: bool, errors: &mut Errors) {
        if spec {
            count(object, &self.spec, errors);
        }
        count(object, &self.status, errors);
        if let Some(path) = &self.selector
            && let Some(value) = at(object, path)
            && !value.is_string()
        {
            let why = format!(
                "{path} accessor error: {} is of the type {}, expected string",
                go_value(value),
                go::type_of(value)
            );
            errors.push(Error::invalid(&Path::new(path), value.clone(), why));
        }
    }
}

fn at<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    super::at(object, path.trim_start_matches('.'))
}

fn count(object: &Value, path: &str, errors: &mut Errors) {
    let Some(value) = at(object, path) else {
        return;
    };
    let place = Path::new(path);
    match value.as_i64() {
        None => {
            let why = format!(
                "{path} accessor error: {} is of the type {}, expected int64",
                go_value(value),
                go::type_of(value)
            );
            errors.push(Error::invalid(&place, 0, why));
        }
        Some(n) if n < 0 => {
            errors.push(Error::invalid(
                &place,
                n,
                "should be a non-negative integer",
            ));
        }
        Some(n) if n > i64::from(i32::MAX) => {
            let why = format!("should be less than or equal to {}", i32::MAX);
            errors.push(Error::invalid(&place, n, why));
        }
        Some(_) => {}
    }
}

fn go_value(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
