//! `serviceaccounts/token`: TokenRequest.

use jiff::Timestamp;
use knarr_api::{Status, field};
use knarr_json::{Value, json};
use knarr_store::Stored;

use super::super::{Target, managed, meta};
use crate::{
    Outcome,
    admission::{self, Attributes, Operation},
    authn::token::{Bound, Object, Tokens},
    body::{self, RequestBody, Response},
    chain::Call,
    codec,
    query::{OptionsKind, WriteOptions},
    respond,
};

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
const DEFAULT_SECONDS: i64 = 3600;
const LEAST_SECONDS: i64 = 600;
/// What the projected volumes of pods ask for: such tokens last a year for clients that never read them again, and warn
/// from the time they asked for.
const PROJECTED_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

pub(crate) async fn create(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    let accept = call.negotiate(&[])?;
    let bytes = body::read(body).await?;
    let options = WriteOptions::new(&call.query, OptionsKind::Create)?;
    let mut request = codec::decode_as(call, GROUP, "v1", KIND, &bytes, options.field_validation)?;
    if request["spec"].is_object() && request["spec"]["expirationSeconds"].is_null() {
        request["spec"]["expirationSeconds"] = DEFAULT_SECONDS.into();
    }
    managed::note_answer(call, (GROUP, "v1", KIND), "token", &mut request, &options);
    let attributes = Attributes::new(call, target, Operation::Create).dry_run(options.dry_run);
    admission::admit(&attributes, &mut request).await?;
    check_identity(target, &request)?;
    let account = target.load(call)?;
    let tokens = call
        .shared
        .tokens
        .as_ref()
        .ok_or_else(respond::no_such_resource)?;
    let mut seconds = check_seconds(&request)?;
    if let Some(most) = tokens
        .max_seconds
        .and_then(|m| i64::try_from(m).ok())
        .filter(|m| *m < seconds)
    {
        let short =
            format!("requested expiration of {seconds} seconds shortened to {most} seconds");
        call.warn([short]);
        seconds = most;
    }
    let bound = bind(call, target, &account, &request)?;
    let audiences: Vec<String> = strings(&request["spec"]["audiences"]);
    let (token, lasts) = sign(tokens, audiences.clone(), seconds, bound)?;
    let shown = if audiences.is_empty() {
        tokens.audiences.clone()
    } else {
        audiences
    };
    finish(target, &account, &mut request, seconds, &shown);
    let expires =
        Timestamp::from_second(Timestamp::now().as_second() + lasts).unwrap_or(Timestamp::MAX);
    let token = if options.dry_run {
        String::new()
    } else {
        token
    };
    request["status"] = json!({"token": token, "expirationTimestamp": meta::time(expires)});
    Ok(respond::encoded(201, &accept, &request))
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect()
}

fn check_identity(target: &Target, request: &Value) -> Outcome<()> {
    for (key, wanted) in [("name", &target.name), ("namespace", &target.namespace)] {
        let given = meta::text(request, key);
        if !given.is_empty() && given != wanted {
            let path = field::Path::new("metadata").child(key);
            let why = format!("must match the service account {key} if specified");
            let error = field::Error::invalid(&path, given, why);
            return Err(Status::invalid(GROUP, KIND, &target.name, &[error]).into());
        }
    }
    Ok(())
}

fn check_seconds(request: &Value) -> Outcome<i64> {
    let seconds = request["spec"]["expirationSeconds"]
        .as_i64()
        .unwrap_or(DEFAULT_SECONDS);
    let why = if seconds < LEAST_SECONDS {
        "may not specify a duration less than 10 minutes"
    } else if seconds > 1 << 32 {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(seconds);
    };
    let error = field::Error::invalid(
        &field::Path::new("spec").child("expirationSeconds"),
        seconds,
        why,
    );
    Err(Status::invalid(GROUP, KIND, "", &[error]).into())
}

fn bind(call: &Call, target: &Target, account: &Stored, request: &Value) -> Outcome<Bound> {
    let object = |stored: &Stored| Object {
        name: stored.head.name.clone(),
        uid: stored.head.uid.clone(),
    };
    let mut bound = Bound {
        namespace: target.namespace.clone(),
        serviceaccount: object(account),
        ..Bound::default()
    };
    let reference = &request["spec"]["boundObjectRef"];
    if reference.is_null() {
        return Ok(bound);
    }
    let text = |key: &str| reference[key].as_str().unwrap_or_default();
    let (version, kind, name, uid) = (text("apiVersion"), text("kind"), text("name"), text("uid"));
    let (prefix, plural) = match (version, kind) {
        ("v1" | "", "Pod") => (format!("/registry/pods/{}/", target.namespace), "pods"),
        ("v1" | "", "Secret") => (
            format!("/registry/secrets/{}/", target.namespace),
            "secrets",
        ),
        ("v1" | "", "Node") => ("/registry/minions/".to_owned(), "nodes"),
        _ => {
            let shown = if version.contains('/') {
                version.to_owned()
            } else {
                format!("/{version}")
            };
            return Err(Status::bad_request(format!(
                "cannot bind token to object of type {}, Kind={kind}",
                shown
            ))
            .into());
        }
    };
    names_one(name)?;
    let stored = call.shared.store.get(&format!("{prefix}{name}"));
    let stored = stored.ok_or_else(|| Box::new(Status::not_found("", plural, name)))?;
    if !uid.is_empty() && uid != stored.head.uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict("", kind, name, &why).into());
    }
    match kind {
        "Pod" => bind_pod(call, target, &stored, &mut bound)?,
        "Secret" => bound.secret = Some(object(&stored)),
        _ => bound.node = Some(object(&stored)),
    }
    Ok(bound)
}

/// What a token is bound to is looked for by its path, which not every text can be part of.
fn names_one(name: &str) -> Outcome<()> {
    let wrong = knarr_api::names::path_segment(name);
    if name.is_empty() {
        Err(Status::bad_request("Name parameter required.").into())
    } else if wrong.is_empty() {
        Ok(())
    } else {
        let why = format!("Name parameter invalid: {name:?}: {}", wrong.join(";"));
        Err(Status::bad_request(why).into())
    }
}

fn bind_pod(call: &Call, target: &Target, stored: &Stored, bound: &mut Bound) -> Outcome<()> {
    let pod = super::super::parse(&stored.json)?;
    if pod["spec"]["serviceAccountName"].as_str() != Some(&target.name) {
        let why = format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            target.name
        );
        return Err(Status::bad_request(why).into());
    }
    bound.pod = Some(Object {
        name: stored.head.name.clone(),
        uid: stored.head.uid.clone(),
    });
    if let Some(node) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
        let uid = call
            .shared
            .store
            .get(&format!("/registry/minions/{node}"))
            .map(|n| n.head.uid.clone());
        bound.node = Some(Object {
            name: node.to_owned(),
            uid: uid.unwrap_or_default(),
        });
    }
    Ok(())
}

/// The token, and how many seconds it lasts.
fn sign(
    tokens: &Tokens,
    audiences: Vec<String>,
    seconds: i64,
    mut bound: Bound,
) -> Outcome<(String, i64)> {
    let own = audiences.is_empty() || audiences.iter().all(|a| tokens.audiences.contains(a));
    let extended =
        seconds == PROJECTED_SECONDS && bound.pod.is_some() && own && !tokens.strict_expiration;
    let lasts = if extended { EXTENDED_SECONDS } else { seconds };
    if extended {
        bound.warnafter = u64::try_from(Timestamp::now().as_second() + seconds).ok();
    }
    let claims = tokens.claims(audiences, u64::try_from(lasts).unwrap_or(0), bound);
    let token = tokens.sign(&claims).map_err(Status::internal)?;
    // Kubelets renew by what they are told, so they are told what was asked for.
    Ok((token, seconds))
}

fn finish(
    target: &Target,
    account: &Stored,
    request: &mut Value,
    seconds: i64,
    audiences: &[String],
) {
    let metadata = meta::of(request);
    metadata.insert("name", target.name.as_str().into());
    metadata.insert("namespace", target.namespace.as_str().into());
    metadata.insert("creationTimestamp", meta::now().into());
    metadata.insert("uid", account.head.uid.as_str().into());
    request["spec"]["expirationSeconds"] = seconds.into();
    request["spec"]["audiences"] = audiences.into();
    if request["spec"]["boundObjectRef"].is_null() {
        request["spec"]["boundObjectRef"] = Value::Null;
    }
}
