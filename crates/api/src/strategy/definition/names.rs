//! Names of a kind: of its resources, of its objects, of lists of them.

use crate::{field::Errors, names, validation::At};

/// Checks names that are given; which must be is the caller's to say.
pub fn validate(names: &At, errors: &mut Errors) {
    for key in ["plural", "singular"] {
        label(&names.get(key), errors);
    }
    for key in ["kind", "listKind"] {
        let at = names.get(key);
        let wrong = names::dns1035_label(&at.str().to_lowercase());
        if !at.str().is_empty() && !wrong.is_empty() {
            errors.push(at.invalid(format!(
                "may have mixed case, but should otherwise match: {}",
                wrong.join(",")
            )));
        }
    }
    names
        .items("shortNames")
        .for_each(|name| each(&name, errors));
    let (kind, list_kind) = (names.get("kind"), names.get("listKind"));
    if !kind.str().is_empty() && kind.str() == list_kind.str() {
        errors.push(list_kind.invalid("kind and listKind may not be the same"));
    }
    names
        .items("categories")
        .for_each(|name| each(&name, errors));
}

fn label(at: &At, errors: &mut Errors) {
    if !at.str().is_empty() {
        each(at, errors);
    }
}

fn each(at: &At, errors: &mut Errors) {
    let wrong = names::dns1035_label(at.str());
    if !wrong.is_empty() {
        errors.push(at.invalid(wrong.join(",")));
    }
}
