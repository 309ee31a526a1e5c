//! AES in the two forms that the original stores: CBC with padding, and GCM.

use aws_lc_rs::{
    aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    cipher::{
        AES_128, AES_192, AES_256, DecryptionContext, PaddedBlockDecryptingKey,
        PaddedBlockEncryptingKey, UnboundCipherKey,
    },
    hkdf::{HKDF_SHA256, KeyType, Prk},
    iv::FixedLength,
};

use crate::random;

const IV: usize = 16;
const NONCE: usize = 12;
const TAG: usize = 16;
/// Bytes from which a key of one object is derived.
const INFO: usize = 32;

const SHORT: &str = "the stored data was shorter than the required size";
const BROKEN: &str = "the stored data cannot be decrypted with this key";

/// `aescbc`: the initialization vector, then the padded text.
pub struct Cbc {
    encrypt: PaddedBlockEncryptingKey,
    decrypt: PaddedBlockDecryptingKey,
}

impl Cbc {
    /// # Errors
    /// When the key is not of 16, 24 or 32 bytes.
    pub fn new(key: &[u8]) -> Result<Self, String> {
        let algorithm = match key.len() {
            16 => &AES_128,
            24 => &AES_192,
            32 => &AES_256,
            len => return Err(wrong_length(len)),
        };
        let unbound = || UnboundCipherKey::new(algorithm, key).map_err(|e| e.to_string());
        Ok(Cbc {
            encrypt: PaddedBlockEncryptingKey::cbc_pkcs7(unbound()?).map_err(|e| e.to_string())?,
            decrypt: PaddedBlockDecryptingKey::cbc_pkcs7(unbound()?).map_err(|e| e.to_string())?,
        })
    }

    pub fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, String> {
        let iv: [u8; IV] = random::bytes()?;
        let mut text = plain.to_vec();
        self.encrypt
            .less_safe_encrypt(
                &mut text,
                aws_lc_rs::cipher::EncryptionContext::Iv128(FixedLength::from(&iv)),
            )
            .map_err(|e| e.to_string())?;
        Ok([iv.as_slice(), &text].concat())
    }

    pub fn open(&self, kept: &[u8]) -> Result<Vec<u8>, String> {
        let (iv, text) = kept.split_first_chunk::<IV>().ok_or(SHORT)?;
        if text.is_empty() || text.len() % IV != 0 {
            return Err("the stored data is not a multiple of the block size".into());
        }
        let mut text = text.to_vec();
        let context = DecryptionContext::Iv128(FixedLength::from(iv));
        let plain = self
            .decrypt
            .decrypt(&mut text, context)
            .map_err(|_| BROKEN)?;
        let len = plain.len();
        text.truncate(len);
        Ok(text)
    }
}

fn wrong_length(len: usize) -> String {
    format!("a key is of 16, 24 or 32 bytes, this one of {len}")
}

/// `aesgcm`: the nonce, then the text with its tag. The key's path is authenticated with it.
pub struct Gcm(LessSafeKey);

impl Gcm {
    /// # Errors
    /// When the key is not of 16, 24 or 32 bytes.
    pub fn new(key: &[u8]) -> Result<Self, String> {
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            24 => &AES_192_GCM,
            32 => &AES_256_GCM,
            len => return Err(wrong_length(len)),
        };
        let unbound = UnboundKey::new(algorithm, key).map_err(|e| e.to_string())?;
        Ok(Gcm(LessSafeKey::new(unbound)))
    }

    pub fn seal(&self, path: &str, plain: &[u8]) -> Result<Vec<u8>, String> {
        let mut text = plain.to_vec();
        let nonce: [u8; NONCE] = random::bytes()?;
        let used = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_append_tag(used, Aad::from(path.as_bytes()), &mut text)
            .map_err(|e| e.to_string())?;
        Ok([nonce.as_slice(), &text].concat())
    }

    pub fn open(&self, path: &str, kept: &[u8]) -> Result<Vec<u8>, String> {
        let (nonce, text) = kept.split_first_chunk::<NONCE>().ok_or(SHORT)?;
        if text.len() < TAG {
            return Err(SHORT.into());
        }
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(path.as_bytes());
        self.0
            .open_in_place(nonce, aad, &mut text)
            .map_err(|_| BROKEN)?;
        text.truncate(text.len() - TAG);
        Ok(text)
    }
}

/// AES-GCM with a key of its own for each object, derived from a seed (KMS v2).
pub struct Seed(Prk);

struct Size;

impl KeyType for Size {
    fn len(&self) -> usize {
        32
    }
}

impl Seed {
    /// # Errors
    /// When the seed is too short to be one.
    pub fn new(seed: &[u8]) -> Result<Self, String> {
        if seed.len() < 32 {
            return Err(format!(
                "invalid seed length {} used for key generation",
                seed.len()
            ));
        }
        Ok(Seed(Prk::new_less_safe(HKDF_SHA256, seed)))
    }

    fn key(&self, info: &[u8]) -> Result<Gcm, String> {
        let mut key = [0; 32];
        let infos = [info];
        let expanded = self.0.expand(&infos, Size).map_err(|e| e.to_string())?;
        expanded.fill(&mut key).map_err(|e| e.to_string())?;
        Gcm::new(&key)
    }

    pub fn seal(&self, path: &str, plain: &[u8]) -> Result<Vec<u8>, String> {
        let info: [u8; INFO] = random::bytes()?;
        let sealed = self.key(&info)?.seal(path, plain)?;
        Ok([info.as_slice(), &sealed].concat())
    }

    pub fn open(&self, path: &str, kept: &[u8]) -> Result<Vec<u8>, String> {
        let (info, sealed) = kept.split_first_chunk::<INFO>().ok_or(SHORT)?;
        self.key(info)?.open(path, sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_key_and_path_only() {
        for len in [16, 24, 32] {
            let (key, other) = (vec![1; len], vec![2; len]);
            for plain in [&b""[..], b"x", b"0123456789abcdef", &[7; 1000]] {
                let sealed = Cbc::new(&key).unwrap().seal(plain).unwrap();
                assert_eq!(Cbc::new(&key).unwrap().open(&sealed).unwrap(), plain);
                let sealed = Gcm::new(&key).unwrap().seal("/p", plain).unwrap();
                assert_eq!(Gcm::new(&key).unwrap().open("/p", &sealed).unwrap(), plain);
                assert!(Gcm::new(&key).unwrap().open("/q", &sealed).is_err());
                assert!(Gcm::new(&other).unwrap().open("/p", &sealed).is_err());
            }
        }
        assert!(Cbc::new(&[0; 15]).is_err() && Gcm::new(&[0; 33]).is_err());
        let seed = Seed::new(&[9; 32]).unwrap();
        let sealed = seed.seal("/p", b"text").unwrap();
        assert_eq!(seed.open("/p", &sealed).unwrap(), b"text");
        assert!(Seed::new(&[8; 32]).unwrap().open("/p", &sealed).is_err());
    }

    #[test]
    fn rubbish_is_refused() {
        let (cbc, gcm, seed) = (
            Cbc::new(&[1; 32]).unwrap(),
            Gcm::new(&[1; 32]).unwrap(),
            Seed::new(&[1; 32]).unwrap(),
        );
        for len in [0, 11, 12, 16, 20, 31, 32, 33, 64, 100] {
            let bytes = vec![5; len];
            let _ = cbc.open(&bytes);
            assert!(gcm.open("/p", &bytes).is_err() && seed.open("/p", &bytes).is_err());
        }
    }

    #[test]
    fn a_known_text_opens() {
        // RFC 3602, case 1, with the padding that openssl adds to a whole block.
        let key = [
            0x06, 0xa9, 0x21, 0x40, 0x36, 0xb8, 0xa1, 0x5b, 0x51, 0x2e, 0x03, 0xd5, 0x34, 0x12,
            0x00, 0x06,
        ];
        let iv = [
            0x3d, 0xaf, 0xba, 0x42, 0x9d, 0x9e, 0xb4, 0x30, 0xb4, 0x22, 0xda, 0x80, 0x2c, 0x9f,
            0xac, 0x41,
        ];
        let first = [
            0xe3, 0x53, 0x77, 0x9c, 0x10, 0x79, 0xae, 0xb8, 0x27, 0x08, 0x94, 0x2d, 0xbe, 0x77,
            0x18, 0x1a,
        ];
        let mut text = b"Single block msg".to_vec();
        let cbc = Cbc::new(&key).unwrap();
        let context = aws_lc_rs::cipher::EncryptionContext::Iv128(FixedLength::from(&iv));
        cbc.encrypt.less_safe_encrypt(&mut text, context).unwrap();
        assert_eq!(text[..16], first);
    }
}
