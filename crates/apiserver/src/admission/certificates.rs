//! CertificateApproval, CertificateSigning, CertificateSubjectRestriction and ClusterTrustBundleAttest: who may speak for a
//! signer.

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_json::Value;
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

use super::{Attributes, Operation};
use crate::{Outcome, authz};

const GROUP: &str = "certificates.k8s.io";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

fn signer(object: &Value) -> &str {
    object["spec"]["signerName"].as_str().unwrap_or_default()
}

/// Whether the user may do `verb` for a signer, by its name or by its domain.
async fn may(a: &Attributes<'_>, verb: &str, signer: &str) -> bool {
    let ask = |name: String| authz::Attributes {
        user: a.call.user.clone(),
        verb: verb.into(),
        group: GROUP.into(),
        version: "*".into(),
        resource: "signers".into(),
        name,
        is_resource: true,
        ..authz::Attributes::default()
    };
    let authorizer = &a.call.shared.authorizer;
    let domain = signer.split('/').next().unwrap_or_default();
    authorizer.decide(&ask(signer.to_owned())).await.allowed
        || authorizer.decide(&ask(format!("{domain}/*"))).await.allowed
}

/// # Errors
/// 403 for who may not speak for the signer.
pub async fn approve(a: &Attributes<'_>, object: &Value) -> Outcome<()> {
    let signer = a.old.map_or("", signer);
    if may(a, "approve", signer).await {
        return Ok(());
    }
    let why = format!("user not permitted to approve requests with signerName {signer:?}");
    Err(a.forbidden(object, &why))
}

/// # Errors
/// 403 for who may not speak for the signer.
pub async fn sign(a: &Attributes<'_>, object: &Value) -> Outcome<()> {
    let signs = |key: &str| {
        a.old
            .is_none_or(|old| old["status"][key] != object["status"][key])
    };
    let signer = a.old.map_or("", signer);
    if !(signs("certificate") || signs("conditions")) || may(a, "sign", signer).await {
        return Ok(());
    }
    let why = format!("user not permitted to sign requests with signerName {signer:?}");
    Err(a.forbidden(object, &why))
}

/// # Errors
/// 403 for who may not speak for the signer.
pub async fn attest(a: &Attributes<'_>, bundle: &Value) -> Outcome<()> {
    let unchanged = a.old.is_some_and(|old| old["spec"] == bundle["spec"]);
    let signer = signer(bundle);
    if unchanged || signer.is_empty() || may(a, "attest", signer).await {
        return Ok(());
    }
    let why = format!("user not permitted to attest for signerName {signer:?}");
    Err(a.forbidden(bundle, &why))
}

/// Nobody gets a certificate of the group that may everything.
///
/// # Errors
/// 403 for a request that asks for it.
pub fn restrict_subject(a: &Attributes<'_>, object: &Value) -> Outcome<()> {
    if a.operation != Operation::Create || signer(object) != CLIENT_SIGNER {
        return Ok(());
    }
    let subject = Subject::of(object).map_err(|why| a.forbidden(object, &why))?;
    if !subject.groups.iter().any(|g| g == crate::user::MASTERS) {
        return Ok(());
    }
    let why = format!("use of {CLIENT_SIGNER} signer with system:masters group is not allowed");
    Err(a.forbidden(object, &why))
}

/// Whom a certificate is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Subject {
    pub name: String,
    pub groups: Vec<String>,
}

impl Subject {
    /// Of a CertificateSigningRequest.
    ///
    /// # Errors
    /// When its request cannot be read.
    pub fn of(object: &Value) -> Result<Self, String> {
        let unreadable = |e: &dyn std::fmt::Display| format!("unable to parse csr: {e}");
        let text = object["spec"]["request"].as_str().unwrap_or_default();
        let bytes = STANDARD.decode(text).map_err(|e| unreadable(&e))?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(&bytes)
            .map_err(|_| unreadable(&"PEM block type must be CERTIFICATE REQUEST"))?;
        let (_, request) =
            X509CertificationRequest::from_der(&pem.contents).map_err(|e| unreadable(&e))?;
        let subject = &request.certification_request_info.subject;
        let texts = |attributes: Vec<Option<&str>>| -> Vec<String> {
            attributes
                .into_iter()
                .flatten()
                .map(str::to_owned)
                .collect()
        };
        let names = subject
            .iter_common_name()
            .map(|a| a.as_str().ok())
            .collect();
        let groups = subject
            .iter_organization()
            .map(|a| a.as_str().ok())
            .collect();
        Ok(Subject {
            name: texts(names).into_iter().next().unwrap_or_default(),
            groups: texts(groups),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;
    use rcgen::{CertificateParams, DnType, KeyPair};

    #[test]
    fn subjects_are_read() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "ann");
        params
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        let key = KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        let object = json!({"spec": {"request": STANDARD.encode(pem)}});
        let subject = Subject::of(&object).unwrap();
        assert_eq!(subject.name, "ann");
        assert_eq!(subject.groups, ["system:masters"]);
        for bad in ["", "aGVsbG8=", "%"] {
            assert!(Subject::of(&json!({"spec": {"request": bad}})).is_err());
        }
    }
}
