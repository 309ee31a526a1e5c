//! Public keys of service account tokens.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation, jwk};
use knarr_json::Value;

use super::token::Checked;

/// A public key that signatures are checked with.
pub struct Key {
    pub id: String,
    pub algorithm: Algorithm,
    decoding: DecodingKey,
    pub jwk: Value,
}

impl Key {
    pub fn new(mut jwk: jwk::Jwk, algorithm: Algorithm) -> Result<Self, String> {
        let id = jwk
            .thumbprint(jwk::ThumbprintHash::SHA256)
            .map_err(|e| e.to_string())?;
        jwk.common.key_id = Some(id.clone());
        jwk.common.public_key_use = Some(jwk::PublicKeyUse::Signature);
        let decoding = DecodingKey::from_jwk(&jwk).map_err(|e| e.to_string())?;
        let jwk = knarr_json::to_value(&jwk).map_err(|e| e.to_string())?;
        Ok(Key {
            id,
            algorithm,
            decoding,
            jwk,
        })
    }

    /// A private or public key.
    pub fn from_pem(pem: &str) -> Result<Self, String> {
        let bytes = pem.as_bytes();
        let of_private = |key: EncodingKey, algorithm| {
            let jwk = jwk::Jwk::from_encoding_key(&key, algorithm).map_err(|e| e.to_string())?;
            Key::new(jwk, algorithm)
        };
        let of_public = |key: DecodingKey, algorithm| {
            let jwk =
                jwk::Jwk::from_decoding_key(&key, Some(algorithm)).map_err(|e| e.to_string())?;
            Key::new(jwk, algorithm)
        };
        if let Ok(key) = EncodingKey::from_rsa_pem(bytes) {
            return of_private(key, Algorithm::RS256);
        }
        if let Ok(key) = EncodingKey::from_ec_pem(bytes) {
            return of_private(key, Algorithm::ES256);
        }
        if let Ok(key) = DecodingKey::from_rsa_pem(bytes) {
            return of_public(key, Algorithm::RS256);
        }
        let key = DecodingKey::from_ec_pem(bytes)
            .map_err(|e| format!("neither an RSA nor a P-256 key: {e}"))?;
        of_public(key, Algorithm::ES256)
    }

    /// The claims, when the signature is of this key. Times are checked at each use.
    pub fn verify(&self, token: &str, legacy: bool) -> Option<Checked> {
        let mut validation = Validation::new(self.algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        if legacy {
            let claims = jsonwebtoken::decode(token, &self.decoding, &validation).ok()?;
            return Some(Checked::Legacy(Box::new(claims.claims)));
        }
        let claims = jsonwebtoken::decode(token, &self.decoding, &validation).ok()?;
        Some(Checked::Bound(Box::new(claims.claims)))
    }
}
