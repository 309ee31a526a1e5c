//! Subresources: one file each where they are more than another view of the object.

pub mod binding;
mod eviction;
pub mod scale;
mod token;

use http::Method;

use super::{Target, get, patch, update};
use crate::{
    Outcome,
    body::{RequestBody, Response},
    chain::Call,
    proxy, respond,
};

/// # Errors
/// 405 for verbs that the subresource does not have, and what it answers itself.
pub(crate) async fn answer(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    let Some(sub) = &target.subresource else {
        return Err(respond::no_such_resource().into());
    };
    let name = sub.name;
    let connects = matches!(name, "log" | "exec" | "attach" | "portforward" | "proxy");
    let offered = sub.verbs.contains(&call.info.verb.as_str())
        || (connects && proxy::takes(name, &call.method));
    if !offered || call.info.verb == "watch" || target.name.is_empty() {
        return Err(respond::not_allowed().into());
    }
    if target.resource.namespaced && target.namespace.is_empty() {
        return Err(respond::no_such_resource().into());
    }
    match (target.resource.plural.as_str(), name) {
        (_, "scale") => scale::answer(call, target, body).await,
        ("pods", "binding") => binding::create(call, target, body).await,
        ("pods", "eviction") => eviction::create(call, target, body).await,
        ("serviceaccounts", "token") => token::create(call, target, body).await,
        (_, "log" | "exec" | "attach" | "portforward" | "proxy") => {
            proxy::answer(call, target, body).await
        }
        _ => view(call, target, body).await,
    }
}

/// `status`, `finalize` and their kin: the object itself, of which only a part can be written.
async fn view(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    match call.method {
        Method::GET | Method::HEAD => get::get(call, target).await,
        Method::PUT => update::update(call, target, body).await,
        Method::PATCH => patch::patch(call, target, body).await,
        _ => Err(respond::not_allowed().into()),
    }
}
