//! kill -9 under write load: what was acknowledged is there, what was not asked for is not, revisions only rise.
//!
//! The test starts itself as a child that writes and prints what it asks for and what was acknowledged, and kills it.

mod common;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use common::{PODS, create, delete, list, open, try_open, update, value_of};
use knarr_store::{Options, Store, WriteError};

const KILLS: u64 = 50;
const WRITERS: usize = 32;
const DIR: &str = "KNARR_STORE_TEST_DIR";

fn options(dir: &Path) -> Options {
    // Small, so that many kills meet a compaction.
    Options {
        compact_at: 300_000,
        ..Options::new(dir)
    }
}

/// One line in one write: lines of several writers do not mix, and none is half told before the kill.
fn tell(line: &str) {
    let _ = std::io::stdout()
        .lock()
        .write_all(format!("\n@{line}\n").as_bytes());
}

/// Not a test: the child of the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let store = try_open(&options(Path::new(&dir)))
        .await
        .expect("the store opens after a kill");
    tell(&format!("open {}", store.revision()));
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| tokio::spawn(write_forever(store.clone(), n)))
        .collect();
    for writer in writers {
        writer
            .await
            .expect("the writer goes on")
            .expect("the store goes on");
    }
}

/// Creates, changes and deletes one key for ever. The value is a number that only this write has.
async fn write_forever(store: Store, n: usize) -> Result<(), WriteError> {
    let key = format!("{PODS}default/{n:02}");
    let text = |tick: u64| format!("{tick} {}", "x".repeat(300 + n * 50));
    let mut tick = store.revision() * 1000;
    loop {
        tick += 1;
        let done = match store.get(&key) {
            None => {
                tell(&format!("ask {key} {tick}"));
                create(&store, &key, &text(tick)).await?
            }
            Some(old) if tick.is_multiple_of(7) => {
                tell(&format!("ask {key} -"));
                delete(&store, &key, old.revision).await?;
                tell(&format!("ack {key} - {}", store.revision()));
                continue;
            }
            Some(old) => {
                tell(&format!("ask {key} {tick}"));
                update(&store, &key, old.revision, &text(tick)).await?
            }
        };
        tell(&format!("ack {key} {tick} {}", done.revision));
    }
}

/// What a key may hold: what was acknowledged last, or what was asked for after that.
#[derive(Debug, Default, Clone)]
struct Known {
    acked: Option<String>,
    asked: Option<Option<String>>,
}

/// Runs a child for a while and takes in what it tells. Gives the highest revision it saw.
fn run_and_kill(
    dir: &Path,
    after: Duration,
    known: &mut BTreeMap<String, Known>,
    last: u64,
) -> u64 {
    let mut child = Command::new(std::env::current_exe().expect("this test has a path"))
        .args(["--exact", "child", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let pipe = child.stdout.take().expect("it has a pipe");
    let killer = std::thread::spawn(move || {
        std::thread::sleep(after);
        child.kill().expect("the child was still alive");
        child.wait().expect("it can be waited for")
    });
    let mut highest = last;
    for line in BufReader::new(pipe).lines() {
        let Ok(line) = line else { break };
        let Some(line) = line.strip_prefix('@') else {
            continue;
        };
        let words: Vec<&str> = line.split(' ').collect();
        let state = |word: &str| (word != "-").then(|| word.to_owned());
        match words[..] {
            ["open", revision] => assert!(
                revision.parse::<u64>().unwrap() >= last,
                "revisions rise over a kill"
            ),
            ["ask", key, what] => known.entry(key.into()).or_default().asked = Some(state(what)),
            ["ack", key, what, revision] => {
                *known.entry(key.into()).or_default() = Known {
                    acked: state(what),
                    asked: None,
                };
                highest = highest.max(revision.parse().unwrap());
            }
            _ => {}
        }
    }
    killer.join().expect("the child was killed");
    highest
}

async fn check(dir: &Path, known: &mut BTreeMap<String, Known>, last: u64) {
    let store = open(dir).await;
    assert!(
        store.revision() >= last,
        "{} after {last}",
        store.revision()
    );
    let found: BTreeMap<String, Arc<_>> = list(&store, PODS)
        .into_iter()
        .map(|o| (o.key.to_string(), o))
        .collect();
    assert!(
        found.keys().all(|key| known.contains_key(key)),
        "an object that nobody asked for"
    );
    for (key, known) in known {
        let value = found
            .get(key)
            .map(|o| value_of(o)["value"].as_str().unwrap_or_default().to_owned());
        let tick = value
            .as_ref()
            .map(|text| text.split(' ').next().unwrap_or_default().to_owned());
        let fine = tick == known.acked || known.asked.as_ref() == Some(&tick);
        assert!(fine, "{key} holds {tick:?}, but was {known:?}");
        *known = Known {
            acked: tick,
            asked: None,
        };
    }
    store.close().await;
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_and_none_invented() {
    let dir = tempfile::tempdir().unwrap();
    let (mut known, mut last) = (BTreeMap::new(), 0);
    for n in 0..KILLS {
        // Sometimes in the middle of the open, mostly under load.
        let after = Duration::from_millis(15 + n * 37 % 200);
        last = run_and_kill(dir.path(), after, &mut known, last);
        check(dir.path(), &mut known, last).await;
    }
    assert!(
        last > 1000,
        "only {last} writes were acknowledged: that was no load"
    );
    assert!(
        std::fs::read_dir(dir.path()).unwrap().any(|f| f
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("snap"))
    );
}
