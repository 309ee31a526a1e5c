//! Requests for certificates, PKCS#10.

use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

use super::{asn1, pem, signature};

/// Checks that the first block is a request for a certificate, signed with the key that it asks one for.
///
/// # Errors
/// In the original's words, where it has its own.
pub fn request(data: &[u8]) -> Result<(), String> {
    let block = pem::blocks(data).into_iter().next();
    let block = block
        .filter(|b| b.label == "CERTIFICATE REQUEST")
        .ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    let request = match X509CertificationRequest::from_der(&block.der) {
        Ok(([], request)) => request,
        Ok(_) => return Err("asn1: syntax error: trailing data".to_owned()),
        Err(_) => return Err(asn1::words(&block.der)),
    };
    signature::check(
        &request.signature_algorithm,
        request.certification_request_info.raw,
        &request.signature_value.data,
        &request.certification_request_info.subject_pki,
    )
}
