//! How a webhook is reached: by URL or through a Service.

use knarr_json::Value;

use crate::{
    field::{Error, Errors},
    names,
    validation::At,
};

const FORM: &str = "; desired format: https://host[/path]";

/// A URL: `https`, and nothing but host and path.
pub fn url(at: &At, errs: &mut Errors) {
    let text = at.str();
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if scheme.is_empty() {
        ""
    } else {
        rest.split('/').next().unwrap_or_default()
    };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let mut invalid =
        |shown: &str, words: String| errs.push(Error::invalid(&at.path, shown, words));
    if scheme != "https" {
        invalid(
            scheme,
            format!("'https' is the only allowed URL scheme{FORM}"),
        );
    }
    if host.is_empty() {
        invalid(host, format!("host must be specified{FORM}"));
    }
    if !user.is_empty() {
        invalid(user, "user information is not permitted in the URL".into());
    }
    if !fragment.is_empty() {
        invalid(fragment, "fragments are not permitted in the URL".into());
    }
    if !query.is_empty() {
        invalid(
            query,
            "query parameters are not permitted in the URL".into(),
        );
    }
}

/// A reference to a Service with port and path.
pub fn service(at: &At, errs: &mut Errors) {
    for key in ["name", "namespace"] {
        if at.text(key).is_empty() {
            errs.push(at.get(key).required(""));
        }
    }
    let port = at.get("port");
    let wrong = names::port_number(port.v.as_i64().unwrap_or(443));
    if !wrong.is_empty() {
        errs.push(port.invalid(format!("port is not valid: {}", wrong.join(", "))));
    }
    if let Some(at) = at.some("path") {
        path(&at, errs);
    }
}

fn path(at: &At, errs: &mut Errors) {
    let text = at.str();
    if text.is_empty() || text == "/" {
        return;
    }
    if text == "//" {
        errs.push(at.invalid("segment[0] may not be empty"));
        return;
    }
    if !text.starts_with('/') {
        errs.push(at.invalid("must start with a '/'"));
    }
    let inner = text.get(1..).unwrap_or_default();
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    for (i, step) in inner.split('/').enumerate() {
        if step.is_empty() {
            errs.push(at.invalid(format!("segment[{i}] may not be empty")));
            continue;
        }
        for m in names::dns1123_subdomain(step) {
            errs.push(at.invalid(format!("segment[{i}]: {m}")));
        }
    }
}

/// The `clientConfig` of a webhook.
pub fn config(at: &At, errs: &mut Errors) {
    match (at.some("url"), at.some("service")) {
        (Some(at), None) => url(&at, errs),
        (None, Some(at)) => service(&at, errs),
        _ => errs.push(at.required("exactly one of url or service is required")),
    }
}

/// Fills in the port of the Service.
pub fn default(config: &mut Value) {
    if let Some(service) = config.get_mut("service").filter(|s| s.is_object()) {
        crate::strategy::defaults::set(service, "port", 443);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn urls_and_paths() {
        for (text, wrong) in [
            ("https://a.example/x", 0),
            ("https://127.0.0.1:8443", 0),
            ("http://a.example", 1),
            ("a.example", 2),
            ("https://u@h/x?y=1#z", 3),
        ] {
            let v = json!(text);
            let mut errs = Errors::new();
            url(&At::new(&v, "url"), &mut errs);
            assert_eq!(errs.len(), wrong, "{text}: {errs:?}");
        }
        for (text, wrong) in [
            ("/a/b/", 0),
            ("", 0),
            ("//", 1),
            ("a", 2),
            ("/a//b", 1),
            ("/A", 1),
        ] {
            let v = json!({"name": "s", "namespace": "n", "path": text});
            let mut errs = Errors::new();
            service(&At::new(&v, "service"), &mut errs);
            assert_eq!(errs.len(), wrong, "{text}: {errs:?}");
        }
    }
}
