//! A container's log file, in the format that the kubelet reads:
//! `2016-10-06T00:17:09.669794202Z stdout F line`, with `P` for pieces of a line that is too long.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
};

use jiff::Timestamp;

/// Longer lines are written in pieces of this many bytes.
const PIECE: usize = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// Collects what a stream delivers until a line or a piece is complete.
#[derive(Default)]
struct Pending(Vec<u8>);

impl Pending {
    /// Appends the entries that `bytes` completes.
    fn take(&mut self, stream: Stream, now: Timestamp, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let room = PIECE - self.0.len();
            let end = bytes.iter().take(room + 1).position(|b| *b == b'\n');
            let (part, rest, full) = match end {
                Some(end) => (&bytes[..end], &bytes[end + 1..], true),
                None if bytes.len() > room => (&bytes[..room], &bytes[room..], false),
                None => {
                    self.0.extend_from_slice(bytes);
                    return;
                }
            };
            self.0.extend_from_slice(part);
            entry(stream, now, full, &self.0, out);
            self.0.clear();
            bytes = rest;
        }
    }

    /// A last line without an end still counts as a line.
    fn finish(&mut self, stream: Stream, now: Timestamp, out: &mut Vec<u8>) {
        if !self.0.is_empty() {
            entry(stream, now, true, &self.0, out);
            self.0.clear();
        }
    }
}

fn entry(stream: Stream, now: Timestamp, full: bool, line: &[u8], out: &mut Vec<u8>) {
    let name = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    let tag = if full { 'F' } else { 'P' };
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{now:.9} {name} {tag} ");
    out.extend_from_slice(line);
    out.push(b'\n');
}

/// The open file with both streams' unfinished lines.
pub(super) struct Log {
    path: Option<PathBuf>,
    file: Option<File>,
    stdout: Pending,
    stderr: Pending,
}

impl Log {
    pub(super) fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let mut log = Self {
            path,
            file: None,
            stdout: Pending::default(),
            stderr: Pending::default(),
        };
        log.reopen()?;
        Ok(log)
    }

    /// Goes on in a new file of the same name, after the old one was moved away.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        self.file = Some(File::options().create(true).append(true).open(path)?);
        Ok(())
    }

    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let mut out = Vec::with_capacity(bytes.len() + 64);
        let pending = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        pending.take(stream, Timestamp::now(), bytes, &mut out);
        self.put(&out);
    }

    pub(super) fn finish(&mut self, stream: Stream) {
        let mut out = Vec::new();
        let pending = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        pending.finish(stream, Timestamp::now(), &mut out);
        self.put(&out);
    }

    fn put(&mut self, bytes: &[u8]) {
        if let (Some(file), false) = (&mut self.file, bytes.is_empty()) {
            // A full disk loses log lines; stopping the container for it would lose more.
            let _ = file.write_all(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(chunks: &[&[u8]]) -> Vec<(char, usize)> {
        let mut pending = Pending::default();
        let mut out = Vec::new();
        for chunk in chunks {
            pending.take(Stream::Stdout, Timestamp::UNIX_EPOCH, chunk, &mut out);
        }
        pending.finish(Stream::Stdout, Timestamp::UNIX_EPOCH, &mut out);
        let text = String::from_utf8(out).unwrap();
        let prefix = "1970-01-01T00:00:00.000000000Z stdout ";
        text.lines()
            .map(|l| {
                let rest = l.strip_prefix(prefix).expect(l);
                (rest.chars().next().unwrap(), rest.len() - 2)
            })
            .collect()
    }

    #[test]
    fn lines_and_pieces() {
        assert_eq!(written(&[b"one\ntwo\n"]), [('F', 3), ('F', 3)]);
        assert_eq!(written(&[b"on", b"e\n\n"]), [('F', 3), ('F', 0)]);
        assert_eq!(written(&[b"no end"]), [('F', 6)]);
        let exact = [vec![b'x'; PIECE], vec![b'\n']].concat();
        assert_eq!(written(&[&exact]), [('F', PIECE)]);
        let long = [vec![b'x'; 2 * PIECE + 5], vec![b'\n']].concat();
        assert_eq!(written(&[&long]), [('P', PIECE), ('P', PIECE), ('F', 5)]);
        let split: Vec<&[u8]> = long.chunks(1000).collect();
        assert_eq!(written(&split), [('P', PIECE), ('P', PIECE), ('F', 5)]);
    }
}
