//! Rules of FlowSchemas: who, and what they do.

use knarr_json::Value;

use crate::{
    field::{Error, Errors},
    names,
    validation::{At, list},
};

const VERBS: [&str; 9] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "proxy",
    "update",
    "watch",
];

pub fn rule(rule: &At, errs: &mut Errors) {
    let subjects = rule.get("subjects");
    if list(subjects.v).is_empty() {
        errs.push(subjects.required("subjects must contain at least one value"));
    }
    for at in subjects.each() {
        subject(&at, errs);
    }
    let (resources, others) = (rule.get("resourceRules"), rule.get("nonResourceRules"));
    if list(resources.v).is_empty() && list(others.v).is_empty() {
        let words = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errs.push(rule.required(words));
    }
    for at in resources.each() {
        resource_rule(&at, errs);
    }
    for at in others.each() {
        url_rule(&at, errs);
    }
}

/// Kinds of subjects and the field that each fills.
const SUBJECTS: [(&str, &str); 3] = [
    ("ServiceAccount", "serviceAccount"),
    ("User", "user"),
    ("Group", "group"),
];

fn subject(subject: &At, errs: &mut Errors) {
    let kind = subject.text("kind");
    let Some((_, own)) = SUBJECTS.iter().find(|(k, _)| *k == kind) else {
        let at = subject.get("kind");
        let known = ["Group", "ServiceAccount", "User"];
        errs.push(Error::not_supported(&at.path, kind, &known));
        return;
    };
    match subject.some(own) {
        None => {
            let words = format!("{own} is required when subject kind is '{kind}'");
            errs.push(subject.get(own).required(&words));
        }
        Some(at) if kind == "ServiceAccount" => service_account(&at, errs),
        Some(at) if at.text("name").is_empty() => errs.push(at.get("name").required("")),
        Some(_) => {}
    }
    for (other, field) in SUBJECTS.iter().filter(|(k, _)| *k != kind) {
        if subject.has(field) {
            let words = format!("{field} is forbidden when subject kind is not '{other}'");
            errs.push(subject.get(field).forbidden(words));
        }
    }
}

fn service_account(at: &At, errs: &mut Errors) {
    let name = at.get("name");
    match name.str() {
        "" => errs.push(name.required("")),
        "*" => {}
        text => name.push(names::dns1123_subdomain(text), errs),
    }
    let namespace = at.get("namespace");
    if namespace.str().is_empty() {
        errs.push(namespace.required("must specify namespace for service account"));
    } else {
        namespace.push(names::dns1123_label(namespace.str()), errs);
    }
}

fn has_wildcard(v: &Value) -> bool {
    list(v).iter().any(|x| x == "*")
}

/// A list that is needed, in which `*` stands alone. True when it names things one by one.
fn names_of(at: &At, missing: &str, others: &str, errs: &mut Errors) -> bool {
    let count = list(at.v).len();
    if count == 0 {
        errs.push(at.required(missing));
    } else if has_wildcard(at.v) && count > 1 {
        let words = format!("if '*' is present, must not specify other {others}");
        errs.push(at.invalid(words));
    }
    count > 0 && !has_wildcard(at.v)
}

fn verbs(at: &At, errs: &mut Errors) {
    if names_of(at, "verbs must contain at least one value", "verbs", errs) {
        let known = |v: &Value| v.as_str().is_some_and(|v| VERBS.contains(&v));
        if !list(at.v).iter().all(known) {
            errs.push(at.not_supported(&VERBS));
        }
    }
}

fn resource_rule(rule: &At, errs: &mut Errors) {
    verbs(&rule.get("verbs"), errs);
    let missing = "resource rules must supply at least one api group";
    names_of(&rule.get("apiGroups"), missing, "api groups", errs);
    let missing = "resource rules must supply at least one resource";
    names_of(&rule.get("resources"), missing, "resources", errs);
    let namespaces = rule.get("namespaces");
    if list(namespaces.v).is_empty() && rule.flag("clusterScope") {
        return;
    }
    let missing = "resource rules that are not cluster scoped must supply at least one namespace";
    if names_of(&namespaces, missing, "namespaces", errs) {
        for at in namespaces.each() {
            for m in names::dns1123_label(at.str()) {
                errs.push(at.invalid(format!(
                    "each member of this list must be '*' or a DNS-1123 label; {m}"
                )));
            }
        }
    }
}

fn url_rule(rule: &At, errs: &mut Errors) {
    verbs(&rule.get("verbs"), errs);
    let urls = rule.get("nonResourceURLs");
    let missing = "nonResourceURLs must contain at least one value";
    if names_of(&urls, missing, "non-resource URLs", errs) {
        for at in urls.each() {
            if let Some(words) = wrong_url(at.str()) {
                errs.push(at.invalid(words));
            }
        }
    }
}

fn wrong_url(path: &str) -> Option<&'static str> {
    let wildcards = path.matches('*').count();
    match () {
        () if path.is_empty() => Some("must not be empty"),
        () if path == "/" => None,
        () if !path.starts_with('/') => Some("must start with slash"),
        () if path.contains(' ') => Some("must not contain white-space"),
        () if path.contains("//") => Some("must not contain double slash"),
        () if wildcards > 1 || (wildcards == 1 && !path.ends_with("/*")) => {
            Some("wildcard can only do suffix matching")
        }
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::wrong_url;

    #[test]
    fn urls_are_paths_or_end_in_a_wildcard() {
        for (path, wrong) in [
            ("/", false),
            ("/healthz", false),
            ("/apis/*", false),
            ("", true),
            ("x", true),
            ("/a*", true),
            ("/*/*", true),
            ("/a//b", true),
            ("/a b", true),
        ] {
            assert_eq!(wrong_url(path).is_some(), wrong, "{path}");
        }
    }
}
