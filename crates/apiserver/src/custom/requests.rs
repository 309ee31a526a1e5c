//! Requests of this part of the server to the server: through the same chain as everyone's.

use std::sync::Arc;

use http::{Method, Request, header};
use http_body_util::BodyExt;
use knarr_json::Value;

use crate::{
    UserInfo, body,
    chain::{self, Peer},
    server::Shared,
    user::MASTERS,
};

/// What became of a request.
#[derive(Debug, PartialEq)]
pub enum Answer {
    Done,
    /// Someone else was faster: look again.
    Conflict,
    NotFound,
    /// Anything else, in words.
    Refused(String),
}

/// Sends a request as the server itself.
pub async fn send(
    shared: &Arc<Shared>,
    method: Method,
    path: &str,
    object: Option<&Value>,
) -> Answer {
    let bytes = object.map(Value::to_string).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, "kube-apiserver")
        .body(body::full(bytes));
    let request = match request {
        Ok(request) => request,
        Err(error) => return Answer::Refused(error.to_string()),
    };
    let peer = Peer::Local(Arc::new(UserInfo::new("system:apiserver", [MASTERS])));
    let response = chain::handle(shared.clone(), request, peer).await;
    match response.status().as_u16() {
        200..=299 => Answer::Done,
        404 => Answer::NotFound,
        409 => Answer::Conflict,
        code => {
            let body = response.into_body().collect().await;
            let body = body.map(|b| b.to_bytes()).unwrap_or_default();
            Answer::Refused(format!("{code} {}", String::from_utf8_lossy(&body).trim()))
        }
    }
}
