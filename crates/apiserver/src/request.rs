//! What a request asks for, read from its path: verb, group, version, resource, name.

use http::Method;
use knarr_api::selector::FieldSelector;

use crate::query::Query;

/// The parsed path of a request, as authorization, admission and routing see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// False for paths outside `/api` and `/apis`, and for discovery documents below them.
    pub is_resource: bool,
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the lower-case method otherwise.
    pub verb: String,
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// What follows the subresource, for proxies: starts with `/` or is empty.
    pub rest: String,
    /// More segments follow than a resource path has.
    pub overlong: bool,
    /// The path holds an empty segment in its middle, which no resource path has.
    pub broken: bool,
}

/// Subresources of namespaces that would otherwise be read as resources inside one.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    /// Reads method, path and query. Never fails: what is no resource request is a non-resource one.
    pub fn new(method: &Method, path: &str, query: &Query) -> Self {
        let mut info = RequestInfo {
            path: path.to_owned(),
            verb: method.as_str().to_ascii_lowercase(),
            ..Default::default()
        };
        let trimmed = path.trim_matches('/');
        let mut parts: Vec<String> = trimmed.split('/').map(decode_segment).collect();
        if !matches!(parts.first().map(String::as_str), Some("api" | "apis")) || parts.len() < 3 {
            return info;
        }
        if parts.remove(0) == "apis" {
            if parts.len() < 3 {
                return info;
            }
            info.group = parts.remove(0);
        }
        info.is_resource = true;
        info.broken = trimmed.contains("//");
        info.version = parts.remove(0);
        info.verb = verb_of(method).to_owned();
        if parts.len() > 1 && parts[0] == "watch" {
            info.verb = "watch".into();
            parts.remove(0);
        }
        info.take_scope(&mut parts);
        info.take_resource(parts);
        info.refine_verb(query);
        info
    }

    fn take_scope(&mut self, parts: &mut Vec<String>) {
        if parts[0] != "namespaces" || parts.len() < 2 {
            return;
        }
        self.namespace = parts[1].clone();
        if parts.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&parts[2].as_str()) {
            parts.drain(..2);
        }
    }

    fn take_resource(&mut self, parts: Vec<String>) {
        let mut parts = parts.into_iter();
        self.resource = parts.next().unwrap_or_default();
        self.name = parts.next().unwrap_or_default();
        self.subresource = parts.next().unwrap_or_default();
        for part in parts {
            self.overlong = true;
            self.rest.push('/');
            self.rest.push_str(&part);
        }
        if self.overlong && self.path.ends_with('/') {
            self.rest.push('/');
        }
    }

    fn refine_verb(&mut self, query: &Query) {
        if self.name.is_empty() && self.verb == "get" {
            self.verb = if query.flag("watch") { "watch" } else { "list" }.into();
        }
        if self.name.is_empty() && self.verb == "delete" {
            self.verb = "deletecollection".into();
        }
        // A list narrowed to one name is authorized for that name.
        if self.name.is_empty()
            && matches!(self.verb.as_str(), "list" | "watch" | "deletecollection")
        {
            self.name = query
                .get("fieldSelector")
                .and_then(name_selected)
                .unwrap_or_default();
        }
    }

    /// The name in the path; empty for collections even when a field selector narrows them to one name.
    pub fn path_name(&self) -> &str {
        if matches!(self.verb.as_str(), "list" | "deletecollection") {
            ""
        } else {
            &self.name
        }
    }
}

/// Read as the list itself will read it: what is authorized by name must be narrowed to that name.
fn name_selected(selector: &str) -> Option<String> {
    let selector = FieldSelector::parse(selector).ok()?;
    let name = selector.exact("metadata.name")?;
    let sound = !name.is_empty() && !matches!(name, "." | "..") && !name.contains(['/', '%']);
    sound.then(|| name.to_owned())
}

fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

fn decode_segment(segment: &str) -> String {
    crate::query::unescape(segment, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: Method, uri: &str) -> RequestInfo {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        RequestInfo::new(&method, path, &Query::parse(query))
    }

    #[test]
    fn paths_are_read_as_resources() {
        // method, uri, verb, group, namespace, resource, subresource, name
        let table = [
            (
                Method::GET,
                "/api/v1/namespaces/a/pods/b",
                "get",
                "",
                "a",
                "pods",
                "",
                "b",
            ),
            (
                Method::GET,
                "/api/v1/namespaces/a/pods",
                "list",
                "",
                "a",
                "pods",
                "",
                "",
            ),
            (
                Method::GET,
                "/api/v1/pods?watch=1",
                "watch",
                "",
                "",
                "pods",
                "",
                "",
            ),
            (
                Method::GET,
                "/api/v1/pods?watch=false",
                "list",
                "",
                "",
                "pods",
                "",
                "",
            ),
            (
                Method::GET,
                "/api/v1/watch/namespaces/a/pods/b",
                "watch",
                "",
                "a",
                "pods",
                "",
                "b",
            ),
            (
                Method::PUT,
                "/api/v1/namespaces/a/finalize",
                "update",
                "",
                "a",
                "namespaces",
                "finalize",
                "a",
            ),
            (
                Method::GET,
                "/api/v1/namespaces/a",
                "get",
                "",
                "a",
                "namespaces",
                "",
                "a",
            ),
            (
                Method::GET,
                "/api/v1/namespaces",
                "list",
                "",
                "",
                "namespaces",
                "",
                "",
            ),
            (
                Method::POST,
                "/api/v1/namespaces/a/pods/b/binding",
                "create",
                "",
                "a",
                "pods",
                "binding",
                "b",
            ),
            (
                Method::DELETE,
                "/apis/apps/v1/namespaces/a/deployments",
                "deletecollection",
                "apps",
                "a",
                "deployments",
                "",
                "",
            ),
            (
                Method::GET,
                "/api/v1/pods?fieldSelector=metadata.name%3Dx",
                "list",
                "",
                "",
                "pods",
                "",
                "x",
            ),
        ];
        for (method, uri, verb, group, namespace, resource, subresource, name) in table {
            let got = info(method, uri);
            assert!(got.is_resource, "{uri}");
            assert_eq!(
                (
                    got.verb.as_str(),
                    got.group.as_str(),
                    got.namespace.as_str(),
                    got.resource.as_str()
                ),
                (verb, group, namespace, resource),
                "{uri}"
            );
            assert_eq!(
                (got.subresource.as_str(), got.name.as_str()),
                (subresource, name),
                "{uri}"
            );
        }
    }

    #[test]
    fn a_name_is_one_only_where_the_list_is_narrowed_to_it() {
        for (selector, want) in [
            ("metadata.name=x", "x"),
            ("type=a,metadata.name==x", "x"),
            ("metadata.name!=x", ""),
            ("metadata.name=", ""),
            ("metadata.name=a/b", ""),
            // One term that is no condition on the name.
            (r"type!=a\,metadata.name=x", ""),
            ("metadata.name=x,type", ""),
        ] {
            let selector = selector.replace('\\', "%5C").replace('=', "%3D");
            let uri = format!("/api/v1/namespaces/a/secrets?fieldSelector={selector}");
            assert_eq!(info(Method::GET, &uri).name, want, "{uri}");
        }
    }

    #[test]
    fn discovery_and_other_paths_are_no_resources() {
        for uri in [
            "/",
            "/api",
            "/api/v1",
            "/apis",
            "/apis/apps",
            "/apis/apps/v1",
            "/healthz",
            "/no/such/thing",
        ] {
            let got = info(Method::GET, uri);
            assert!(!got.is_resource, "{uri}");
            assert_eq!(got.verb, "get");
        }
    }

    #[test]
    fn proxies_keep_what_follows() {
        let got = info(Method::GET, "/api/v1/namespaces/a/services/s:80/proxy/x/y/");
        assert_eq!(
            (
                got.name.as_str(),
                got.subresource.as_str(),
                got.rest.as_str()
            ),
            ("s:80", "proxy", "/x/y/")
        );
    }
}
