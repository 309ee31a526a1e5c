//! One request's audit events, from its arrival to its end.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::FutureExt;
use http::header;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use jiff::Timestamp;
use knarr_api::Status;
use knarr_json::{Map, Value, json};

use super::{
    event,
    policy::{Decided, Level, Stage},
};
use crate::{
    Outcome, UserInfo,
    authz::Attributes,
    body::{self, BoxError, RequestBody, Response, ResponseBody},
    chain::Call,
    respond,
    server::Shared,
};

/// Events of one request. One that ends before it was answered tells so when it is dropped.
pub struct Record {
    shared: Arc<Shared>,
    event: Map,
    decided: Decided,
    done: bool,
}

/// Begins the record of an authenticated request; none when the policy does not want it.
///
/// # Errors
/// The answer, when a backend cannot do without being told that the request is there.
pub async fn begin(call: &Call) -> Result<Option<Box<Record>>, Box<Response>> {
    let Some(mut record) = wanted(call) else {
        return Ok(None);
    };
    if record.emit(Stage::RequestReceived).await {
        return Ok(Some(record));
    }
    record.done = true;
    let uri = call.uri.path_and_query().map_or("/", |p| p.as_str());
    let why = "failed to store audit event";
    Err(Box::new(respond::internal_error(uri, why)))
}

fn wanted(call: &Call) -> Option<Box<Record>> {
    let audit = call.shared.audit.as_ref()?;
    let ask = Attributes::of(call);
    let decided = audit.policy.decide(&ask);
    if decided.level == Level::None {
        return None;
    }
    let now = Timestamp::now();
    Some(Box::new(Record {
        shared: call.shared.clone(),
        event: event::of(call, &ask, decided.level, now),
        decided,
        done: false,
    }))
}

/// Tells of a request that was refused for its credentials.
pub async fn unauthenticated(call: &Call, status: &Status) {
    let Some(audit) = call.shared.audit.as_ref() else {
        return;
    };
    let ask = Attributes {
        user: UserInfo::default(),
        ..Attributes::of(call)
    };
    let decided = audit.policy.decide(&ask);
    if decided.level == Level::None {
        return;
    }
    let now = Timestamp::now();
    let mut record = Record {
        shared: call.shared.clone(),
        event: event::of(call, &ask, decided.level, now),
        decided,
        done: true,
    };
    let tried = match call.header(header::AUTHORIZATION) {
        Some(value) => format!(
            "Authentication failed, attempted: {}",
            value.split(' ').next().unwrap_or_default().to_lowercase()
        ),
        None => "Authentication failed, no credentials provided".to_owned(),
    };
    let mut shown = json!({"metadata": {}, "status": "Failure", "message": tried});
    shown["code"] = status.code.into();
    record.event.insert("responseStatus", shown);
    record.emit(Stage::ResponseStarted).await;
}

/// The request's body, which is read here when the policy wants to know it.
///
/// # Errors
/// As [`body::read`].
pub async fn body(call: &mut Call, body: RequestBody, long: bool) -> Outcome<RequestBody> {
    let Some(record) = call.audit.as_mut() else {
        return Ok(body);
    };
    if record.decided.level < Level::Request || long || !call.info.is_resource {
        return Ok(body);
    }
    let bytes = body::read(body).await?;
    if !bytes.is_empty() {
        let omit = record.decided.omit_managed_fields;
        let object = event::object(&bytes, omit).or_else(|| {
            let text = std::str::from_utf8(&bytes).ok()?;
            serde_saphyr::from_str::<Value>(text)
                .ok()
                .filter(Value::is_object)
        });
        if let Some(object) = object {
            record.event.insert("requestObject", object);
        }
    }
    Ok(body::full(bytes))
}

impl Record {
    /// Tells of a stage; false when a backend cannot do without and does not have it.
    async fn emit(&mut self, stage: Stage) -> bool {
        let Some(event) = self.staged(stage) else {
            return true;
        };
        let done = match &self.shared.audit {
            Some(audit) => audit.emit(&event).await,
            None => true,
        };
        if let Value::Object(event) = event {
            self.event = event;
        }
        done
    }

    /// The event of a stage, taken out of the record; none when the policy leaves it out.
    fn staged(&mut self, stage: Stage) -> Option<Value> {
        if self.decided.omit_stages.contains(&stage) {
            return None;
        }
        let mut event = std::mem::take(&mut self.event);
        let at = match stage {
            Stage::RequestReceived => event["requestReceivedTimestamp"].clone(),
            _ => event::time(Timestamp::now()).into(),
        };
        event.insert("stage", stage.as_str().into());
        event.insert("stageTimestamp", at);
        Some(event.into())
    }

    /// Tells of the last stage where nothing can wait for it.
    fn emit_last(&mut self, stage: Stage) {
        self.done = true;
        let (Some(event), shared) = (self.staged(stage), self.shared.clone()) else {
            return;
        };
        let work = async move {
            if let Some(audit) = &shared.audit {
                audit.emit(&event).await;
            }
        };
        // Most backends take it at once; it needs a runtime only where one does not.
        let mut work = Box::pin(work);
        if (&mut work).now_or_never().is_none()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            self.shared.tasks.spawn_on(work, &runtime);
        }
    }

    /// The request's object says what its path does not: its name, when it is created.
    pub fn brought(&mut self, metadata: &Value) {
        let Some(reference) = self
            .event
            .get_mut("objectRef")
            .and_then(Value::as_object_mut)
        else {
            return;
        };
        for key in ["namespace", "name", "uid", "resourceVersion"] {
            if let Some(text) = metadata[key].as_str().filter(|t| !t.is_empty()) {
                reference.entry(key).or_insert_with(|| text.into());
            }
        }
    }

    pub fn impersonated(&mut self, user: &UserInfo) {
        self.event.insert("impersonatedUser", user.to_json());
    }

    pub fn failed(&mut self, status: &Status) {
        if let Ok(mut shown) = knarr_json::to_value(status) {
            if let Some(map) = shown.as_object_mut() {
                map.remove("kind");
                map.remove("apiVersion");
            }
            self.event.insert("responseStatus", shown);
        }
    }

    /// Tells of the answer, now or, for one that goes on, when it ends.
    pub async fn answered(
        mut self: Box<Self>,
        response: Response,
        annotations: Map,
        long: bool,
    ) -> Response {
        if !annotations.is_empty() {
            self.event.insert("annotations", annotations.into());
        }
        let code = response.status().as_u16();
        self.event
            .entry("responseStatus")
            .or_insert_with(|| event::plain_status(code));
        if long {
            self.emit(Stage::ResponseStarted).await;
            return response.map(|inner| {
                Told {
                    inner,
                    record: self,
                }
                .boxed_unsync()
            });
        }
        let response = if self.decided.level >= Level::RequestResponse {
            self.keep_answer(response).await
        } else {
            response
        };
        self.done = true;
        self.emit(Stage::ResponseComplete).await;
        response
    }

    /// Puts the answer into the event; lists are read whole for it.
    async fn keep_answer(&mut self, response: Response) -> Response {
        let kind = response.headers().get(header::CONTENT_TYPE);
        let json = kind.is_some_and(|k| k.as_bytes().starts_with(b"application/json"));
        if !json || response.headers().contains_key(header::CONTENT_ENCODING) {
            return response;
        }
        let (parts, inner) = response.into_parts();
        let Ok(collected) = inner.collect().await else {
            return http::Response::from_parts(parts, body::empty());
        };
        let bytes = collected.to_bytes();
        if let Some(object) = event::object(&bytes, self.decided.omit_managed_fields) {
            self.event.insert("responseObject", object);
        }
        http::Response::from_parts(parts, body::full(bytes))
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        if std::thread::panicking() {
            let status = json!({"metadata": {}, "status": "Failure", "message": "APIServer panic'd", "reason": "InternalError", "code": 500});
            self.event.insert("responseStatus", status);
            self.emit_last(Stage::Panic);
            return;
        }
        self.event.entry("responseStatus").or_insert_with(|| {
            json!({"metadata": {}, "status": "Success", "message": "Connection closed early", "code": 200})
        });
        self.emit_last(Stage::ResponseComplete);
    }
}

/// A body whose end is told.
struct Told {
    inner: ResponseBody,
    /// Tells when it is dropped.
    #[allow(dead_code, reason = "held for its drop")]
    record: Box<Record>,
}

impl Body for Told {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
