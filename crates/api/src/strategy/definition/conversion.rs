//! How objects are brought from version to version.

use knarr_json::Value;

use crate::{
    field::{Error, Errors},
    names,
    validation::{At, one_of},
};

const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

/// Checks `spec.conversion`, whose fields the original's errors call as an older version of the API did.
/// `recognized` demands a version of reviews that this server speaks; `checked_bundle` a CA bundle of certificates.
pub fn validate(spec: &At, recognized: bool, checked_bundle: bool, errors: &mut Errors) {
    let conversion = spec.get("conversion");
    if !conversion.v.is_object() {
        return;
    }
    one_of(&conversion, "strategy", &["None", "Webhook"], errors);
    let webhook = conversion.get("webhook");
    let config = At {
        v: webhook.get("clientConfig").v,
        path: conversion.path.child("webhookClientConfig"),
    };
    let reviews = At {
        v: webhook.get("conversionReviewVersions").v,
        path: conversion.path.child("conversionReviewVersions"),
    };
    if conversion.text("strategy") == "Webhook" {
        client_config(&config, checked_bundle, errors);
        review_versions(&reviews, recognized, errors);
        return;
    }
    let why = "should not be set when strategy is not set to Webhook";
    if config.v.is_object() {
        errors.push(config.forbidden(why));
    }
    if reviews.v.as_array().is_some_and(|r| !r.is_empty()) {
        errors.push(reviews.forbidden(why));
    }
}

fn client_config(config: &At, checked_bundle: bool, errors: &mut Errors) {
    if !config.v.is_object() {
        errors.push(config.required("required when strategy is set to Webhook"));
        return;
    }
    match (config.some("url"), config.some("service")) {
        (Some(target), None) => url(&target, errors),
        (None, Some(target)) => service(&target, errors),
        _ => errors.push(config.required("exactly one of url or service is required")),
    }
    let bundle = config.get("caBundle");
    if checked_bundle && !bundle.str().is_empty() && !is_bundle(bundle.str()) {
        errors.push(
            bundle.invalid("unable to load root certificates: unable to parse bytes as PEM block"),
        );
    }
}

/// Whether base64 text holds certificates in PEM.
fn is_bundle(text: &str) -> bool {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let Ok(bytes) = STANDARD.decode(text) else {
        return false;
    };
    let text = String::from_utf8_lossy(&bytes);
    text.contains("-----BEGIN CERTIFICATE-----") && text.contains("-----END CERTIFICATE-----")
}

/// Checks the URL of a webhook.
fn url(at: &At, errors: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let text = at.str();
    let mut wrong = |value: &str, why: String| errors.push(Error::invalid(&at.path, value, why));
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    if scheme != "https" {
        wrong(
            scheme,
            format!("'https' is the only allowed URL scheme{FORM}"),
        );
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if scheme.is_empty() {
        ""
    } else {
        rest.split('/').next().unwrap_or_default()
    };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        wrong(host, format!("host must be specified{FORM}"));
    }
    if !user.is_empty() {
        wrong(user, "user information is not permitted in the URL".into());
    }
    if !fragment.is_empty() {
        wrong(fragment, "fragments are not permitted in the URL".into());
    }
    if !query.is_empty() {
        wrong(
            query,
            "query parameters are not permitted in the URL".into(),
        );
    }
}

fn service(service: &At, errors: &mut Errors) {
    let mut errors_of = |key: &str, what: &str| {
        if service.text(key).is_empty() {
            errors.push(service.get(key).required(what));
        }
    };
    errors_of("name", "service name is required");
    errors_of("namespace", "service namespace is required");
    let port = service.get("port");
    let number = port.v.as_i64().unwrap_or(443);
    if !(1..=65535).contains(&number) {
        let why = format!(
            "port is not valid: {}",
            names::port_number(number).join(",")
        );
        errors.push(Error::invalid(&port.path, number, why));
    }
    if let Some(path) = service.some("path") {
        url_path(&path, errors);
    }
}

fn url_path(at: &At, errors: &mut Errors) {
    let path = at.str();
    if path.is_empty() || path == "/" {
        return;
    }
    if path == "//" {
        errors.push(at.invalid("segment[0] may not be empty"));
        return;
    }
    if !path.starts_with('/') {
        errors.push(at.invalid("must start with a '/'"));
        return;
    }
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    for (i, step) in trimmed.split('/').skip(1).enumerate() {
        if step.is_empty() {
            errors.push(at.invalid(format!("segment[{i}] may not be empty")));
            continue;
        }
        for why in names::dns1123_subdomain(step) {
            errors.push(at.invalid(format!("segment[{i}]: {why}")));
        }
    }
}

fn review_versions(versions: &At, recognized: bool, errors: &mut Errors) {
    if versions.v.items().is_empty() {
        errors.push(versions.required(""));
        return;
    }
    let mut seen: Vec<&Value> = Vec::new();
    let mut known = false;
    for version in versions.each() {
        if seen.contains(&version.v) {
            errors.push(version.invalid("duplicate version"));
            continue;
        }
        seen.push(version.v);
        for why in names::dns1035_label(version.str()) {
            errors.push(version.invalid(why));
        }
        known |= REVIEWS.contains(&version.str());
    }
    if recognized && !known {
        errors.push(versions.invalid(format!(
            "must include at least one of {}",
            REVIEWS.join(", ")
        )));
    }
}

/// Whether the versions of reviews hold one that this server speaks, or none at all.
pub fn recognizes(conversion: &Value) -> bool {
    let versions = conversion["webhook"]["conversionReviewVersions"].as_array();
    versions.is_none_or(|list| {
        list.is_empty()
            || list
                .iter()
                .any(|v| v.as_str().is_some_and(|v| REVIEWS.contains(&v)))
    })
}

/// Whether a CA bundle is given and is none.
pub fn has_bad_bundle(conversion: &Value) -> bool {
    let bundle = conversion["webhook"]["clientConfig"]["caBundle"].as_str();
    bundle.is_some_and(|b| !b.is_empty() && !is_bundle(b))
}
