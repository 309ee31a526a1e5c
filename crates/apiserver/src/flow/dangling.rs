//! Every FlowSchema says whether the priority level that it names is there: its condition `Dangling`.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use knarr_json::{Value, json};
use knarr_store::Range;

use super::{
    Flow,
    config::{LEVELS, SCHEMAS},
};
use crate::{poststart::Client, rest::meta, server::Shared};

/// Levels that there always are, with or without an object.
const MANDATORY: [&str; 2] = ["exempt", "catch-all"];
/// Who the condition belongs to.
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";
const COLLECTION: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
/// Time before what could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Keeps the conditions in step with schemas and levels until the server stops.
pub(crate) fn start(shared: &Arc<Shared>) {
    if matches!(*shared.flow, Flow::Plain(_)) {
        return;
    }
    let server = shared.clone();
    shared.tasks.spawn(async move {
        tokio::select! {
            () = server.stop.cancelled() => {}
            () = follow(&server) => {}
        }
    });
}

async fn follow(shared: &Arc<Shared>) {
    let client = Client::new(shared.clone());
    loop {
        // What changes while conditions are written is looked at again.
        let from = shared.store.revision();
        let settled = settle(shared, &client).await;
        let watch = |prefix| shared.store.watch(prefix, Some(from));
        let (Ok(mut schemas), Ok(mut levels)) = (watch(SCHEMAS), watch(LEVELS)) else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        tokio::select! {
            _ = schemas.next() => {}
            _ = levels.next() => {}
            () = tokio::time::sleep(AGAIN), if !settled => {}
        }
    }
}

/// Writes the conditions that are not as they should be; whether all could be written.
async fn settle(shared: &Shared, client: &Client) -> bool {
    let objects = |prefix| {
        let range = Range {
            prefix,
            ..Range::default()
        };
        shared
            .store
            .list(range)
            .map(|l| l.items)
            .unwrap_or_default()
    };
    let levels = objects(LEVELS);
    let levels: BTreeSet<&str> = levels
        .iter()
        .map(|stored| stored.head.name.as_str())
        .chain(MANDATORY)
        .collect();
    let schemas = objects(SCHEMAS);
    let schemas = schemas.iter().map(|s| serde_json::from_slice(&s.json));
    let wanted = schemas.flatten().filter_map(|schema: Value| {
        let condition = wanted(&schema, &levels, Timestamp::now())?;
        Some((meta::text(&schema, "name").to_owned(), condition))
    });
    let writes = wanted.map(|(name, condition)| async move {
        let path = format!("{COLLECTION}/{name}/status?fieldManager={MANAGER}&force=true");
        let object = json!({
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
            "metadata": {"name": name}, "status": {"conditions": [condition]},
        });
        client.apply(&path, &object).await
    });
    let failed = futures::future::join_all(writes).await;
    let mut failed = failed.into_iter().filter_map(Result::err).peekable();
    let well = failed.peek().is_none();
    failed.for_each(|error| tracing::warn!(error, "condition of a FlowSchema"));
    well
}

/// The condition that a schema should have; none when it has it. Pure.
fn wanted(schema: &Value, levels: &BTreeSet<&str>, now: Timestamp) -> Option<Value> {
    let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str();
    let level = level.unwrap_or_default();
    let (status, reason, what) = if levels.contains(level) {
        ("False", "Found", "and it exists")
    } else {
        ("True", "NotFound", "but there is no such object")
    };
    let message = format!(
        "This FlowSchema references the PriorityLevelConfiguration object named {level:?} {what}"
    );
    let conditions = schema["status"]["conditions"].as_array();
    let told = conditions.into_iter().flatten().any(|c| {
        c["type"] == "Dangling"
            && c["status"] == status
            && c["reason"] == reason
            && c["message"] == message.as_str()
    });
    (!told).then(|| {
        json!({"type": "Dangling", "status": status, "reason": reason, "message": message, "lastTransitionTime": meta::time(now)})
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_whether_the_level_is_there() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let mut schema = json!({"spec": {"priorityLevelConfiguration": {"name": "a"}}});
        let missing = wanted(&schema, &BTreeSet::from(["b"]), now).unwrap();
        assert_eq!(
            missing,
            json!({"type": "Dangling", "status": "True", "reason": "NotFound", "lastTransitionTime": "2026-01-01T12:00:00Z",
                "message": "This FlowSchema references the PriorityLevelConfiguration object named \"a\" but there is no such object"})
        );
        schema["status"]["conditions"] = json!([missing]);
        assert_eq!(wanted(&schema, &BTreeSet::from(["b"]), now), None);
        let found = wanted(&schema, &BTreeSet::from(["a"]), now).unwrap();
        assert_eq!(
            (&found["status"], &found["reason"]),
            (&json!("False"), &json!("Found"))
        );
        assert!(
            found["message"]
                .as_str()
                .unwrap()
                .ends_with("and it exists")
        );
    }
}
