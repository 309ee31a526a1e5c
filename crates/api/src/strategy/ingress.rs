//! Ingresses and IngressClasses.

use std::collections::BTreeSet;

use jiff::Timestamp;
use knarr_json::{Value, json};

use super::{
    Column, Context, Strategy, common,
    defaults::{at, ensure, set},
};
use crate::{
    field::{Error, Errors, Path},
    names, table,
    validation::{At, domain_prefixed_path, immutable, list, meta, net, text},
};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// `networking.k8s.io/v1/Ingress`.
pub struct Ingress;

impl Strategy for Ingress {
    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        object["status"] = json!({"loadBalancer": {}});
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        whole(object, &mut errs);
        let annotation = text(&object["metadata"]["annotations"], CLASS_ANNOTATION);
        let class = At::root(object, "spec").get("ingressClassName");
        if !annotation.is_empty() && !class.v.is_null() && annotation != class.str() {
            let words = "must match `ingressClassName` when both are specified";
            errs.push(Error::invalid(
                &Path::new("annotations").child(CLASS_ANNOTATION),
                annotation,
                words,
            ));
        }
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
        ensure(ensure(object, "status"), "loadBalancer");
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        if ctx.subresource == "status" {
            status(object, &mut errs);
        } else {
            whole(object, &mut errs);
        }
        errs
    }

    fn warnings(&self, ctx: &Context, object: &Value, old: Option<&Value>) -> Vec<String> {
        if ctx.subresource == "status" {
            let status = At::root(object, "status");
            let mut out = Vec::new();
            for point in status.get("loadBalancer").items("ingress") {
                net::ip_warning(&point.get("ip"), &mut out);
            }
            return out;
        }
        let noted = object["metadata"]["annotations"].get(CLASS_ANNOTATION);
        if old.is_none() && noted.is_some() && object["spec"]["ingressClassName"].is_null() {
            return vec![format!(
                "annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead"
            )];
        }
        Vec::new()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Class",
                "The name of the IngressClass resource that should be used for additional configuration",
            ),
            table::column(
                "Hosts",
                "Hosts that incoming requests are matched against before the ingress rule",
            ),
            table::column(
                "Address",
                "Address is a list containing ingress points for the load-balancer",
            ),
            table::column("Ports", "Ports of TLS configurations that open"),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = &object["spec"];
        let points = list(&object["status"]["loadBalancer"]["ingress"]).iter();
        let addresses: BTreeSet<&str> = points
            .map(|p| {
                if text(p, "ip").is_empty() {
                    text(p, "hostname")
                } else {
                    text(p, "ip")
                }
            })
            .filter(|a| !a.is_empty())
            .collect();
        let addresses: Vec<&str> = addresses.into_iter().collect();
        let ports = if list(&spec["tls"]).is_empty() {
            "80"
        } else {
            "80, 443"
        };
        vec![
            table::name_of(object),
            table::or_none(text(spec, "ingressClassName")),
            hosts(spec).into(),
            addresses.join(",").into(),
            ports.into(),
            table::age_of(object, now),
        ]
    }
}

/// At most three hosts; when there are rules beyond them, how many rules there are more.
fn hosts(spec: &Value) -> String {
    let rules = list(&spec["rules"]);
    let named = |r: &&Value| !text(r, "host").is_empty();
    let all: Vec<&str> = rules
        .iter()
        .filter(named)
        .take(3)
        .map(|r| text(r, "host"))
        .collect();
    // rules up to the one that fills the list
    let seen = rules
        .iter()
        .scan(0, |n, r| {
            let full = *n == 3;
            *n += usize::from(named(&r));
            (!full).then_some(())
        })
        .count();
    match all.len() {
        0 => "*".to_owned(),
        3 if rules.len() > seen => format!("{} + {} more...", all.join(","), rules.len() - 3),
        _ => all.join(","),
    }
}

fn whole(object: &Value, errs: &mut Errors) {
    meta::create(object, true, meta::subdomain, errs);
    let spec = At::root(object, "spec");
    let backend = spec.get("defaultBackend");
    if list(&spec.v["rules"]).is_empty() && backend.v.is_null() {
        errs.push(Error::invalid(
            &spec.path,
            spec.v["rules"].clone(),
            "either `defaultBackend` or `rules` must be specified",
        ));
    }
    if !backend.v.is_null() {
        check_backend(&backend, errs);
    }
    for rule in spec.items("rules") {
        check_rule(&rule, errs);
    }
    for tls in spec.items("tls") {
        for host in tls.items("hosts") {
            host_name(&host, errs);
        }
        let secret = tls.get("secretName");
        if !secret.str().is_empty() {
            secret.push(names::dns1123_subdomain(secret.str()), errs);
        }
    }
    if let Some(class) = spec.some("ingressClassName") {
        class.push(names::dns1123_subdomain(class.str()), errs);
    }
}

fn host_name(host: &At, errs: &mut Errors) {
    if host.str().contains('*') {
        host.push(names::wildcard_subdomain(host.str()), errs);
    } else {
        host.push(names::dns1123_subdomain(host.str()), errs);
    }
}

fn check_rule(rule: &At, errs: &mut Errors) {
    let host = rule.get("host");
    if !host.str().is_empty() {
        if net::parse_ip_sloppy(host.str()).is_some() {
            errs.push(host.invalid("must be a DNS name, not an IP address"));
        }
        host_name(&host, errs);
    }
    let Some(http) = rule.some("http") else {
        return;
    };
    let paths = http.get("paths");
    if list(paths.v).is_empty() {
        errs.push(paths.required(""));
    }
    for path in paths.each() {
        check_path(&path, errs);
    }
}

fn check_path(at: &At, errs: &mut Errors) {
    let (kind, path) = (at.get("pathType"), at.get("path"));
    if kind.v.is_null() {
        errs.push(kind.required("pathType must be specified"));
        return;
    }
    let absolute = path.str().starts_with('/');
    let relative = |errs: &mut Errors| {
        errs.push(Error::invalid(
            &path.path,
            path.str(),
            "must be an absolute path",
        ))
    };
    match kind.str() {
        "Exact" | "Prefix" => {
            if !absolute {
                relative(errs);
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if path.str().contains(part) {
                    errs.push(path.invalid(format!("must not contain '{part}'")));
                }
            }
            for end in ["/..", "/."] {
                if path.str().ends_with(end) {
                    errs.push(path.invalid(format!("cannot end with '{end}'")));
                }
            }
        }
        "ImplementationSpecific" => {
            if !path.str().is_empty() && !absolute {
                relative(errs);
            }
        }
        _ => errs.push(kind.not_supported(&["Exact", "ImplementationSpecific", "Prefix"])),
    }
    check_backend(&at.get("backend"), errs);
}

fn check_backend(backend: &At, errs: &mut Errors) {
    match (backend.some("resource"), backend.some("service")) {
        (Some(_), Some(_)) => {
            errs.push(Error::invalid(
                &backend.path,
                "",
                "cannot set both resource and service backends",
            ));
        }
        (None, None) => errs.push(Error::invalid(
            &backend.path,
            "",
            "resource or service backend is required",
        )),
        (Some(resource), None) => reference(&resource, errs),
        (None, Some(service)) => check_service(&service, backend, errs),
    }
}

fn check_service(service: &At, backend: &At, errs: &mut Errors) {
    let name = service.get("name");
    if name.str().is_empty() {
        errs.push(name.required(""));
    } else {
        name.push(names::dns1123_label(name.str()), errs);
    }
    let port = service.get("port");
    let number = port.int("number").unwrap_or(0);
    match (port.text("name"), number) {
        ("", 0) => errs.push(backend.required("port name or number is required")),
        ("", n) => port.get("number").push(names::port_number(n), errs),
        (name, 0) => port.get("name").push(names::port_name(name), errs),
        _ => errs.push(Error::invalid(
            &backend.path,
            "",
            "cannot set both port name & port number",
        )),
    }
}

/// A reference to an object of any kind in the same namespace.
fn reference(at: &At, errs: &mut Errors) {
    if let Some(group) = at.some("apiGroup") {
        group.push(names::dns1123_subdomain(group.str()), errs);
    }
    for key in ["kind", "name"] {
        let field = at.get(key);
        if field.str().is_empty() {
            errs.push(field.required(""));
        } else {
            field.push(names::path_segment(field.str()), errs);
        }
    }
}

fn status(object: &Value, errs: &mut Errors) {
    for point in At::root(object, "status")
        .get("loadBalancer")
        .items("ingress")
    {
        let (ip, host) = (point.get("ip"), point.get("hostname"));
        if !ip.str().is_empty() {
            net::ip_strict(&ip, errs);
        }
        if !host.str().is_empty() {
            host.push(names::dns1123_subdomain(host.str()), errs);
            if net::parse_ip_sloppy(host.str()).is_some() {
                errs.push(host.invalid("must be a DNS name, not an IP address"));
            }
        }
    }
}

/// `networking.k8s.io/v1/IngressClass`.
pub struct IngressClass;

impl Strategy for IngressClass {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        if let Some(parameters) = at(object, "spec").and_then(|s| at(s, "parameters")) {
            set(parameters, "scope", "Cluster");
        }
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        class(object, &mut errs);
        errs
    }

    fn validate_update(&self, _ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::update_core(object, old, &mut errs);
        let spec = At::root(object, "spec");
        immutable(
            &spec.get("controller"),
            &old["spec"]["controller"],
            &mut errs,
        );
        class(object, &mut errs);
        errs
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Controller",
                "Controller that is responsible for handling this class",
            ),
            table::column(
                "Parameters",
                "A reference to a resource with additional parameters",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let parameters = &object["spec"]["parameters"];
        let shown = if parameters.is_object() {
            let kind = match text(parameters, "apiGroup") {
                "" => text(parameters, "kind").to_owned(),
                group => format!("{}.{group}", text(parameters, "kind")),
            };
            format!("{kind}/{}", text(parameters, "name"))
        } else {
            "<none>".to_owned()
        };
        vec![
            table::name_of(object),
            text(&object["spec"], "controller").into(),
            shown.into(),
            table::age_of(object, now),
        ]
    }
}

fn class(object: &Value, errs: &mut Errors) {
    meta::create(object, false, meta::subdomain, errs);
    let spec = At::root(object, "spec");
    let controller = spec.get("controller");
    if controller.str().len() > 250 {
        errs.push(Error::too_long(&controller.path, 250));
    }
    domain_prefixed_path(&controller, errs);
    let Some(parameters) = spec.some("parameters") else {
        return;
    };
    reference(&parameters, errs);
    let (scope, namespace) = (parameters.get("scope"), parameters.get("namespace"));
    match scope.str() {
        "Cluster" => {
            if !namespace.v.is_null() {
                errs.push(namespace.forbidden("`parameters.scope` is set to 'Cluster'"));
            }
        }
        "Namespace" if namespace.v.is_null() => {
            errs.push(namespace.required("`parameters.scope` is set to 'Namespace'"))
        }
        "Namespace" => namespace.push(names::dns1123_label(namespace.str()), errs),
        _ if scope.v.is_null() => errs.push(scope.required("")),
        _ => errs.push(scope.not_supported(&["Cluster", "Namespace"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingresses_that_are_refused() {
        let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
        for (spec, want) in [
            (json!({"defaultBackend": backend}), None),
            (
                json!({}),
                Some(
                    "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified",
                ),
            ),
            (
                json!({"rules": []}),
                Some(
                    "spec: Invalid value: []: either `defaultBackend` or `rules` must be specified",
                ),
            ),
            (
                json!({"defaultBackend": {}}),
                Some(
                    "spec.defaultBackend: Invalid value: \"\": resource or service backend is required",
                ),
            ),
            (
                json!({"rules": [{"http": {"paths": [{"path": "/a", "backend": backend}]}}]}),
                Some(
                    "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified",
                ),
            ),
            (
                json!({"rules": [{"http": {"paths": [{"path": "a", "pathType": "Prefix", "backend": backend}]}}]}),
                Some(
                    "spec.rules[0].http.paths[0].path: Invalid value: \"a\": must be an absolute path",
                ),
            ),
            (
                json!({"rules": [{"host": "10.0.0.1"}]}),
                Some(
                    "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
                ),
            ),
        ] {
            let object = json!({"metadata": {"name": "i", "namespace": "n"}, "spec": spec});
            let errs = Ingress.validate_create(&Context::default(), &object);
            assert_eq!(errs.first().map(ToString::to_string).as_deref(), want);
        }
    }

    #[test]
    fn three_hosts_are_shown() {
        let of = |all: &[&str]| {
            let rules: Vec<Value> = all.iter().map(|h| json!({"host": h})).collect();
            hosts(&json!({"rules": rules}))
        };
        assert_eq!(of(&[]), "*");
        assert_eq!(of(&["a", "", "b"]), "a,b");
        assert_eq!(of(&["a", "b", "c"]), "a,b,c");
        assert_eq!(of(&["a", "", "b", "c", ""]), "a,b,c + 2 more...");
    }
}
