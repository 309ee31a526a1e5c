//! Subresources that lead elsewhere: exec, attach, port-forward, proxies and logs.

use knarr_json::{Map, json};

use super::{
    Flavor, describe, group_word,
    paths::{Paths, capital, tag},
    verbs::Params,
};
use crate::registry::{Resource, Subresource};

/// Parameters of each kind of options.
fn params(kind: &str) -> Params {
    match kind {
        "PodAttachOptions" => &[
            ("container", "string"),
            ("stderr", "boolean"),
            ("stdin", "boolean"),
            ("stdout", "boolean"),
            ("tty", "boolean"),
        ],
        "PodExecOptions" => &[
            ("command", "string"),
            ("container", "string"),
            ("stderr", "boolean"),
            ("stdin", "boolean"),
            ("stdout", "boolean"),
            ("tty", "boolean"),
        ],
        "PodPortForwardOptions" => &[("ports", "integer")],
        _ => &[("path", "string")],
    }
}

/// Query parameters of logs.
pub(super) const LOG: Params = &[
    ("container", "string"),
    ("follow", "boolean"),
    ("insecureSkipTLSVerifyBackend", "boolean"),
    ("limitBytes", "integer"),
    ("previous", "boolean"),
    ("sinceSeconds", "integer"),
    ("stream", "string"),
    ("tailLines", "integer"),
    ("timestamps", "boolean"),
];

/// Whether a subresource leads elsewhere.
pub(super) fn connects(sub: &Subresource) -> bool {
    sub.kind.ends_with("Options")
}

const PROXIED: [&str; 7] = ["delete", "get", "head", "options", "patch", "post", "put"];

impl Paths<'_, '_> {
    /// The operations of one, `with_path` for what is behind a proxy.
    pub(super) fn connection(
        &self,
        resource: &Resource,
        sub: &Subresource,
        scope: &str,
        with_path: bool,
    ) -> Map {
        let methods: &[&str] = if sub.name == "proxy" {
            &PROXIED
        } else {
            &["get", "post"]
        };
        let mut at = Map::new();
        for method in methods {
            let id = format!(
                "connect{}{}{}{scope}{}{}{}",
                group_word(self.group),
                capital(self.version),
                capital(method),
                resource.kind,
                capital(sub.name),
                if with_path { "WithPath" } else { "" },
            );
            let text = json!({"type": "string"});
            let mut operation = json!({
                "operationId": id,
                "description": describe::connection(method, &resource.kind, sub.name),
                "tags": [tag(self.group, self.version)],
                "x-kubernetes-action": "connect",
                "x-kubernetes-group-version-kind": {"group": self.group, "kind": sub.kind, "version": self.version},
            });
            let fine = match self.flavor {
                Flavor::V2 => {
                    operation["schemes"] = json!(["https"]);
                    operation["consumes"] = json!(["*/*"]);
                    operation["produces"] = json!(["*/*"]);
                    json!({"description": "OK", "schema": text})
                }
                Flavor::V3 => json!({"description": "OK", "content": {"*/*": {"schema": text}}}),
            };
            operation["responses"] = json!({"200": fine, "401": {"description": "Unauthorized"}});
            at.insert((*method).to_owned(), operation);
        }
        let mut shared = vec![self.param("name", "string", "path")];
        if resource.namespaced {
            shared.push(self.param("namespace", "string", "path"));
        }
        if with_path {
            shared.push(self.param("path", "string", "path"));
        }
        let query = params(&sub.kind).iter();
        shared.extend(query.map(|(name, ty)| self.param(name, ty, "query")));
        at.insert("parameters", shared.into());
        at
    }
}
