//! Audit events into a file, one line each. A file that is full is put aside under its time.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use knarr_json::Value;
use parking_lot::Mutex;

use super::DeliveryConfig;

/// Where lines go.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// `-` is standard output.
    pub path: PathBuf,
    /// A file of this size is put aside.
    pub max_bytes: u64,
    /// How many are kept aside; zero keeps all.
    pub max_backups: usize,
    /// How long they are kept; zero keeps them for good.
    pub max_age: Duration,
    /// `--audit-log-format=legacy`: one short line of text per event.
    pub legacy: bool,
    pub delivery: DeliveryConfig,
}

pub(super) struct Log {
    config: LogConfig,
    sink: Mutex<Sink>,
}

enum Sink {
    Output,
    File { file: File, size: u64 },
}

impl Log {
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(config: LogConfig) -> Result<Self, String> {
        let sink = if config.path.as_os_str() == "-" {
            Sink::Output
        } else {
            if let Some(dir) = config.path.parent() {
                fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            }
            open(&config.path).map_err(|e| format!("{}: {e}", config.path.display()))?
        };
        Ok(Log {
            config,
            sink: Mutex::new(sink),
        })
    }

    /// # Errors
    /// When the line cannot be written.
    pub fn write(&self, event: &Value) -> io::Result<()> {
        let mut line = if self.config.legacy {
            legacy(event)
        } else {
            event.to_string()
        };
        line.push('\n');
        let mut sink = self.sink.lock();
        self.put(&mut sink, line.as_bytes())
    }

    fn put(&self, sink: &mut Sink, line: &[u8]) -> io::Result<()> {
        if let Sink::File { size, .. } = sink
            && *size > 0
            && *size + line.len() as u64 > self.config.max_bytes
        {
            fs::rename(
                &self.config.path,
                aside(&self.config.path, Timestamp::now()),
            )?;
            *sink = open(&self.config.path)?;
            // Old files that stay are no reason to lose what is new.
            if let Err(error) = self.tidy() {
                tracing::warn!(%error, path = %self.config.path.display(), "old audit logs stay");
            }
        }
        match sink {
            Sink::Output => io::stdout().lock().write_all(line),
            Sink::File { file, size } => {
                file.write_all(line)?;
                *size += line.len() as u64;
                Ok(())
            }
        }
    }

    /// Removes what is too old or too much.
    fn tidy(&self) -> io::Result<()> {
        let LogConfig {
            max_backups,
            max_age,
            ..
        } = self.config;
        let mut old = put_aside(&self.config.path)?;
        // Names order as their times do.
        old.sort();
        let too_many = match max_backups {
            0 => 0,
            kept => old.len().saturating_sub(kept),
        };
        for (n, path) in old.iter().enumerate() {
            let modified = fs::metadata(path)?.modified()?;
            let age = SystemTime::now()
                .duration_since(modified)
                .unwrap_or_default();
            if n < too_many || (!max_age.is_zero() && age > max_age) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<Sink> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    let size = file.metadata()?.len();
    Ok(Sink::File { file, size })
}

/// `audit.log` becomes `audit-2026-01-02T03-04-05.000.log`.
fn aside(path: &Path, at: Timestamp) -> PathBuf {
    let (stem, extension) = parts(path);
    path.with_file_name(format!(
        "{stem}-{}{extension}",
        at.strftime("%Y-%m-%dT%H-%M-%S.%3f")
    ))
}

fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| {
        part.map_or_else(String::new, |p| p.to_string_lossy().into_owned())
    };
    let extension = match text(path.extension()) {
        empty if empty.is_empty() => empty,
        extension => format!(".{extension}"),
    };
    (text(path.file_stem()), extension)
}

fn put_aside(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (stem, extension) = parts(path);
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty());
    let mut out = Vec::new();
    for entry in fs::read_dir(dir.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let middle = name
            .strip_prefix(&format!("{stem}-"))
            .and_then(|rest| rest.strip_suffix(&extension));
        if middle.is_some_and(|m| m.len() == 23 && m.as_bytes()[10] == b'T') {
            out.push(entry.path());
        }
    }
    Ok(out)
}

/// The short form of old.
fn legacy(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let quoted = |value: &Value| match value.as_str() {
        Some(text) if !text.is_empty() => format!("{text:?}"),
        _ => "\"<none>\"".to_owned(),
    };
    let groups: Vec<String> = event["user"]["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .map(quoted)
        .collect();
    let groups = if groups.is_empty() {
        "\"<none>\"".to_owned()
    } else {
        format!("\"{}\"", groups.join(",").replace('"', "\\\""))
    };
    let response = match event["responseStatus"]["code"].as_u64() {
        Some(code) => format!("\"{code}\""),
        None => "\"<deferred>\"".to_owned(),
    };
    let (user, other) = (&event["user"], &event["impersonatedUser"]);
    let ip = &event["sourceIPs"][0];
    format!(
        "{} AUDIT: id={} stage={} ip={} method={} user={} groups={groups} as={} asgroups={} user-agent={} namespace={} uri={} response={response}",
        text(&event["stageTimestamp"]),
        quoted(&event["auditID"]),
        quoted(&event["stage"]),
        quoted(ip),
        quoted(&event["verb"]),
        quoted(&user["username"]),
        if other.is_null() {
            "\"<self>\"".to_owned()
        } else {
            quoted(&other["username"])
        },
        "\"<lookup>\"",
        quoted(&event["userAgent"]),
        quoted(&event["objectRef"]["namespace"]),
        quoted(&event["requestURI"]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn full_files_are_put_aside_and_few_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let log = Log::open(LogConfig {
            max_bytes: 100,
            max_backups: 2,
            ..LogConfig::new(path.clone())
        })
        .unwrap();
        for n in 0..30 {
            log.write(&json!({"auditID": format!("{n:040}")})).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(put_aside(&path).unwrap().len(), 2);
        let last = fs::read_to_string(&path).unwrap();
        assert!(last.ends_with("29\"}\n") && last.len() <= 100);
    }

    #[test]
    fn old_lines_are_short() {
        let event = json!({"auditID": "a", "stage": "ResponseComplete", "verb": "get", "user": {"username": "u", "groups": ["g"]},
            "requestURI": "/x", "stageTimestamp": "t", "responseStatus": {"code": 200}});
        let line = legacy(&event);
        assert!(
            line.starts_with("t AUDIT: id=\"a\" stage=\"ResponseComplete\""),
            "{line}"
        );
        assert!(
            line.contains("groups=\"\\\"g\\\"\"") && line.ends_with("response=\"200\""),
            "{line}"
        );
    }
}
