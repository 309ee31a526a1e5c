//! The order of the stages, and what surrounds all of them: panics, time limits, errors as answers.

use std::{
    collections::BTreeMap, net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration,
};

use futures::FutureExt;
use http::{Request, header};
use knarr_api::{Status, encode::protobuf};
use parking_lot::Mutex;

use crate::{
    Outcome, UserInfo,
    accept::{self, Accept, Offer, Route},
    audit,
    authn::{self, x509},
    authz::config::duration,
    body::{RequestBody, Response},
    compress,
    metrics::Observed,
    query::Query,
    request::RequestInfo,
    respond, route,
    server::Shared,
    warnings::Warnings,
};

/// Who is at the other end of a request's connection.
#[derive(Clone)]
pub(crate) enum Peer {
    /// A component of this process.
    Local(Arc<UserInfo>),
    /// A connection.
    Remote(Arc<Remote>),
}

/// The other end of a connection.
pub(crate) struct Remote {
    pub address: SocketAddr,
    /// What its client certificate tells, when it showed one.
    pub certificate: x509::Shown,
    /// Told when the connection is to end with the requests that are on it.
    pub leave: tokio::sync::Notify,
}

/// A request that passed authentication, with everything later stages read.
pub(crate) struct Call {
    pub shared: Arc<Shared>,
    pub info: RequestInfo,
    pub method: http::Method,
    pub uri: http::Uri,
    pub headers: http::HeaderMap,
    pub query: Query,
    pub user: UserInfo,
    /// Where the request came from, when it came from outside.
    pub source: Option<SocketAddr>,
    /// Names the request in the audit log and to the client.
    pub audit_id: String,
    /// What is told of the request, when it is audited.
    pub audit: Option<Box<audit::Record>>,
    /// Texts for `Warning` headers, in order.
    pub warnings: Mutex<Warnings>,
    /// Its body is so large that work on it keeps a thread for long: see [`Call::aside`].
    pub large: bool,
    /// What stages note about the request for its audit event. The first note of a key stays.
    pub annotations: Mutex<BTreeMap<String, String>>,
    /// Metadata of the object that the request brings, for its audit event.
    pub brought: Mutex<Option<knarr_json::Value>>,
    /// What the object of the request was read from, to tell what was given empty in it from what was not given.
    pub given: Mutex<Given>,
    /// The connection to take over, for exec and its kin.
    pub upgrade: Mutex<Option<hyper::upgrade::OnUpgrade>>,
}

/// What an object was read from.
#[derive(Clone, Default)]
pub(crate) enum Given {
    #[default]
    Nothing,
    /// A body that is the object; it is read again only when someone asks.
    Body(bytes::Bytes),
    /// What a patch made, or a configuration that is applied.
    Read(knarr_json::Value),
}

impl Call {
    pub fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    pub fn accept_header(&self) -> Option<&str> {
        self.header(header::ACCEPT)
    }

    pub fn warn(&self, texts: impl IntoIterator<Item = String>) {
        let mut warnings = self.warnings.lock();
        texts.into_iter().for_each(|text| warnings.add(text));
    }

    /// Whether anybody will read what is noted for the audit event of this request.
    pub fn audited(&self) -> bool {
        self.audit.is_some()
    }

    /// Does a part of the work on the object that the request brings. Where that takes long, others' requests go on
    /// elsewhere meanwhile.
    pub fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        if self.large {
            return aside(work);
        }
        work()
    }

    /// Notes which object the request brings, for its audit event.
    pub fn brings(&self, object: &knarr_json::Value) {
        if self.audited() {
            *self.brought.lock() = Some(object["metadata"].clone());
        }
    }

    /// Notes something for the audit event of this request.
    pub fn annotate(&self, key: &str, value: impl Into<String>) {
        if !self.audited() {
            return;
        }
        let mut notes = self.annotations.lock();
        notes.entry(key.to_owned()).or_insert_with(|| value.into());
    }

    /// The form of answer agreed on with the client, among `shapes`.
    pub fn negotiate(&self, shapes: &[accept::Shape]) -> Outcome<Accept> {
        let registry = self.shared.registry.load();
        let resource = registry.get(&self.info.group, &self.info.resource);
        let messages = resource.is_none_or(|r| {
            protobuf::message_of(&r.api_version(&self.info.version), &r.kind).is_ok()
        });
        let offer = Offer {
            shapes,
            messages,
            watch: self.info.verb == "watch",
        };
        let route = match self.info.verb.as_str() {
            // Only kinds built in have routes of their own.
            _ if !messages => None,
            "list" | "watch" => Some(Route::Collection),
            _ => Some(Route::Object),
        };
        let mut accept = accept::negotiate(self.accept_header(), &offer, route)?;
        accept.pretty = self.pretty();
        Ok(accept)
    }

    /// The form of errors: the client's when it is known, else JSON.
    pub fn error_form(&self) -> Accept {
        let mut accept = accept::choose(self.accept_header(), &Offer::STATUS).unwrap_or_default();
        accept.pretty = self.pretty();
        accept
    }

    pub fn pretty(&self) -> bool {
        match self.query.get("pretty") {
            Some(text) => !matches!(text, "0" | "false" | "f" | "F" | "False" | "FALSE"),
            // People at a terminal or in a browser get lines.
            None => self.header(header::USER_AGENT).is_some_and(|agent| {
                ["curl", "Wget", "Mozilla/5.0"]
                    .iter()
                    .any(|a| agent.starts_with(a))
            }),
        }
    }
}

/// Answers one request, whatever happens.
pub(crate) async fn handle(
    shared: Arc<Shared>,
    request: Request<RequestBody>,
    peer: Peer,
) -> Response {
    let audit = audit_id(&request);
    if let Peer::Remote(remote) = &peer
        && shared.goaway_chance > 0.0
        && request.version() == http::Version::HTTP_2
        && rand::random::<f64>() < shared.goaway_chance
    {
        remote.leave.notify_one();
    }
    let accepted = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok());
    let form = accept::choose(accepted, &Offer::STATUS).unwrap_or_default();
    let guarded = AssertUnwindSafe(stages(shared, request, peer, audit.clone())).catch_unwind();
    let mut response = guarded.await.unwrap_or_else(|_| {
        tracing::error!(%audit, "a request handler panicked");
        respond::status(&form, &Status::internal("the request could not be handled"))
    });
    if let Ok(mut value) = header::HeaderValue::from_str(&audit) {
        // No two are the same: HTTP/2 shall not make room for it among the headers that come again.
        value.set_sensitive(true);
        response.headers_mut().insert("audit-id", value);
    }
    response
}

/// The id that the client (or a server in front) gave, or a new one.
fn audit_id(request: &Request<RequestBody>) -> String {
    let given = request
        .headers()
        .get("audit-id")
        .and_then(|v| v.to_str().ok());
    match given.filter(|id| !id.is_empty() && id.len() <= 256) {
        Some(id) => id.to_owned(),
        None => crate::rest::meta::fresh_uid(),
    }
}

async fn stages(
    shared: Arc<Shared>,
    request: Request<RequestBody>,
    peer: Peer,
    audit_id: String,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let info = RequestInfo::new(&parts.method, parts.uri.path(), &query);
    let upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let mut call = Call {
        shared,
        info,
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
        query,
        user: UserInfo::anonymous(),
        source: match &peer {
            Peer::Local(_) => None,
            Peer::Remote(remote) => Some(remote.address),
        },
        audit_id,
        audit: None,
        warnings: Mutex::default(),
        large: false,
        annotations: Mutex::default(),
        brought: Mutex::default(),
        given: Mutex::default(),
        upgrade: Mutex::new(upgrade),
    };
    let long = long_running(&call.info);
    let observed = Observed::new(&call, long);
    let outcome = admitted(&mut call, &peer, body, long).await;
    let mut response = outcome.unwrap_or_else(|status| {
        if let Some(record) = &mut call.audit {
            record.failed(&status);
        }
        respond::status(&call.error_form(), &status)
    });
    respond::warn(&mut response, call.warnings.lock().texts());
    if let Some(record) = call.audit.take() {
        let notes = std::mem::take(&mut *call.annotations.lock());
        let notes = notes.into_iter().map(|(k, v)| (k, v.into())).collect();
        let mut record = record;
        if let Some(metadata) = call.brought.lock().take() {
            record.brought(&metadata);
        }
        response = record.answered(response, notes, long).await;
    }
    compress::answer(&call, observed.answered(response))
}

/// The stages that a request passes before it is worked on: who asks, as whom, is there a seat, may he.
async fn admitted(
    call: &mut Call,
    peer: &Peer,
    body: RequestBody,
    long: bool,
) -> Outcome<Response> {
    if let Err(status) = authn::authenticate(call, peer).await {
        audit::unauthenticated(call, &status).await;
        return Err(status);
    }
    call.audit = match audit::begin(call).await {
        Ok(record) => record,
        Err(answer) => return Ok(*answer),
    };
    if authn::impersonate::apply(call).await?
        && let Some(record) = &mut call.audit
    {
        record.impersonated(&call.user);
    }
    let entered = match call.shared.flow.enter(call, long).await {
        Ok(entered) => entered,
        Err(refused) => return Ok(refused),
    };
    let mut response = seated(call, body, long).await;
    if let Some(entered) = entered {
        // Errors are answers too.
        let answer = response.unwrap_or_else(|status| {
            if let Some(record) = &mut call.audit {
                record.failed(&status);
            }
            respond::status(&call.error_form(), &status)
        });
        let mut answer = answer;
        entered.tell(&mut answer);
        response = Ok(answer);
    }
    response
}

async fn seated(call: &mut Call, body: RequestBody, long: bool) -> Outcome<Response> {
    call.shared.authorizer.check(call).await?;
    let limit = if long { None } else { Some(deadline(call)?) };
    call.large = is_large(call, &body);
    let body = within(limit, audit::body(call, body, long)).await?;
    within(limit, route::to(call, body)).await
}

/// Bodies from here on (bytes) may take long to be parsed and checked.
const LARGE: u64 = 32 << 10;

fn is_large(call: &Call, body: &RequestBody) -> bool {
    let told = call.header(header::CONTENT_LENGTH);
    // Requests of this process have no such header, and bodies that know how long they are.
    let length = told.and_then(|l| l.parse::<u64>().ok());
    match length.or(http_body::Body::size_hint(body).upper()) {
        Some(length) => length >= LARGE,
        None => matches!(
            call.method,
            http::Method::POST | http::Method::PUT | http::Method::PATCH
        ),
    }
}

/// Does work that may keep a thread for long: others' requests go on elsewhere.
pub(crate) fn aside<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    let runtime = Handle::try_current();
    if runtime.is_ok_and(|r| r.runtime_flavor() == RuntimeFlavor::MultiThread) {
        return tokio::task::block_in_place(work);
    }
    work()
}

/// Does work within the time that a request may take; streams have no such limit.
///
/// # Errors
/// 504 when it takes longer.
async fn within<T>(limit: Option<Duration>, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let Some(limit) = limit else {
        return work.await;
    };
    let done = tokio::time::timeout(limit, work).await;
    done.unwrap_or_else(|_| {
        let message = "Timeout: request did not complete within the allotted timeout";
        Err(respond::general(504, "Timeout", message).into())
    })
}

/// The time a request may take: what it asks for, but no more than the server gives.
///
/// # Errors
/// 400 when what it asks for is no duration.
fn deadline(call: &Call) -> Outcome<Duration> {
    let most = call.shared.request_timeout;
    let asked = call.query.get("timeout").filter(|t| !t.is_empty());
    match asked {
        None => Ok(most),
        Some(text) => match duration(text) {
            Ok(asked) if asked.is_zero() => Ok(most),
            Ok(asked) => Ok(asked.min(most)),
            Err(_) => {
                Err(Status::bad_request("invalid timeout specified in the request URL").into())
            }
        },
    }
}

fn long_running(info: &RequestInfo) -> bool {
    info.verb == "watch"
        || matches!(
            info.subresource.as_str(),
            "log" | "exec" | "attach" | "portforward" | "proxy"
        )
}
