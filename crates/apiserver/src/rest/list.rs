//! LIST: a consistent view of a collection, in pages when asked.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use knarr_api::{
    Status,
    status::{Cause, Details},
};
use knarr_store::{Listing, Range, RevisionError, Stored};
use serde::{Deserialize, Serialize};

use super::Target;
use crate::{
    Outcome,
    accept::Shape,
    body::Response,
    chain::Call,
    custom,
    query::{self, ListOptions},
    selector::Selection,
};

/// How long a list waits for a revision that has not been reached yet.
const PATIENCE: Duration = Duration::from_secs(3);

/// # Errors
/// 400, 406, 410, 422, 504, as the original answers options that cannot be served.
pub async fn list(call: &Call, target: &Target) -> Outcome<Response> {
    let accept = call.negotiate(&[Shape::Table, Shape::PartialList])?;
    let options = ListOptions::new(&call.query, false)?;
    let selection = Selection::new(call, target)?;
    let page = page(call, target, &options, &selection).await?;
    super::page::answer(call, target, &accept, page).await
}

/// One page of a collection.
pub struct Page {
    pub items: Vec<Arc<Stored>>,
    pub revision: u64,
    /// Token for the next page; empty on the last one.
    pub next: String,
    /// How many more there are, when that is known.
    pub remaining: Option<usize>,
}

/// # Errors
/// 400, 410, 504.
pub async fn page(
    call: &Call,
    target: &Target,
    options: &ListOptions,
    selection: &Selection,
) -> Outcome<Page> {
    let prefix = target.prefix();
    let start = Start::new(call, options).await?;
    let after = start.after.as_ref().map(|a| format!("{prefix}{a}"));
    // A selection is made from everything behind the start; a page of the whole collection only touches its own part.
    let range = Range {
        prefix: &prefix,
        after: after.as_deref(),
        limit: if selection.is_everything() {
            options.limit
        } else {
            0
        },
        at: start.at,
    };
    let mut listing = call
        .shared
        .store
        .list(range)
        .map_err(|e| gone(e, options, &start))?;
    if selection.in_object {
        listing.items = custom::convert::views(&call.shared, target, listing.items).await?;
    }
    let count = listing.items.len();
    let work = || cut(listing, options, selection, &start, &prefix);
    let mut page = selection.choose(count, work);
    if !selection.in_object && target.resource.custom.is_some() {
        page.items = custom::convert::views(&call.shared, target, page.items).await?;
    }
    Ok(page)
}

fn cut(
    listing: Listing,
    options: &ListOptions,
    selection: &Selection,
    start: &Start,
    prefix: &str,
) -> Page {
    let Listing {
        revision,
        mut items,
        mut remaining,
    } = listing;
    if !selection.is_everything() {
        items.retain(|stored| selection.matches(stored));
        if options.limit > 0 && items.len() > options.limit {
            remaining = items.len() - options.limit;
            items.truncate(options.limit);
        }
    }
    let shown = if start.inconsistent {
        revision
    } else {
        start.at.unwrap_or(revision)
    };
    let last = items.last().and_then(|s| s.key.strip_prefix(prefix));
    let next = match last {
        Some(last) if remaining > 0 => Token::encode(shown, last),
        _ => String::new(),
    };
    let known = !next.is_empty() && selection.is_everything();
    Page {
        items,
        revision: shown,
        next,
        remaining: known.then_some(remaining),
    }
}

/// A continue token, in the original's layout.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Token {
    #[serde(rename = "v")]
    version: String,
    #[serde(rename = "rv")]
    revision: i64,
    start: String,
}

impl Token {
    /// `last` is the key of the last object of this page, relative to the collection.
    fn encode(revision: u64, last: &str) -> String {
        let token = Token {
            version: "meta.k8s.io/v1".into(),
            revision: i64::try_from(revision).unwrap_or(i64::MAX),
            start: format!("{last}\u{0}"),
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    /// A token that goes on at the newest state.
    fn inconsistent(after: &str) -> String {
        let token = Token {
            version: "meta.k8s.io/v1".into(),
            revision: -1,
            start: format!("{after}\u{0}"),
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    /// The error is what follows "continue key is not valid".
    fn decode(text: &str) -> Result<Self, String> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|e| {
            let at = match e {
                base64::DecodeError::InvalidByte(at, _)
                | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                // The original's decoder stops at the last byte of a length that cannot be.
                _ => text.len().saturating_sub(1),
            };
            format!(": illegal base64 data at input byte {at}")
        })?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|e| {
            // No token starts with anything but a brace; that is worded as Go words it.
            match bytes.first() {
                Some(first) if *first != b'{' => format!(
                    ": invalid character {} looking for beginning of value",
                    quoted(*first)
                ),
                _ => format!(": {e}"),
            }
        })?;
        token.check()
    }

    fn check(self) -> Result<Self, String> {
        if self.version != "meta.k8s.io/v1" {
            return Err(format!(
                ": server does not recognize this encoded version {}",
                self.version
            ));
        }
        if self.revision == 0 {
            return Err(
                ": incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into(),
            );
        }
        if self.start.is_empty() {
            return Err(": encoded start key empty (version meta.k8s.io/v1)".into());
        }
        // A key that is another one when written plainly may lead out of the collection.
        let mut parts = self
            .start
            .strip_prefix('/')
            .unwrap_or(&self.start)
            .split('/');
        let odd = |part: &str| matches!(part, "" | "." | "..");
        if self.start != "/" && parts.any(odd) {
            return Err(format!(": {}", self.start));
        }
        Ok(self)
    }
}

/// A byte as Go shows it.
fn quoted(byte: u8) -> String {
    match char::from(byte) {
        shown if shown.is_ascii_graphic() => format!("'{shown}'"),
        _ if byte < 0x80 => format!("'\\x{byte:02x}'"),
        shown if shown.is_alphanumeric() => format!("'{shown}'"),
        _ => format!("'\\u{byte:04x}'"),
    }
}

/// Where a list starts and which state it shows.
struct Start {
    at: Option<u64>,
    /// Key of the last object of the page before, relative to the collection.
    after: Option<String>,
    inconsistent: bool,
}

impl Start {
    async fn new(call: &Call, options: &ListOptions) -> Outcome<Self> {
        if !options.continue_.is_empty() {
            return Self::go_on(call, options).await;
        }
        let newest = Start {
            at: None,
            after: None,
            inconsistent: false,
        };
        let text = options.resource_version.as_str();
        if text.is_empty() || text == "0" {
            return Ok(newest);
        }
        let revision = query::revision(text).map_err(|why| {
            Box::new(Status::bad_request(format!(
                "invalid resource version: {why}"
            )))
        })?;
        reach(call, revision).await?;
        let exact = match options.resource_version_match.as_str() {
            "Exact" => true,
            "NotOlderThan" => false,
            _ => options.limit > 0,
        };
        Ok(Start {
            at: exact.then_some(revision),
            ..newest
        })
    }

    async fn go_on(call: &Call, options: &ListOptions) -> Outcome<Self> {
        let token = Token::decode(&options.continue_).map_err(|why| {
            Box::new(Status::bad_request(format!(
                "invalid continue token: continue key is not valid{why}"
            )))
        })?;
        let text = options.resource_version.as_str();
        if !text.is_empty() && text != "0" {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            )
            .into());
        }
        let after = token.start.trim_end_matches('\u{0}').to_owned();
        let at = u64::try_from(token.revision).ok();
        // The page before may have come from another server, which was ahead of this one.
        reach(call, at.unwrap_or_default()).await?;
        Ok(Start {
            at,
            after: Some(after),
            inconsistent: at.is_none(),
        })
    }
}

/// Waits a little for a revision to be reached.
///
/// # Errors
/// 504 when it is not.
pub async fn reach(call: &Call, revision: u64) -> Outcome<()> {
    let store = &call.shared.store;
    if revision <= store.revision()
        || tokio::time::timeout(PATIENCE, store.wait_for(revision))
            .await
            .is_ok()
    {
        return Ok(());
    }
    Err(too_large(revision, store.revision()).into())
}

/// The answer to a revision from the future.
pub fn too_large(asked: u64, current: u64) -> Status {
    let message = format!("Too large resource version: {asked}, current: {current}");
    let mut status = Status::failure(504, "Timeout", format!("Timeout: {message}"));
    let cause = Cause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        ..Cause::default()
    };
    status.details = Some(Details {
        causes: vec![cause],
        retry_after_seconds: 1,
        ..Details::default()
    });
    status
}

fn gone(error: RevisionError, options: &ListOptions, start: &Start) -> Box<Status> {
    match error {
        RevisionError::Future { asked, current } => too_large(asked, current).into(),
        RevisionError::Compacted { .. } if options.continue_.is_empty() => {
            Status::expired("The resourceVersion for the provided list is too old.").into()
        }
        RevisionError::Compacted { .. } => {
            let mut status = Status::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
            );
            status.metadata.continue_ =
                Token::inconsistent(start.after.as_deref().unwrap_or_default());
            status.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_and_errors_are_worded() {
        let token = Token::decode(&Token::encode(7, "ns/a")).unwrap();
        assert_eq!((token.revision, token.start.as_str()), (7, "ns/a\u{0}"));
        let wrong = |text: &str| Token::decode(text).err().unwrap();
        assert_eq!(wrong("notatoken"), ": illegal base64 data at input byte 8");
        for (json, want) in [
            (
                r#"{"v":"v2","rv":1,"start":"a"}"#,
                ": server does not recognize this encoded version v2",
            ),
            (
                r#"{"v":"meta.k8s.io/v1","start":"a"}"#,
                ": incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ),
            (
                r#"{"v":"meta.k8s.io/v1","rv":1}"#,
                ": encoded start key empty (version meta.k8s.io/v1)",
            ),
            (
                r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../../x"}"#,
                ": ../../x",
            ),
            (r#"{"v":"meta.k8s.io/v1","rv":1,"start":"a//b"}"#, ": a//b"),
            (r#"{"v":"meta.k8s.io/v1","rv":1,"start":"a/"}"#, ": a/"),
        ] {
            assert_eq!(wrong(&URL_SAFE_NO_PAD.encode(json)), want);
        }
    }
}
