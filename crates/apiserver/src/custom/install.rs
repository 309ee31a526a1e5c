//! A definition as a resource of the registry, and as a type of the schemas.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use knarr_api::{
    Registry, Resource, Schemas,
    custom::{Definition, Origin, openapi, shape},
    registry::Subresource,
    strategy::Custom,
};
use knarr_json::Value;

use crate::server::Shared;

/// What a definition that is served was made of.
pub struct Installed {
    group: String,
    plural: String,
    /// Spec and names: when they change, the resource does.
    made_of: (Value, Value),
    terminating: bool,
    resource: Arc<Resource>,
    /// Kinds whose types were added: version and kind.
    types: Vec<(String, String)>,
}

/// Serves a definition as it is now. `revision` is that of its object, from which on objects are known to be as it makes them.
pub fn install(
    shared: &Arc<Shared>,
    object: &Value,
    revision: u64,
    terminating: bool,
    before: Option<Installed>,
) -> Installed {
    let made_of = (
        object["spec"].clone(),
        object["status"]["acceptedNames"].clone(),
    );
    if let Some(before) = before {
        if before.made_of == made_of {
            return retouch(shared, before, terminating);
        }
        let origin = Arc::new(Origin {
            definition: Arc::new(Definition::compile(object)),
            // Requests under way still write as the definition was before.
            fresh_from: AtomicU64::new(u64::MAX),
        });
        let old = Arc::downgrade(&before.resource);
        let installed = put(
            shared,
            object,
            made_of,
            origin.clone(),
            terminating,
            Some(before),
        );
        shared.tasks.spawn(freshen(shared.clone(), old, origin));
        return installed;
    }
    let origin = Arc::new(Origin {
        definition: Arc::new(Definition::compile(object)),
        fresh_from: AtomicU64::new(revision),
    });
    put(shared, object, made_of, origin, terminating, None)
}

/// Waits until nobody holds the resource as it was, and trusts what is written from then on.
async fn freshen(shared: Arc<Shared>, old: Weak<Resource>, origin: Arc<Origin>) {
    while old.strong_count() > 0 {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(std::time::Duration::from_millis(100)) => {}
        }
    }
    let from = shared.store.revision() + 1;
    origin.fresh_from.store(from, Ordering::Relaxed);
}

/// The same definition, which may have begun to go.
fn retouch(shared: &Arc<Shared>, mut installed: Installed, terminating: bool) -> Installed {
    if installed.terminating != terminating {
        let mut resource = (*installed.resource).clone();
        resource.verbs = verbs(terminating);
        installed.terminating = terminating;
        change(shared, |registry| registry.add(resource));
        let registry = shared.registry.load();
        if let Some(added) = registry.get(&installed.group, &installed.plural) {
            installed.resource = added.clone();
        }
    }
    installed
}

fn put(
    shared: &Arc<Shared>,
    object: &Value,
    made_of: (Value, Value),
    origin: Arc<Origin>,
    terminating: bool,
    before: Option<Installed>,
) -> Installed {
    let definition = origin.definition.clone();
    let resource = resource(object, origin, terminating);
    let (group, plural) = (resource.group.clone(), resource.plural.clone());
    let types: Vec<(String, String)> = resource
        .versions
        .iter()
        .map(|version| (version.clone(), resource.kind.clone()))
        .collect();
    let mut schemas = Schemas::clone(&shared.schemas.load());
    for (version, kind) in before.iter().flat_map(|b| &b.types) {
        schemas.remove(&group, version, kind);
    }
    for (name, kind) in &types {
        if let Some(version) = definition.version(name) {
            let full = openapi::name(&group, name, kind);
            let ty = shape::resource(&version.schema, full, format!("{name}.{kind}"));
            schemas.add(&group, name, kind, ty);
        }
    }
    shared.schemas.store(Arc::new(schemas));
    change(shared, |registry| registry.add(resource));
    let registry = shared.registry.load();
    let resource = match registry.get(&group, &plural) {
        Some(added) => added.clone(),
        None => unreachable_resource(&definition),
    };
    Installed {
        group,
        plural,
        made_of,
        terminating,
        resource,
        types,
    }
}

/// Stands for a resource that was taken away at the moment it was added; nobody finds it.
fn unreachable_resource(definition: &Arc<Definition>) -> Arc<Resource> {
    let origin = Arc::new(Origin {
        definition: definition.clone(),
        fresh_from: AtomicU64::new(u64::MAX),
    });
    Arc::new(resource(&Value::Null, origin, true))
}

/// Stops serving a definition.
pub fn remove(shared: &Arc<Shared>, installed: &Installed) {
    change(shared, |registry| {
        registry.remove(&installed.group, &installed.plural);
    });
    let mut schemas = Schemas::clone(&shared.schemas.load());
    for (version, kind) in &installed.types {
        schemas.remove(&installed.group, version, kind);
    }
    shared.schemas.store(Arc::new(schemas));
}

fn change(shared: &Shared, work: impl FnOnce(&mut Registry)) {
    let mut registry = Registry::clone(&shared.registry.load());
    work(&mut registry);
    shared.registry.store(Arc::new(registry));
    shared.definitions.send_replace(());
}

fn verbs(terminating: bool) -> Vec<&'static str> {
    if terminating {
        return vec!["delete", "deletecollection", "get", "list", "watch"];
    }
    vec![
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "create",
        "update",
        "watch",
    ]
}

/// The resource that a definition makes. Pure.
fn resource(object: &Value, origin: Arc<Origin>, terminating: bool) -> Resource {
    let names = &object["status"]["acceptedNames"];
    let text = |key: &str| names[key].as_str().unwrap_or_default().to_owned();
    let strings = |key: &str| -> Vec<String> {
        let list = names[key].as_array().into_iter().flatten();
        list.filter_map(|s| s.as_str().map(str::to_owned)).collect()
    };
    let definition = origin.definition.clone();
    let served = |v: &&knarr_api::custom::Version| v.served;
    let mut versions: Vec<String> = definition
        .versions
        .iter()
        .filter(served)
        .map(|v| v.name.clone())
        .collect();
    versions.sort_by(|a, b| knarr_api::custom::compare_versions(a, b));
    let storage = definition
        .versions
        .get(definition.storage)
        .map(|v| v.name.clone())
        .unwrap_or_default();
    Resource {
        group: definition.group.clone(),
        storage: versions.iter().position(|v| *v == storage).unwrap_or(0),
        stored_at: Some(storage),
        subresources: subresources(&definition, &text("kind")),
        namespaced: definition.namespaced,
        kind: text("kind"),
        list_kind: text("listKind"),
        plural: text("plural"),
        singular: text("singular"),
        short_names: strings("shortNames"),
        categories: strings("categories"),
        verbs: verbs(terminating),
        versions,
        strategy: Arc::new(Custom(definition)),
        custom: Some(origin),
    }
}

fn subresources(definition: &Definition, kind: &str) -> Vec<Subresource> {
    const VERBS: [&str; 3] = ["get", "patch", "update"];
    let having = |has: &dyn Fn(&knarr_api::custom::Version) -> bool| -> Vec<String> {
        let served = definition.versions.iter().filter(|v| v.served);
        served.filter(|v| has(v)).map(|v| v.name.clone()).collect()
    };
    let status = Subresource {
        name: "status",
        kind: kind.to_owned(),
        group_version: None,
        verbs: VERBS.to_vec(),
        versions: having(&|v| v.status),
    };
    let scale = Subresource {
        name: "scale",
        kind: "Scale".to_owned(),
        group_version: Some(("autoscaling", "v1")),
        verbs: VERBS.to_vec(),
        versions: having(&|v| v.scale.is_some()),
    };
    [status, scale]
        .into_iter()
        .filter(|s| !s.versions.is_empty())
        .collect()
}
