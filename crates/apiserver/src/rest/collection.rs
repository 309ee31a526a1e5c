//! DELETE of a collection: what the selection matches, one by one.

use knarr_api::Status;

use super::{Target, delete, list, page};
use crate::{
    Outcome,
    accept::Shape,
    body::{RequestBody, Response},
    chain::Call,
    query::ListOptions,
    selector::Selection,
};

/// # Errors
/// What is wrong with the options, or the first object that could not be deleted.
pub async fn delete_all(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    let accept = call.negotiate(&[Shape::Table, Shape::PartialList])?;
    let listing = ListOptions::new(&call.query, false)?;
    let selection = Selection::new(call, target)?;
    let options = delete::DeleteOptions::read(call, body).await?;
    let listed = list::page(call, target, &listing, &selection).await?;
    for stored in &listed.items {
        let mut one = target.clone();
        one.namespace.clone_from(&stored.head.namespace);
        one.name.clone_from(&stored.head.name);
        match delete::one(call, &one, &options, delete::Asked::Everyone).await {
            Ok(_) => {}
            Err(status) if is_gone(&status) => {}
            Err(status) => return Err(status),
        }
    }
    page::answer(call, target, &accept, listed).await
}

/// Someone else was faster, which is what was wanted.
fn is_gone(status: &Status) -> bool {
    status.code == 404
}
