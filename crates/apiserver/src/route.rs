//! Where a request leads: discovery, a document, a review, a subresource, REST.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::Method;
use knarr_api::{Resource, old::Old};

use crate::{
    Outcome, aggregation,
    body::{RequestBody, Response},
    chain::Call,
    components, custom, discovery, health, respond,
    rest::{self, Target},
    reviews, zpages,
};

/// What users of the old kind are told.
const ENDPOINTS: &str =
    "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";

/// # Errors
/// Whatever the request deserves, as a Status.
pub(crate) fn to(call: &Call, body: RequestBody) -> BoxFuture<'_, Outcome<Response>> {
    if let Some(remote) = aggregation::find(&call.shared, &call.info) {
        return Box::pin(async move { Ok(aggregation::answer(call, &remote, body).await) });
    }
    if call.info.is_resource {
        return Box::pin(resource(call, body));
    }
    match health::answer(call).or_else(|| zpages::answer(call)) {
        Some(answer) => Box::pin(std::future::ready(Ok(answer))),
        None => Box::pin(discovery::answer(call)),
    }
}

async fn resource(call: &Call, body: RequestBody) -> Outcome<Response> {
    let info = &call.info;
    let registry = call.shared.registry.load();
    let known = registry.iter().any(|r| r.group == info.group)
        || registry.old_versions().any(|o| o.group == info.group);
    if !known && !reviews::has_group(&info.group) {
        return Ok(respond::page_not_found());
    }
    if info.broken {
        return Err(respond::no_such_resource().into());
    }
    // The verb was authorized; what is done must be nothing else, whatever path led to it.
    if info.verb == "watch" && !matches!(call.method, Method::GET | Method::HEAD) {
        return Err(respond::not_allowed().into());
    }
    if let Some(review) = reviews::find(&registry, info) {
        return reviews::answer(call, review, body).await;
    }
    let served = registry
        .get(&info.group, &info.resource)
        .filter(|r| r.versions.contains(&info.version))
        .cloned();
    let old = registry.old_version(&info.group, &info.version, &info.resource);
    let (old, served) = match (served, old) {
        (Some(served), _) => (None, served),
        (None, Some((old, served))) => (Some(old), served.clone()),
        // Groups of custom resources have no handler of their own that would know them.
        (None, None) => {
            let built_in = registry
                .iter()
                .any(|r| r.group == info.group && r.custom.is_none());
            return if built_in || reviews::has_group(&info.group) {
                Err(respond::no_such_resource().into())
            } else {
                Ok(respond::page_not_found())
            };
        }
    };
    drop(registry);
    rest::current::ensure(call).await?;
    if served.custom.is_some() {
        if info.overlong || (!served.namespaced && !info.namespace.is_empty()) {
            return Ok(respond::page_not_found());
        }
        custom::admit(call, &served)?;
    } else if call.method == Method::HEAD && info.subresource != "proxy" {
        // Built-in kinds have a route for each method, and none for this one; only what is passed on takes it.
        return Err(respond::not_allowed().into());
    }
    let mut target = target(call, served)?;
    if let Some(old) = old {
        old_words(call, &mut target, old)?;
    }
    readable(call, &target)?;
    call.warn(target.resource.strategy.deprecated_at(&target.version));
    if target.resource.group.is_empty() && target.resource.plural == "endpoints" {
        call.warn([ENDPOINTS.to_owned()]);
    }
    if target.subresource.is_some() {
        return rest::sub::answer(call, &target, body).await;
    }
    object(call, &target, body).await
}

/// What the store cannot read may be anything: nobody is told an older state of it, or that it is not there.
fn readable(call: &Call, target: &Target) -> Outcome<()> {
    let place = match target.name.is_empty() {
        true => target.prefix(),
        false => target.key(),
    };
    let Some((key, why)) = call.shared.store.unreadable(&place) else {
        return Ok(());
    };
    if !target.name.is_empty() && key != place {
        return Ok(());
    }
    let why = format!("unable to transform key {key:?}: {why}");
    Err(knarr_api::Status::internal(why).into())
}

/// Turns a request that is worded in a version of old into one of today's, with a warning.
fn old_words(call: &Call, target: &mut Target, old: &'static Old) -> Outcome<()> {
    if target
        .subresource
        .as_ref()
        .is_some_and(|s| s.name != "status")
    {
        return Err(respond::no_such_resource().into());
    }
    target.version = old.now.1.to_owned();
    target.old = Some(old);
    call.warn([old.warning()]);
    Ok(())
}

fn target(call: &Call, resource: Arc<Resource>) -> Outcome<Target> {
    let info = &call.info;
    let subresource = match info.subresource.as_str() {
        "" => None,
        name => Some(
            resource
                .subresource_at(name, &info.version)
                .cloned()
                .ok_or_else(respond::no_such_resource)?,
        ),
    };
    let takes_rest = subresource.as_ref().is_some_and(|s| s.name == "proxy");
    // A namespace's own path names it twice.
    let own_namespace = info.group.is_empty() && info.resource == "namespaces";
    if (info.overlong && !takes_rest)
        || (!resource.namespaced && !info.namespace.is_empty() && !own_namespace)
    {
        return Err(respond::no_such_resource().into());
    }
    Ok(Target {
        version: info.version.clone(),
        namespace: if resource.namespaced {
            info.namespace.clone()
        } else {
            String::new()
        },
        name: info.path_name().to_owned(),
        subresource,
        resource,
        old: None,
    })
}

async fn object(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    if target.resource.group.is_empty() && target.resource.plural == "bindings" {
        return match (
            &call.method,
            target.name.is_empty() && !target.namespace.is_empty(),
        ) {
            (&Method::POST, true) => rest::sub::binding::create_legacy(call, target, body).await,
            _ => Err(respond::not_allowed().into()),
        };
    }
    if target.resource.group.is_empty() && target.resource.plural == "componentstatuses" {
        return match (&call.method, call.info.verb.as_str()) {
            (&Method::GET | &Method::HEAD, "get" | "list") => {
                components::answer(call, target).await
            }
            _ => Err(respond::not_allowed().into()),
        };
    }
    let named = !target.name.is_empty() && call.info.verb != "watch";
    let across = target.resource.namespaced && target.namespace.is_empty();
    let verb = call.info.verb.as_str();
    // What custom resources take has been decided; their verbs are what discovery tells.
    let offered = target.resource.custom.is_some() || target.resource.verbs.contains(&verb);
    match (&call.method, named) {
        (&Method::GET | &Method::HEAD, true) if across => Err(respond::no_such_resource().into()),
        (&Method::GET | &Method::HEAD, _) if verb == "watch" && offered => {
            rest::watch::watch(call, target).await
        }
        (&Method::GET | &Method::HEAD, true) if offered => rest::get::get(call, target).await,
        (&Method::GET | &Method::HEAD, false) if offered => rest::list::list(call, target).await,
        (&Method::POST, false) if offered && !across => {
            rest::create::create(call, target, body).await
        }
        (&Method::PUT, true) if offered => rest::update::update(call, target, body).await,
        (&Method::PATCH, true) if offered => rest::patch::patch(call, target, body).await,
        (&Method::DELETE, true) if offered => rest::delete::delete(call, target, body).await,
        (&Method::DELETE, false) if offered && !across => {
            rest::collection::delete_all(call, target, body).await
        }
        _ => Err(respond::not_allowed().into()),
    }
}
