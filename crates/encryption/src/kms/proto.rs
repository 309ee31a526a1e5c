//! The messages of KMS v2, and the form in which objects are stored, as protobuf.

use std::collections::BTreeMap;

use super::Question;

/// How an object's seed is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeedKind {
    /// As the key itself.
    Key,
    /// To derive a key for each object from.
    Seed,
}

/// `EncryptedObject`: what is stored behind the prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub data: Vec<u8>,
    pub key_id: String,
    /// Sealed by the service.
    pub seed: Vec<u8>,
    pub annotations: BTreeMap<String, Vec<u8>>,
    pub kind: SeedKind,
}

/// What the service says: bytes (sealed or opened), its key, and what it wants to see again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub bytes: Vec<u8>,
    pub key_id: String,
    pub annotations: BTreeMap<String, Vec<u8>>,
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    varint(out, number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn annotations(out: &mut Vec<u8>, number: u64, map: &BTreeMap<String, Vec<u8>>) {
    for (key, value) in map {
        let mut entry = Vec::new();
        field(&mut entry, 1, key.as_bytes());
        field(&mut entry, 2, value);
        field(out, number, &entry);
    }
}

/// A field as read back.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Fields in order; none when it is no protobuf of known wire types.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let tag = read_varint(&mut bytes)?;
        let value = match tag & 7 {
            0 => Value::Number(read_varint(&mut bytes)?),
            2 => {
                let len = usize::try_from(read_varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(len)?;
                bytes = rest;
                Value::Bytes(value)
            }
            _ => return None,
        };
        out.push((tag >> 3, value));
    }
    Some(out)
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn entry(bytes: &[u8]) -> Option<(String, Vec<u8>)> {
    let (mut key, mut value) = (String::new(), Vec::new());
    for (number, field) in fields(bytes)? {
        match (number, field) {
            (1, Value::Bytes(bytes)) => key = String::from_utf8(bytes.to_vec()).ok()?,
            (2, Value::Bytes(bytes)) => value = bytes.to_vec(),
            _ => {}
        }
    }
    Some((key, value))
}

impl Sealed {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.data.len() + self.seed.len() + 64);
        field(&mut out, 1, &self.data);
        field(&mut out, 2, self.key_id.as_bytes());
        field(&mut out, 3, &self.seed);
        annotations(&mut out, 4, &self.annotations);
        if self.kind == SeedKind::Seed {
            out.extend_from_slice(&[5 << 3, 1]);
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut out = Sealed {
            data: Vec::new(),
            key_id: String::new(),
            seed: Vec::new(),
            annotations: BTreeMap::new(),
            kind: SeedKind::Key,
        };
        for (number, value) in fields(bytes)? {
            match (number, value) {
                (1, Value::Bytes(bytes)) => out.data = bytes.to_vec(),
                (2, Value::Bytes(bytes)) => out.key_id = String::from_utf8(bytes.to_vec()).ok()?,
                (3, Value::Bytes(bytes)) => out.seed = bytes.to_vec(),
                (4, Value::Bytes(bytes)) => out.annotations.extend(entry(bytes)),
                (5, Value::Number(0)) => out.kind = SeedKind::Key,
                (5, Value::Number(1)) => out.kind = SeedKind::Seed,
                (5, _) => return None,
                _ => {}
            }
        }
        Some(out)
    }
}

pub fn encrypt_request(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    field(&mut out, 1, plain);
    field(&mut out, 2, b"knarr");
    out
}

pub fn decrypt_request(sealed: &Sealed) -> Vec<u8> {
    let mut out = Vec::new();
    field(&mut out, 1, &sealed.seed);
    field(&mut out, 2, b"knarr");
    field(&mut out, 3, sealed.key_id.as_bytes());
    annotations(&mut out, 4, &sealed.annotations);
    out
}

/// # Errors
/// For an answer that is none, or a service that is not well.
pub fn answer(question: &Question, bytes: &[u8]) -> Result<Answer, String> {
    let fields = fields(bytes).ok_or("an answer that is no protobuf")?;
    let mut out = Answer::default();
    let mut health = String::new();
    for (number, value) in fields {
        let Value::Bytes(value) = value else { continue };
        let text = || String::from_utf8_lossy(value).into_owned();
        match (question, number) {
            (Question::Status, 2) => health = text(),
            (Question::Status, 3) | (Question::Encrypt { .. }, 2) => out.key_id = text(),
            (Question::Encrypt { .. } | Question::Decrypt { .. }, 1) => out.bytes = value.to_vec(),
            (Question::Encrypt { .. }, 3) => out.annotations.extend(entry(value)),
            _ => {}
        }
    }
    if matches!(question, Question::Status) && health != "ok" {
        return Err(format!("got unexpected healthz status: {health}"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were() {
        let sealed = Sealed {
            data: vec![1; 300],
            key_id: "k1".into(),
            seed: vec![2; 40],
            annotations: [("a.b/c".to_owned(), b"v".to_vec())].into(),
            kind: SeedKind::Seed,
        };
        assert_eq!(Sealed::decode(&sealed.encode()), Some(sealed.clone()));
        let key = Sealed {
            kind: SeedKind::Key,
            ..sealed
        };
        assert_eq!(Sealed::decode(&key.encode()), Some(key));
        for rubbish in [&b"\xff"[..], b"\x0a\xff", b"\x09", &[0x80; 20]] {
            assert_eq!(Sealed::decode(rubbish), None);
        }
    }
}
