//! `eviction`: a delete that asks the pod's disruption budget first.

use knarr_api::{
    Status,
    selector::LabelSelector,
    status::{Cause, Details},
};
use knarr_json::{Value, json};
use knarr_store::{Range, Stored, Write};
use serde::Deserialize;

use super::super::{Target, delete, engine_failure, meta, parse, update};
use crate::{
    Outcome,
    admission::{self, Attributes, Operation},
    body::{self, RequestBody, Response},
    chain::Call,
    codec,
    query::{OptionsKind, WriteOptions},
    respond,
};

pub(crate) async fn create(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    let accept = call.negotiate(&[])?;
    let bytes = body::read(body).await?;
    let options = WriteOptions::new(&call.query, OptionsKind::Create)?;
    let mut eviction = codec::decode_as(
        call,
        "policy",
        "v1",
        "Eviction",
        &bytes,
        options.field_validation,
    )?;
    let name = meta::text(&eviction, "name");
    if !name.is_empty() && name != target.name {
        return Err(
            Status::bad_request("name in URL does not match name in Eviction object").into(),
        );
    }
    let attributes = Attributes::new(call, target, Operation::Create).dry_run(options.dry_run);
    admission::admit(&attributes, &mut eviction).await?;
    let mut deletion = delete_options(&eviction)?;
    if options.dry_run {
        deletion.dry_run = Some(vec!["All".into()]);
    }
    let pods = Target {
        subresource: None,
        ..target.clone()
    };
    let pod = parse(&pods.load(call)?.json)?;
    if !exempt(&pod) {
        spend_budget(call, &pods, &pod, deletion.is_dry_run()).await?;
    }
    if !deletion.is_dry_run() {
        update::raw(call, &pods, &options, &mark_evicted).await?;
    }
    delete::one(call, &pods, &deletion, delete::Asked::Nobody).await?;
    let done = Status {
        code: 201,
        details: None,
        ..Status::success(Details::default())
    };
    Ok(respond::status(&accept, &done))
}

fn delete_options(eviction: &Value) -> Outcome<delete::DeleteOptions> {
    match &eviction["deleteOptions"] {
        Value::Null => Ok(delete::DeleteOptions::default()),
        options => delete::DeleteOptions::deserialize(options)
            .map_err(|e| Status::bad_request(e.to_string()).into()),
    }
}

/// Tells in the pod's conditions why it goes.
fn mark_evicted(pod: &mut Value) -> Outcome<()> {
    let condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastProbeTime": null,
        "lastTransitionTime": meta::now(),
    });
    match pod["status"]["conditions"].as_array_mut() {
        Some(conditions) => {
            conditions.retain(|c| c["type"] != "DisruptionTarget");
            conditions.push(condition);
        }
        None => pod["status"]["conditions"] = json!([condition]),
    }
    Ok(())
}

/// Pods that are done, or have not started, disturb nobody by going.
fn exempt(pod: &Value) -> bool {
    matches!(
        pod["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed" | "Pending")
    ) || meta::is_deleting(pod)
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

async fn spend_budget(call: &Call, pods: &Target, pod: &Value, dry_run: bool) -> Outcome<()> {
    let prefix = format!("/registry/poddisruptionbudgets/{}/", pods.namespace);
    let listing = call.shared.store.list(Range {
        prefix: &prefix,
        ..Range::default()
    });
    let covers = |stored: &&std::sync::Arc<Stored>| {
        let budget: Value = serde_json::from_slice(&stored.json).unwrap_or_default();
        LabelSelector::from_object(&budget["spec"]["selector"])
            .is_ok_and(|s| s.matches_labels(&pod["metadata"]["labels"]))
    };
    let found = listing.map(|l| l.items).unwrap_or_default();
    let budgets: Vec<_> = found.iter().filter(covers).collect();
    match budgets[..] {
        [] => Ok(()),
        [one] => spend(call, pods, pod, one, dry_run).await,
        _ => {
            let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            Err(Status {
                reason: String::new(),
                ..Status::failure(500, "", why)
            }
            .into())
        }
    }
}

async fn spend(
    call: &Call,
    pods: &Target,
    pod: &Value,
    stored: &Stored,
    dry_run: bool,
) -> Outcome<()> {
    let budget = parse(&stored.json)?;
    let status = &budget["status"];
    let count = |key: &str| status[key].as_i64().unwrap_or(0);
    let unhealthy_goes = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        || (count("currentHealthy") >= count("desiredHealthy") && count("desiredHealthy") > 0);
    if !is_ready(pod) && unhealthy_goes {
        return Ok(());
    }
    let name = &stored.head.name;
    let refuse = |retry: u32, message: String| {
        let mut refusal = Status::failure(
            429,
            "TooManyRequests",
            "Cannot evict pod as it would violate the pod's disruption budget.",
        );
        let cause = Cause {
            reason: "DisruptionBudget".into(),
            message,
            field: String::new(),
        };
        refusal.details = Some(Details {
            causes: vec![cause],
            retry_after_seconds: retry,
            ..Details::default()
        });
        Err(refusal.into())
    };
    if count("observedGeneration") < meta::generation(&budget) {
        return refuse(
            10,
            format!("The disruption budget {name} is still being processed by the server."),
        );
    }
    let allowed = count("disruptionsAllowed");
    if allowed <= 0 {
        let (needs, has) = (count("desiredHealthy"), count("currentHealthy"));
        return refuse(
            0,
            format!(
                "The disruption budget {name} needs {needs} healthy pods and has {has} currently"
            ),
        );
    }
    if dry_run {
        return Ok(());
    }
    let mut new = budget.clone();
    new["status"]["disruptionsAllowed"] = (allowed - 1).into();
    new["status"]["disruptedPods"][pods.name.as_str()] = json!(meta::now());
    let value = knarr_api::head::Encoded::new(&new).map_err(engine_failure)?;
    let write = Write::Update {
        key: stored.key.to_string(),
        expect: stored.revision,
        value,
        head: stored.head.clone(),
    };
    // Someone else spends from the same budget at this moment: the client comes back.
    match call.shared.store.write(write).await {
        Ok(_) => Ok(()),
        Err(_) => refuse(
            10,
            format!("The disruption budget {name} is still being processed by the server."),
        ),
    }
}
