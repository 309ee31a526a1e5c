//! The routing table: a pure function of Ingresses and their classes.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend, IngressClass};
use kube::ResourceExt;

/// The annotation that named a class before there were IngressClasses.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// A port of a Service, as an Ingress names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PortRef {
    Name(String),
    Number(u16),
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BackendRef {
    pub namespace: String,
    pub service: String,
    pub port: PortRef,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    // In order of precedence for the same path.
    Exact,
    Prefix,
}

#[derive(Debug, Clone)]
struct Rule {
    matching: Match,
    path: String,
    backend: Arc<BackendRef>,
}

/// Rules of one host, the most telling first.
#[derive(Debug, Clone, Default)]
struct Host {
    rules: Vec<Rule>,
}

/// Which Secret certifies which host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsRef {
    /// Lower case; `*.example.com` for a wildcard.
    pub host: String,
    pub namespace: String,
    pub secret: String,
}

/// The routing table.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    exact: HashMap<String, Host>,
    /// Keyed by what follows the star: `.example.com`.
    wildcard: HashMap<String, Host>,
    any: Host,
    default: Option<Arc<BackendRef>>,
    pub tls: Vec<TlsRef>,
}

/// Whether this controller serves an Ingress.
pub fn is_served<'a>(
    ingress: &Ingress,
    classes: impl IntoIterator<Item = &'a IngressClass>,
    class: &str,
    controller: &str,
) -> bool {
    let named = ingress
        .spec
        .as_ref()
        .and_then(|s| s.ingress_class_name.as_deref());
    match (named, ingress.annotations().get(CLASS_ANNOTATION)) {
        (Some(name), _) => classes.into_iter().any(|c| {
            c.name_any() == name
                && c.spec.as_ref().and_then(|s| s.controller.as_deref()) == Some(controller)
        }),
        (None, Some(annotation)) => annotation == class,
        (None, None) => false,
    }
}

impl Routes {
    /// The table for the given Ingresses, which all are this controller's. Of equal rules the older Ingress's wins.
    pub fn new<'a>(ingresses: impl IntoIterator<Item = &'a Ingress>) -> Self {
        let mut ingresses: Vec<&Ingress> = ingresses.into_iter().collect();
        ingresses.sort_by_key(|i| {
            (
                i.creation_timestamp().map(|t| t.0),
                i.namespace(),
                i.name_any(),
            )
        });
        let mut routes = Routes::default();
        for ingress in ingresses {
            routes.add(ingress);
        }
        let hosts = routes
            .exact
            .values_mut()
            .chain(routes.wildcard.values_mut());
        for host in hosts.chain([&mut routes.any]) {
            // Stable: what came first stays first among equals.
            host.rules.sort_by(|a, b| {
                b.path
                    .len()
                    .cmp(&a.path.len())
                    .then(a.matching.cmp(&b.matching))
            });
        }
        routes
    }

    fn add(&mut self, ingress: &Ingress) {
        let namespace = ingress.namespace().unwrap_or_default();
        let Some(spec) = &ingress.spec else { return };
        if let (None, Some(backend)) = (&self.default, &spec.default_backend) {
            self.default = backend_ref(&namespace, backend).map(Arc::new);
        }
        for rule in spec.rules.iter().flatten() {
            let host = rule
                .host
                .as_deref()
                .unwrap_or_default()
                .to_ascii_lowercase();
            let paths = rule.http.iter().flat_map(|h| &h.paths);
            let rules: Vec<Rule> = paths.filter_map(|p| path_rule(&namespace, p)).collect();
            let entry = match host.strip_prefix('*') {
                _ if host.is_empty() => &mut self.any,
                Some(suffix) => self.wildcard.entry(suffix.to_owned()).or_default(),
                None => self.exact.entry(host).or_default(),
            };
            entry.rules.extend(rules);
        }
        for tls in spec.tls.iter().flatten() {
            let Some(secret) = tls.secret_name.clone().filter(|s| !s.is_empty()) else {
                continue;
            };
            let from_rules = || {
                spec.rules
                    .iter()
                    .flatten()
                    .filter_map(|r| r.host.clone())
                    .collect()
            };
            let hosts: Vec<String> = tls
                .hosts
                .clone()
                .filter(|h| !h.is_empty())
                .unwrap_or_else(from_rules);
            for host in hosts {
                let host = host.to_ascii_lowercase();
                if !self.tls.iter().any(|t| t.host == host) {
                    self.tls.push(TlsRef {
                        host,
                        namespace: namespace.clone(),
                        secret: secret.clone(),
                    });
                }
            }
        }
    }

    /// Every backend that some rule leads to, repeated as often as rules do.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<BackendRef>> {
        let hosts = self
            .exact
            .values()
            .chain(self.wildcard.values())
            .chain([&self.any]);
        hosts
            .flat_map(|h| h.rules.iter().map(|r| &r.backend))
            .chain(&self.default)
    }

    /// Where a request goes; `host` without port. The most telling host decides first, then the longest path.
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<BackendRef>> {
        let lower;
        let host = if host.bytes().any(|b| b.is_ascii_uppercase()) {
            lower = host.to_ascii_lowercase();
            &lower
        } else {
            host
        };
        // A star stands for exactly one label.
        let suffix = host.find('.').map(|dot| &host[dot..]);
        let hosts = [
            self.exact.get(host),
            suffix.and_then(|s| self.wildcard.get(s)),
            Some(&self.any),
        ];
        let found = hosts
            .into_iter()
            .flatten()
            .find_map(|h| h.rules.iter().find(|r| r.matches(path)).map(|r| &r.backend));
        found.or(self.default.as_ref())
    }
}

impl Rule {
    fn matches(&self, path: &str) -> bool {
        match self.matching {
            Match::Exact => path == self.path,
            // Element by element: /foo matches /foo/bar, not /foobar. The path is kept without its trailing slash.
            Match::Prefix => path
                .strip_prefix(self.path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }
}

fn path_rule(namespace: &str, path: &HTTPIngressPath) -> Option<Rule> {
    let text = path.path.as_deref().unwrap_or("/");
    let (matching, text) = match path.path_type.as_str() {
        "Exact" => (Match::Exact, text),
        // ImplementationSpecific is left to the controller: here it is as Prefix.
        _ => (Match::Prefix, text.trim_end_matches('/')),
    };
    Some(Rule {
        matching,
        path: text.to_owned(),
        backend: Arc::new(backend_ref(namespace, &path.backend)?),
    })
}

fn backend_ref(namespace: &str, backend: &IngressBackend) -> Option<BackendRef> {
    let service = backend.service.as_ref()?;
    let port = service.port.as_ref()?;
    let port = match (&port.name, port.number) {
        (Some(name), _) if !name.is_empty() => PortRef::Name(name.clone()),
        (_, Some(number)) => PortRef::Number(u16::try_from(number).ok()?),
        _ => return None,
    };
    Some(BackendRef {
        namespace: namespace.to_owned(),
        service: service.name.clone(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn ingress(name: &str, rules: Value) -> Ingress {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"ingressClassName": "knarr", "rules": rules}})).unwrap()
    }

    fn path(kind: &str, path: &str, service: &str) -> Value {
        json!({"pathType": kind, "path": path, "backend": {"service": {"name": service, "port": {"number": 80}}}})
    }

    fn find(routes: &Routes, host: &str, path: &str) -> String {
        routes
            .find(host, path)
            .map_or("none".to_owned(), |b| b.service.clone())
    }

    #[test]
    fn the_most_telling_rule_wins() {
        let a = ingress(
            "a",
            json!([
                {"host": "a.test", "http": {"paths": [path("Prefix", "/", "root"), path("Prefix", "/foo/", "foo"), path("Exact", "/foo", "exact"), path("Prefix", "/foo/bar", "bar")]}},
                {"host": "*.wild.test", "http": {"paths": [path("Prefix", "/", "wild")]}},
                {"host": "x.wild.test", "http": {"paths": [path("Prefix", "/only", "x")]}},
                {"http": {"paths": [path("Exact", "/any", "any")]}},
            ]),
        );
        let routes = Routes::new([&a]);
        let cases = [
            ("a.test", "/", "root"),
            ("A.Test", "/foobar", "root"),
            ("a.test", "/foo", "exact"),
            ("a.test", "/foo/", "foo"),
            ("a.test", "/foo/x", "foo"),
            ("a.test", "/foo/bar/x", "bar"),
            ("a.test", "/foo/barx", "foo"),
            ("b.wild.test", "/x", "wild"),
            ("x.wild.test", "/only", "x"),
            ("x.wild.test", "/other", "wild"),
            ("b.c.wild.test", "/x", "none"),
            ("wild.test", "/x", "none"),
            ("other.test", "/any", "any"),
            ("other.test", "/any/", "none"),
        ];
        for (host, path, service) in cases {
            assert_eq!(find(&routes, host, path), service, "{host}{path}");
        }
    }

    #[test]
    fn the_default_backend_takes_the_rest() {
        let mut a = ingress(
            "a",
            json!([{"host": "a.test", "http": {"paths": [path("Exact", "/x", "x")]}}]),
        );
        a.spec.as_mut().unwrap().default_backend =
            serde_json::from_value(json!({"service": {"name": "rest", "port": {"name": "http"}}}))
                .unwrap();
        let routes = Routes::new([&a]);
        assert_eq!(find(&routes, "a.test", "/y"), "rest");
        assert_eq!(find(&routes, "b.test", "/x"), "rest");
    }

    #[test]
    fn classes_decide_who_serves() {
        let class = |name: &str, controller: &str| -> IngressClass {
            serde_json::from_value(
                json!({"metadata": {"name": name}, "spec": {"controller": controller}}),
            )
            .unwrap()
        };
        let classes = [
            class("knarr", "knarr.io/ingress"),
            class("other", "example.com/x"),
            class("alias", "knarr.io/ingress"),
        ];
        let served = |name: Option<&str>, annotation: Option<&str>| {
            let mut i = ingress("a", json!([]));
            i.spec.as_mut().unwrap().ingress_class_name = name.map(str::to_owned);
            if let Some(a) = annotation {
                i.annotations_mut()
                    .insert(CLASS_ANNOTATION.to_owned(), a.to_owned());
            }
            is_served(&i, &classes, "knarr", "knarr.io/ingress")
        };
        assert!(
            served(Some("knarr"), None)
                && served(Some("alias"), None)
                && served(None, Some("knarr"))
        );
        assert!(
            !served(Some("other"), None)
                && !served(Some("missing"), None)
                && !served(None, Some("nginx"))
                && !served(None, None)
        );
    }

    #[test]
    fn certificates_belong_to_hosts() {
        let mut a = ingress("a", json!([{"host": "a.test", "http": {"paths": []}}]));
        a.spec.as_mut().unwrap().tls = serde_json::from_value(
            json!([{"secretName": "s"}, {"hosts": ["*.B.test"], "secretName": "t"}]),
        )
        .unwrap();
        let hosts: Vec<_> = Routes::new([&a])
            .tls
            .into_iter()
            .map(|t| (t.host, t.secret))
            .collect();
        assert_eq!(
            hosts,
            [
                ("a.test".to_owned(), "s".to_owned()),
                ("*.b.test".to_owned(), "t".to_owned())
            ]
        );
    }
}
