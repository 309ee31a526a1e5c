//! Private keys, and the public keys that belong to them.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use x509_parser::{public_key::PublicKey, x509::SubjectPublicKeyInfo};

use super::der::{INTEGER, OCTETS, OID, Reader, trimmed};

/// A public key, as far as one can be told from another.
#[derive(Debug, PartialEq)]
pub enum Public {
    /// Modulus and exponent.
    Rsa(Vec<u8>, Vec<u8>),
    /// A point, in the form that is not compressed.
    Ec(Vec<u8>),
    Ed25519(Vec<u8>),
    /// Of a kind that no certificate of a server has.
    Other,
}

impl Public {
    /// The key that a certificate is for.
    pub fn of(info: &SubjectPublicKeyInfo) -> Public {
        match info.parsed() {
            Ok(PublicKey::RSA(key)) => Public::Rsa(
                trimmed(key.modulus).to_owned(),
                trimmed(key.exponent).to_owned(),
            ),
            Ok(PublicKey::EC(point)) => Public::Ec(point.data().to_owned()),
            _ if info.algorithm.algorithm.to_id_string() == "1.3.101.112" => {
                Public::Ed25519(info.subject_public_key.data.to_vec())
            }
            _ => Public::Other,
        }
    }

    /// The key that belongs to a private one in any of the forms in use: PKCS#1, PKCS#8, SEC 1.
    ///
    /// # Errors
    /// In the original's words.
    pub fn of_private(der: &[u8]) -> Result<Public, &'static str> {
        let key = rsa(der).or_else(|| wrapped(der)).or_else(|| ec(der));
        match key {
            None => Err("tls: failed to parse private key"),
            Some(Public::Other) => Err("tls: found unknown private key type in PKCS#8 wrapping"),
            Some(key) => Ok(key),
        }
    }
}

/// PKCS#1: a version, modulus, exponent and six numbers that only the owner knows.
fn rsa(der: &[u8]) -> Option<Public> {
    let mut outer = Reader(der);
    let mut parts = outer.sequence()?;
    parts.unsigned().filter(|version| version.is_empty())?;
    let (modulus, exponent) = (parts.unsigned()?, parts.unsigned()?);
    for _ in 0..6 {
        parts.unsigned()?;
    }
    outer
        .0
        .is_empty()
        .then(|| Public::Rsa(modulus.to_owned(), exponent.to_owned()))
}

/// PKCS#8: an algorithm, and a key in a form of that algorithm.
fn wrapped(der: &[u8]) -> Option<Public> {
    let mut parts = Reader(der).sequence()?;
    parts.take(INTEGER)?;
    let algorithm = parts.sequence()?.take(OID)?;
    let key = parts.take(OCTETS)?;
    match algorithm {
        // 1.2.840.113549.1.1.1
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" => rsa(key),
        // 1.2.840.10045.2.1
        b"\x2a\x86\x48\xce\x3d\x02\x01" => ec(der),
        // 1.3.101.112
        b"\x2b\x65\x70" => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
            Some(Public::Ed25519(pair.public_key().as_ref().to_owned()))
        }
        // 1.3.101.110, which agrees on keys and signs nothing
        b"\x2b\x65\x6e" => Some(Public::Other),
        _ => None,
    }
}

/// A key on one of the curves in use, as SEC 1 has it or wrapped.
fn ec(der: &[u8]) -> Option<Public> {
    [
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        &ECDSA_P384_SHA384_ASN1_SIGNING,
        &ECDSA_P521_SHA512_ASN1_SIGNING,
    ]
    .into_iter()
    .find_map(|curve| {
        let pair = EcdsaKeyPair::from_private_key_der(curve, der).ok()?;
        Some(Public::Ec(pair.public_key().as_ref().to_owned()))
    })
}
