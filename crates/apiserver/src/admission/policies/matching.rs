//! Whether a policy or binding is about a request.

use knarr_json::Value;

use super::{
    super::{Attributes, webhook::matching},
    config::{Match, NamedRule},
};
use crate::Outcome;

/// The version of the resource that a policy is about; none if it is not about the request.
///
/// # Errors
/// 404 for a namespace that is not there, 500 for a selector that cannot be read.
pub(super) fn version<'a>(
    a: &Attributes<'a>,
    matches: &Match,
    object: &Value,
) -> Outcome<Option<&'a str>> {
    if !matching::namespace_selected(a, &matches.namespaces, object)?
        || !matching::object_selected(a, &matches.objects, object)?
        || by_rules(a, &matches.excluded, matches.equivalent).is_some()
    {
        return Ok(None);
    }
    if matches.rules.is_empty() {
        return Ok(Some(&a.target.version));
    }
    Ok(by_rules(a, &matches.rules, matches.equivalent))
}

fn by_rules<'a>(a: &Attributes<'a>, rules: &[NamedRule], equivalent: bool) -> Option<&'a str> {
    let resource = &a.target.resource;
    let namespaced = !a.namespace().is_empty();
    let by = |version: &str| {
        let named = (a.group(), version, a.resource());
        rules.iter().any(|r| {
            let name_fits = r.names.is_empty() || r.names.iter().any(|n| n == a.name());
            name_fits
                && r.rule
                    .matches(a.operation, named, a.subresource, namespaced)
        })
    };
    let own = a.target.version.as_str();
    if by(own) {
        return Some(own);
    }
    if !equivalent {
        return None;
    }
    let others = resource.versions.iter().filter(|v| *v != own);
    others.map(String::as_str).find(|version| by(version))
}
