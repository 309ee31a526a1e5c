//! GET of one object.

use super::{Target, present};
use crate::{Outcome, accept::Shape, body::Response, chain::Call, query};
use knarr_api::Status;

/// # Errors
/// 404; 400 for a resourceVersion that is none; 406.
pub async fn get(call: &Call, target: &Target) -> Outcome<Response> {
    let accept = call.negotiate(&[Shape::Table, Shape::Partial])?;
    if let Some(text) = call.query.get("resourceVersion") {
        let revision = query::revision(text).map_err(|why| {
            let status = Status::failure(500, "", why);
            Box::new(Status {
                reason: String::new(),
                ..status
            })
        })?;
        super::list::reach(call, revision).await?;
    }
    let stored = target.view(&call.shared, target.load(call)?).await?;
    present::one(call, target, &accept, 200, &stored.json)
}
