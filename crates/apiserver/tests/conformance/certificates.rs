//! Approval and status of a request for a certificate.

use knarr_json::json;

use crate::{
    kinds,
    world::{MERGE, World, holds},
};

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_approved_and_given_a_status() {
    let world = World::start().await;
    let mut kinds = kinds::machinery().into_iter();
    let kind = kinds
        .find(|k| k.plural == "certificatesigningrequests")
        .unwrap();
    let mut request = (kind.object)("r");
    request["metadata"] = json!({"name": "r"});
    world.make(&kind.path(), request).await;
    let path = format!("{}/r", kind.path());
    let approval = format!("{path}/approval");
    assert_eq!(
        world.get(&approval).await["kind"],
        "CertificateSigningRequest"
    );
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "E2E", "message": "Set from an e2e test"});
    let patch = json!({"metadata": {"annotations": {"patchedapproval": "true"}},
        "status": {"conditions": [condition("ApprovalPatch")]}});
    let patched = world.patch(&approval, MERGE, patch).await;
    assert_eq!(patched["status"]["conditions"][0]["type"], "ApprovalPatch");
    assert_eq!(
        patched["metadata"]["annotations"]["patchedapproval"],
        "true"
    );
    let updated = world
        .update(&approval, |r| {
            let conditions = r["status"]["conditions"].as_array_mut().unwrap();
            conditions.push(condition("Approved"));
        })
        .await;
    assert_eq!(updated["status"]["conditions"][1]["type"], "Approved");
    let status = format!("{path}/status");
    let patch = json!({"metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"certificate": pem()}});
    let patched = world.patch(&status, MERGE, patch.clone()).await;
    assert!(holds(&patched, &patch), "{patched}");
    let updated = world
        .update(&status, |r| {
            let conditions = r["status"]["conditions"].as_array_mut().unwrap();
            conditions.push(condition("StatusUpdate"));
        })
        .await;
    assert_eq!(updated["status"]["conditions"][2]["type"], "StatusUpdate");
    assert_eq!(
        updated["status"]["certificate"],
        patch["status"]["certificate"]
    );
    world.stop().await;
}

fn pem() -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};

    STANDARD.encode(crate::common::Authority::new().certificate.pem())
}
