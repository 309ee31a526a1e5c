//! Damaged files: the end of the newest log is repaired, anything else is reported and left as it is.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use common::{PODS, create, keys, list, open, try_open, update};
use knarr_store::{OpenError, Options};

fn key(n: usize) -> String {
    format!("{PODS}default/{n:03}")
}

/// A closed store with a log of `n` objects.
async fn filled(dir: &Path, n: usize) -> PathBuf {
    let store = open(dir).await;
    for i in 0..n {
        create(&store, &key(i), "v").await.unwrap();
    }
    store.close().await;
    files(dir, "log-").pop().unwrap()
}

fn files(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut named: Vec<_> = all
        .filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with(prefix))
        .collect();
    named.sort();
    named
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(dir, "")
        .into_iter()
        .filter(|p| !p.ends_with("lock"))
        .map(|p| (p.clone(), fs::read(p).unwrap()))
        .collect()
}

#[tokio::test]
async fn a_log_cut_anywhere_opens_with_what_was_before_the_cut() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), 5).await;
    let whole = fs::read(&log).unwrap();
    let mut counts = Vec::new();
    for cut in (32..whole.len()).rev().step_by(7) {
        fs::write(&log, &whole[..cut]).unwrap();
        let store = open(dir.path()).await;
        let found = keys(&list(&store, PODS));
        assert_eq!(found, (0..found.len()).map(key).collect::<Vec<_>>());
        counts.push(found.len());
        // Revisions must rise over everything that may have been seen, unless nothing was torn.
        let next = create(&store, &key(900), "new").await.unwrap().revision;
        assert!(next > 1 + found.len() as u64);
        assert!(next > 6 || cut == whole.len() || counts.len() > 1);
        store.close().await;
        let store = open(dir.path()).await;
        assert_eq!(list(&store, PODS).len(), found.len() + 1);
        store.close().await;
    }
    assert!(counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
    assert_eq!((counts[0], counts.last()), (4, Some(&0)));
}

#[tokio::test]
async fn rubbish_at_the_end_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), 5).await;
    let whole = fs::read(&log).unwrap();
    let mut longer = whole.clone();
    longer.extend_from_slice(&[0xa5; 777]);
    let mut overwritten = whole.clone();
    let last = whole.len() - 40;
    overwritten[last..].fill(0xff);
    for (bytes, left) in [(longer, 5), (overwritten, 4)] {
        fs::write(&log, bytes).unwrap();
        let store = open(dir.path()).await;
        assert_eq!(list(&store, PODS).len(), left);
        assert!(store.revision() > 6, "nobody may see a revision twice");
        store.close().await;
    }
}

#[tokio::test]
async fn a_flipped_bit_before_the_end_is_reported_and_nothing_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), 5).await;
    let whole = fs::read(&log).unwrap();
    let last_frame = whole.windows(4).rposition(|w| w == b"KNFR").unwrap();
    for at in (0..last_frame).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&log, &bytes).unwrap();
        let before = contents(dir.path());
        let error = try_open(&Options::new(dir.path()))
            .await
            .err()
            .unwrap_or_else(|| panic!("byte {at} opened"));
        let OpenError::Damaged { file, offset, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(file, &log);
        assert!(*offset <= at as u64);
        let text = error.to_string();
        assert!(
            text.contains(log.to_str().unwrap()) && text.contains("backup") && !text.contains('\n'),
            "{text}"
        );
        assert_eq!(contents(dir.path()), before);
    }
}

#[tokio::test]
async fn damage_of_snapshots_and_missing_files_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        compact_at: 20_000,
        ..Options::new(dir.path())
    };
    let store = try_open(&options).await.unwrap();
    let mut at = create(&store, &key(0), "v").await.unwrap().revision;
    for _ in 0..200 {
        at = update(&store, &key(0), at, &"x".repeat(500))
            .await
            .unwrap()
            .revision;
    }
    store.close().await;
    let snapshot = files(dir.path(), "snapshot-")
        .pop()
        .expect("there was a compaction");
    let log = files(dir.path(), "log-").pop().unwrap();
    let good = contents(dir.path());

    let mut bytes = good[&snapshot].clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&snapshot, &bytes).unwrap();
    assert!(
        matches!(try_open(&options).await, Err(OpenError::Damaged { file, .. }) if file == snapshot)
    );
    fs::write(&snapshot, &good[&snapshot][..good[&snapshot].len() - 10]).unwrap();
    assert!(
        matches!(try_open(&options).await, Err(OpenError::Damaged { file, .. }) if file == snapshot)
    );
    fs::write(&snapshot, &good[&snapshot]).unwrap();

    fs::remove_file(&log).unwrap();
    assert!(
        matches!(try_open(&options).await, Err(OpenError::Damaged { file, .. }) if file == log)
    );
    fs::write(&log, &good[&log]).unwrap();

    fs::remove_file(&snapshot).unwrap();
    assert!(matches!(
        try_open(&options).await,
        Err(OpenError::Damaged { .. })
    ));
    fs::write(&snapshot, &good[&snapshot]).unwrap();

    let store = try_open(&options).await.unwrap();
    assert_eq!(store.revision(), at);
    store.close().await;
}

#[tokio::test]
async fn a_store_in_use_says_by_whom_and_a_left_lock_file_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("lock"), "1\n").unwrap();
    let store = open(dir.path()).await;
    let error = try_open(&Options::new(dir.path()))
        .await
        .err()
        .expect("it is locked");
    assert!(matches!(error, OpenError::Locked { pid: Some(pid), .. } if pid == std::process::id()));
    let text = error.to_string();
    assert!(
        text.contains(&format!("in use by process {}", std::process::id())) && !text.contains('\n'),
        "{text}"
    );
    store.close().await;
    open(dir.path()).await.close().await;
}
