//! Reading a container's log, and following it across rotations until the container has ended.

use std::{
    future::Future,
    io::{self, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use k8s_openapi::jiff::Timestamp;
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
    sync::mpsc::Sender,
};

use super::{format::parse, rotate::rotated, watch::Watcher};

const BLOCK: usize = 64 * 1024;

/// What a reader asks for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub follow: bool,
    /// Only so many of the last lines.
    pub tail: Option<u64>,
    /// Only what was written at that time or later.
    pub since: Option<Timestamp>,
    /// Each line with its time before it.
    pub timestamps: bool,
    /// Stop after so many bytes.
    pub limit: Option<u64>,
    /// Only one of the streams: true for standard error.
    pub stderr: Option<bool>,
}

/// Turns raw lines into what the reader gets.
struct Filter<'a> {
    options: &'a Options,
    left: u64,
    /// The line before was not complete.
    inside: bool,
}

impl Filter<'_> {
    /// Adds what is to be told of a line. False when nothing more is wanted.
    fn line(&mut self, raw: &[u8], out: &mut BytesMut) -> bool {
        let Some(line) = parse(raw) else { return true };
        if self
            .options
            .since
            .is_some_and(|since| line.timestamp().is_some_and(|t| t < since))
        {
            return true;
        }
        if self
            .options
            .stderr
            .is_some_and(|wanted| wanted != line.is_stderr)
        {
            return true;
        }
        let begin = out.len();
        if self.options.timestamps && !self.inside {
            out.extend_from_slice(line.time.as_bytes());
            out.extend_from_slice(b" ");
        }
        out.extend_from_slice(line.text);
        if !line.partial {
            out.extend_from_slice(b"\n");
        }
        self.inside = line.partial;
        let added = (out.len() - begin) as u64;
        if added >= self.left {
            out.truncate(begin + self.left as usize);
            return false;
        }
        self.left -= added;
        true
    }
}

/// Sends the log's text until it ends, or, when following, until `ended` resolves and all is sent. `ended` must be
/// ready at once when the container has ended already. A reader that goes away ends it too.
///
/// # Errors
/// When the log cannot be read.
pub async fn stream(
    log: &Path,
    options: &Options,
    ended: impl Future<Output = ()> + Send,
    out: Sender<Bytes>,
) -> io::Result<()> {
    let watcher = options.follow.then(|| Watcher::new(log)).transpose()?;
    let mut files: Vec<PathBuf> = rotated(log);
    if log.exists() {
        files.push(log.to_owned());
    }
    let (first, offset) = match options.tail {
        Some(lines) => start_of_tail(&files, lines).await?,
        None => (0, 0),
    };
    let mut filter = Filter {
        options,
        left: options.limit.unwrap_or(u64::MAX),
        inside: false,
    };
    let mut ended = std::pin::pin!(ended);
    let mut offset = offset;
    let mut reader: Option<Reader> = None;
    for path in files.iter().skip(first) {
        let mut next = Reader::open(path, std::mem::take(&mut offset)).await?;
        if !next.drain(&mut filter, &out).await? {
            return Ok(());
        }
        reader = Some(next);
    }
    let Some(mut watcher) = watcher else {
        return Ok(());
    };
    let mut over = false;
    loop {
        if !catch_up(log, &mut reader, &mut filter, &out).await? || over {
            return Ok(());
        }
        tokio::select! {
            changed = watcher.changed() => changed?,
            // One more look after the end, for what was written last.
            () = &mut ended, if !over => over = true,
            () = out.closed() => return Ok(()),
        }
    }
}

/// Reads what was added, also when the file was put aside and a new one begun. False when nothing more is wanted.
async fn catch_up(
    log: &Path,
    reader: &mut Option<Reader>,
    filter: &mut Filter<'_>,
    out: &Sender<Bytes>,
) -> io::Result<bool> {
    if let Some(r) = reader
        && !r.drain(filter, out).await?
    {
        return Ok(false);
    }
    let inode = match tokio::fs::metadata(log).await {
        Ok(meta) => meta.ino(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    if reader.as_ref().is_some_and(|r| r.inode == inode) {
        return Ok(true);
    }
    let mut new = Reader::open(log, 0).await?;
    let more = new.drain(filter, out).await?;
    *reader = Some(new);
    Ok(more)
}

/// One file with what of its last line was read.
struct Reader {
    file: File,
    inode: u64,
    rest: BytesMut,
}

impl Reader {
    async fn open(path: &Path, offset: u64) -> io::Result<Self> {
        let mut file = File::open(path).await?;
        let inode = file.metadata().await?.ino();
        if offset > 0 {
            file.seek(SeekFrom::Start(offset)).await?;
        }
        Ok(Reader {
            file,
            inode,
            rest: BytesMut::new(),
        })
    }

    /// Reads to the file's end. False when nothing more is wanted.
    async fn drain(&mut self, filter: &mut Filter<'_>, out: &Sender<Bytes>) -> io::Result<bool> {
        loop {
            self.rest.reserve(BLOCK);
            if self.file.read_buf(&mut self.rest).await? == 0 {
                return Ok(true);
            }
            let mut text = BytesMut::new();
            let mut more = true;
            while let Some(end) = self.rest.iter().position(|b| *b == b'\n').filter(|_| more) {
                more = filter.line(&self.rest.split_to(end + 1), &mut text);
            }
            if !text.is_empty() && out.send(text.freeze()).await.is_err() {
                return Ok(false);
            }
            if !more {
                return Ok(false);
            }
        }
    }
}

/// The file (by index) and offset where the last `lines` lines begin.
async fn start_of_tail(files: &[PathBuf], lines: u64) -> io::Result<(usize, u64)> {
    let mut missing = lines;
    for (i, path) in files.iter().enumerate().rev() {
        let mut file = File::open(path).await?;
        let length = file.metadata().await?.len();
        if missing == 0 {
            return Ok((i, length));
        }
        let (found, offset) = lines_from_end(&mut file, length, missing).await?;
        if found >= missing {
            return Ok((i, offset));
        }
        missing -= found;
    }
    Ok((0, 0))
}

/// Counts back at most `wanted` lines: how many there are, and where the first of them begins.
async fn lines_from_end(file: &mut File, length: u64, wanted: u64) -> io::Result<(u64, u64)> {
    let mut newlines = 0;
    let mut end = length;
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let size = end.min(BLOCK as u64);
        let begin = end - size;
        file.seek(SeekFrom::Start(begin)).await?;
        let block = &mut block[..size as usize];
        file.read_exact(block).await?;
        for (i, _) in block.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            let after = begin + i as u64 + 1;
            // The last line's own end begins no line.
            if after == length {
                continue;
            }
            newlines += 1;
            if newlines == wanted {
                return Ok((wanted, after));
            }
        }
        end = begin;
    }
    Ok((newlines + u64::from(length > 0), 0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(second: u32, text: &str) -> String {
        format!("2024-01-01T00:00:{second:02}.000000000Z stdout F {text}\n")
    }

    async fn read(log: &Path, options: Options) -> String {
        let (tx, mut rx) = tokio::sync::mpsc::channel(100);
        stream(log, &options, std::future::ready(()), tx)
            .await
            .expect("read");
        let mut out = Vec::new();
        while let Some(bytes) = rx.recv().await {
            out.extend(bytes);
        }
        String::from_utf8(out).expect("text")
    }

    #[tokio::test]
    async fn selections() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let log = tmp.path().join("0.log");
        std::fs::write(
            tmp.path().join("0.log.20240101-000000"),
            line(0, "a") + &line(1, "b"),
        )
        .expect("write");
        std::fs::write(&log, line(2, "c") + &line(3, "d")).expect("write");
        let o = Options::default;
        assert_eq!(read(&log, o()).await, "a\nb\nc\nd\n");
        for (n, want) in [
            (0, ""),
            (1, "d\n"),
            (2, "c\nd\n"),
            (3, "b\nc\nd\n"),
            (4, "a\nb\nc\nd\n"),
            (9, "a\nb\nc\nd\n"),
        ] {
            assert_eq!(
                read(
                    &log,
                    Options {
                        tail: Some(n),
                        ..o()
                    }
                )
                .await,
                want,
                "tail {n}"
            );
        }
        assert_eq!(
            read(
                &log,
                Options {
                    limit: Some(3),
                    ..o()
                }
            )
            .await,
            "a\nb"
        );
        let since = "2024-01-01T00:00:02Z".parse().ok();
        assert_eq!(read(&log, Options { since, ..o() }).await, "c\nd\n");
        let last = Options {
            timestamps: true,
            tail: Some(1),
            ..o()
        };
        assert_eq!(read(&log, last).await, "2024-01-01T00:00:03.000000000Z d\n");
    }

    #[tokio::test]
    async fn partial_lines_are_joined() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let log = tmp.path().join("0.log");
        let text = "2024-01-01T00:00:00Z stdout P a\n2024-01-01T00:00:01Z stdout F b\n";
        std::fs::write(&log, text).expect("write");
        assert_eq!(
            read(
                &log,
                Options {
                    timestamps: true,
                    ..Options::default()
                }
            )
            .await,
            "2024-01-01T00:00:00Z ab\n"
        );
    }

    #[tokio::test]
    async fn following_survives_rotation() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let log = tmp.path().join("0.log");
        std::fs::write(&log, line(0, "a")).expect("write");
        let (tx, mut rx) = tokio::sync::mpsc::channel(100);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let path = log.clone();
        let reader = tokio::spawn(async move {
            let options = Options {
                follow: true,
                ..Options::default()
            };
            stream(&path, &options, async { drop(ended.await) }, tx).await
        });
        let mut next = async || {
            tokio::time::timeout(Duration::from_secs(5), rx.recv())
                .await
                .expect("in time")
        };
        assert_eq!(next().await.as_deref(), Some(&b"a\n"[..]));
        std::fs::rename(&log, tmp.path().join("0.log.20240101-000000")).expect("rotate");
        std::fs::write(&log, line(1, "b")).expect("write");
        assert_eq!(next().await.as_deref(), Some(&b"b\n"[..]));
        end.send(()).expect("end");
        assert_eq!(next().await, None);
        reader.await.expect("task").expect("read");
    }
}
