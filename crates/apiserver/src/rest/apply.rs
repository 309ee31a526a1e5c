//! Server-side apply.

use super::Target;
use crate::{
    Outcome,
    body::{RequestBody, Response},
    chain::Call,
    respond,
};

/// # Errors
/// 415 until field ownership is there.
pub async fn apply(_call: &Call, _target: &Target, _body: RequestBody) -> Outcome<Response> {
    Err(respond::general(415, "UnsupportedMediaType", "415: Unsupported Media Type").into())
}
