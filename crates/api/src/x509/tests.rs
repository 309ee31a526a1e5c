//! What is made by another library is read here.

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    PKCS_RSA_SHA256, SignatureAlgorithm,
};

use super::{certificates, pair, request};

const KINDS: [(&str, &SignatureAlgorithm); 4] = [
    ("P-256", &PKCS_ECDSA_P256_SHA256),
    ("P-384", &PKCS_ECDSA_P384_SHA384),
    ("Ed25519", &PKCS_ED25519),
    ("RSA", &PKCS_RSA_SHA256),
];

fn made(kind: &'static SignatureAlgorithm) -> (String, String) {
    let key = KeyPair::generate_for(kind).unwrap();
    let params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn armoured(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

#[test]
fn a_certificate_and_its_key_belong_together() {
    for (name, kind) in KINDS {
        let (certificate, key) = made(kind);
        let (other, _) = made(kind);
        let check = |c: &str, k: &str| pair::check(c.as_bytes(), k.as_bytes());
        assert_eq!(check(&certificate, &key), Ok(()), "{name}");
        let before = armoured("PRIVATE THINGS", b"x");
        assert_eq!(check(&certificate, &(before + &key)), Ok(()), "{name}");
        for (c, k, want) in [
            (&other, &key, "tls: private key does not match public key"),
            (
                &key,
                &key,
                "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched",
            ),
            (
                &certificate,
                &certificate,
                "tls: found a certificate rather than a key in the PEM for the private key",
            ),
            (
                &String::new(),
                &key,
                "tls: failed to find any PEM data in certificate input",
            ),
            (
                &certificate,
                &String::new(),
                "tls: failed to find any PEM data in key input",
            ),
            (
                &armoured("X", b""),
                &key,
                "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [X]",
            ),
            (
                &certificate,
                &armoured("X", b""),
                "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [X]",
            ),
            (
                &armoured("CERTIFICATE", b"x"),
                &key,
                "x509: malformed certificate",
            ),
            (
                &certificate,
                &armoured("EC PRIVATE KEY", b"x"),
                "tls: failed to parse private key",
            ),
        ] {
            assert_eq!(check(c, k), Err(want.to_owned()), "{name}");
        }
    }
    let ((certificate, _), (_, key)) = (made(KINDS[0].1), made(KINDS[2].1));
    assert_eq!(
        pair::check(certificate.as_bytes(), key.as_bytes()).unwrap_err(),
        "tls: private key type does not match public key type"
    );
}

#[test]
fn a_request_is_signed_by_the_key_it_is_for() {
    for (name, kind) in KINDS {
        let key = KeyPair::generate_for(kind).unwrap();
        let params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let made = params.serialize_request(&key).unwrap();
        assert_eq!(request(made.pem().unwrap().as_bytes()), Ok(()), "{name}");
        let mut der = made.der().to_vec();
        *der.last_mut().unwrap() ^= 1;
        let want = match name {
            "RSA" => "crypto/rsa: verification error",
            "Ed25519" => "x509: Ed25519 verification failure",
            _ => "x509: ECDSA verification failure",
        };
        let forged = armoured("CERTIFICATE REQUEST", &der);
        assert_eq!(request(forged.as_bytes()).unwrap_err(), want, "{name}");
        der.push(0);
        let longer = armoured("CERTIFICATE REQUEST", &der);
        assert_eq!(
            request(longer.as_bytes()).unwrap_err(),
            "asn1: syntax error: trailing data"
        );
    }
    let (certificate, _) = made(KINDS[0].1);
    assert_eq!(certificates(certificate.as_bytes()), Ok(()));
    assert_eq!(
        request(certificate.as_bytes()).unwrap_err(),
        "PEM block type must be CERTIFICATE REQUEST"
    );
}
