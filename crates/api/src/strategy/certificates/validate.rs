//! What a CertificateSigningRequest may ask for, and what may happen to it.

use std::cmp::Ordering;

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_json::Value;

use crate::{
    field::{Error, Errors},
    names,
    validation::{At, list, text},
    x509,
};

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// Kinds of conditions that stay once they are there.
const DECISIONS: [&str; 3] = ["Approved", "Denied", "Failed"];
const LEGACY: &str = "kubernetes.io/legacy-unknown";
/// A domain, a slash, a path.
const LONGEST_SIGNER: usize = 253 + 1 + 253 + 63 + 1;

/// Everything about the object itself. What was wrong in `old` may stay.
pub fn all(object: &Value, old: Option<&Value>, errs: &mut Errors) {
    let at = At::root(object, "spec");
    // The spec never changes: what an older version let in is not asked again.
    if old.is_none() {
        spec(&at, errs);
    }
    let status = At::root(object, "status");
    conditions(&status.get("conditions"), errs);
    let certificate = status.get("certificate");
    if !certificate.str().is_empty()
        && old.is_none_or(|o| o["status"]["certificate"] != *certificate.v)
    {
        let data = STANDARD.decode(certificate.str()).unwrap_or_default();
        if let Err(why) = x509::certificates(&data) {
            errs.push(Error::invalid(&certificate.path, "<certificate data>", why));
        }
    }
}

fn spec(spec: &At, errs: &mut Errors) {
    let request = spec.get("request");
    let data = STANDARD.decode(request.str()).unwrap_or_default();
    if let Err(why) = x509::request(&data) {
        let shown = Value::from(request.str());
        let shown = if data.is_empty() { Value::Null } else { shown };
        errs.push(Error::invalid(&request.path, shown, why));
    }
    let usages = spec.get("usages");
    if list(usages.v).is_empty() {
        errs.push(usages.required(""));
    }
    let mut seen: Vec<&str> = Vec::new();
    for usage in usages.each() {
        if !USAGES.contains(&usage.str()) {
            errs.push(usage.not_supported(&USAGES));
        }
    }
    for usage in usages.each() {
        if seen.contains(&usage.str()) {
            errs.push(usage.duplicate());
        }
        seen.push(usage.str());
    }
    let signer = spec.get("signerName");
    if signer.str() == LEGACY {
        let words = "the legacy signerName is not allowed via this API version";
        errs.push(signer.invalid(words));
    } else {
        signer_name(&signer, errs);
    }
    let lasts = spec.get("expirationSeconds");
    if lasts.v.as_i64().is_some_and(|n| n < 600) {
        let words = "may not specify a duration less than 600 seconds (10 minutes)";
        errs.push(lasts.invalid(words));
    }
}

/// `example.com/name`.
pub fn signer_name(at: &At, errs: &mut Errors) {
    let name = at.str();
    if name.is_empty() {
        errs.push(at.required(""));
        return;
    }
    let parts: Vec<&str> = name.split('/').collect();
    let [domain, path] = parts[..] else {
        let words =
            "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errs.push(at.invalid(words));
        return;
    };
    if domain.len() > 253 {
        errs.push(Error::too_long(&at.path, 253));
    }
    let wrong = |part: &str, label: &str, why: &str| {
        Error::invalid(&at.path, part, format!("validating label {label:?}: {why}"))
    };
    // only the first label that is wrong is told
    let first_wrong = |part: &str, rule: fn(&str) -> Vec<String>, errs: &mut Errors| {
        let mut labels = part.split('.').map(|label| (label, rule(label)));
        if let Some((label, found)) = labels.find(|(_, found)| !found.is_empty()) {
            errs.extend(found.iter().map(|m| wrong(part, label, m)));
        }
    };
    first_wrong(domain, names::dns1123_label, errs);
    if !domain.contains('.') {
        let words = "should be a domain with at least two segments separated by dots";
        errs.push(Error::invalid(&at.path, domain, words));
    }
    first_wrong(path, names::dns1123_subdomain, errs);
    if name.len() > LONGEST_SIGNER {
        errs.push(Error::too_long(&at.path, LONGEST_SIGNER));
    }
}

fn conditions(all: &At, errs: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for condition in all.each() {
        let kind = condition.get("type");
        if kind.str().is_empty() {
            errs.push(kind.required(""));
        }
        let allowed: &[&str] = if DECISIONS.contains(&kind.str()) {
            &["True"]
        } else {
            &["False", "True", "Unknown"]
        };
        let status = condition.get("status");
        if status.str().is_empty() {
            errs.push(status.required(""));
        } else if !allowed.contains(&status.str()) {
            errs.push(status.not_supported(allowed));
        }
        let other = match kind.str() {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if seen.contains(&other) {
            let words = "Approved and Denied conditions are mutually exclusive";
            errs.push(Error::invalid(&all.path, kind.str(), words));
        }
        if seen.contains(&kind.str()) {
            errs.push(kind.duplicate());
        }
        seen.push(kind.str());
    }
}

/// What an update may do that a new object does not.
pub fn changes(subresource: &str, object: &Value, old: &Value, errs: &mut Errors) {
    let status = At::root(object, "status");
    let conditions = status.get("conditions");
    let of = |object: &Value, kind: &str| -> Vec<Value> {
        let all = list(&object["status"]["conditions"]).iter();
        all.filter(|c| c["type"] == kind).cloned().collect()
    };
    let mut refuse = |verb: &str, kind: &str| {
        errs.push(conditions.forbidden(format!(
            "updates may not {verb} a condition of type {kind:?}"
        )));
    };
    for kind in DECISIONS {
        if of(object, kind).len() < of(old, kind).len() {
            refuse("remove", kind);
        }
    }
    if subresource != "approval" {
        for kind in ["Approved", "Denied"] {
            let (now, before) = (of(object, kind), of(old, kind));
            match now.len().cmp(&before.len()) {
                Ordering::Greater => refuse("add", kind),
                Ordering::Equal if now != before => refuse("modify", kind),
                _ => {}
            }
        }
    }
    let before = text(&old["status"], "certificate");
    let certificate = status.get("certificate");
    if certificate.str() != before {
        if subresource != "status" {
            errs.push(certificate.forbidden("updates may not set certificate content"));
        } else if !before.is_empty() {
            let words = "updates may not modify existing certificate content";
            errs.push(certificate.forbidden(words));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn signers_are_domain_and_path() {
        for (name, wrong) in [
            ("example.com/a", 0),
            ("example.com/a.b-c", 0),
            ("", 1),
            ("example.com", 1),
            ("example/a", 1),
            ("e_x.com/A", 2),
            ("e_x.c_m/a", 1),
            ("a.b/c/d", 1),
        ] {
            let v = json!(name);
            let mut errs = Errors::new();
            signer_name(&At::new(&v, "s"), &mut errs);
            assert_eq!(errs.len(), wrong, "{name}: {errs:?}");
        }
    }

    #[test]
    fn decisions_stay_and_come_by_their_own_door() {
        let with = |conditions: Value| json!({"status": {"conditions": conditions}});
        let approved = json!([{"type": "Approved", "status": "True"}]);
        let check = |sub: &str, new: Value, old: Value| {
            let mut errs = Errors::new();
            changes(sub, &with(new), &with(old), &mut errs);
            errs.len()
        };
        assert_eq!(check("approval", approved.clone(), json!([])), 0);
        assert_eq!(check("status", approved.clone(), json!([])), 1);
        assert_eq!(check("approval", json!([]), approved), 1);
    }
}
