//! What a container left at its end, for `state.terminated.message`.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use knarr_runtime::ContainerStatus;

use crate::{
    container::config::{TERMINATION_FILE, TERMINATION_POLICY},
    logs::format::message_of,
};

/// As much of a termination message as is kept.
const MAX_MESSAGE: u64 = 4096;
/// From a log, at most so much and so many lines.
const MAX_LOG: u64 = 2048;
const MAX_LINES: usize = 80;

/// Reads the termination message, or the log's end when the container failed and asks for that. Blocks.
pub fn read(container: &ContainerStatus, log: &Path) -> String {
    let file = container.annotations.get(TERMINATION_FILE);
    let message = file
        .and_then(|f| tail(Path::new(f), MAX_MESSAGE).ok())
        .unwrap_or_default();
    let message = String::from_utf8_lossy(&message).into_owned();
    let fallback = container
        .annotations
        .get(TERMINATION_POLICY)
        .is_some_and(|p| p == "FallbackToLogsOnError");
    if message.is_empty() && fallback && container.exit_code != Some(0) {
        return log_end(log).unwrap_or_default();
    }
    message
}

fn tail(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(max)))?;
    let mut out = Vec::new();
    file.take(max).read_to_end(&mut out)?;
    Ok(out)
}

fn log_end(log: &Path) -> io::Result<String> {
    // Each line carries its time and stream too.
    let bytes = tail(log, MAX_LOG * 8)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter_map(message_of).collect();
    let last = lines[lines.len().saturating_sub(MAX_LINES)..]
        .iter()
        .map(|l| format!("{l}\n"))
        .collect::<String>();
    let mut cut = last.len().saturating_sub(MAX_LOG as usize);
    while !last.is_char_boundary(cut) {
        cut += 1;
    }
    Ok(last[cut..].to_owned())
}
