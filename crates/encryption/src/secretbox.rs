//! `secretbox`: XSalsa20 and Poly1305; the nonce, then the tag and the text.

use crypto_secretbox::{KeyInit, Nonce, XSalsa20Poly1305, aead::Aead};

use crate::random;

const NONCE: usize = 24;

pub struct Secretbox(XSalsa20Poly1305);

impl Secretbox {
    /// # Errors
    /// When the key is not of 32 bytes.
    pub fn new(key: &[u8]) -> Result<Self, String> {
        XSalsa20Poly1305::new_from_slice(key)
            .map(Secretbox)
            .map_err(|_| format!("a key is of 32 bytes, this one of {}", key.len()))
    }

    pub fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, String> {
        let nonce: [u8; NONCE] = random::bytes()?;
        let sealed = self.0.encrypt(Nonce::from_slice(&nonce), plain);
        let sealed = sealed.map_err(|e| e.to_string())?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    pub fn open(&self, kept: &[u8]) -> Result<Vec<u8>, String> {
        let (nonce, sealed) = kept
            .split_first_chunk::<NONCE>()
            .ok_or("the stored data was shorter than the required size")?;
        self.0
            .decrypt(Nonce::from_slice(nonce), sealed)
            .map_err(|_| "the stored data cannot be decrypted with this key".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_key_only() {
        let sealed = Secretbox::new(&[1; 32]).unwrap().seal(b"text").unwrap();
        assert_eq!(
            Secretbox::new(&[1; 32]).unwrap().open(&sealed).unwrap(),
            b"text"
        );
        assert!(Secretbox::new(&[2; 32]).unwrap().open(&sealed).is_err());
        assert!(Secretbox::new(&[1; 32]).unwrap().open(b"short").is_err());
        assert!(Secretbox::new(&[1; 16]).is_err());
    }
}
