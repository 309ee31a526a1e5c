//! Certificates that are almost right.

#[path = "../../api/tests/common/fuzz.rs"]
mod bytes;

use rustls_pki_types::CertificateDer;

use crate::authn::x509::Authorities;

#[test]
fn certificates() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["a.example.com".into()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let mut params = rcgen::CertificateParams::default();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let own = rcgen::KeyPair::generate().unwrap();
    let leaf = params.signed_by(&own, &issuer).unwrap();
    let authorities = Authorities::new(&[authority.der().clone()], &[]).unwrap();
    let good = CertificateDer::from(leaf.der().to_vec());
    assert!(!authorities.judge(&[good]).refused());
    let words: &[&[u8]] = &[
        &[0x30, 0x80],
        &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        &[0x06, 0],
        &[0x17, 1, b'9'],
    ];
    bytes::run(&[leaf.der(), authority.der()], words, |der| {
        let chain = [CertificateDer::from(der.to_vec()), authority.der().clone()];
        let _ = authorities.judge(&chain);
    });
}
