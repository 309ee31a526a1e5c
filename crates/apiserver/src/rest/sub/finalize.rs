//! `namespaces/finalize`: what still has to be done before a namespace can go.

use knarr_json::Value;

use super::super::{Target, managed, meta, update};
use crate::{
    Outcome,
    admission::{self, Attributes, Operation},
    body::{self, RequestBody, Response},
    chain::Call,
    codec,
    query::{OptionsKind, WriteOptions},
    rest::present,
};

pub(crate) async fn update(call: &Call, target: &Target, body: RequestBody) -> Outcome<Response> {
    let accept = call.negotiate(&[])?;
    let bytes = body::read(body).await?;
    let options = WriteOptions::new(&call.query, OptionsKind::Update)?;
    let mut sent = codec::decode(call, target, "Namespace", &bytes, options.field_validation)?;
    meta::settle_name(target, &sent)?;
    let old = target.decode(&target.load(call)?.json)?;
    let attributes = Attributes::new(call, target, Operation::Update)
        .old(&old)
        .dry_run(options.dry_run);
    admission::admit(&attributes, &mut sent).await?;
    let change = |namespace: &mut Value| {
        let revision = meta::text(&sent, "resourceVersion");
        if !revision.is_empty() && revision != meta::text(namespace, "resourceVersion") {
            return Err(target.conflict(super::super::MODIFIED));
        }
        let old = namespace.clone();
        match sent["spec"]["finalizers"]
            .as_array()
            .filter(|f| !f.is_empty())
        {
            Some(finalizers) => namespace["spec"]["finalizers"] = finalizers.clone().into(),
            None => namespace["spec"] = knarr_json::json!({}),
        }
        managed::note(call, target, namespace, Some(&old), &options);
        Ok(())
    };
    let stored = update::raw(call, target, &options, true, &change).await?;
    present::one(call, target, &accept, 200, &stored.json)
}
