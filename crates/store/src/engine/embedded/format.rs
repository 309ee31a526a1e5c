//! The bytes of store files.
//!
//! A file is a header and frames. A log's frame is one batch of writes. A snapshot's frames are the live objects, then the
//! recent changes that led to them (see [`Op`]); the last one is empty and says how many live objects there are. Numbers
//! are little-endian.
//!
//! ```text
//! header   "KNARRDB1" · kind u32 · salt u32 · base revision u64 · 0 u32 · crc u32
//! frame    "KNFR" · length u32 · crc of payload u32 · crc of the 12 bytes before u32 · payload
//! payload  revision after it u64 · number of records u32 · records
//! record   op u8 · revision u64 · created u64 · hole u32 · length of key u32 · length of json u32 · key · json
//! ```
//!
//! `json` is what the [`Transformer`](crate::Transformer) made of the object's bytes, when there is one.
//!
//! Checksums start from the file's random salt, so that nothing a client stores can look like a frame.

use std::{io, sync::Arc};

use bytes::Bytes;

use crate::{Event, EventKind, Stored, Transformer, engine::Record};

pub(super) const HEADER: usize = 32;
pub(super) const FRAME: usize = 16;
pub(super) const MAGIC: &[u8; 4] = b"KNFR";
const FILE_MAGIC: &[u8; 8] = b"KNARRDB1";
const RECORD: usize = 29;

/// What a record says. All but the first two are only found in snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Op {
    /// The key holds this from here on.
    Put = 1,
    /// The key is gone from here on.
    Delete = 2,
    /// No change of the resource whose keys begin with `key` is known up to `revision`; with an empty key, of all that
    /// are not named.
    Floor = 3,
    /// What the key held before the first of the past changes of it.
    Before = 4,
    /// A past change to a state that was changed again.
    PastPut = 5,
    /// A past change to the state that is live.
    PastLive = 6,
    /// A past delete.
    PastDelete = 7,
}

impl Op {
    fn of(byte: u8) -> Option<Op> {
        let all = [
            Op::Put,
            Op::Delete,
            Op::Floor,
            Op::Before,
            Op::PastPut,
            Op::PastLive,
            Op::PastDelete,
        ];
        all.into_iter().find(|op| *op as u8 == byte)
    }
}

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
pub(super) struct Builder<'t> {
    out: Vec<u8>,
    count: u32,
    transformer: Option<&'t dyn Transformer>,
}

impl<'t> Builder<'t> {
    /// Builds into `buffer`, whose memory is used again.
    pub(super) fn new(mut buffer: Vec<u8>, transformer: Option<&'t dyn Transformer>) -> Self {
        buffer.clear();
        buffer.resize(FRAME + 12, 0);
        Builder {
            out: buffer,
            count: 0,
            transformer,
        }
    }

    pub(super) fn event(&mut self, event: &Event) -> io::Result<()> {
        match event.kind {
            EventKind::Deleted => self.object(Op::Delete, &event.object),
            _ => self.object(Op::Put, &event.object),
        }
    }

    /// # Errors
    /// When the transformer refuses.
    pub(super) fn object(&mut self, op: Op, object: &Stored) -> io::Result<()> {
        let sealed;
        let mut json: &[u8] = match op {
            Op::Put | Op::Before | Op::PastPut => &object.json,
            _ => &[],
        };
        if let Some(transformer) = self.transformer.filter(|_| !json.is_empty()) {
            sealed = transformer
                .seal(&object.key, json)
                .map_err(io::Error::other)?;
            json = sealed.as_deref().unwrap_or(json);
        }
        let numbers = (object.revision, object.created, object.hole);
        self.record(op, &object.key, numbers, json);
        Ok(())
    }

    /// For [`Op::Floor`].
    pub(super) fn floor(&mut self, group: &str, revision: u64) {
        self.record(Op::Floor, group, (revision, 0, 0), &[]);
    }

    fn record(&mut self, op: Op, key: &str, numbers: (u64, u64, usize), json: &[u8]) {
        let (revision, created, hole) = numbers;
        self.out.push(op as u8);
        self.out.extend_from_slice(&revision.to_le_bytes());
        self.out.extend_from_slice(&created.to_le_bytes());
        for length in [hole, key.len(), json.len()] {
            self.out.extend_from_slice(&(length as u32).to_le_bytes());
        }
        self.out.extend_from_slice(key.as_bytes());
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

/// A payload as read back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub revision: u64,
    /// Of records; in a snapshot's last frame, of all of them.
    pub count: u32,
    pub records: Vec<(Op, Record)>,
}

/// `None` when the payload (whose checksum was right) is not what this version writes.
pub(super) fn decode(payload: &[u8]) -> Option<Frame> {
    let (revision, count) = (u64_at(payload, 0)?, u32_at(payload, 8)?);
    let mut rest = payload.get(12..)?;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (op, record, used) = decode_record(rest)?;
        records.push((op, record));
        rest = &rest[used..];
    }
    Some(Frame {
        revision,
        count,
        records,
    })
}

fn decode_record(bytes: &[u8]) -> Option<(Op, Record, usize)> {
    let op = Op::of(*bytes.first()?)?;
    let (revision, created) = (u64_at(bytes, 1)?, u64_at(bytes, 9)?);
    let hole = u32_at(bytes, 17)? as usize;
    let key_end = RECORD + u32_at(bytes, 21)? as usize;
    let end = key_end + u32_at(bytes, 25)? as usize;
    let key: Arc<str> = std::str::from_utf8(bytes.get(RECORD..key_end)?)
        .ok()?
        .into();
    let json = Bytes::copy_from_slice(bytes.get(key_end..end)?);
    let record = Record {
        key,
        revision,
        created,
        hole,
        json,
    };
    Some((op, record, end))
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
        let mut builder = Builder::new(vec![1; 100], None);
        builder.object(Op::Put, &object("/a", "{}")).unwrap();
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
                records: vec![(Op::Put, want)]
            })
        );
        assert_eq!(frame_head(98, &frame), None);
    }

    #[test]
    fn frames_are_found_behind_rubbish_and_only_whole() {
        let mut builder = Builder::new(Vec::new(), None);
        builder.object(Op::Put, &object("/a", "KNFR")).unwrap();
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
