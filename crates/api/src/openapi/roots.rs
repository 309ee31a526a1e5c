//! Paths above the resources: versions, groups, what is in a version.

use std::collections::BTreeMap;

use knarr_json::{Map, Value, json};

use super::{Flavor, PRODUCES, definitions::Definitions, group_versions, group_word};
use crate::{Registry, Schemas};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const INFO: &str = "io.k8s.apimachinery.pkg.version.Info";

/// One GET.
struct Root {
    path: String,
    id: String,
    tag: String,
    words: &'static str,
    answer: String,
    media: &'static [&'static str],
}

impl Root {
    fn operation(&self, definitions: &mut Definitions<'_>) -> Value {
        let schema = match self.answer.as_str() {
            "" => json!({"type": "string"}),
            name => definitions.full(name),
        };
        let mut out =
            json!({"operationId": self.id, "tags": [self.tag], "description": self.words});
        let fine = match definitions.flavor() {
            Flavor::V2 => {
                if !self.answer.is_empty() {
                    out["consumes"] = json!(self.media);
                }
                out["produces"] = json!(self.media);
                out["schemes"] = json!(["https"]);
                json!({"description": "OK", "schema": schema})
            }
            Flavor::V3 => {
                let content: Map = self
                    .media
                    .iter()
                    .map(|m| ((*m).to_owned(), json!({"schema": schema})))
                    .collect();
                json!({"description": "OK", "content": content})
            }
        };
        out["responses"] = json!({"200": fine, "401": {"description": "Unauthorized"}});
        json!({"get": out})
    }
}

fn discovery(path: String, id: String, tag: String, words: &'static str, kind: &str) -> Root {
    Root {
        path,
        id,
        tag,
        words,
        answer: format!("{META}.{kind}"),
        media: &PRODUCES,
    }
}

/// What is in one group and version: the first path of its document.
pub(super) fn resources(
    group: &str,
    version: &str,
    definitions: &mut Definitions<'_>,
    paths: &mut Map,
) {
    let word = group_word(group);
    let mut capital = version.to_owned();
    if let Some(first) = capital.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let root = discovery(
        format!("/{}/", super::path(group, version)),
        format!("get{word}{capital}APIResources"),
        super::paths::tag(group, version),
        "Lists the resources of this group and version.",
        "APIResourceList",
    );
    let operation = root.operation(definitions);
    paths.insert(root.path, operation);
}

fn lower(word: &str) -> String {
    let mut out = word.to_owned();
    if let Some(first) = out.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    out
}

/// All paths above groups and versions, by the name of the document that each is in: `api`, `apis`, `apis/apps`, `version`.
fn all(registry: &Registry) -> BTreeMap<String, Root> {
    let (groups, versions) = (
        "Lists the API groups.",
        "Lists the versions of the core group.",
    );
    let mut out = BTreeMap::new();
    let mut add = |document: &str, root: Root| {
        out.insert(document.to_owned(), root);
    };
    let api = ("/api/".into(), "getCoreAPIVersions".into(), "core".into());
    add(
        "api",
        discovery(api.0, api.1, api.2, versions, "APIVersions"),
    );
    let apis = ("/apis/".into(), "getAPIVersions".into(), "apis".into());
    add(
        "apis",
        discovery(apis.0, apis.1, apis.2, groups, "APIGroupList"),
    );
    for (group, _) in group_versions(registry) {
        if group.is_empty() {
            continue;
        }
        let word = group_word(&group);
        let document = format!("apis/{group}");
        let path = format!("/{document}/");
        let id = format!("get{word}APIGroup");
        let words = "Tells the versions of this group.";
        add(
            &document,
            discovery(path, id, lower(&word), words, "APIGroup"),
        );
    }
    let single = |path: &str, id: &str, tag: &str, words, answer: &str, media| Root {
        path: path.to_owned(),
        id: id.to_owned(),
        tag: tag.to_owned(),
        words,
        answer: answer.to_owned(),
        media,
    };
    add(
        "version",
        single(
            "/version/",
            "getCodeVersion",
            "version",
            "Tells the version of this server.",
            INFO,
            &["application/json"],
        ),
    );
    add(
        "openid/v1/jwks",
        single(
            "/openid/v1/jwks/",
            "getServiceAccountIssuerOpenIDKeyset",
            "openid",
            "Lists the public keys that tokens of service accounts are checked with.",
            "",
            &["application/jwk-set+json"],
        ),
    );
    add(
        ".well-known/openid-configuration",
        single(
            "/.well-known/openid-configuration/",
            "getServiceAccountIssuerOpenIDConfiguration",
            "WellKnown",
            "Tells who issues tokens of service accounts, and where its keys are.",
            "",
            &["application/json"],
        ),
    );
    out
}

/// Documents of version 3 that hold one such path each, by name.
pub fn documents(registry: &Registry, schemas: &Schemas) -> BTreeMap<String, Value> {
    all(registry)
        .into_iter()
        .map(|(name, root)| {
            let mut definitions = Definitions::new(Flavor::V3, schemas);
            let operation = root.operation(&mut definitions);
            let mut paths = Map::new();
            paths.insert(root.path, operation);
            (name, super::v3_document(paths, definitions))
        })
        .collect()
}

/// The same paths in the one document of version 2.
pub(super) fn add_v2(registry: &Registry, definitions: &mut Definitions<'_>, paths: &mut Map) {
    for root in all(registry).into_values() {
        let operation = root.operation(definitions);
        paths.insert(root.path, operation);
    }
}
