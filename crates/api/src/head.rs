//! The parsed part of a stored object, and the splice that puts its revision into its bytes.

use bytes::{BufMut, Bytes, BytesMut};
use knarr_json::Value;
use serde::Deserialize;

use crate::encode::{entries, string, write};

mod hole;

/// What lists, watches, selectors and the garbage collector need of an object without decoding it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Head {
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Sorted by key.
    pub labels: Vec<(String, String)>,
    /// Selectable fields of this kind beyond metadata.name and metadata.namespace, e.g. `spec.nodeName`.
    pub fields: Vec<(&'static str, String)>,
    /// Uids of the owners.
    pub owners: Vec<String>,
    pub deleting: bool,
}

#[derive(Deserialize)]
struct Owner<'a> {
    #[serde(borrow, default)]
    uid: std::borrow::Cow<'a, str>,
}

impl Head {
    /// Reads the head out of a decoded object. `fields` are taken as the kind's strategy gave them.
    pub fn of(object: &Value, fields: Vec<(&'static str, String)>) -> Self {
        let meta = &object["metadata"];
        let text = |key: &str| meta[key].as_str().unwrap_or_default().to_owned();
        let mut labels: Vec<(String, String)> = meta["labels"]
            .as_object()
            .map(|m| {
                m.iter()
                    .map(|(k, v)| (k.to_string(), v.as_str().unwrap_or_default().to_owned()))
                    .collect()
            })
            .unwrap_or_default();
        labels.sort();
        let owners = match &meta["ownerReferences"] {
            Value::Null => Vec::new(),
            given => Vec::<Owner>::deserialize(given)
                .map(|list| list.into_iter().map(|o| o.uid.into_owned()).collect())
                .unwrap_or_default(),
        };
        Head {
            namespace: text("namespace"),
            name: text("name"),
            uid: text("uid"),
            labels,
            fields,
            owners,
            deleting: meta["deletionTimestamp"].is_string(),
        }
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels
            .binary_search_by(|(k, _)| k.as_str().cmp(key))
            .ok()
            .map(|i| self.labels[i].1.as_str())
    }

    /// The value of a selectable field; `None` when the kind has no such field.
    pub fn field(&self, path: &str) -> Option<&str> {
        match path {
            "metadata.name" => Some(&self.name),
            "metadata.namespace" => Some(&self.namespace),
            _ => self
                .fields
                .iter()
                .find(|(k, _)| *k == path)
                .map(|(_, v)| v.as_str()),
        }
    }
}

/// An encoded object without its resourceVersion, and where that belongs.
///
/// The revision is only known at commit, so the writer splices it in instead of encoding again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    json: Bytes,
    /// Offset just behind the `{` of `metadata`.
    hole: usize,
}

impl Encoded {
    /// Encodes `object`; a `metadata.resourceVersion` in it is left out.
    ///
    /// # Errors
    /// When the object has no `metadata` object with at least one other field.
    pub fn new(object: &Value) -> Result<Self, serde_json::Error> {
        let missing = || serde::de::Error::custom("object has no metadata");
        let map = object.as_object().ok_or_else(missing)?;
        // Short-lived: what is stored is a copy with its revision.
        let mut out = Vec::with_capacity(4096);
        let mut hole = 0;
        out.push(b'{');
        // The type comes first, so that lists, which tell it once, find it and leave it out.
        let first = ["apiVersion", "kind"]
            .into_iter()
            .filter_map(|k| map.get_key_value(k));
        let rest = map
            .iter()
            .filter(|(k, _)| *k != "apiVersion" && *k != "kind");
        for (i, (key, value)) in first.chain(rest).enumerate() {
            if i > 0 {
                out.push(b',');
            }
            string(&mut out, key);
            out.push(b':');
            if key == "metadata" {
                let meta = value.as_object().ok_or_else(missing)?;
                out.push(b'{');
                hole = out.len();
                entries(
                    &mut out,
                    meta.iter().filter(|(k, _)| *k != "resourceVersion"),
                );
                if out.len() == hole {
                    return Err(missing());
                }
                out.push(b'}');
            } else {
                write(&mut out, value);
            }
        }
        out.push(b'}');
        if hole == 0 {
            return Err(missing());
        }
        Ok(Encoded {
            json: out.into(),
            hole,
        })
    }

    /// From an object's JSON as somebody else may have written it.
    ///
    /// # Errors
    /// When it is no object with metadata.
    pub fn from_json(json: Bytes) -> Result<Self, serde_json::Error> {
        if let Some(hole) = hole::find(&json) {
            return Ok(Encoded { json, hole });
        }
        Encoded::new(&serde_json::from_slice(&json)?)
    }

    /// From stored parts, as [`Encoded::json`] and [`Encoded::hole`] gave them.
    pub fn from_parts(json: Bytes, hole: usize) -> Option<Self> {
        (hole > 0 && hole < json.len() && json[hole - 1] == b'{').then_some(Encoded { json, hole })
    }

    /// The bytes without the revision.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    pub fn hole(&self) -> usize {
        self.hole
    }

    /// The bytes that clients read.
    pub fn at_revision(&self, revision: u64) -> Bytes {
        let mut out = BytesMut::with_capacity(self.json.len() + 42);
        out.put_slice(&self.json[..self.hole]);
        out.put_slice(b"\"resourceVersion\":\"");
        out.put_slice(revision.to_string().as_bytes());
        out.put_slice(b"\",");
        out.put_slice(&self.json[self.hole..]);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn revision_is_spliced_into_metadata() {
        let object = json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "a", "resourceVersion": "7"}, "data": {"metadata": "{"}});
        let encoded = Encoded::new(&object).unwrap();
        let mut want = object.clone();
        want["metadata"]["resourceVersion"] = json!("42");
        assert_eq!(
            serde_json::from_slice::<Value>(&encoded.at_revision(42)).unwrap(),
            want
        );
        assert!(
            encoded
                .json()
                .starts_with(br#"{"apiVersion":"v1","kind":"X","#)
        );
        assert!(Encoded::new(&json!({"metadata": {}})).is_err());
    }

    #[test]
    fn head_reads_labels_sorted_and_owners() {
        let object = json!({"metadata": {"name": "a", "labels": {"b": "2", "a": "1"}, "ownerReferences": [{"uid": "u"}], "deletionTimestamp": "x"}});
        let head = Head::of(&object, vec![("spec.nodeName", "n1".into())]);
        assert_eq!(head.label("b"), Some("2"));
        assert_eq!(head.field("spec.nodeName"), Some("n1"));
        assert_eq!(head.owners, ["u"]);
        assert!(head.deleting);
    }
}
