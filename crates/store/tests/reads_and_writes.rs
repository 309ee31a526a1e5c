//! Writes with their preconditions, lists, old views and watches.

mod common;

use std::time::Duration;

use common::{Bed, PODS, create, delete, keys, list, next, summary, try_open, update, value_of};
use futures::FutureExt;
use knarr_store::{EventKind, Options, Range, RevisionError, WriteError};

on_both_engines!(
    writes_have_preconditions_and_rising_revisions,
    lists_page_in_key_order_and_show_old_revisions,
    watches_give_every_change_of_their_prefix_once,
    history_is_bounded_and_says_so,
    everything_is_there_after_a_restart,
    waiting_for_a_revision_ends_when_it_is_there,
);

const A: &str = "/registry/pods/default/a";
const B: &str = "/registry/pods/default/b";
const OTHER: &str = "/registry/pods/other/a";

async fn writes_have_preconditions_and_rising_revisions(bed: Bed) {
    let store = bed.open().await;
    assert_eq!(store.revision(), 1);
    let first = create(&store, A, "1").await.unwrap();
    assert_eq!((first.revision, first.created), (2, 2));
    assert_eq!(value_of(&first)["metadata"]["resourceVersion"], "2");
    assert!(
        matches!(create(&store, A, "x").await, Err(WriteError::Exists(at)) if at.revision == 2)
    );
    let second = update(&store, A, 2, "2").await.unwrap();
    assert_eq!((second.revision, second.created), (3, 2));
    assert!(
        matches!(update(&store, A, 2, "x").await, Err(WriteError::Conflict(at)) if at.revision == 3)
    );
    assert!(matches!(
        update(&store, B, 2, "x").await,
        Err(WriteError::NotFound)
    ));
    assert!(matches!(
        delete(&store, A, 2).await,
        Err(WriteError::Conflict(_))
    ));
    let gone = delete(&store, A, 3).await.unwrap();
    assert_eq!((gone.revision, gone.created), (4, 2));
    let shown = value_of(&gone);
    assert_eq!(
        (&shown["metadata"]["resourceVersion"], &shown["value"]),
        (&"4".into(), &"2".into())
    );
    assert!(store.get(A).is_none());
    assert_eq!(store.revision(), 4);
    store.close().await;
}

async fn lists_page_in_key_order_and_show_old_revisions(bed: Bed) {
    let store = bed.open().await;
    for key in [OTHER, B, A, "/registry/podtemplates/default/a"] {
        create(&store, key, "old").await.unwrap();
    }
    let old = store.revision();
    let page = store
        .list(Range {
            prefix: PODS,
            limit: 2,
            ..Range::default()
        })
        .unwrap();
    assert_eq!(
        (keys(&page.items), page.remaining, page.revision),
        (vec![A.into(), B.into()], 1, old)
    );
    update(&store, OTHER, 2, "new").await.unwrap();
    delete(&store, B, 3).await.unwrap();
    create(&store, "/registry/pods/other/b", "new")
        .await
        .unwrap();
    let rest = store
        .list(Range {
            prefix: PODS,
            after: Some(B),
            limit: 2,
            at: Some(old),
        })
        .unwrap();
    assert_eq!(
        (keys(&rest.items), rest.remaining, rest.revision),
        (vec![OTHER.into()], 0, old)
    );
    assert_eq!(value_of(&rest.items[0])["value"], "old");
    let all = store
        .list(Range {
            prefix: PODS,
            at: Some(old),
            ..Range::default()
        })
        .unwrap();
    assert_eq!(keys(&all.items), [A, B, OTHER]);
    assert_eq!(
        keys(&list(&store, PODS)),
        [A, OTHER, "/registry/pods/other/b"]
    );
    let future = store.list(Range {
        prefix: PODS,
        at: Some(1000),
        ..Range::default()
    });
    assert!(matches!(
        future,
        Err(RevisionError::Future { asked: 1000, .. })
    ));
    store.close().await;
}

async fn watches_give_every_change_of_their_prefix_once(bed: Bed) {
    let store = bed.open().await;
    create(&store, A, "1").await.unwrap();
    let mut all = store.watch(PODS, Some(1)).unwrap();
    let mut default = store.watch("/registry/pods/default/", None).unwrap();
    create(&store, OTHER, "1").await.unwrap();
    update(&store, A, 2, "2").await.unwrap();
    delete(&store, A, 4).await.unwrap();
    create(&store, "/registry/configmaps/default/a", "1")
        .await
        .unwrap();
    assert_eq!(
        summary(&next(&mut all).await),
        (EventKind::Added, A.into(), 2)
    );
    assert_eq!(all.revision(), 2);
    assert_eq!(
        summary(&next(&mut all).await),
        (EventKind::Added, OTHER.into(), 3)
    );
    let changed = next(&mut default).await;
    assert_eq!(summary(&changed), (EventKind::Modified, A.into(), 4));
    assert_eq!(changed.previous.as_ref().unwrap().revision, 2);
    assert_eq!(
        summary(&next(&mut default).await),
        (EventKind::Deleted, A.into(), 5)
    );
    assert!(default.next().now_or_never().is_none());
    assert_eq!(default.revision(), 6);
    assert_eq!(all.revision(), 3);
    assert!(matches!(
        store.watch(PODS, Some(100)),
        Err(RevisionError::Future { .. })
    ));
    store.close().await;
    assert!(default.next().await.is_none());
    let (mut left, mut last) = (0, 0);
    while let Some(event) = all.next().await {
        (left, last) = (left + 1, event.unwrap().object.revision);
    }
    assert_eq!((left, last), (2, 5));
}

async fn history_is_bounded_and_says_so(bed: Bed) {
    let store = bed.open_keeping(10, Duration::ZERO).await;
    let mut slow = store.watch(PODS, None).unwrap();
    let mut revision = create(&store, A, "0").await.unwrap().revision;
    for n in 0..50 {
        revision = update(&store, A, revision, &n.to_string())
            .await
            .unwrap()
            .revision;
    }
    assert!(matches!(
        slow.next().await,
        Some(Err(RevisionError::Compacted { asked: 1, .. }))
    ));
    assert!(slow.next().await.is_none());
    assert!(matches!(
        store.watch(PODS, Some(2)),
        Err(RevisionError::Compacted { .. })
    ));
    let old = Range {
        prefix: PODS,
        at: Some(5),
        ..Range::default()
    };
    assert!(matches!(
        store.list(old),
        Err(RevisionError::Compacted { asked: 5, .. })
    ));
    let recent = store
        .list(Range {
            prefix: PODS,
            at: Some(revision - 3),
            ..Range::default()
        })
        .unwrap();
    assert_eq!(value_of(&recent.items[0])["value"], "46");
    assert!(
        store.watch("/registry/configmaps/", Some(2)).is_ok(),
        "other resources are not concerned"
    );
    store.close().await;
}

async fn everything_is_there_after_a_restart(bed: Bed) {
    let store = bed.open().await;
    create(&store, A, "1").await.unwrap();
    create(&store, B, "1").await.unwrap();
    update(&store, A, 2, "2").await.unwrap();
    delete(&store, B, 3).await.unwrap();
    store.close().await;
    let store = bed.open().await;
    // etcd counts what others write in it, too.
    assert!(store.revision() >= 5);
    let items = list(&store, PODS);
    assert_eq!(keys(&items), [A]);
    assert_eq!(
        (
            items[0].revision,
            items[0].created,
            items[0].head.name.as_str()
        ),
        (4, 2, "a")
    );
    let mut watch = store.watch(PODS, Some(2)).unwrap();
    let gone = delete(&store, A, 4).await.unwrap();
    let gone_at = value_of(&gone)["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|revision| revision.parse().ok())
        .unwrap();
    assert!(gone_at >= 6);
    for (kind, key, revision) in [
        (EventKind::Added, B, 3),
        (EventKind::Modified, A, 4),
        (EventKind::Deleted, B, 5),
        (EventKind::Deleted, A, gone_at),
    ] {
        let event = next(&mut watch).await;
        assert_eq!(summary(&event), (kind, key.to_owned(), revision));
    }
    let clone = store.clone();
    store.close().await;
    assert!(matches!(
        create(&clone, A, "1").await,
        Err(WriteError::Engine(_))
    ));
}

async fn waiting_for_a_revision_ends_when_it_is_there(bed: Bed) {
    let store = bed.open().await;
    store.wait_for(1).await;
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.wait_for(2).await }
    });
    create(&store, A, "1").await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), waiting)
        .await
        .unwrap()
        .unwrap();
    store.close().await;
}

#[tokio::test]
async fn compaction_bounds_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        compact_at: 100_000,
        ..Options::new(dir.path())
    };
    let store = try_open(&options).await.unwrap();
    let text = "x".repeat(5000);
    let mut revision = create(&store, A, &text).await.unwrap().revision;
    for _ in 0..200 {
        revision = update(&store, A, revision, &text).await.unwrap().revision;
    }
    create(&store, B, "kept").await.unwrap();
    store.close().await;
    // The log is filled ahead while it is open; closed, it is as long as what is in it.
    let bytes: u64 = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes < 300_000, "{bytes} bytes for two small objects");
    let store = try_open(&options).await.unwrap();
    assert_eq!(store.revision(), revision + 1);
    assert_eq!(keys(&list(&store, PODS)), [A, B]);
    assert_eq!(value_of(&store.get(A).unwrap())["value"], text);
    store.close().await;
}

#[tokio::test]
async fn the_past_survives_a_restart_also_behind_a_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        compact_at: 200_000,
        ..Options::new(dir.path())
    };
    let store = try_open(&options).await.unwrap();
    let text = "x".repeat(1000);
    let mut past = Vec::new();
    for n in 0..300 {
        let key = format!("{PODS}default/{}", n % 7);
        let done = match store.get(&key) {
            None => create(&store, &key, &format!("{n} {text}")).await,
            Some(old) if n % 5 == 0 => delete(&store, &key, old.revision).await,
            Some(old) => update(&store, &key, old.revision, &format!("{n} {text}")).await,
        };
        let at = done.unwrap().revision;
        past.push((at, list(&store, PODS)));
    }
    store.close().await;
    let snapshots = std::fs::read_dir(dir.path()).unwrap().filter(|f| {
        let name = f.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("snapshot-")
    });
    assert_eq!(snapshots.count(), 1, "there was a compaction");
    let store = try_open(&options).await.unwrap();
    let (mut kept, mut gone) = (0, 0);
    for (at, was) in &past {
        let range = Range {
            prefix: PODS,
            at: Some(*at),
            ..Range::default()
        };
        let Ok(listing) = store.list(range) else {
            gone += 1;
            assert_eq!(kept, 0, "only the oldest goes");
            continue;
        };
        kept += 1;
        let shown = |items: &[std::sync::Arc<knarr_store::Stored>]| {
            items.iter().map(|i| i.json.clone()).collect::<Vec<_>>()
        };
        assert_eq!(shown(&listing.items), shown(was));
        assert!(store.watch(PODS, Some(*at)).is_ok());
    }
    assert!(kept > 40 && gone > 0, "{kept} {gone}");
    store.close().await;
}

/// Seals nothing that is named `bad`, as when the service that has its key is away.
#[derive(Debug)]
struct Picky;

impl knarr_store::Transformer for Picky {
    fn seal(&self, key: &str, _: &[u8]) -> Result<Option<Vec<u8>>, String> {
        match key.contains("bad") {
            true => Err("its key is not to be had".into()),
            false => Ok(None),
        }
    }

    fn open(&self, _: &str, _: &[u8]) -> Result<Option<bytes::Bytes>, String> {
        Ok(None)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sealed_is_refused_alone() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        transformer: Some(std::sync::Arc::new(Picky)),
        ..Options::new(dir.path())
    };
    let store = try_open(&options).await.unwrap();
    // So many at once that most of them share a batch.
    let names: Vec<String> = (0..200)
        .map(|n| {
            format!(
                "{PODS}default/{}-{n}",
                if n % 3 == 0 { "bad" } else { "good" }
            )
        })
        .collect();
    let writes = names.iter().map(|name| create(&store, name, "x"));
    let done = futures::future::join_all(writes).await;
    let good: Vec<&String> = names.iter().filter(|n| n.contains("good")).collect();
    for (name, done) in names.iter().zip(&done) {
        match done {
            Ok(_) => assert!(name.contains("good"), "{name}"),
            Err(error) => assert!(
                name.contains("bad") && error.to_string().contains("not to be had"),
                "{name}: {error}"
            ),
        }
    }
    assert_eq!(
        store.revision(),
        1 + good.len() as u64,
        "no revision is skipped"
    );
    store.close().await;
    let store = try_open(&options).await.unwrap();
    let mut want: Vec<String> = good.into_iter().cloned().collect();
    want.sort();
    assert_eq!(keys(&list(&store, PODS)), want);
    store.close().await;
}
