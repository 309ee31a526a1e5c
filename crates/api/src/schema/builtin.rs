//! The built-in types: indexed at first use, each read from its text when first looked at.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{LazyLock, OnceLock},
};

use super::{
    Gvk,
    text::{self, Entry, Package},
    types::{Struct, StructRef, Type},
    words,
};

/// One per group and version.
const FILES: &[&str] = &[
    include_str!("admissionregistration.v1.schema"),
    include_str!("admissionregistration.v1alpha1.schema"),
    include_str!("admissionregistration.v1beta1.schema"),
    include_str!("apidiscovery.v2.schema"),
    include_str!("apiextensions.v1.schema"),
    include_str!("apiextensions.v1beta1.schema"),
    include_str!("apiregistration.v1.schema"),
    include_str!("apiserverinternal.v1alpha1.schema"),
    include_str!("apps.v1.schema"),
    include_str!("authentication.v1.schema"),
    include_str!("authorization.v1.schema"),
    include_str!("authorization.v1beta1.schema"),
    include_str!("autoscaling.v1.schema"),
    include_str!("autoscaling.v2.schema"),
    include_str!("autoscaling.v2beta1.schema"),
    include_str!("batch.v1.schema"),
    include_str!("certificates.v1.schema"),
    include_str!("certificates.v1alpha1.schema"),
    include_str!("certificates.v1beta1.schema"),
    include_str!("coordination.v1.schema"),
    include_str!("coordination.v1alpha2.schema"),
    include_str!("coordination.v1beta1.schema"),
    include_str!("core.v1.schema"),
    include_str!("discovery.v1.schema"),
    include_str!("discovery.v1beta1.schema"),
    include_str!("events.v1.schema"),
    include_str!("extensions.v1beta1.schema"),
    include_str!("flowcontrol.v1.schema"),
    include_str!("flowcontrol.v1beta1.schema"),
    include_str!("flowcontrol.v1beta2.schema"),
    include_str!("meta.v1.schema"),
    include_str!("networking.v1.schema"),
    include_str!("networking.v1beta1.schema"),
    include_str!("node.v1.schema"),
    include_str!("policy.v1.schema"),
    include_str!("rbac.v1.schema"),
    include_str!("resource.v1.schema"),
    include_str!("resource.v1alpha3.schema"),
    include_str!("resource.v1beta1.schema"),
    include_str!("resource.v1beta2.schema"),
    include_str!("scheduling.v1.schema"),
    include_str!("scheduling.v1alpha2.schema"),
    include_str!("storage.v1.schema"),
    include_str!("storage.v1beta1.schema"),
    include_str!("storagemigration.v1beta1.schema"),
    include_str!("version.schema"),
];

/// Where the types are that belong to every group.
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

struct Table {
    packages: Vec<Package>,
    entries: Vec<(Entry, OnceLock<Struct>)>,
    /// Short name, to the types of that name in all packages.
    by_name: HashMap<&'static str, Vec<u32>>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let packages: Vec<Package> = FILES.iter().filter_map(|text| Package::of(text)).collect();
    let mut table = Table {
        packages: Vec::new(),
        entries: Vec::new(),
        by_name: HashMap::new(),
    };
    for (i, package) in packages.iter().enumerate() {
        for entry in text::index(i as u16, package.text) {
            table
                .by_name
                .entry(entry.name)
                .or_default()
                .push(table.entries.len() as u32);
            table.entries.push((entry, OnceLock::new()));
        }
    }
    table.packages = packages;
    table
});

/// Changes when the text of the built-in types does, or what is said of them.
pub(crate) fn text_hash() -> u64 {
    static HASH: LazyLock<u64> = LazyLock::new(|| {
        let mut hasher = DefaultHasher::new();
        FILES.hash(&mut hasher);
        words::hash(&mut hasher);
        hasher.finish()
    });
    *HASH
}

pub(super) fn get(i: u32) -> &'static Struct {
    let table = &*TABLE;
    let (entry, cell) = &table.entries[i as usize];
    cell.get_or_init(|| {
        text::parse(&table.packages[entry.package as usize], entry, &|name| {
            by_name(name).map(Type::Struct)
        })
    })
}

pub(super) fn by_name(name: &str) -> Option<StructRef> {
    let (prefix, short) = name.rsplit_once('.')?;
    find(short, |entry, package| {
        package.prefix == prefix && entry.name == short
    })
}

pub(super) fn by_kind(group: &str, version: &str, kind: &str) -> Option<StructRef> {
    find(kind, |entry, package| {
        entry.kind && package.group == group && package.version == version
    })
    // Options, statuses and watch events are of every group.
    .or_else(|| find(kind, |entry, package| entry.kind && package.prefix == META))
}

fn find(short: &str, right: impl Fn(&Entry, &Package) -> bool) -> Option<StructRef> {
    let table = &*TABLE;
    let right = |i: &&u32| {
        let entry = &table.entries[**i as usize].0;
        right(entry, &table.packages[entry.package as usize])
    };
    table
        .by_name
        .get(short)?
        .iter()
        .find(right)
        .map(|i| StructRef::Builtin(*i))
}

/// The kind that a type is, when it is one.
pub(super) fn kind_of(i: u32) -> Option<Gvk> {
    let table = &*TABLE;
    let (entry, _) = table.entries.get(i as usize)?;
    let package = &table.packages[entry.package as usize];
    entry.kind.then(|| {
        (
            package.group.to_owned(),
            package.version.to_owned(),
            entry.name.to_owned(),
        )
    })
}

pub(super) fn kinds() -> impl Iterator<Item = (Gvk, StructRef)> {
    (0..TABLE.entries.len() as u32).filter_map(|i| Some((kind_of(i)?, StructRef::Builtin(i))))
}

#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = (&'static Entry, &'static Struct)> {
    let table = &*TABLE;
    table
        .entries
        .iter()
        .enumerate()
        .map(|(i, (entry, _))| (entry, get(i as u32)))
}
