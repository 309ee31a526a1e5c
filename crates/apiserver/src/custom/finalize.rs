//! The end of a definition: its objects go first.

use std::{collections::HashSet, sync::Arc, time::Duration};

use http::Method;
use jiff::Timestamp;
use knarr_api::Resource;
use knarr_json::{Value, json};
use knarr_store::{Range, Stored};
use parking_lot::Mutex;

use super::{
    FINALIZER, PATH, PREFIX, conditions,
    requests::{Answer, send},
};
use crate::{rest::meta, server::Shared};

/// Time between looks at what is left.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest time between them.
const LONGEST: Duration = Duration::from_secs(5);

/// Definitions that are being cleaned up, by name.
static RUNNING: Mutex<Option<HashSet<(usize, String)>>> = Mutex::new(None);

/// Cleans up a definition in the background, once at a time.
pub fn start(shared: &Arc<Shared>, name: &str) {
    let key = (Arc::as_ptr(shared) as usize, name.to_owned());
    let fresh = RUNNING
        .lock()
        .get_or_insert_with(HashSet::new)
        .insert(key.clone());
    if !fresh {
        return;
    }
    let (server, name) = (shared.clone(), name.to_owned());
    shared.tasks.spawn(async move {
        tokio::select! {
            () = server.stop.cancelled() => {}
            () = clean(&server, &name) => {}
        }
        if let Some(running) = RUNNING.lock().as_mut() {
            running.remove(&key);
        }
    });
}

/// Deletes the objects of a definition until none is left, then lets the definition go.
async fn clean(shared: &Arc<Shared>, name: &str) {
    let mut pause = PAUSE;
    loop {
        let Some(object) = definition(shared, name) else {
            return;
        };
        if !meta::is_deleting(&object) || !meta::finalizers(&object).iter().any(|f| f == FINALIZER)
        {
            return;
        }
        let left = instances(shared, &object);
        let done = if left.is_empty() {
            release(shared, name, object).await
        } else {
            say_in_progress(shared, name, object).await;
            delete(shared, name, &left).await;
            false
        };
        if done {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

fn definition(shared: &Shared, name: &str) -> Option<Value> {
    let stored = shared.store.get(&format!("{PREFIX}{name}"))?;
    serde_json::from_slice(&stored.json).ok()
}

/// What is stored of the kind, whoever serves it.
fn instances(shared: &Shared, object: &Value) -> Vec<Arc<Stored>> {
    // Names that were never accepted are somebody else's, and nothing is stored under them.
    if !conditions::is_true(object, "Established") {
        return Vec::new();
    }
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let (group, plural) = (
        text(&object["spec"]["group"]),
        text(&object["spec"]["names"]["plural"]),
    );
    let prefix = format!("/registry/{group}/{plural}/");
    let listing = shared.store.list(Range {
        prefix: &prefix,
        ..Range::default()
    });
    listing.map(|l| l.items).unwrap_or_default()
}

async fn say_in_progress(shared: &Arc<Shared>, name: &str, mut object: Value) {
    let condition = json!({
        "type": "Terminating", "status": "True", "reason": "InstanceDeletionInProgress",
        "message": "CustomResource deletion is in progress",
    });
    if conditions::is_same(conditions::find(&object, "Terminating"), &condition) {
        return;
    }
    conditions::set(&mut object, condition, Timestamp::now());
    send(
        shared,
        Method::PUT,
        &format!("{PATH}/{name}/status"),
        Some(&object),
    )
    .await;
}

/// Asks for the deletion of what has not been asked for yet, through the API, so that finalizers and watchers have their say.
async fn delete(shared: &Arc<Shared>, name: &str, left: &[Arc<Stored>]) {
    let Some((plural, group)) = name.split_once('.') else {
        return;
    };
    let Some(version) = shared.registry.load().get(group, plural).and_then(version) else {
        return remove(shared, left).await;
    };
    for stored in left.iter().filter(|s| !s.head.deleting) {
        let object = &stored.head.name;
        let path = match stored.head.namespace.as_str() {
            "" => format!("/apis/{group}/{version}/{plural}/{object}"),
            namespace => {
                format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}/{object}")
            }
        };
        if let Answer::Refused(why) = send(shared, Method::DELETE, &path, None).await {
            tracing::warn!(path, why, "object of a definition that is going stays");
        }
    }
}

/// The version to ask in: the one that objects are stored at, which needs no conversion, if it is served.
fn version(resource: &Arc<Resource>) -> Option<String> {
    let served = &resource.versions;
    let stored = resource.stored_at.as_ref().filter(|v| served.contains(v));
    stored.or(served.first()).cloned()
}

/// Nobody serves the kind, in no version: its objects can only be taken away.
async fn remove(shared: &Shared, left: &[Arc<Stored>]) {
    for stored in left {
        let write = knarr_store::Write::Delete {
            key: stored.key.to_string(),
            expect: stored.revision,
        };
        if let Err(error) = shared.store.write(write).await {
            tracing::debug!(key = %stored.key, %error, "object stays for now");
        }
    }
}

/// Lets the definition go; true when it has gone or will by itself.
async fn release(shared: &Arc<Shared>, name: &str, mut object: Value) -> bool {
    let condition = json!({
        "type": "Terminating", "status": "False", "reason": "InstanceDeletionCompleted",
        "message": "removed all instances",
    });
    conditions::set(&mut object, condition, Timestamp::now());
    let mut finalizers = meta::finalizers(&object);
    finalizers.retain(|f| f != FINALIZER);
    meta::set_finalizers(&mut object, finalizers);
    match send(
        shared,
        Method::PUT,
        &format!("{PATH}/{name}/status"),
        Some(&object),
    )
    .await
    {
        Answer::Done | Answer::NotFound => true,
        Answer::Conflict => false,
        Answer::Refused(why) => {
            tracing::warn!(definition = name, why, "definition cannot be let go");
            false
        }
    }
}
