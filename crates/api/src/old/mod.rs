//! Versions that Kubernetes once served and that manifests still use: `extensions/v1beta1`, `apps/v1beta1` and their kin.
//!
//! Each is another way to say what a kind that is served today says. Bodies of requests are brought to today's version as
//! soon as they are read, answers back from it as they are written; in between nobody knows that old words were used.

mod autoscaler;
mod configuration;
mod definition;
mod ingress;
mod level;
mod review;
mod slice;
mod table;
mod workload;

use knarr_json::Value;

/// A version of a kind that is served no more by the original.
#[derive(Debug)]
pub struct Old {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    /// Group and version of the same kind today.
    pub now: (&'static str, &'static str),
    /// Minor releases of Kubernetes 1 in which it was deprecated, and gone.
    since: (u32, u32),
    /// Brings an object to today's version, part of one too.
    up: fn(&mut Value),
    /// Brings an object of today's version back.
    down: fn(&mut Value),
    /// Fills in what this version filled in otherwise than today's.
    fill: fn(&mut Value),
    /// Whether its fields are those of today.
    pub same_fields: bool,
}

impl Old {
    /// `extensions/v1beta1`.
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    /// `networking.k8s.io/v1`.
    pub fn api_version_now(&self) -> String {
        format!("{}/{}", self.now.0, self.now.1)
    }

    /// What a client that uses it is told.
    pub fn warning(&self) -> String {
        let (deprecated, gone) = self.since;
        let (kind, now) = (self.kind, self.api_version_now());
        format!(
            "{} {kind} is deprecated in v1.{deprecated}+, unavailable in v1.{gone}+; use {now} {kind}",
            self.api_version()
        )
    }

    /// Brings an object, or a part of one that is applied, to today's version, with the defaults of old.
    pub fn modernize(&self, object: &mut Value) {
        (self.fill)(object);
        (self.up)(object);
        object["apiVersion"] = self.api_version_now().into();
    }

    /// Brings an object of today's version to this one.
    pub fn age(&self, object: &mut Value) {
        (self.down)(object);
        object["apiVersion"] = self.api_version().into();
    }
}

/// All versions of old.
pub fn all() -> impl Iterator<Item = &'static Old> {
    table::ALL.iter()
}

/// The kind of today that has the same fields as a kind of old.
pub(crate) fn same_fields(group: &str, version: &str, kind: &str) -> Option<&'static Old> {
    all().find(|o| o.same_fields && o.group == group && o.version == version && o.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Schemas, builtin};

    #[test]
    fn every_version_of_old_has_a_kind_of_today_and_fields() {
        let (registry, schemas) = (builtin::registry(), Schemas::default());
        for old in all() {
            let resource = registry.get(old.now.0, old.plural).unwrap();
            assert_eq!(resource.kind, old.kind);
            assert!(resource.versions.iter().any(|v| v == old.now.1), "{old:?}");
            assert!(
                schemas.by_kind(old.group, old.version, old.kind).is_some(),
                "{old:?}"
            );
        }
    }
}
