//! DELETE of a collection: what the selection matches, a few at a time.

use futures::future::join_all;
use knarr_api::Status;
use knarr_store::Stored;

use super::{Target, delete, list, page};
use crate::{
    Outcome,
    accept::Shape,
    body::{RequestBody, Response},
    chain::Call,
    query::ListOptions,
    selector::Selection,
};

/// So many are deleted side by side: their writes share the wait for the disk.
const AT_ONCE: usize = 64;

/// # Errors
/// What is wrong with the options, or the first object that could not be deleted.
pub async fn delete_all(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    let accept = call.negotiate(&[Shape::Table, Shape::PartialList])?;
    let listing = ListOptions::new(&call.query, false)?;
    let selection = Selection::new(call, target)?;
    let options = delete::DeleteOptions::read(call, body).await?;
    let listed = list::page(call, target, &listing, &selection).await?;
    let one = |stored| delete_one(call, target, &options, stored);
    for some in listed.items.chunks(AT_ONCE) {
        // Whoever was begun is brought to its end, also beside one that fails.
        let done = join_all(some.iter().map(|stored| one(stored))).await;
        done.into_iter().collect::<Outcome<()>>()?;
    }
    page::answer(call, target, &accept, listed).await
}

async fn delete_one(
    call: &Call,
    target: &Target,
    options: &delete::DeleteOptions,
    stored: &Stored,
) -> Outcome<()> {
    let mut one = target.clone();
    one.namespace.clone_from(&stored.head.namespace);
    one.name.clone_from(&stored.head.name);
    match delete::one(call, &one, options, delete::Asked::Everyone).await {
        Err(status) if !is_gone(&status) => Err(status),
        _ => Ok(()),
    }
}

/// Someone else was faster, which is what was wanted.
fn is_gone(status: &Status) -> bool {
    status.code == 404
}
