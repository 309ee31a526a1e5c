//! CertificateSigningRequests.

mod validate;

use jiff::Timestamp;
use knarr_json::Value;

use super::{Column, Context, Strategy, common};
use crate::{
    field::Errors,
    table,
    validation::{list, meta, text},
};

/// `certificates.k8s.io/v1/CertificateSigningRequest`. Who asks for the certificate (`spec.username`, `uid`, `groups`, `extra`)
/// is written by the server between `prepare_create` and validation.
pub struct CertificateSigningRequest;

/// Nobody cares what a request is called.
fn any_name(_name: &str, _prefix: bool) -> Vec<String> {
    Vec::new()
}

impl Strategy for CertificateSigningRequest {
    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, any_name, &mut errs);
        validate::all(object, None, &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::keep(object, old, "spec");
        match ctx.subresource.as_str() {
            "approval" => {
                let conditions = object["status"]["conditions"].take();
                common::keep(object, old, "status");
                object["status"]["conditions"] = conditions;
                stamp(object, old);
            }
            "status" => {
                keep_decisions(object, old);
                stamp(object, old);
            }
            _ => common::keep(object, old, "status"),
        }
    }

    fn validate_update(&self, ctx: &Context, object: &Value, old: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, any_name, &mut errs);
        validate::all(object, Some(old), &mut errs);
        validate::changes(&ctx.subresource, object, old, &mut errs);
        meta::update_core(object, old, &mut errs);
        errs
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        any_name(name, prefix)
    }

    fn fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![(
            "spec.signerName",
            text(&object["spec"], "signerName").to_owned(),
        )]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::age(),
            table::column("SignerName", SIGNER),
            table::column("Requestor", "Base64-encoded PKCS#10 CSR data"),
            table::column("RequestedDuration", DURATION),
            table::column(
                "Condition",
                "Conditions applied to the request, such as approval or denial.",
            ),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = &object["spec"];
        let lasts = spec["expirationSeconds"].as_i64();
        vec![
            table::name_of(object),
            table::age_of(object, now),
            text(spec, "signerName").into(),
            text(spec, "username").into(),
            lasts.map_or("<none>".to_owned(), table::duration).into(),
            state(&object["status"]).into(),
        ]
    }
}

const SIGNER: &str = "Requested signer for the request. It is a qualified name in the form: `scope-hostname.io/name`. If empty, it will be defaulted:\n 1. If it's a kubelet client certificate, it is assigned\n    \"kubernetes.io/kube-apiserver-client-kubelet\".\n 2. If it's a kubelet serving certificate, it is assigned\n    \"kubernetes.io/kubelet-serving\".\n 3. Otherwise, it is assigned \"kubernetes.io/legacy-unknown\".\nDistribution of trust for signers happens out of band. You can select on this field using `spec.signerName`.";
const DURATION: &str = "expirationSeconds is the requested duration of validity of the issued certificate. The certificate signer may issue a certificate with a different validity duration so a client must check the delta between the notBefore and and notAfter fields in the issued certificate to determine the actual duration.\n\nThe v1.22+ in-tree implementations of the well-known Kubernetes signers will honor this field as long as the requested duration is not greater than the maximum duration they will honor per the --cluster-signing-duration CLI flag to the Kubernetes controller manager.\n\nCertificate signers may not honor this field for various reasons:\n\n  1. Old signer that is unaware of the field (such as the in-tree\n     implementations prior to v1.22)\n  2. Signer whose configured maximum is shorter than the requested duration\n  3. Signer whose configured minimum is longer than the requested duration\n\nThe minimum valid value for expirationSeconds is 600, i.e. 10 minutes.";

fn state(status: &Value) -> String {
    let has = |kind: &str| {
        list(&status["conditions"])
            .iter()
            .any(|c| c["type"] == kind)
    };
    let mut out = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        out.push_str(",Failed");
    }
    if !text(status, "certificate").is_empty() {
        out.push_str(",Issued");
    }
    out
}

/// Approvals and denials of `/status` are those from before: another endpoint makes them.
fn keep_decisions(object: &mut Value, old: &Value) {
    let before = list(&old["status"]["conditions"]);
    let now = object["status"]
        .get_mut("conditions")
        .and_then(Value::as_array_mut);
    for condition in now.into_iter().flatten() {
        let kind = &condition["type"];
        if (kind == "Approved" || kind == "Denied")
            && let Some(same) = before.iter().find(|c| c["type"] == *kind)
        {
            *condition = same.clone();
        }
    }
}

/// Fills in the times of conditions: when each was last written, and when its status last changed.
fn stamp(object: &mut Value, old: &Value) {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let before = list(&old["status"]["conditions"]);
    let conditions = object["status"]
        .get_mut("conditions")
        .and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter(|c| c.is_object()) {
        if condition["lastUpdateTime"].is_null() {
            condition["lastUpdateTime"] = now.as_str().into();
        }
        if condition["lastTransitionTime"].is_null() {
            let same = before
                .iter()
                .find(|c| c["type"] == condition["type"] && c["status"] == condition["status"]);
            condition["lastTransitionTime"] = match same {
                Some(c) if !c["lastTransitionTime"].is_null() => c["lastTransitionTime"].clone(),
                _ => now.as_str().into(),
            };
        }
    }
}
