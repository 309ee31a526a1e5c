//! `/openapi/v2` and `/openapi/v3`.

use crate::{body::Response, chain::Call};

/// Documents made from the registry's schemas.
#[derive(Default)]
pub(crate) struct OpenApi {}

/// None for paths outside `/openapi`.
pub fn answer(_call: &Call, _path: &str) -> Option<Response> {
    None
}
