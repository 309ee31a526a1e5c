//! Whatever was written, and wherever the process was killed or the end of the log was cut or overwritten: the store opens
//! with what was there up to some moment, which is not before the last acknowledged write unless the files were cut, and
//! what it then says of the past is what was.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use common::{PODS, create, delete, list, try_open, update};
use knarr_store::{Options, Range, Store, Stored};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Damage {
    /// As by kill -9.
    None,
    /// The newest log ends this many bytes earlier.
    Cut(usize),
    /// Its last bytes are something else.
    Overwrite(usize, u8),
    /// There is more than there should be.
    Append(Vec<u8>),
}

#[derive(Debug, Clone)]
struct Plan {
    /// Key, size of the value, and what to do.
    writes: Vec<(u8, usize, u8)>,
    compact_at: u64,
    damage: Damage,
}

fn plans() -> impl Strategy<Value = Plan> {
    let write = (0..5u8, 0..600usize, any::<u8>());
    let damage = prop_oneof![
        2 => Just(Damage::None),
        3 => (1..3000usize).prop_map(Damage::Cut),
        1 => (1..200usize, any::<u8>()).prop_map(|(n, byte)| Damage::Overwrite(n, byte)),
        1 => prop::collection::vec(any::<u8>(), 1..100).prop_map(Damage::Append),
    ];
    let compact_at = prop_oneof![Just(2_000), Just(6_000), Just(32 << 20)];
    (prop::collection::vec(write, 1..40), compact_at, damage).prop_map(
        |(writes, compact_at, damage)| Plan {
            writes,
            compact_at,
            damage,
        },
    )
}

type State = BTreeMap<String, bytes::Bytes>;

fn state(items: &[std::sync::Arc<Stored>]) -> State {
    items
        .iter()
        .map(|item| (item.key.to_string(), item.json.clone()))
        .collect()
}

async fn write(store: &Store, (k, size, how): (u8, usize, u8)) -> u64 {
    let key = format!("{PODS}default/{k}");
    let value = "v".repeat(size);
    let done = match store.get(&key) {
        None => create(store, &key, &value).await,
        Some(old) if how < 70 => delete(store, &key, old.revision).await,
        Some(old) => update(store, &key, old.revision, &value).await,
    };
    done.unwrap().revision
}

/// The store's files as a kill at this moment would leave them.
fn copy(from: &Path, to: &Path) {
    let names = || -> Vec<PathBuf> {
        let mut names: Vec<_> = fs::read_dir(from)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        names
    };
    // A compaction in the background renames and removes files: they must belong together.
    loop {
        let before = names();
        for path in fs::read_dir(to).unwrap() {
            fs::remove_file(path.unwrap().path()).unwrap();
        }
        let copied = before
            .iter()
            .all(|path| fs::copy(path, to.join(path.file_name().unwrap())).is_ok());
        if copied && before == names() {
            return;
        }
    }
}

fn newest_log(dir: &Path) -> PathBuf {
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let logs = paths.filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("log-") && name.ends_with(".knarr")
    });
    logs.max().expect("there is a log")
}

/// Damages the end of what was written to a log; zeros may follow it.
fn harm(log: &Path, damage: &Damage) {
    const HEADER: usize = 32;
    let mut bytes = fs::read(log).unwrap();
    let end = bytes
        .iter()
        .rposition(|b| *b != 0)
        .map_or(HEADER, |n| n + 1);
    bytes.truncate(end.max(HEADER));
    match damage {
        Damage::None => {}
        Damage::Cut(n) => bytes.truncate(bytes.len().saturating_sub(*n).max(HEADER)),
        Damage::Overwrite(n, byte) => {
            let from = bytes.len().saturating_sub(*n).max(HEADER);
            bytes[from..].fill(*byte);
        }
        Damage::Append(rubbish) => bytes.extend_from_slice(rubbish),
    }
    fs::write(log, bytes).unwrap();
}

async fn run(plan: Plan) {
    let (dir, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = |dir: &Path| Options {
        compact_at: plan.compact_at,
        ..Options::new(dir)
    };
    let store = try_open(&options(dir.path())).await.unwrap();
    let mut states = vec![(store.revision(), State::new())];
    for step in &plan.writes {
        let revision = write(&store, *step).await;
        states.push((revision, state(&list(&store, PODS))));
    }
    copy(dir.path(), killed.path());
    store.close().await;
    if !matches!(plan.damage, Damage::None) {
        harm(&newest_log(killed.path()), &plan.damage);
    }

    let store = try_open(&options(killed.path())).await.unwrap();
    let found = state(&list(&store, PODS));
    let last = match plan.damage {
        Damage::None | Damage::Append(_) => states.len() - 1,
        // The oldest moment that looks like this: more than it cannot be held to know of the past.
        _ => states
            .iter()
            .position(|(_, was)| *was == found)
            .expect("it was so once"),
    };
    assert_eq!(
        found, states[last].1,
        "nothing that was acknowledged is lost"
    );
    let newest = states[states.len() - 1].0;
    // Unless the end is cleanly cut off (which no crash does), no revision is given twice.
    let clean_cut = matches!(plan.damage, Damage::Cut(_) | Damage::Overwrite(_, 0));
    assert!(store.revision() >= newest || clean_cut);
    for (revision, was) in &states[..=last] {
        let range = Range {
            prefix: PODS,
            at: Some(*revision),
            ..Range::default()
        };
        // Compacted, or right.
        if let Ok(old) = store.list(range) {
            assert_eq!(state(&old.items), *was, "at {revision}");
            assert!(store.watch(PODS, Some(*revision)).is_ok());
        }
        let kept = plan.compact_at > 1 << 20;
        assert!(!kept || store.watch(PODS, Some(*revision)).is_ok());
    }
    // It goes on, and over the next open, too.
    let next = write(&store, (9, 10, 255)).await;
    assert!(next > states[last].0);
    let after = state(&list(&store, PODS));
    store.close().await;
    let store = try_open(&options(killed.path())).await.unwrap();
    assert_eq!(
        (state(&list(&store, PODS)), store.revision()),
        (after, next)
    );
    store.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_opens_with_what_was(plan in plans()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(plan));
    }
}
