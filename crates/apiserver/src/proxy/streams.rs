//! `exec`, `attach` and `portforward`: WebSocket and SPDY connections, tunnelled to the kubelet as they are.

use http::header;
use knarr_api::Status;
use knarr_json::Value;

use super::{backend::Backend, forward, logs, nodes};
use crate::{
    Outcome,
    authz::Attributes,
    body::{RequestBody, Response},
    chain::Call,
    rest::{Target, parse},
};

pub async fn answer(
    call: &Call,
    target: &Target,
    name: &str,
    body: RequestBody,
) -> Outcome<Response> {
    may_create(call).await?;
    let pod = parse(&target.load(call)?.json)?;
    let path = match name {
        "portforward" => format!(
            "/portForward/{}/{}{}",
            target.namespace,
            target.name,
            ports(call)
        ),
        _ => streams(call, target, &pod, name)?,
    };
    let backend = kubelet_of(call, target, &pod)?;
    if call.headers.get(header::UPGRADE).is_none() {
        return Err(Status::bad_request("Upgrade request required").into());
    }
    forward::send(call, &backend, &path, body).await
}

/// A WebSocket begins with a GET, but who may only look must not get to run anything by it.
async fn may_create(call: &Call) -> Outcome<()> {
    let mut ask = Attributes::of(call);
    if ask.verb == "create" {
        return Ok(());
    }
    ask.verb = "create".into();
    call.shared.authorizer.require(&ask).await
}

fn kubelet_of(call: &Call, target: &Target, pod: &Value) -> Outcome<Backend> {
    match pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
        Some(node) => nodes::kubelet(call, node),
        None => Err(Status::bad_request(format!(
            "pod {} does not have a host assigned",
            target.name
        ))
        .into()),
    }
}

fn ports(call: &Call) -> String {
    let ports: Vec<String> = call
        .query
        .all("ports")
        .map(|p| format!("port={}", encode(p)))
        .collect();
    if ports.is_empty() {
        String::new()
    } else {
        format!("?{}", ports.join("&"))
    }
}

/// The kubelet's path for exec or attach: its parameters are named otherwise than the API's.
fn streams(call: &Call, target: &Target, pod: &Value, name: &str) -> Outcome<String> {
    let query = &call.query;
    let commands: Vec<&str> = query.all("command").collect();
    let wanted = [
        ("stdin", "input"),
        ("stdout", "output"),
        ("stderr", "error"),
        ("tty", "tty"),
    ];
    let mut out: Vec<String> = Vec::new();
    for (ours, theirs) in wanted {
        if query.flag(ours) && !(ours == "stderr" && query.flag("tty")) {
            out.push(format!("{theirs}=1"));
        }
    }
    if out.iter().all(|o| o == "tty=1") {
        return Err(
            Status::bad_request("you must specify at least one of stdin, stdout, stderr").into(),
        );
    }
    if name == "exec" && commands.is_empty() {
        return Err(
            Status::bad_request("you must specify at least one command for the container").into(),
        );
    }
    let container = logs::container(
        pod,
        query.get("container").unwrap_or_default(),
        &target.name,
    )?;
    out.extend(commands.iter().map(|c| format!("command={}", encode(c))));
    Ok(format!(
        "/{name}/{}/{}/{container}?{}",
        target.namespace,
        target.name,
        out.join("&")
    ))
}

/// A value as a query holds it.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
