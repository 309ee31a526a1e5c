//! The bytes of store files.
//!
//! A file is a header and frames. A log's frame is one batch of writes; a snapshot's frames are live objects, the last one
//! is empty and says how many there were. Numbers are little-endian.
//!
//! ```text
//! header   "KNARRDB1" · kind u32 · salt u32 · base revision u64 · 0 u32 · crc u32
//! frame    "KNFR" · length u32 · crc of payload u32 · crc of the 12 bytes before u32 · payload
//! payload  revision after it u64 · number of records u32 · records
//! record   op u8 · revision u64 · created u64 · hole u32 · length of key u32 · length of json u32 · key · json
//! ```
//!
//! Checksums start from the file's random salt, so that nothing a client stores can look like a frame.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Event, EventKind, Stored, engine::Record};

pub(super) const HEADER: usize = 32;
pub(super) const FRAME: usize = 16;
pub(super) const MAGIC: &[u8; 4] = b"KNFR";
const FILE_MAGIC: &[u8; 8] = b"KNARRDB1";
const PUT: u8 = 1;
const DELETE: u8 = 2;
const RECORD: usize = 29;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Log = 1,
    Snapshot = 2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub kind: Kind,
    pub salt: u32,
    /// Revision before the log's first frame, or of the snapshot.
    pub base: u64,
}

fn crc(salt: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)?
        .try_into()
        .ok()
        .map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..at + 8)?
        .try_into()
        .ok()
        .map(u64::from_le_bytes)
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(FILE_MAGIC);
        out[8..12].copy_from_slice(&(self.kind as u32).to_le_bytes());
        out[12..16].copy_from_slice(&self.salt.to_le_bytes());
        out[16..24].copy_from_slice(&self.base.to_le_bytes());
        let sum = crc(0, &out[..28]);
        out[28..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// `Err` says what is wrong.
    pub(super) fn decode(bytes: &[u8]) -> Result<Header, &'static str> {
        let short = "the file header is cut short";
        if bytes.len() < HEADER {
            return Err(short);
        }
        if &bytes[..8] != FILE_MAGIC {
            return Err(if bytes.starts_with(&FILE_MAGIC[..7]) {
                "it was written by another version of Knarr"
            } else {
                "it does not begin like a store file"
            });
        }
        if u32_at(bytes, 28) != Some(crc(0, &bytes[..28])) {
            return Err("the file header's checksum does not match");
        }
        let kind = match u32_at(bytes, 8) {
            Some(1) => Kind::Log,
            Some(2) => Kind::Snapshot,
            _ => return Err("it is of an unknown kind"),
        };
        Ok(Header {
            kind,
            salt: u32_at(bytes, 12).ok_or(short)?,
            base: u64_at(bytes, 16).ok_or(short)?,
        })
    }
}

/// A frame being built.
pub(super) struct Builder {
    out: Vec<u8>,
    count: u32,
}

impl Builder {
    /// Builds into `buffer`, whose memory is used again.
    pub(super) fn new(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(FRAME + 12, 0);
        Builder {
            out: buffer,
            count: 0,
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        match event.kind {
            EventKind::Deleted => self.record(DELETE, &event.object, &[]),
            _ => self.put(&event.object),
        }
    }

    pub(super) fn put(&mut self, object: &Stored) {
        self.record(PUT, object, &object.json);
    }

    fn record(&mut self, op: u8, object: &Stored, json: &[u8]) {
        self.out.push(op);
        self.out.extend_from_slice(&object.revision.to_le_bytes());
        self.out.extend_from_slice(&object.created.to_le_bytes());
        for length in [object.hole, object.key.len(), json.len()] {
            self.out.extend_from_slice(&(length as u32).to_le_bytes());
        }
        self.out.extend_from_slice(object.key.as_bytes());
        self.out.extend_from_slice(json);
        self.count += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// For a snapshot's last frame: how many records all frames before it hold.
    pub(super) fn total(&mut self, count: u32) {
        self.count = count;
    }

    /// The finished frame.
    pub(super) fn finish(mut self, salt: u32, revision: u64) -> Vec<u8> {
        let length = (self.out.len() - FRAME) as u32;
        self.out[FRAME..FRAME + 8].copy_from_slice(&revision.to_le_bytes());
        self.out[FRAME + 8..FRAME + 12].copy_from_slice(&self.count.to_le_bytes());
        let sum = crc(salt, &self.out[FRAME..]);
        self.out[..4].copy_from_slice(MAGIC);
        self.out[4..8].copy_from_slice(&length.to_le_bytes());
        self.out[8..12].copy_from_slice(&sum.to_le_bytes());
        let head = crc(salt, &self.out[..12]);
        self.out[12..16].copy_from_slice(&head.to_le_bytes());
        self.out
    }
}

/// Length and checksum of the payload behind a frame's head; `None` when these 16 bytes are none.
pub(super) fn frame_head(salt: u32, bytes: &[u8]) -> Option<(usize, u32)> {
    let intact = bytes.starts_with(MAGIC) && u32_at(bytes, 12)? == crc(salt, bytes.get(..12)?);
    if intact {
        Some((u32_at(bytes, 4)? as usize, u32_at(bytes, 8)?))
    } else {
        None
    }
}

pub(super) fn payload_is_intact(salt: u32, payload: &[u8], sum: u32) -> bool {
    crc(salt, payload) == sum
}

/// Offset of the first intact frame in `bytes`.
pub(super) fn find_frame(salt: u32, bytes: &[u8]) -> Option<usize> {
    let candidates = bytes
        .windows(4)
        .enumerate()
        .filter(|(_, window)| window == MAGIC)
        .map(|(at, _)| at);
    candidates.into_iter().find(|&at| {
        frame_head(salt, &bytes[at..]).is_some_and(|(length, sum)| {
            bytes
                .get(at + FRAME..at + FRAME + length)
                .is_some_and(|payload| payload_is_intact(salt, payload, sum))
        })
    })
}

/// One change as read back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Put(Record),
    Delete { key: Arc<str>, revision: u64 },
}

/// A payload as read back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub revision: u64,
    /// Of records; in a snapshot's last frame, of all of them.
    pub count: u32,
    pub changes: Vec<Change>,
}

/// `None` when the payload (whose checksum was right) is not what this version writes.
pub(super) fn decode(payload: &[u8]) -> Option<Frame> {
    let (revision, count) = (u64_at(payload, 0)?, u32_at(payload, 8)?);
    let mut rest = payload.get(12..)?;
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let (change, used) = decode_record(rest)?;
        changes.push(change);
        rest = &rest[used..];
    }
    Some(Frame {
        revision,
        count,
        changes,
    })
}

fn decode_record(bytes: &[u8]) -> Option<(Change, usize)> {
    let (revision, created) = (u64_at(bytes, 1)?, u64_at(bytes, 9)?);
    let hole = u32_at(bytes, 17)? as usize;
    let key_end = RECORD + u32_at(bytes, 21)? as usize;
    let end = key_end + u32_at(bytes, 25)? as usize;
    let key: Arc<str> = std::str::from_utf8(bytes.get(RECORD..key_end)?)
        .ok()?
        .into();
    let json = Bytes::copy_from_slice(bytes.get(key_end..end)?);
    let change = match bytes[0] {
        PUT => Change::Put(Record {
            key,
            revision,
            created,
            hole,
            json,
        }),
        DELETE => Change::Delete { key, revision },
        _ => return None,
    };
    Some((change, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_api::Head;

    fn object(key: &str, json: &str) -> Stored {
        Stored {
            key: key.into(),
            revision: 7,
            created: 3,
            json: json.to_owned().into(),
            hole: 5,
            head: Head::default(),
        }
    }

    #[test]
    fn frames_come_back_as_they_were() {
        let mut builder = Builder::new(vec![1; 100]);
        builder.put(&object("/a", "{}"));
        let frame = builder.finish(99, 7);
        let (length, sum) = frame_head(99, &frame).unwrap();
        assert_eq!(length, frame.len() - FRAME);
        assert!(payload_is_intact(99, &frame[FRAME..], sum));
        let want = Record {
            key: "/a".into(),
            revision: 7,
            created: 3,
            hole: 5,
            json: Bytes::from_static(b"{}"),
        };
        assert_eq!(
            decode(&frame[FRAME..]),
            Some(Frame {
                revision: 7,
                count: 1,
                changes: vec![Change::Put(want)]
            })
        );
        assert_eq!(frame_head(98, &frame), None);
    }

    #[test]
    fn frames_are_found_behind_rubbish_and_only_whole() {
        let mut builder = Builder::new(Vec::new());
        builder.put(&object("/a", "KNFR"));
        let frame = builder.finish(1, 7);
        let mut bytes = b"xKNFRxx".to_vec();
        bytes.extend_from_slice(&frame);
        assert_eq!(find_frame(1, &bytes), Some(7));
        assert_eq!(find_frame(1, &bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn headers_tell_what_is_wrong() {
        let header = Header {
            kind: Kind::Log,
            salt: 5,
            base: 1,
        };
        let good = header.encode();
        assert_eq!(Header::decode(&good), Ok(header));
        assert!(Header::decode(&good[..31]).unwrap_err().contains("short"));
        let mut other = good;
        other[7] = b'2';
        assert!(Header::decode(&other).unwrap_err().contains("version"));
        other = good;
        other[20] ^= 1;
        assert!(Header::decode(&other).unwrap_err().contains("checksum"));
    }
}
