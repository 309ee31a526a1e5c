//! Names of drivers, pools, devices and attributes.

use knarr_json::Value;

use crate::{
    field::{Error, Errors},
    names,
    strategy::pod,
    validation::At,
};

const LONGEST_ID: usize = 32;
const LONGEST_POOL: usize = 253;

pub fn driver(at: &At, errs: &mut Errors) {
    pod::validate::driver_name(at, errs);
}

/// Domains separated by slashes.
pub fn pool(at: &At, errs: &mut Errors) {
    if at.str().is_empty() {
        errs.push(at.required(""));
        return;
    }
    if at.str().len() > LONGEST_POOL {
        errs.push(Error::too_long(&at.path, LONGEST_POOL));
    }
    for part in at.str().split('/') {
        for m in names::dns1123_subdomain(part) {
            errs.push(Error::invalid(&at.path, part, m));
        }
    }
}

/// A device, a request, a set of counters.
pub fn label(at: &At, errs: &mut Errors) {
    at.push(names::dns1123_label(at.str()), errs);
}

/// The name of an attribute: an identifier, perhaps with a domain before it.
pub fn qualified(name: &str, path: &crate::field::Path, errs: &mut Errors) {
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        [id] => identifier(id, path, errs),
        [domain, id] => {
            if domain.is_empty() {
                errs.push(Error::invalid(path, "", "the domain must not be empty"));
            } else {
                let v = Value::from(domain);
                let at = At {
                    v: &v,
                    path: path.clone(),
                };
                driver(&at, errs);
            }
            if id.is_empty() {
                errs.push(Error::invalid(path, "", "the name must not be empty"));
            } else {
                identifier(id, path, errs);
            }
        }
        _ => {}
    }
}

/// [`qualified`] with a domain.
pub fn fully_qualified(at: &At, errs: &mut Errors) {
    qualified(at.str(), &at.path, errs);
    if !at.str().contains('/') {
        let words = "a fully qualified name must be a domain and a name separated by a slash";
        errs.push(at.invalid(words));
    }
}

fn identifier(id: &str, path: &crate::field::Path, errs: &mut Errors) {
    if id.len() > LONGEST_ID {
        errs.push(Error::too_long(path, LONGEST_ID));
    }
    for m in names::c_identifier(id) {
        errs.push(Error::invalid(path, id, m));
    }
}

/// A uid as the server writes it.
pub fn uid(at: &At, errs: &mut Errors) {
    let text = at.str();
    match uuid::Uuid::parse_str(text) {
        Err(_) => errs.push(at.invalid(format!("error validating uid: invalid UUID length: {}", text.len()))),
        Ok(uuid) if uuid.hyphenated().to_string() != text => errs.push(at.invalid(
            "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters",
        )),
        Ok(_) => {}
    }
}

/// Whether a name can be one of an extended resource: has a domain that is not Kubernetes' own.
pub fn is_extended_resource(name: &str) -> bool {
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    !native
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}
