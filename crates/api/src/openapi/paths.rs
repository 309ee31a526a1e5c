//! What can be done with each resource, as OpenAPI operations.

use knarr_json::{Array, Map, Value, json};

use super::{
    Flavor, PRODUCES,
    connect::{LOG, connects},
    definitions::{Definitions, PATCH},
    describe::{self, Target},
    verbs::{COLLECTION, CREATE_BELOW, ITEM, LIST, Verb, verb},
};
use crate::registry::{Resource, Subresource};

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const WATCH_EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

const STREAMS: [&str; 2] = [
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// Writes the operations of one group and version.
pub(super) struct Paths<'d, 'a> {
    pub flavor: Flavor,
    pub group: &'a str,
    pub version: &'a str,
    pub definitions: &'d mut Definitions<'a>,
}

/// Whose kind an operation takes and gives.
struct Kind<'k> {
    group: &'k str,
    version: &'k str,
    kind: &'k str,
}

impl Paths<'_, '_> {
    /// Adds all paths of a resource.
    pub fn resource(&mut self, resource: &Resource, out: &mut Map) {
        let root = match self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        let plural = &resource.plural;
        let base = if resource.namespaced {
            format!("{root}/namespaces/{{namespace}}/{plural}")
        } else {
            format!("{root}/{plural}")
        };
        let scope = if resource.namespaced {
            "Namespaced"
        } else {
            ""
        };
        let (group, version) = (self.group.to_owned(), self.version.to_owned());
        let own = Kind {
            group: &group,
            version: &version,
            kind: &resource.kind,
        };
        let has = |v: &&Verb| resource.verbs.contains(&v.name);

        let mut at = self.place(resource.namespaced, false);
        for verb in COLLECTION.iter().filter(has) {
            let middle = if verb.name == "deletecollection" {
                "Collection"
            } else {
                ""
            };
            let id = format!("{}{}{middle}{scope}{}", verb.word, self.id(), resource.kind);
            let target = Target::Collection;
            let operation = self.operation(verb, &id, &own, resource, target);
            at.insert(verb.method, operation);
        }
        add(out, base.clone(), at);
        if resource.namespaced && resource.verbs.contains(&"list") {
            let mut at = self.place(false, false);
            let id = format!("list{}{}ForAllNamespaces", self.id(), resource.kind);
            let target = Target::Everywhere;
            let operation = self.operation(&COLLECTION[0], &id, &own, resource, target);
            at.insert("get", operation);
            add(out, format!("{root}/{plural}"), at);
        }
        let mut at = self.place(resource.namespaced, true);
        for verb in ITEM.iter().filter(has) {
            let id = format!("{}{}{scope}{}", verb.word, self.id(), resource.kind);
            let operation = self.operation(verb, &id, &own, resource, Target::Object);
            at.insert(verb.method, operation);
        }
        add(out, format!("{base}/{{name}}"), at);
        for sub in &resource.subresources {
            let path = format!("{base}/{{name}}/{}", sub.name);
            if connects(sub) {
                if sub.name == "proxy" {
                    let at = self.connection(resource, sub, scope, true);
                    add(out, format!("{path}/{{path}}"), at);
                }
                add(out, path, self.connection(resource, sub, scope, false));
            } else {
                add(out, path, self.subresource(resource, sub, scope));
            }
        }
        if resource.verbs.contains(&"watch") {
            self.watches(resource, &root, scope, out);
        }
    }

    /// The old way to watch, by paths of its own.
    fn watches(&mut self, resource: &Resource, root: &str, scope: &str, out: &mut Map) {
        let (plural, id) = (&resource.plural, format!("watch{}", self.id()));
        let kind = &resource.kind;
        let base = if resource.namespaced {
            format!("{root}/watch/namespaces/{{namespace}}/{plural}")
        } else {
            format!("{root}/watch/{plural}")
        };
        let mut all = vec![
            (base.clone(), format!("{id}{scope}{kind}List"), false),
            (
                format!("{base}/{{name}}"),
                format!("{id}{scope}{kind}"),
                true,
            ),
        ];
        if resource.namespaced {
            let id = format!("{id}{kind}ListForAllNamespaces");
            all.push((format!("{root}/watch/{plural}"), id, false));
        }
        for (path, id, named) in all {
            let namespaced = path.contains("{namespace}");
            let action = if named { "watch" } else { "watchlist" };
            let verb = verb("watch", "get", action, "watch", LIST);
            let (group, version) = (self.group.to_owned(), self.version.to_owned());
            let own = Kind {
                group: &group,
                version: &version,
                kind,
            };
            let mut at = self.place(namespaced, named);
            let target = match (named, namespaced == resource.namespaced) {
                (true, _) => Target::Object,
                (false, true) => Target::Collection,
                (false, false) => Target::Everywhere,
            };
            let operation = self.operation(&verb, &id, &own, resource, target);
            at.insert("get", operation);
            add(out, path, at);
        }
    }

    fn subresource(&mut self, resource: &Resource, sub: &Subresource, scope: &str) -> Map {
        let (group, version) = (self.group.to_owned(), self.version.to_owned());
        let (sub_group, sub_version) = sub.group_version.unwrap_or((&group, &version));
        let kind = Kind {
            group: sub_group,
            version: sub_version,
            kind: &sub.kind,
        };
        let mut at = self.place(resource.namespaced, true);
        for verb in ITEM
            .iter()
            .chain([&CREATE_BELOW])
            .filter(|v| sub.verbs.contains(&v.name))
        {
            let id = format!(
                "{}{}{scope}{}{}",
                verb.word,
                self.id(),
                resource.kind,
                capital(sub.name)
            );
            let target = Target::Subresource(sub.name);
            let operation = self.operation(verb, &id, &kind, resource, target);
            at.insert(verb.method, operation);
        }
        at
    }

    /// `AppsV1`, as part of operation ids.
    fn id(&self) -> String {
        format!("{}{}", group_word(self.group), capital(self.version))
    }

    /// A path with the parameters that all its operations share.
    fn place(&self, namespace: bool, name: bool) -> Map {
        let mut params = Vec::new();
        for (present, word) in [(name, "name"), (namespace, "namespace")] {
            if present {
                params.push(self.param(word, "string", "path"));
            }
        }
        params.push(self.param("pretty", "string", "query"));
        Map::from_iter([("parameters".to_owned(), Value::from(params))])
    }

    pub(super) fn param(&self, name: &str, ty: &str, place: &str) -> Value {
        let mut out = match self.flavor {
            Flavor::V2 => json!({"in": place, "name": name, "type": ty, "uniqueItems": true}),
            Flavor::V3 => {
                json!({"in": place, "name": name, "schema": {"type": ty, "uniqueItems": true}})
            }
        };
        if place == "path" {
            out["required"] = true.into();
        }
        if let Some(words) = describe::parameter(name) {
            out["description"] = words.into();
        }
        out
    }

    fn operation(
        &mut self,
        verb: &Verb,
        id: &str,
        kind: &Kind,
        resource: &Resource,
        target: Target,
    ) -> Value {
        let own = self.definitions.kind(kind.group, kind.version, kind.kind);
        let answer = match verb.action {
            "list" => self
                .definitions
                .kind(kind.group, kind.version, &resource.list_kind),
            "watch" | "watchlist" => self.definitions.named(WATCH_EVENT),
            "delete" if resource.strategy.returns_deleted() => own.clone(),
            "delete" | "deletecollection" => self.definitions.named(STATUS),
            _ if is_log(id) => json!({"type": "string"}),
            _ => own.clone(),
        };
        let codes: &[&str] = match verb.action {
            "post" => &["200", "201", "202"],
            "put" | "patch" => &["200", "201"],
            "delete" => &["200", "202"],
            _ => &["200"],
        };
        let body = match verb.action {
            "post" | "put" => Some((own, true)),
            "patch" => Some((self.definitions.named(PATCH), true)),
            "delete" | "deletecollection" => Some((self.definitions.named(DELETE_OPTIONS), false)),
            _ => None,
        };
        let mut out = json!({
            "operationId": id,
            "description": describe::operation(verb.action, &resource.kind, target),
            "tags": [tag(self.group, self.version)],
            "x-kubernetes-action": verb.action,
            "x-kubernetes-group-version-kind": {"group": kind.group, "kind": kind.kind, "version": kind.version},
        });
        let query = if is_log(id) { LOG } else { verb.params };
        let mut params: Vec<Value> = query
            .iter()
            .map(|(name, ty)| self.param(name, ty, "query"))
            .collect();
        match self.flavor {
            Flavor::V2 => write_v2(&mut out, verb, body, &mut params, codes, &answer),
            Flavor::V3 => write_v3(&mut out, verb, body, codes, &answer),
        }
        if is_log(id) {
            plain_text(&mut out, &answer);
        }
        if !params.is_empty() {
            out["parameters"] = Value::from(params);
        }
        out
    }
}

fn is_log(id: &str) -> bool {
    id.ends_with("PodLog")
}

/// Logs come as text.
fn plain_text(out: &mut Value, answer: &Value) {
    let content = out.pointer_mut("/responses/200/content");
    if let Some(content) = content.and_then(Value::as_object_mut) {
        content.insert("text/plain", json!({"schema": answer}));
    }
    if let Some(media) = out.get_mut("produces").and_then(Value::as_array_mut) {
        media.insert(0, "text/plain".into());
    }
}

fn add(out: &mut Map, path: String, mut operations: Map) {
    // Only shared parameters: nothing can be done there.
    if operations.len() > 1 {
        hoist(&mut operations);
        out.insert(path, Value::Object(operations));
    }
}

/// Parameters that every operation of a path has belong to the path.
fn hoist(operations: &mut Map) {
    let lists: Vec<&Array> = operations
        .iter()
        .filter(|(method, _)| *method != "parameters")
        .filter_map(|(_, o)| o.get("parameters").and_then(Value::as_array))
        .collect();
    if lists.len() + 1 < operations.len() {
        return;
    }
    let Some((first, others)) = lists.split_first() else {
        return;
    };
    let common: Vec<Value> = first
        .iter()
        .filter(|p| p["in"] != "body" && others.iter().all(|o| o.contains(p)))
        .cloned()
        .collect();
    for (method, operation) in operations.iter_mut() {
        if method == "parameters" {
            if let Some(shared) = operation.as_array_mut() {
                shared.extend(common.iter().cloned());
                shared.sort_by_key(|p| p["name"].as_str().unwrap_or_default().to_owned());
            }
        } else if let Some(own) = operation
            .get_mut("parameters")
            .and_then(Value::as_array_mut)
        {
            own.retain(|p| !common.contains(p));
            if own.is_empty()
                && let Some(map) = operation.as_object_mut()
            {
                map.remove("parameters");
            }
        }
    }
}

fn write_v2(
    out: &mut Value,
    verb: &Verb,
    body: Option<(Value, bool)>,
    params: &mut Vec<Value>,
    codes: &[&str],
    answer: &Value,
) {
    out["schemes"] = json!(["https"]);
    out["consumes"] = if verb.action == "patch" {
        json!(PATCHES)
    } else {
        json!(["*/*"])
    };
    let mut produces = PRODUCES.to_vec();
    if streams(verb) {
        produces.extend(STREAMS);
    }
    out["produces"] = json!(produces);
    if let Some((schema, required)) = body {
        let mut param = json!({"in": "body", "name": "body", "schema": schema});
        if required {
            param["required"] = true.into();
        }
        params.insert(0, param);
    }
    let mut responses = json!({"401": {"description": "Unauthorized"}});
    for code in codes {
        responses[*code] = json!({"description": described(code), "schema": answer});
    }
    out["responses"] = responses;
}

fn write_v3(
    out: &mut Value,
    verb: &Verb,
    body: Option<(Value, bool)>,
    codes: &[&str],
    answer: &Value,
) {
    if let Some((schema, required)) = body {
        let media: &[&str] = if verb.action == "patch" {
            &PATCHES
        } else {
            &["*/*"]
        };
        let content: Map = media
            .iter()
            .map(|m| ((*m).to_owned(), json!({"schema": schema})))
            .collect();
        let mut request = json!({"content": content});
        if required {
            request["required"] = true.into();
        }
        out["requestBody"] = request;
    }
    let streams: &[&str] = if streams(verb) { &STREAMS } else { &[] };
    let content: Map = PRODUCES
        .iter()
        .chain(streams)
        .map(|m| ((*m).to_owned(), json!({"schema": answer})))
        .collect();
    let mut responses = json!({"401": {"description": "Unauthorized"}});
    for code in codes {
        responses[*code] = json!({"description": described(code), "content": content});
    }
    out["responses"] = responses;
}

/// Whether answers may go on and on.
fn streams(verb: &Verb) -> bool {
    matches!(verb.action, "list" | "watch" | "watchlist")
}

fn described(code: &str) -> &'static str {
    match code {
        "201" => "Created",
        "202" => "Accepted",
        _ => "OK",
    }
}

pub(super) fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// `Core`, `Apps`, `RbacAuthorization`.
pub(super) fn group_word(group: &str) -> String {
    match group {
        "" => "Core".into(),
        group => group
            .strip_suffix(".k8s.io")
            .unwrap_or(group)
            .split(['.', '-'])
            .map(capital)
            .collect(),
    }
}

/// `apps_v1`, `rbacAuthorization_v1`.
pub(super) fn tag(group: &str, version: &str) -> String {
    let word = group_word(group);
    let mut chars = word.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    format!(
        "{}_{version}",
        first.into_iter().chain(chars).collect::<String>()
    )
}
