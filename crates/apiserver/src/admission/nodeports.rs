//! Node ports as one map in the store: whoever marks a port there has it, whichever server he asked. Key and form are the
//! original's `RangeAllocation`.

use std::{collections::BTreeSet, ops::RangeInclusive};

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_api::{Head, head::Encoded};
use knarr_json::{Value, json};
use knarr_store::{Store, Write, WriteError};

const KEY: &str = "/registry/ranges/servicenodeports";
/// How often a change is tried anew that another server's was faster than.
const TRIES: usize = 100;

/// Ports that are marked.
pub fn taken(store: &Store) -> BTreeSet<u16> {
    let stored = store.get(KEY);
    let object = stored.and_then(|s| serde_json::from_slice(&s.json).ok());
    object.map(|o| read(&o)).unwrap_or_default()
}

/// Marks all of these ports or, when one is marked already, none; gives that one then.
///
/// # Errors
/// Why the map could not be written.
pub async fn claim(
    store: &Store,
    range: &RangeInclusive<u16>,
    ports: &[u16],
) -> Result<Option<u16>, String> {
    let mut lost = None;
    change(store, range, &mut |taken| {
        lost = ports.iter().copied().find(|port| taken.contains(port));
        if lost.is_none() {
            taken.extend(ports);
        }
    })
    .await?;
    Ok(lost)
}

/// Marks these ports, marked or not.
///
/// # Errors
/// As [`claim`].
pub async fn mark(
    store: &Store,
    range: &RangeInclusive<u16>,
    ports: &BTreeSet<u16>,
) -> Result<(), String> {
    change(store, range, &mut |taken| taken.extend(ports)).await
}

/// Takes the marks of ports that no Service has any more.
pub async fn release(store: &Store, range: &RangeInclusive<u16>, ports: &[u16]) {
    if ports.is_empty() {
        return;
    }
    let mut make = |taken: &mut BTreeSet<u16>| taken.retain(|port| !ports.contains(port));
    if let Err(error) = change(store, range, &mut make).await {
        tracing::warn!(?ports, error, "node ports are not given back");
    }
}

/// Changes the map as it is now, again when another server was faster.
async fn change(
    store: &Store,
    range: &RangeInclusive<u16>,
    make: &mut (dyn FnMut(&mut BTreeSet<u16>) + Send),
) -> Result<(), String> {
    for _ in 0..TRIES {
        let stored = store.get(KEY);
        let old: Option<Value> = match &stored {
            Some(stored) => Some(serde_json::from_slice(&stored.json).map_err(|e| e.to_string())?),
            None => None,
        };
        let before = old.as_ref().map(read).unwrap_or_default();
        let mut now = before.clone();
        make(&mut now);
        let object = written(&now, range);
        let is_there = |o: &Value| o["data"] == object["data"] && o["range"] == object["range"];
        if now == before && old.is_none() || old.as_ref().is_some_and(is_there) {
            return Ok(());
        }
        let value = Encoded::new(&object).map_err(|e| e.to_string())?;
        let (key, head) = (KEY.to_owned(), Head::of(&object, Vec::new()));
        let write = match stored {
            Some(stored) => Write::Update {
                key,
                expect: stored.revision,
                value,
                head,
            },
            None => Write::Create { key, value, head },
        };
        match store.write(write).await {
            Ok(_) => return Ok(()),
            Err(WriteError::Engine(why)) => return Err(why),
            // What refused the write is there to be read by now.
            Err(_) => tokio::task::yield_now().await,
        }
    }
    Err("the map of node ports changes too often".into())
}

/// The marked ports: bits of one large number, the lowest for the first port of the range.
fn read(object: &Value) -> BTreeSet<u16> {
    let first = object["range"].as_str().and_then(|r| r.split('-').next());
    let first = first.and_then(|n| n.trim().parse::<usize>().ok());
    let data = object["data"]
        .as_str()
        .and_then(|d| STANDARD.decode(d).ok());
    let (Some(first), Some(data)) = (first, data) else {
        return BTreeSet::new();
    };
    let bits = data.iter().rev().enumerate().flat_map(|(i, byte)| {
        let set = (0..8).filter(move |bit| byte >> bit & 1 == 1);
        set.map(move |bit| first + i * 8 + bit)
    });
    bits.filter_map(|port| u16::try_from(port).ok()).collect()
}

fn written(ports: &BTreeSet<u16>, range: &RangeInclusive<u16>) -> Value {
    let (first, last) = (*range.start(), *range.end());
    let mut data: Vec<u8> = Vec::new();
    for port in ports.iter().filter(|port| range.contains(port)) {
        let bit = usize::from(port - first);
        if data.len() <= bit / 8 {
            data.resize(bit / 8 + 1, 0);
        }
        data[bit / 8] |= 1 << (bit % 8);
    }
    data.reverse();
    json!({
        "apiVersion": "v1", "kind": "RangeAllocation", "metadata": {"creationTimestamp": null},
        "range": format!("{first}-{last}"), "data": STANDARD.encode(data),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_numbers_whose_bits_are_ports() {
        let range = 30000..=32767;
        let ports = BTreeSet::from([30000, 30009, 32767]);
        let object = written(&ports, &range);
        assert_eq!(read(&object), ports);
        let few = written(&BTreeSet::from([30000, 30009]), &range);
        assert_eq!(
            (&few["data"], &few["range"]),
            (&json!("AgE="), &json!("30000-32767"))
        );
        // Another range begins elsewhere; what is outside of it is nobody's.
        let moved = written(&ports, &(30001..=31000));
        assert_eq!(read(&moved), BTreeSet::from([30009]));
        for rubbish in [
            json!({}),
            json!({"range": "x", "data": "AQ=="}),
            json!({"range": "1-2", "data": 7}),
        ] {
            assert_eq!(read(&rubbish), BTreeSet::new());
        }
        assert_eq!(
            read(&json!({"range": "65530-65535", "data": "////"})).len(),
            6
        );
    }

    #[tokio::test]
    async fn ports_are_claimed_all_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let options = knarr_store::Options::new(dir.path());
        let heads = crate::head_of(&knarr_api::builtin::registry());
        let store = Store::open(options, heads).await.unwrap();
        let range = 30000..=32767;
        assert_eq!(claim(&store, &range, &[30001, 30002]).await, Ok(None));
        assert_eq!(
            claim(&store, &range, &[30003, 30002]).await,
            Ok(Some(30002))
        );
        assert_eq!(taken(&store), BTreeSet::from([30001, 30002]));
        release(&store, &range, &[30002, 30007]).await;
        mark(&store, &range, &BTreeSet::from([30001, 30005]))
            .await
            .unwrap();
        assert_eq!(taken(&store), BTreeSet::from([30001, 30005]));
        // Another range is taken on; what is outside of it is not marked, and not tried again and again.
        let (wide, used) = (29000..=30002, BTreeSet::from([30001, 30005]));
        mark(&store, &wide, &used).await.unwrap();
        let revision = store.revision();
        let object: Value = serde_json::from_slice(&store.get(KEY).unwrap().json).unwrap();
        assert_eq!(object["range"], "29000-30002");
        assert_eq!(taken(&store), BTreeSet::from([30001]));
        mark(&store, &wide, &used).await.unwrap();
        assert_eq!(store.revision(), revision);
        // At the same time each port is given once.
        let claims =
            (0..50).map(|n| claim(&store, &range, if n % 2 == 0 { &[31000] } else { &[31001] }));
        let won = futures::future::join_all(claims).await;
        assert_eq!(won.into_iter().filter(|w| *w == Ok(None)).count(), 2);
        store.close().await;
    }
}
