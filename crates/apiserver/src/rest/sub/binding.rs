//! `binding`: puts a pod on a node.

use knarr_api::{Status, field};
use knarr_json::{Value, json};

use super::super::{Target, meta, update};
use crate::{
    Outcome,
    admission::{self, Attributes, Operation},
    body::{self, RequestBody, Response},
    chain::Call,
    codec,
    query::{OptionsKind, WriteOptions},
    respond,
};

/// `POST pods/NAME/binding`.
pub(crate) async fn create(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    let bytes = body::read(body).await?;
    let options = WriteOptions::new(&call.query, OptionsKind::Create)?;
    let mut binding =
        codec::decode_as(call, "", "v1", "Binding", &bytes, options.field_validation)?;
    let name = meta::text(&binding, "name");
    if !name.is_empty() && name != target.name {
        return Err(
            Status::bad_request("name in URL does not match name in Binding object").into(),
        );
    }
    admit(call, target, &mut binding, &options).await?;
    bind(call, target, &binding, &options).await
}

async fn admit(
    call: &Call,
    target: &Target,
    binding: &mut Value,
    options: &WriteOptions,
) -> Outcome<()> {
    let attributes = Attributes::new(call, target, Operation::Create).dry_run(options.dry_run);
    admission::admit(&attributes, binding).await
}

/// `POST bindings`, the pod's name in the body.
pub(crate) async fn create_legacy(
    call: &Call,
    target: &Target,
    body: RequestBody,
) -> Outcome<Response> {
    let bytes = body::read(body).await?;
    let options = WriteOptions::new(&call.query, OptionsKind::Create)?;
    let mut binding =
        codec::decode_as(call, "", "v1", "Binding", &bytes, options.field_validation)?;
    admit(call, target, &mut binding, &options).await?;
    let registry = call.shared.registry.load();
    let pods = registry
        .get("", "pods")
        .cloned()
        .ok_or_else(respond::no_such_resource)?;
    let target = Target {
        resource: pods,
        name: meta::text(&binding, "name").to_owned(),
        subresource: None,
        ..target.clone()
    };
    bind(call, &target, &binding, &options).await
}

async fn bind(
    call: &Call,
    target: &Target,
    binding: &Value,
    options: &WriteOptions,
) -> Outcome<Response> {
    let accept = call.negotiate(&[])?;
    let node = node_of(binding)?;
    let uid = meta::text(binding, "uid");
    let change = |pod: &mut Value| assign(target, pod, &node, uid, binding);
    update::raw(call, target, options, &change).await?;
    let done = Status {
        code: 201,
        ..Status::success(Default::default())
    };
    Ok(respond::status(
        &accept,
        &Status {
            details: None,
            ..done
        },
    ))
}

/// # Errors
/// 500 with everything that is wrong with the target: the original has no better words for it.
fn node_of(binding: &Value) -> Outcome<String> {
    let path = field::Path::new("target");
    let part = |key: &str| binding["target"][key].as_str().unwrap_or_default();
    let mut errors = field::Errors::new();
    if !matches!(part("kind"), "" | "Node") {
        let path = path.child("kind");
        errors.push(field::Error::not_supported(
            &path,
            part("kind"),
            &["Node", "<empty>"],
        ));
    }
    if part("name").is_empty() {
        errors.push(field::Error::required(&path.child("name"), ""));
    }
    if errors.is_empty() {
        return Ok(part("name").to_owned());
    }
    Err(Status {
        reason: String::new(),
        ..Status::failure(500, "", field::aggregate(&errors))
    }
    .into())
}

/// Changes the pod as a binding asks.
fn assign(target: &Target, pod: &mut Value, node: &str, uid: &str, binding: &Value) -> Outcome<()> {
    let found = meta::text(pod, "uid");
    if !uid.is_empty() && uid != found {
        return Err(target.conflict(&update::uid_precondition(&target.key(), uid, found)));
    }
    let name = &target.name;
    let refuse = |why: String| Err(Status::conflict("", "pods/binding", name, &why).into());
    if meta::is_deleting(pod) {
        return refuse(format!(
            "pod {name} is being deleted, cannot be assigned to a host"
        ));
    }
    if let Some(held) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
        return refuse(format!("pod {name} is already assigned to node {held:?}"));
    }
    if pod["spec"]["schedulingGates"]
        .as_array()
        .is_some_and(|g| !g.is_empty())
    {
        return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    pod["spec"]["nodeName"] = node.into();
    for key in ["annotations", "labels"] {
        for (k, v) in binding["metadata"][key].as_object().into_iter().flatten() {
            pod["metadata"][key][k.as_str()] = v.clone();
        }
    }
    // the hint where it might go is over
    if let Some(status) = pod["status"].as_object_mut() {
        status.remove("nominatedNodeName");
    }
    mark_scheduled(pod);
    Ok(())
}

fn mark_scheduled(pod: &mut Value) {
    let condition = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": meta::now()});
    match pod["status"]["conditions"].as_array_mut() {
        Some(conditions) => match conditions.iter_mut().find(|c| c["type"] == "PodScheduled") {
            Some(old) if old["status"] == "True" => {}
            Some(old) => *old = condition,
            None => conditions.push(condition),
        },
        None => pod["status"]["conditions"] = json!([condition]),
    }
}
