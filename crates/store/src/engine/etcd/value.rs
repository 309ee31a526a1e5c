//! Values in etcd: an object's JSON without its revision, which etcd keeps beside it, and which is put in where it is read.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use knarr_api::head::Encoded;

use super::proto::{KeyValue, unsigned};
use crate::{HeadOf, Stored, Transformer};

/// What keys begin with everywhere but in etcd.
const ROOT: &str = "/registry";

/// Makes what etcd holds readable.
#[derive(Clone)]
pub(super) struct Values {
    /// What keys begin with in etcd, without a slash at the end.
    pub prefix: Arc<str>,
    pub head_of: HeadOf,
    pub transformer: Option<Arc<dyn Transformer>>,
}

impl Values {
    /// A key's name in etcd.
    pub(super) fn outer(&self, key: &str) -> Bytes {
        let rest = key.strip_prefix(ROOT).unwrap_or(key);
        format!("{}{rest}", self.prefix).into()
    }

    /// The name of a key of etcd's.
    ///
    /// # Errors
    /// When it is none of ours.
    pub(super) fn inner<'k>(&self, key: &'k [u8]) -> Result<Cow<'k, str>, String> {
        let key = std::str::from_utf8(key).map_err(|e| e.to_string())?;
        if &*self.prefix == ROOT {
            return Ok(key.into());
        }
        let rest = key.strip_prefix(&*self.prefix);
        Ok(format!("{ROOT}{}", rest.ok_or("it has another prefix")?).into())
    }

    /// The bytes to keep.
    pub(super) fn seal(&self, key: &str, value: &Encoded) -> Result<Bytes, String> {
        let plain = value.json();
        match &self.transformer {
            Some(transformer) => Ok(transformer
                .seal(key, plain)?
                .map_or_else(|| plain.clone(), Bytes::from)),
            None => Ok(plain.clone()),
        }
    }

    /// # Errors
    /// When the value is no object, or sealed by something unknown.
    pub(super) fn stored(&self, kv: &KeyValue) -> Result<Stored, String> {
        let key = self.inner(&kv.key)?;
        let plain = match &self.transformer {
            Some(transformer) => transformer.open(&key, &kv.value)?,
            None => None,
        };
        let plain = plain.unwrap_or_else(|| kv.value.clone());
        let encoded = Encoded::from_json(plain).map_err(|e| e.to_string())?;
        let revision = unsigned(kv.mod_revision);
        let json = encoded.at_revision(revision);
        Ok(Stored {
            head: (self.head_of)(&key, &json),
            key: key.into(),
            revision,
            created: unsigned(kv.create_revision),
            json,
            hole: encoded.hole(),
        })
    }
}
