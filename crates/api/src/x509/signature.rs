//! Signatures that the holder of a key made over what carries the key.

use aws_lc_rs::signature as lc;
use x509_parser::{
    public_key::PublicKey,
    signature_algorithm::SignatureAlgorithm,
    x509::{AlgorithmIdentifier, SubjectPublicKeyInfo},
};

const UNSUPPORTED: &str = "x509: cannot verify signature: algorithm unimplemented";

/// What an algorithm of signatures is made of: the family of keys, and the hash; MD5 is not taken any more.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scheme {
    Rsa(Hash),
    Pss(Hash),
    Ecdsa(Hash),
    Ed25519,
    Dsa,
    Md5,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Scheme {
    fn of(algorithm: &AlgorithmIdentifier) -> Option<Scheme> {
        use Hash::{Sha1, Sha256, Sha384, Sha512};
        Some(match algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.113549.1.1.4" => Scheme::Md5,
            "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" => Scheme::Rsa(Sha1),
            "1.2.840.113549.1.1.11" => Scheme::Rsa(Sha256),
            "1.2.840.113549.1.1.12" => Scheme::Rsa(Sha384),
            "1.2.840.113549.1.1.13" => Scheme::Rsa(Sha512),
            "1.2.840.113549.1.1.10" => Scheme::Pss(pss_hash(algorithm)?),
            "1.2.840.10045.4.1" => Scheme::Ecdsa(Sha1),
            "1.2.840.10045.4.3.2" => Scheme::Ecdsa(Sha256),
            "1.2.840.10045.4.3.3" => Scheme::Ecdsa(Sha384),
            "1.2.840.10045.4.3.4" => Scheme::Ecdsa(Sha512),
            "1.2.840.10040.4.3" | "2.16.840.1.101.3.4.3.2" => Scheme::Dsa,
            "1.3.101.112" => Scheme::Ed25519,
            _ => return None,
        })
    }

    /// The family of keys that it is for.
    fn family(self) -> &'static str {
        match self {
            Scheme::Rsa(_) | Scheme::Pss(_) | Scheme::Md5 => "RSA",
            Scheme::Ecdsa(_) => "ECDSA",
            Scheme::Ed25519 => "Ed25519",
            Scheme::Dsa => "DSA",
        }
    }
}

fn pss_hash(algorithm: &AlgorithmIdentifier) -> Option<Hash> {
    let SignatureAlgorithm::RSASSA_PSS(parameters) =
        SignatureAlgorithm::try_from(algorithm).ok()?
    else {
        return None;
    };
    match parameters.hash_algorithm_oid().to_id_string().as_str() {
        "2.16.840.1.101.3.4.2.1" => Some(Hash::Sha256),
        "2.16.840.1.101.3.4.2.2" => Some(Hash::Sha384),
        "2.16.840.1.101.3.4.2.3" => Some(Hash::Sha512),
        _ => None,
    }
}

/// Checks a signature over `signed` with the key in `info`.
///
/// # Errors
/// In the original's words.
pub fn check(
    algorithm: &AlgorithmIdentifier,
    signed: &[u8],
    signature: &[u8],
    info: &SubjectPublicKeyInfo,
) -> Result<(), String> {
    let scheme = Scheme::of(algorithm).ok_or(UNSUPPORTED)?;
    if scheme == Scheme::Md5 {
        return Err("x509: cannot verify signature: insecure algorithm MD5-RSA".to_owned());
    }
    let (family, kind) = match info.parsed() {
        Ok(PublicKey::RSA(_)) => ("RSA", "*rsa.PublicKey"),
        Ok(PublicKey::EC(_)) => ("ECDSA", "*ecdsa.PublicKey"),
        _ if info.algorithm.algorithm.to_id_string() == "1.3.101.112" => {
            ("Ed25519", "ed25519.PublicKey")
        }
        _ => return Err(UNSUPPORTED.to_owned()),
    };
    if family != scheme.family() {
        let wanted = scheme.family();
        return Err(format!(
            "x509: signature algorithm specifies an {wanted} public key, but have public key of type {kind}"
        ));
    }
    let key = &info.subject_public_key.data;
    let bits = info.parsed().map_or(0, |k| k.key_size());
    if family == "RSA" && bits < 1024 {
        return Err(format!(
            "crypto/rsa: {bits}-bit keys are insecure (see https://go.dev/pkg/crypto/rsa#hdr-Minimum_key_size)"
        ));
    }
    let with = |means: &'static dyn lc::VerificationAlgorithm| {
        lc::UnparsedPublicKey::new(means, key)
            .verify(signed, signature)
            .is_ok()
    };
    if means(scheme).iter().any(|m| with(*m)) {
        return Ok(());
    }
    Err(match family {
        "RSA" => "crypto/rsa: verification error".to_owned(),
        _ => format!("x509: {family} verification failure"),
    })
}

/// What can verify such a signature; on a curve, the one that the key is on does.
fn means(scheme: Scheme) -> Vec<&'static dyn lc::VerificationAlgorithm> {
    use Hash::{Sha1, Sha256, Sha384, Sha512};
    match scheme {
        Scheme::Rsa(Sha1) => vec![&lc::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY],
        Scheme::Rsa(Sha256) => vec![&lc::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY],
        Scheme::Rsa(Sha384) => vec![&lc::RSA_PKCS1_2048_8192_SHA384],
        Scheme::Rsa(Sha512) => vec![&lc::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY],
        Scheme::Pss(Sha256) => vec![&lc::RSA_PSS_2048_8192_SHA256],
        Scheme::Pss(Sha384) => vec![&lc::RSA_PSS_2048_8192_SHA384],
        Scheme::Pss(Sha512) => vec![&lc::RSA_PSS_2048_8192_SHA512],
        Scheme::Ecdsa(Sha1) => vec![&lc::ECDSA_P256_SHA1_ASN1, &lc::ECDSA_P521_SHA1_ASN1],
        Scheme::Ecdsa(Sha256) => vec![
            &lc::ECDSA_P256_SHA256_ASN1,
            &lc::ECDSA_P384_SHA256_ASN1,
            &lc::ECDSA_P521_SHA256_ASN1,
        ],
        Scheme::Ecdsa(Sha384) => vec![
            &lc::ECDSA_P256_SHA384_ASN1,
            &lc::ECDSA_P384_SHA384_ASN1,
            &lc::ECDSA_P521_SHA384_ASN1,
        ],
        Scheme::Ecdsa(Sha512) => vec![
            &lc::ECDSA_P256_SHA512_ASN1,
            &lc::ECDSA_P384_SHA512_ASN1,
            &lc::ECDSA_P521_SHA512_ASN1,
        ],
        Scheme::Ed25519 => vec![&lc::ED25519],
        Scheme::Pss(Sha1) | Scheme::Dsa | Scheme::Md5 => Vec::new(),
    }
}
