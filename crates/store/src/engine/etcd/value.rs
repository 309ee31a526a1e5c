//! Values in etcd: an object's JSON without its revision, which etcd keeps beside it, and which is put in where it is read.

use std::sync::Arc;

use knarr_api::head::Encoded;

use super::proto::{KeyValue, unsigned};
use crate::{HeadOf, Stored, Transformer};

/// Makes what etcd holds readable.
#[derive(Clone)]
pub(super) struct Values {
    pub head_of: HeadOf,
    pub transformer: Option<Arc<dyn Transformer>>,
}

impl Values {
    /// The bytes to keep.
    pub(super) fn seal(&self, key: &str, value: &Encoded) -> Result<bytes::Bytes, String> {
        let plain = value.json();
        match &self.transformer {
            Some(transformer) => Ok(transformer
                .seal(key, plain)?
                .map_or_else(|| plain.clone(), bytes::Bytes::from)),
            None => Ok(plain.clone()),
        }
    }

    /// # Errors
    /// When the value is no object, or sealed by something unknown.
    pub(super) fn stored(&self, kv: &KeyValue) -> Result<Stored, String> {
        let key = std::str::from_utf8(&kv.key).map_err(|e| e.to_string())?;
        let plain = match &self.transformer {
            Some(transformer) => transformer.open(key, &kv.value)?,
            None => None,
        };
        let plain = plain.unwrap_or_else(|| kv.value.clone());
        let encoded = Encoded::from_json(plain).map_err(|e| e.to_string())?;
        let revision = unsigned(kv.mod_revision);
        let json = encoded.at_revision(revision);
        Ok(Stored {
            key: key.into(),
            revision,
            created: unsigned(kv.create_revision),
            head: (self.head_of)(key, &json),
            json,
            hole: encoded.hole(),
        })
    }
}
