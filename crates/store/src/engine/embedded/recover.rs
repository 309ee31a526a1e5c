//! Reading the files of a store at open.
//!
//! The newest snapshot and the logs behind it must be there, whole, and join up revision by revision. Only the end of the
//! newest log may be torn, as a crash in the middle of a write leaves it: it is cut off. It is an end when no intact
//! frame comes behind it; otherwise something that was acknowledged is damaged, and nothing is touched.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    format::{self, FRAME, Frame, HEADER, Header, Kind, Op},
    past::Past,
};
use crate::{OpenError, engine::Record};

/// What is live, by key.
pub(super) type Live = HashMap<Arc<str>, Record>;

/// What a store directory holds.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    pub live: Live,
    /// Recent changes that led there.
    pub past: Past,
    pub revision: u64,
    /// The newest log, where it goes on, and whether its end was torn.
    pub log: Option<Tail>,
    /// Length of the snapshot.
    pub snapshot_bytes: u64,
    /// Files that a newer snapshot replaces, and temporary ones.
    pub obsolete: Vec<PathBuf>,
}

#[derive(Debug)]
pub(super) struct Tail {
    pub path: PathBuf,
    pub salt: u32,
    pub end: u64,
    pub torn: bool,
}

pub(super) fn log_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("log-{base:020}.knarr"))
}

pub(super) fn snapshot_path(dir: &Path, revision: u64) -> PathBuf {
    dir.join(format!("snapshot-{revision:020}.knarr"))
}

/// Names found in the directory, in revision order.
#[derive(Default)]
struct Found {
    logs: Vec<u64>,
    snapshots: Vec<u64>,
    temporary: Vec<PathBuf>,
}

fn look(dir: &Path) -> Result<Found, OpenError> {
    let mut found = Found::default();
    for entry in std::fs::read_dir(dir).map_err(OpenError::io("read", dir))? {
        let path = entry.map_err(OpenError::io("read", dir))?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
            continue;
        };
        let number = |prefix: &str| {
            name.strip_prefix(prefix)?
                .strip_suffix(".knarr")?
                .parse::<u64>()
                .ok()
        };
        if let Some(base) = number("log-") {
            found.logs.push(base);
        } else if let Some(revision) = number("snapshot-") {
            found.snapshots.push(revision);
        } else if name.ends_with(".tmp")
            && (name.starts_with("log-") || name.starts_with("snapshot-"))
        {
            found.temporary.push(path);
        }
    }
    found.logs.sort_unstable();
    found.snapshots.sort_unstable();
    Ok(found)
}

/// Logs and snapshots that the snapshot at `revision` replaces.
pub(super) fn older_than(dir: &Path, revision: u64) -> std::io::Result<Vec<PathBuf>> {
    let found = look(dir).map_err(std::io::Error::other)?;
    let logs = found
        .logs
        .into_iter()
        .filter(|&base| base < revision)
        .map(|base| log_path(dir, base));
    let snapshots = found
        .snapshots
        .into_iter()
        .filter(|&at| at < revision)
        .map(|at| snapshot_path(dir, at));
    Ok(snapshots.chain(logs).collect())
}

/// Reads everything and changes nothing. `first` is the revision of an empty store.
pub(super) fn recover(dir: &Path, first: u64) -> Result<Recovered, OpenError> {
    let found = look(dir)?;
    let mut state = Recovered {
        revision: first,
        past: Past::new(first),
        obsolete: found.temporary,
        ..Recovered::default()
    };
    if let Some((&newest, older)) = found.snapshots.split_last() {
        let path = snapshot_path(dir, newest);
        // A snapshot without a past (as older versions wrote them) begins it.
        state.past = Past::new(newest);
        state.snapshot_bytes = load_snapshot(&path, newest, &mut state.live, &mut state.past)?;
        state.revision = newest;
        state
            .obsolete
            .extend(older.iter().map(|&revision| snapshot_path(dir, revision)));
    } else if found.logs.is_empty() {
        return Ok(state);
    }
    let behind = found.logs.partition_point(|&base| base < state.revision);
    state
        .obsolete
        .extend(found.logs[..behind].iter().map(|&base| log_path(dir, base)));
    let logs = &found.logs[behind..];
    if logs.is_empty() {
        return Err(OpenError::damaged(
            &log_path(dir, state.revision),
            0,
            "the file is missing",
        ));
    }
    for (i, &base) in logs.iter().enumerate() {
        if base != state.revision {
            return Err(OpenError::damaged(
                &log_path(dir, state.revision),
                0,
                "the file is missing, or cut short",
            ));
        }
        replay_log(&log_path(dir, base), base, i + 1 == logs.len(), &mut state)?;
    }
    Ok(state)
}

fn load_snapshot(
    path: &Path,
    revision: u64,
    live: &mut Live,
    past: &mut Past,
) -> Result<u64, OpenError> {
    let mut reader = Reader::open(path, Kind::Snapshot, revision)?;
    loop {
        let at = reader.offset;
        match reader.next()? {
            Step::Frame(frame) if frame.records.is_empty() => {
                past.snapshot_ends();
                return if frame.count as usize == live.len() {
                    Ok(reader.length)
                } else {
                    Err(OpenError::damaged(path, at, "objects are missing from it"))
                };
            }
            Step::Frame(frame) => {
                for (op, record) in frame.records {
                    match op {
                        Op::Put => {
                            live.insert(record.key.clone(), record);
                        }
                        _ => past.recall(op, record, live),
                    }
                }
            }
            Step::End(why) => return Err(OpenError::damaged(path, at, why)),
        }
    }
}

fn replay_log(
    path: &Path,
    base: u64,
    newest: bool,
    state: &mut Recovered,
) -> Result<(), OpenError> {
    let mut reader = Reader::open(path, Kind::Log, base)?;
    loop {
        let at = reader.offset;
        let why = match reader.next()? {
            Step::Frame(frame) if frame.revision <= state.revision => {
                return Err(OpenError::damaged(path, at, "revisions do not rise"));
            }
            Step::Frame(frame) => {
                state.revision = frame.revision;
                for (op, record) in frame.records {
                    replay(op, record, state);
                }
                continue;
            }
            Step::End(why) => why,
        };
        let rest = reader.rest(at)?;
        let torn = rest.iter().any(|&byte| byte != 0);
        if torn && (!newest || format::find_frame(reader.salt, &rest).is_some()) {
            return Err(OpenError::damaged(path, at, why));
        }
        if newest {
            state.log = Some(Tail {
                path: path.to_owned(),
                salt: reader.salt,
                end: at,
                torn,
            });
        }
        return Ok(());
    }
}

/// One change of a log.
fn replay(op: Op, record: Record, state: &mut Recovered) {
    let deleted = op == Op::Delete;
    let previous = if deleted {
        state.live.remove(&record.key)
    } else {
        state.live.insert(record.key.clone(), record.clone())
    };
    state.past.push(deleted, record, previous);
}

enum Step {
    Frame(Frame),
    /// No intact frame follows here; why not.
    End(&'static str),
}

/// Reads a file frame by frame.
struct Reader {
    file: BufReader<File>,
    path: PathBuf,
    salt: u32,
    offset: u64,
    length: u64,
}

impl Reader {
    fn open(path: &Path, kind: Kind, base: u64) -> Result<Reader, OpenError> {
        let failed = |e| OpenError::io("read", path)(e);
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut bytes = Vec::with_capacity(HEADER);
        file.by_ref()
            .take(HEADER as u64)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        let header = Header::decode(&bytes).map_err(|why| OpenError::damaged(path, 0, why))?;
        if header.kind != kind || header.base != base {
            return Err(OpenError::damaged(
                path,
                0,
                "its name does not fit what is in it",
            ));
        }
        Ok(Reader {
            file,
            path: path.to_owned(),
            salt: header.salt,
            offset: HEADER as u64,
            length,
        })
    }

    fn next(&mut self) -> Result<Step, OpenError> {
        let left = self.length - self.offset;
        if left < FRAME as u64 {
            return Ok(Step::End("it is cut short"));
        }
        let mut head = [0; FRAME];
        self.read(&mut head)?;
        let Some((length, sum)) = format::frame_head(self.salt, &head) else {
            return Ok(Step::End("no intact frame is there"));
        };
        if (length as u64) > left - FRAME as u64 {
            return Ok(Step::End("a frame is cut short"));
        }
        let mut payload = vec![0; length];
        self.read(&mut payload)?;
        if !format::payload_is_intact(self.salt, &payload, sum) {
            return Ok(Step::End("the checksum does not match"));
        }
        let Some(frame) = format::decode(&payload) else {
            return Err(OpenError::damaged(
                &self.path,
                self.offset,
                "it was written by another version of Knarr",
            ));
        };
        self.offset += (FRAME + length) as u64;
        Ok(Step::Frame(frame))
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(), OpenError> {
        self.file
            .read_exact(into)
            .map_err(OpenError::io("read", &self.path))
    }

    /// Everything from `offset` on.
    fn rest(&mut self, offset: u64) -> Result<Vec<u8>, OpenError> {
        let mut rest = Vec::new();
        let read = self
            .file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| self.file.read_to_end(&mut rest));
        read.map_err(OpenError::io("read", &self.path))?;
        Ok(rest)
    }
}
