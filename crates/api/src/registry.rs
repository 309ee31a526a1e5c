//! Which resources there are. Built-in kinds are entries of a table; a CustomResourceDefinition adds one at run time.

use std::{collections::HashMap, sync::Arc};

use crate::{
    custom::Origin,
    old::{self, Old},
    strategy::Strategy,
};

/// How a resource is named, where it lives and what it can do. One implementation of REST serves all of them.
#[derive(Clone)]
pub struct Resource {
    /// Empty for the core group.
    pub group: String,
    /// Served versions, preferred first. Objects are stored at `versions[storage]`.
    pub versions: Vec<String>,
    pub storage: usize,
    /// The version that objects are stored at when it is not among those served.
    pub stored_at: Option<String>,
    pub kind: String,
    pub list_kind: String,
    /// Plural, lower case: `pods`.
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    pub verbs: Vec<&'static str>,
    pub subresources: Vec<Subresource>,
    pub strategy: Arc<dyn Strategy>,
    /// The definition of a custom resource.
    pub custom: Option<Arc<Origin>>,
}

/// `pods/status`, `deployments/scale`, `pods/exec`.
#[derive(Debug, Clone)]
pub struct Subresource {
    pub name: &'static str,
    /// Kind of what it takes and gives: `Scale`, `Eviction`, `TokenRequest`; the resource's own kind for `status`.
    pub kind: String,
    /// Group and version of `kind` when they differ from the resource's.
    pub group_version: Option<(&'static str, &'static str)>,
    pub verbs: Vec<&'static str>,
    /// The versions that have it; empty for all.
    pub versions: Vec<String>,
}

impl Subresource {
    pub fn is_at(&self, version: &str) -> bool {
        self.versions.is_empty() || self.versions.iter().any(|v| v == version)
    }
}

impl Resource {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() {
            version.to_owned()
        } else {
            format!("{}/{version}", self.group)
        }
    }

    /// The `apiVersion` that objects are stored at.
    pub fn storage_api_version(&self) -> String {
        match self.strategy.stored_as() {
            Some(elsewhere) => elsewhere.to_owned(),
            None => match (&self.stored_at, self.versions.get(self.storage)) {
                (Some(version), _) | (None, Some(version)) => self.api_version(version),
                (None, None) => self.group.clone(),
            },
        }
    }

    /// Prefix of all keys of this resource, as the original lays them out in etcd: `/registry/pods/`,
    /// `/registry/deployments/`. Groups outside `k8s.io` and custom resources are qualified: `/registry/example.com/widgets/`.
    pub fn prefix(&self) -> String {
        match (self.group.as_str(), self.plural.as_str()) {
            (group, plural) if self.custom.is_some() => format!("/registry/{group}/{plural}/"),
            ("", "services") => "/registry/services/specs/".into(),
            ("", "endpoints") => "/registry/services/endpoints/".into(),
            ("", "nodes") => "/registry/minions/".into(),
            ("networking.k8s.io", "ingresses") => "/registry/ingress/".into(),
            (group, plural) if !group.contains('.') || group.ends_with(".k8s.io") => {
                format!("/registry/{plural}/")
            }
            (group, plural) => format!("/registry/{group}/{plural}/"),
        }
    }

    /// Key of one object.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced {
            format!("{}{namespace}/{name}", self.prefix())
        } else {
            format!("{}{name}", self.prefix())
        }
    }

    /// The group that errors about objects of this resource name: that of the form in which they are stored.
    pub fn error_group(&self) -> &str {
        match self.strategy.stored_as() {
            Some(api_version) => api_version.split_once('/').map_or("", |(group, _)| group),
            None => &self.group,
        }
    }

    /// A subresource at one version.
    pub fn subresource_at(&self, name: &str, version: &str) -> Option<&Subresource> {
        self.subresource(name).filter(|s| s.is_at(version))
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }
}

/// All resources served. Cheap to clone and replace: readers hold an `Arc` of it.
#[derive(Clone, Default)]
pub struct Registry {
    resources: Vec<Arc<Resource>>,
    by_name: HashMap<(String, String), Arc<Resource>>,
    by_kind: HashMap<(String, String), Arc<Resource>>,
    serves_old: bool,
}

impl Registry {
    /// Serves versions that the original serves no more: see [`crate::old`].
    pub fn serve_old_versions(&mut self) {
        self.serves_old = true;
    }

    /// The versions of old that are served.
    pub fn old_versions(&self) -> impl Iterator<Item = &'static Old> + use<> {
        old::all().filter({
            let on = self.serves_old;
            move |_| on
        })
    }

    /// A version of old by what a path says, with the resource of today.
    pub fn old_version(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Option<(&'static Old, &Arc<Resource>)> {
        let old = self
            .old_versions()
            .find(|o| o.group == group && o.version == version && o.plural == plural)?;
        Some((old, self.get(old.now.0, plural)?))
    }

    /// A version of old as a resource of its own, for documents that list resources: what can be done by it to one object.
    pub fn old_resource(&self, old: &Old) -> Option<Resource> {
        const ONE: [&str; 5] = ["create", "delete", "get", "patch", "update"];
        let now = self.get(old.now.0, old.plural)?;
        let mut subresources = now.subresources.clone();
        subresources.retain(|s| s.name == "status");
        let verbs = ONE.into_iter().filter(|v| now.verbs.contains(v));
        Some(Resource {
            group: old.group.to_owned(),
            versions: vec![old.version.to_owned()],
            storage: 0,
            short_names: Vec::new(),
            categories: Vec::new(),
            verbs: verbs.collect(),
            subresources,
            ..Resource::clone(now)
        })
    }

    /// Adds or replaces a resource.
    pub fn add(&mut self, resource: Resource) {
        let resource = Arc::new(resource);
        self.remove(&resource.group, &resource.plural);
        self.by_name.insert(
            (resource.group.clone(), resource.plural.clone()),
            resource.clone(),
        );
        self.by_kind.insert(
            (resource.group.clone(), resource.kind.clone()),
            resource.clone(),
        );
        self.resources.push(resource);
    }

    pub fn remove(&mut self, group: &str, plural: &str) {
        if let Some(old) = self.by_name.remove(&(group.to_owned(), plural.to_owned())) {
            self.by_kind.remove(&(old.group.clone(), old.kind.clone()));
            self.resources.retain(|r| !Arc::ptr_eq(r, &old));
        }
    }

    pub fn get(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_name.get(&(group.to_owned(), plural.to_owned()))
    }

    pub fn by_kind(&self, group: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.by_kind.get(&(group.to_owned(), kind.to_owned()))
    }

    /// In the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.iter()
    }
}
