//! What `v1beta1` of webhook configurations and of signing requests left open.

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_json::{Value, json};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

use crate::strategy::defaults::{at as inner, each, set, set_text};

/// A webhook of old let requests pass when it failed, had time, and did not say what it changes beside.
pub fn webhooks(object: &mut Value) {
    for webhook in each(object, "webhooks").filter(|w| w.is_object()) {
        set(webhook, "failurePolicy", "Ignore");
        set(webhook, "matchPolicy", "Exact");
        set(webhook, "timeoutSeconds", 30);
        set(webhook, "admissionReviewVersions", json!(["v1beta1"]));
        // Today it must be known that it changes nothing in a dry run.
        if !matches!(webhook["sideEffects"].as_str(), Some("None")) {
            webhook["sideEffects"] = "NoneOnDryRun".into();
        }
    }
}

/// Who signs was found out from what is asked for. Nobody signs any more what is neither a client's nor a kubelet's.
pub fn signing_request(object: &mut Value) {
    let Some(spec) = inner(object, "spec").filter(|s| s["request"].is_string()) else {
        return;
    };
    set(
        spec,
        "usages",
        json!(["digital signature", "key encipherment"]),
    );
    let usages = spec["usages"].as_array().cloned().unwrap_or_default();
    let uses = |usage: &str| usages.iter().any(|u| u == usage);
    let node = is_node(spec["request"].as_str().unwrap_or_default());
    let signer = match (uses("client auth"), uses("server auth")) {
        (true, false) if node => "kubernetes.io/kube-apiserver-client-kubelet",
        (false, true) if node => "kubernetes.io/kubelet-serving",
        (true, false) => "kubernetes.io/kube-apiserver-client",
        _ => return,
    };
    set_text(spec, "signerName", signer);
}

/// Whether a request (PEM in base64) is a node's, by its subject.
fn is_node(request: &str) -> bool {
    let der = STANDARD.decode(request).ok().and_then(|pem| {
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).ok()?;
        Some(pem.contents)
    });
    let Some(der) = der else {
        return false;
    };
    let Ok((_, request)) = X509CertificationRequest::from_der(&der) else {
        return false;
    };
    let subject = &request.certification_request_info.subject;
    let mut names = subject.iter_common_name().filter_map(|n| n.as_str().ok());
    let mut groups = subject.iter_organization().filter_map(|o| o.as_str().ok());
    names.any(|n| n.starts_with("system:node:")) && groups.any(|g| g == "system:nodes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_get_what_they_did_not_say() {
        let mut object = json!({"webhooks": [{"name": "a"}, {"name": "b", "failurePolicy": "Fail", "sideEffects": "None", "timeoutSeconds": 5}]});
        webhooks(&mut object);
        assert_eq!(
            object["webhooks"],
            json!([
                {"name": "a", "failurePolicy": "Ignore", "matchPolicy": "Exact", "timeoutSeconds": 30, "admissionReviewVersions": ["v1beta1"], "sideEffects": "NoneOnDryRun"},
                {"name": "b", "failurePolicy": "Fail", "matchPolicy": "Exact", "timeoutSeconds": 5, "admissionReviewVersions": ["v1beta1"], "sideEffects": "None"},
            ])
        );
    }

    #[test]
    fn clients_requests_have_a_signer() {
        let filled = |usages: Value| {
            let mut object =
                json!({"spec": {"request": "eA==", "signerName": "", "usages": usages}});
            signing_request(&mut object);
            object["spec"]["signerName"].clone()
        };
        assert_eq!(
            filled(json!(["client auth"])),
            "kubernetes.io/kube-apiserver-client"
        );
        assert_eq!(filled(json!(["server auth"])), "");
        assert_eq!(filled(Value::Null), "");
    }
}
