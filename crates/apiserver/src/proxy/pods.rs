//! `pods/NAME/proxy/…`: HTTP to a pod.

use knarr_api::Status;

use super::{
    Named,
    backend::{Backend, Protocol},
    forward, is_allowed,
};
use crate::{
    Outcome,
    body::{RequestBody, Response},
    chain::Call,
    rest::{Target, parse},
};

pub async fn answer(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    let bad = |why: String| Box::new(Status::bad_request(why));
    let named = Named::parse(&target.name)
        .ok_or_else(|| bad(format!("invalid pod request {:?}", target.name)))?;
    let target = Target {
        name: named.name.to_owned(),
        ..target.clone()
    };
    let pod = parse(&target.load(call)?.json)?;
    let host = pod["status"]["podIP"].as_str().unwrap_or_default();
    if !is_allowed(host) {
        return Err(bad("address not allowed".into()));
    }
    let first = &pod["spec"]["containers"][0]["ports"][0]["containerPort"];
    let port = match named.port {
        "" => first
            .as_u64()
            .and_then(|p| u16::try_from(p).ok())
            .unwrap_or(80),
        text => text
            .parse()
            .map_err(|_| bad(format!("invalid pod request {:?}", target.name)))?,
    };
    let protocol = if named.is_https() {
        Protocol::Https
    } else {
        Protocol::Http
    };
    forward::to(
        call,
        &Backend {
            host: host.to_owned(),
            port,
            protocol,
        },
        body,
    )
    .await
}
