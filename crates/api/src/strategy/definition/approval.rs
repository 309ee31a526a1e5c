//! Groups below `k8s.io` and `kubernetes.io` belong to the community: definitions in them say who approved them.

use knarr_json::Value;

use crate::field::{Error, Errors, Path};

/// The annotation that says so.
pub const ANNOTATION: &str = "api-approved.kubernetes.io";

/// What the annotation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approval {
    Missing,
    /// A URL of the approval.
    Approved(String),
    /// `unapproved…`: knowingly without one.
    Bypassed(String),
    Invalid(String),
}

/// Whether a group belongs to the community.
pub fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|own| {
        group == *own
            || group
                .strip_suffix(own)
                .is_some_and(|rest| rest.ends_with('.'))
    })
}

impl Approval {
    pub fn of(object: &Value) -> Self {
        let text = object["metadata"]["annotations"][ANNOTATION]
            .as_str()
            .unwrap_or_default();
        let is_url = || {
            let rest = text
                .split_once("://")
                .filter(|(scheme, _)| scheme.starts_with(|c: char| c.is_ascii_alphabetic()));
            rest.is_some_and(|(_, rest)| !rest.is_empty() && !rest.starts_with('/'))
        };
        match text {
            "" => Approval::Missing,
            text if text.starts_with("unapproved") => Approval::Bypassed(text.to_owned()),
            text if is_url() => Approval::Approved(text.to_owned()),
            text => Approval::Invalid(text.to_owned()),
        }
    }

    /// Status, reason and message of the condition `KubernetesAPIApprovalPolicyConformant`.
    pub fn condition(&self) -> (&'static str, &'static str, String) {
        match self {
            Approval::Missing => ("False", "MissingAnnotation", MISSING.to_owned()),
            Approval::Approved(url) => ("True", "ApprovedAnnotation", format!("approved in {url}")),
            Approval::Bypassed(text) => (
                "False",
                "UnapprovedAnnotation",
                format!("not approved: {text:?}"),
            ),
            Approval::Invalid(_) => ("False", "InvalidAnnotation", INVALID.to_owned()),
        }
    }
}

const MISSING: &str = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111";
const INVALID: &str = "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111";

/// Checks the annotation of a definition in a protected group; what an update leaves as it was is fine.
pub(super) fn validate(object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let group = object["spec"]["group"].as_str().unwrap_or_default();
    if !is_protected(group) {
        return;
    }
    let approval = Approval::of(object);
    let kind = |a: &Approval| std::mem::discriminant(a);
    if old.is_some_and(|old| kind(&Approval::of(old)) == kind(&approval)) {
        return;
    }
    let path = Path::new("metadata").child("annotations").key(ANNOTATION);
    match approval {
        Approval::Missing => errors.push(Error::required(&path, MISSING)),
        Approval::Invalid(text) => errors.push(Error::invalid(&path, text, INVALID)),
        Approval::Approved(_) | Approval::Bypassed(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn approvals_are_read() {
        for (group, want) in [
            ("a.k8s.io", true),
            ("k8s.io", true),
            ("ak8s.io", false),
            ("x.kubernetes.io", true),
            ("e.com", false),
        ] {
            assert_eq!(is_protected(group), want, "{group}");
        }
        let of =
            |text: &str| Approval::of(&json!({"metadata": {"annotations": {ANNOTATION: text}}}));
        assert_eq!(
            of("https://example.com/review/7").condition().2,
            "approved in https://example.com/review/7"
        );
        assert_eq!(of("unapproved, mine").condition().1, "UnapprovedAnnotation");
        assert!(matches!(of("sure, why not"), Approval::Invalid(_)));
        assert_eq!(of(""), Approval::Missing);
    }
}
