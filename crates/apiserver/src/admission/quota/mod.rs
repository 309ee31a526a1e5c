//! ResourceQuota: a namespace gets no more than its quotas allow. What is used is noted in their status as part of the
//! request, so that requests at the same time cannot both take the last of something.

mod check;
mod limited;
mod usage;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
};

use knarr_api::{Status, head::Encoded};
use knarr_json::Value;
use knarr_store::{Range, Stored, Write, WriteError};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use self::{
    check::{Quota, Request},
    usage::Counted,
};
use super::{Attributes, Operation, amounts};
use crate::{Outcome, rest::engine_failure, server::Shared};

/// How often charges that lost a race with someone else's are made anew.
const TRIES: usize = 3;

/// Charges that wait, by namespace: whose turn it is makes those of all who wait with one write.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<HashMap<String, Weak<Page>>>);

#[derive(Default)]
struct Page {
    waiting: Mutex<Vec<Waiting>>,
    turn: tokio::sync::Mutex<()>,
}

struct Waiting {
    request: Request,
    dry_run: bool,
    answer: oneshot::Sender<Result<(), Refused>>,
}

/// Why a request was not charged.
enum Refused {
    Forbidden(String),
    Failed(Box<Status>),
}

impl Ledger {
    fn page(&self, namespace: &str) -> Arc<Page> {
        let mut pages = self.0.lock();
        if let Some(page) = pages.get(namespace).and_then(Weak::upgrade) {
            return page;
        }
        pages.retain(|_, page| page.strong_count() > 0);
        let page = Arc::new(Page::default());
        pages.insert(namespace.to_owned(), Arc::downgrade(&page));
        page
    }
}

/// # Errors
/// 403 for what does not fit, 409 or 500 when what is used cannot be noted.
pub(crate) async fn validate(a: &Attributes<'_>, object: &Value) -> Outcome<()> {
    let Some(counted) = concerns(a, object) else {
        return Ok(());
    };
    let shared = &a.call.shared;
    let quotas = stored(shared, a.namespace());
    covered(a, object, &counted, &quotas)?;
    if quotas.is_empty() {
        return Ok(());
    }
    let page = shared.admission.ledger.page(a.namespace());
    let (answer, mut answered) = oneshot::channel();
    let request = Request {
        counted,
        object: object.clone(),
        old: a.old.cloned(),
    };
    page.waiting.lock().push(Waiting {
        request,
        dry_run: a.dry_run,
        answer,
    });
    let _turn = page.turn.lock().await;
    let result = match answered.try_recv() {
        Ok(result) => result,
        Err(_) => {
            let all = std::mem::take(&mut *page.waiting.lock());
            // On its own, as others wait for it even when this client hangs up.
            let (shared, namespace) = (shared.clone(), a.namespace().to_owned());
            let charged = tokio::spawn(async move { charge_all(&shared, &namespace, all).await });
            let _ = charged.await;
            answered.try_recv().unwrap_or_else(|_| {
                let why = "resource quota evaluation timed out";
                Err(Refused::Failed(Status::internal(why).into()))
            })
        }
    };
    match result {
        Ok(()) => Ok(()),
        Err(Refused::Forbidden(why)) => Err(a.forbidden(object, &why)),
        Err(Refused::Failed(status)) => Err(status),
    }
}

/// # Errors
/// 403 for what no quota covers though it is limited.
fn covered(
    a: &Attributes<'_>,
    object: &Value,
    counted: &Counted,
    quotas: &[Arc<Stored>],
) -> Outcome<()> {
    let limited = &a.call.shared.admission.settings.limited;
    if limited.is_empty() {
        return Ok(());
    }
    let quotas = quotas.iter().map(|s| serde_json::from_slice(&s.json));
    let quotas: Vec<Quota> = quotas.flatten().map(|q: Value| Quota::of(&q)).collect();
    let what = (a.group(), a.resource());
    limited::covered(limited, what, (counted, object), &quotas)
        .map_err(|why| a.forbidden(object, &why))
}

/// How such a request is counted; none when it changes nothing that is.
fn concerns(a: &Attributes<'_>, object: &Value) -> Option<Counted> {
    if a.namespace().is_empty() {
        return None;
    }
    let (creates, updates) = (
        a.operation == Operation::Create,
        a.operation == Operation::Update,
    );
    let counted = Counted::of(a.group(), a.resource())?;
    let concerned = match (&counted, a.subresource) {
        (Counted::Pod, "resize") => updates,
        (Counted::Service | Counted::Claim | Counted::DeviceClaim, "") => creates || updates,
        (Counted::Claim, "status") => {
            let of = |o: &Value| o["status"]["allocatedResources"]["storage"].clone();
            updates && a.old.is_some_and(|old| of(old) != of(object))
        }
        (_, "") => creates,
        _ => false,
    };
    concerned.then_some(counted)
}

fn stored(shared: &Shared, namespace: &str) -> Vec<Arc<Stored>> {
    let prefix = format!("/registry/resourcequotas/{namespace}/");
    let listing = shared.store.list(Range {
        prefix: &prefix,
        ..Range::default()
    });
    listing.map(|l| l.items).unwrap_or_default()
}

/// A quota with what it was read from.
struct Read {
    stored: Arc<Stored>,
    object: Value,
    before: amounts::Amounts,
}

async fn charge_all(shared: &Shared, namespace: &str, mut waiting: Vec<Waiting>) {
    let mut settled = HashSet::new();
    for round in 0..TRIES {
        let (reads, mut quotas) = read(shared, namespace, &settled);
        let mut charged = Vec::new();
        for one in waiting {
            let mut tried = quotas.clone();
            match check::charge(&mut tried, &one.request) {
                Err(why) => drop(one.answer.send(Err(Refused::Forbidden(why)))),
                Ok(()) if one.dry_run => drop(one.answer.send(Ok(()))),
                Ok(()) => {
                    quotas = tried;
                    charged.push(one);
                }
            }
        }
        match note(shared, reads, &quotas, &mut settled).await {
            Ok(()) => {
                charged
                    .into_iter()
                    .for_each(|one| drop(one.answer.send(Ok(()))));
                return;
            }
            Err(Lost::Race(_)) if round + 1 < TRIES => waiting = charged,
            Err(Lost::Race(status) | Lost::Engine(status)) => {
                for one in charged {
                    let _ = one.answer.send(Err(Refused::Failed(status.clone())));
                }
                return;
            }
        }
    }
}

/// The quotas of a namespace without those that are settled.
fn read(shared: &Shared, namespace: &str, settled: &HashSet<Arc<str>>) -> (Vec<Read>, Vec<Quota>) {
    let mut reads = Vec::new();
    let mut quotas = Vec::new();
    for stored in stored(shared, namespace) {
        if settled.contains(&stored.key) {
            continue;
        }
        let Ok(object) = serde_json::from_slice::<Value>(&stored.json) else {
            continue;
        };
        let quota = Quota::of(&object);
        reads.push(Read {
            stored,
            object,
            before: quota.used.clone(),
        });
        quotas.push(quota);
    }
    (reads, quotas)
}

enum Lost {
    Race(Box<Status>),
    Engine(Box<Status>),
}

/// Writes what is used now into the quotas that changed. Those whose write happened are settled: another try leaves them be.
async fn note(
    shared: &Shared,
    reads: Vec<Read>,
    quotas: &[Quota],
    settled: &mut HashSet<Arc<str>>,
) -> Result<(), Lost> {
    for (mut read, quota) in reads.into_iter().zip(quotas) {
        if read.before == quota.used {
            continue;
        }
        read.object["status"]["used"] = amounts::write(&quota.used);
        let value = Encoded::new(&read.object).map_err(|e| Lost::Engine(engine_failure(e)))?;
        let write = Write::Update {
            key: read.stored.key.to_string(),
            expect: read.stored.revision,
            value,
            head: read.stored.head.clone(),
        };
        match shared.store.write(write).await {
            // A quota that is gone limits nothing.
            Ok(_) | Err(WriteError::NotFound) => {
                settled.insert(read.stored.key.clone());
            }
            Err(WriteError::Conflict(_)) => {
                let why = crate::rest::MODIFIED;
                let status = Status::conflict("", "resourcequotas", &quota.name, why);
                return Err(Lost::Race(status.into()));
            }
            Err(error) => return Err(Lost::Engine(engine_failure(error))),
        }
    }
    Ok(())
}

pub(super) use check::uses_resources;
pub(crate) use limited::Limited;
pub(super) use usage::is_extended;
