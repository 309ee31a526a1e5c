//! The order of the stages, and what surrounds all of them: panics, time limits, errors as answers.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use http::{Request, header};
use knarr_api::{Status, encode::protobuf};
use parking_lot::Mutex;

use crate::{
    Outcome, UserInfo,
    accept::{self, Accept, Offer, Route},
    authn,
    body::{RequestBody, Response},
    compress,
    metrics::Observed,
    query::Query,
    request::RequestInfo,
    respond, route,
    server::Shared,
};

/// Who is at the other end of a request's connection.
#[derive(Clone)]
pub(crate) enum Peer {
    /// A component of this process.
    Local(Arc<UserInfo>),
    /// A connection, with the user of its client certificate when there is one.
    Remote { certified: Option<Arc<UserInfo>> },
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
    /// Texts for `Warning` headers, in order.
    pub warnings: Mutex<Vec<String>>,
    /// What stages note about the request for its audit event. The first note of a key stays.
    pub annotations: Mutex<BTreeMap<String, String>>,
    /// The connection to take over, for exec and its kin.
    pub upgrade: Mutex<Option<hyper::upgrade::OnUpgrade>>,
}

impl Call {
    pub fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    pub fn accept_header(&self) -> Option<&str> {
        self.header(header::ACCEPT)
    }

    pub fn warn(&self, texts: impl IntoIterator<Item = String>) {
        self.warnings.lock().extend(texts);
    }

    /// Notes something for the audit event of this request.
    pub fn annotate(&self, key: &str, value: impl Into<String>) {
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

    fn pretty(&self) -> bool {
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
    let audit = uuid::Uuid::new_v4();
    let accepted = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok());
    let form = accept::choose(accepted, &Offer::STATUS).unwrap_or_default();
    let guarded = AssertUnwindSafe(stages(shared, request, peer)).catch_unwind();
    let mut response = guarded.await.unwrap_or_else(|_| {
        tracing::error!(%audit, "a request handler panicked");
        respond::status(&form, &Status::internal("the request could not be handled"))
    });
    if let Ok(value) = header::HeaderValue::from_str(&audit.to_string()) {
        response.headers_mut().insert("audit-id", value);
    }
    response
}

async fn stages(shared: Arc<Shared>, request: Request<RequestBody>, peer: Peer) -> Response {
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
        warnings: Mutex::default(),
        annotations: Mutex::default(),
        upgrade: Mutex::new(upgrade),
    };
    let observed = Observed::new(&call, long_running(&call.info));
    let outcome = match authn::authenticate(&mut call, &peer) {
        Ok(()) => limited(&call, body).await,
        Err(status) => Err(status),
    };
    let mut response =
        outcome.unwrap_or_else(|status| respond::status(&call.error_form(), &status));
    respond::warn(&mut response, &call.warnings.lock());
    compress::answer(&call, observed.answered(response))
}

/// Runs the rest of the chain within the time a request may take.
async fn limited(call: &Call, body: RequestBody) -> Outcome<Response> {
    call.shared.authorizer.check(call)?;
    if long_running(&call.info) {
        return route::to(call, body).await;
    }
    match tokio::time::timeout(call.shared.request_timeout, route::to(call, body)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let seconds = call.shared.request_timeout.as_secs();
            let message = format!(
                "the request did not finish within {seconds} seconds; it may still be carried out"
            );
            Err(respond::general(504, "Timeout", &message).into())
        }
    }
}

fn long_running(info: &RequestInfo) -> bool {
    info.verb == "watch"
        || matches!(
            info.subresource.as_str(),
            "log" | "exec" | "attach" | "portforward" | "proxy"
        )
}
