//! `AdmissionReview`: what a webhook is told, and what its answer means. Pure.

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_api::Status;
use knarr_json::{Map, Value, json};
use serde::Deserialize;

use super::{super::Attributes, config::Version};

/// The request of a review about an object at the version that a webhook asked for.
pub fn request(
    a: &Attributes<'_>,
    version: &str,
    name: &str,
    (object, old): (&Value, &Value),
    review: Version,
    uid: &str,
) -> Value {
    let target = a.target;
    // A kind of its own, as Scale has, keeps its version whatever the resource's is.
    let kind_version = if a.kind.version == target.version && a.kind.group == a.group() {
        version
    } else {
        a.kind.version
    };
    let kind =
        |version: &str| json!({"group": a.kind.group, "version": version, "kind": a.kind.kind});
    let resource =
        |version: &str| json!({"group": a.group(), "version": version, "resource": a.resource()});
    let mut request = Map::new();
    let mut put = |key: &str, value: Value| request.insert(key.to_owned(), value);
    put("uid", uid.into());
    put("kind", kind(kind_version));
    put("resource", resource(version));
    put("requestKind", kind(a.kind.version));
    put("requestResource", resource(&target.version));
    for (key, text) in [
        ("subResource", a.subresource),
        ("requestSubResource", a.subresource),
        ("name", name),
        ("namespace", a.place()),
    ] {
        if !text.is_empty() {
            put(key, text.into());
        }
    }
    put("operation", a.operation.name().into());
    put("userInfo", a.call.user.to_json());
    put("object", object.clone());
    put("oldObject", old.clone());
    put("dryRun", a.dry_run.into());
    put("options", a.options());
    let api_version = match review {
        Version::V1 => "admission.k8s.io/v1",
        Version::V1Beta1 => "admission.k8s.io/v1beta1",
    };
    json!({"kind": "AdmissionReview", "apiVersion": api_version, "request": request})
}

/// What a webhook answered.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    pub allowed: bool,
    pub status: Option<Status>,
    /// Operations of a JSON patch.
    pub patch: Vec<Value>,
    pub annotations: Vec<(String, String)>,
    pub warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    response: Option<Response>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    allowed: bool,
    status: Option<Value>,
    patch: Option<String>,
    patch_type: Option<String>,
    audit_annotations: Option<Map>,
    warnings: Option<Vec<String>>,
}

/// Why an answer is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// No review could be read.
    #[error("failed to call webhook: {0}")]
    Unreadable(String),
    #[error("received invalid webhook response: {0}")]
    Wrong(String),
    #[error("received undecodable patch in webhook response: {0}")]
    Patch(String),
}

/// Reads the answer to the review `uid`.
///
/// # Errors
/// When it is none, or is not meant for this review.
pub fn answer(body: &[u8], uid: &str, version: Version, mutating: bool) -> Result<Answer, Invalid> {
    let wrong = |why: String| Err(Invalid::Wrong(why));
    let review: Review =
        serde_json::from_slice(body).map_err(|e| Invalid::Unreadable(e.to_string()))?;
    let Some(response) = review.response else {
        return wrong("webhook response was absent".into());
    };
    if version == Version::V1 {
        if response.uid != uid {
            return wrong(format!(
                "expected response.uid={uid:?}, got {:?}",
                response.uid
            ));
        }
        if review.api_version != "admission.k8s.io/v1" || review.kind != "AdmissionReview" {
            return wrong(format!(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {}, Kind={}",
                shown_version(&review.api_version),
                review.kind
            ));
        }
        check_patch_type(&response, mutating)?;
    }
    let patch = match &response.patch {
        Some(text) if mutating && !text.is_empty() => operations(text)?,
        _ => Vec::new(),
    };
    let annotations = response.audit_annotations.into_iter().flatten();
    Ok(Answer {
        allowed: response.allowed,
        status: response.status.as_ref().map(status),
        patch,
        annotations: annotations
            .filter_map(|(k, v)| v.as_str().map(|v| (k.into(), v.to_owned())))
            .collect(),
        warnings: response.warnings.unwrap_or_default(),
    })
}

fn shown_version(api_version: &str) -> String {
    if api_version.contains('/') {
        api_version.to_owned()
    } else {
        format!("/{api_version}")
    }
}

fn check_patch_type(response: &Response, mutating: bool) -> Result<(), Invalid> {
    let has_patch = response.patch.as_deref().is_some_and(|p| !p.is_empty());
    let why = match (mutating, has_patch, response.patch_type.as_deref()) {
        (true, true, None) => "webhook returned response.patch but not response.patchType".into(),
        (true, false, Some(_)) => {
            "webhook returned response.patchType but not response.patch".into()
        }
        (true, true, Some("")) => "webhook returned invalid response.patchType of \"\"".into(),
        (true, true, Some(other)) if other != "JSONPatch" => {
            format!("unsupported patch type {other:?}")
        }
        (false, true, _) => "validating webhook may not return response.patch".into(),
        (false, _, Some(_)) => "validating webhook may not return response.patchType".into(),
        _ => return Ok(()),
    };
    Err(Invalid::Wrong(why))
}

fn operations(text: &str) -> Result<Vec<Value>, Invalid> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|e| Invalid::Unreadable(e.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|e| Invalid::Patch(e.to_string()))
}

/// A Status that may be written with less care than ours.
fn status(value: &Value) -> Status {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let code = value["code"].as_u64().and_then(|c| u16::try_from(c).ok());
    let mut status = Status::failure(code.unwrap_or(0), &text("reason"), text("message"));
    status.details = knarr_json::from_value(value["details"].clone()).ok();
    status
}

/// The refusal that a client gets for a webhook's no.
pub fn denial(hook: &str, given: Option<Status>) -> Status {
    let mut status = given.unwrap_or_else(|| Status::failure(0, "", ""));
    if status.code < 400 {
        status.code = 400;
    }
    let denied = format!("admission webhook {hook:?} denied the request");
    status.message = match (status.message.as_str(), status.reason.as_str()) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(response: Value) -> Vec<u8> {
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn answers_are_checked() {
        let patch = STANDARD.encode("[]");
        let wrong = |why: &str| Some(Invalid::Wrong(why.into()));
        let table = [
            (json!({"uid": "u", "allowed": true}), true, None),
            (
                json!({"uid": "u", "allowed": true, "patch": patch, "patchType": "JSONPatch"}),
                true,
                None,
            ),
            (Value::Null, true, wrong("webhook response was absent")),
            (
                json!({"uid": "v", "allowed": true}),
                true,
                wrong("expected response.uid=\"u\", got \"v\""),
            ),
            (
                json!({"uid": "u", "patch": patch}),
                true,
                wrong("webhook returned response.patch but not response.patchType"),
            ),
            (
                json!({"uid": "u", "patchType": "JSONPatch"}),
                true,
                wrong("webhook returned response.patchType but not response.patch"),
            ),
            (
                json!({"uid": "u", "patch": patch, "patchType": "JSONPatch"}),
                false,
                wrong("validating webhook may not return response.patch"),
            ),
        ];
        for (response, mutating, wanted) in table {
            let got = answer(&review(response.clone()), "u", Version::V1, mutating);
            assert_eq!(got.err(), wanted, "{response}");
        }
        let odd = json!({"kind": "Pod", "apiVersion": "v1", "response": {"uid": "u"}});
        assert_eq!(
            answer(odd.to_string().as_bytes(), "u", Version::V1, false).err(),
            wrong(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /v1, Kind=Pod"
            )
        );
        assert!(
            answer(odd.to_string().as_bytes(), "w", Version::V1Beta1, false).is_ok(),
            "the old version is taken at its word"
        );
        assert!(matches!(
            answer(b"hello", "u", Version::V1, true),
            Err(Invalid::Unreadable(_))
        ));
    }

    #[test]
    fn a_no_is_explained() {
        let status = |code, reason: &str, message: &str| Status::failure(code, reason, message);
        let table = [
            (
                None,
                400,
                "",
                "admission webhook \"w\" denied the request without explanation",
            ),
            (
                Some(status(0, "", "no cats")),
                400,
                "",
                "admission webhook \"w\" denied the request: no cats",
            ),
            (
                Some(status(403, "Forbidden", "")),
                403,
                "Forbidden",
                "admission webhook \"w\" denied the request: Forbidden",
            ),
            (
                Some(status(200, "", "fine")),
                400,
                "",
                "admission webhook \"w\" denied the request: fine",
            ),
        ];
        for (given, code, reason, message) in table {
            let got = denial("w", given);
            assert_eq!(
                (
                    got.code,
                    got.reason.as_str(),
                    got.message.as_str(),
                    got.status.as_str()
                ),
                (code, reason, message, "Failure")
            );
        }
    }
}
