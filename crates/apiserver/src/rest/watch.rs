//! WATCH: changes of a collection as they happen. Each change is encoded once for all who watch it as it is.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use knarr_api::Status;
use knarr_json::{Value, json};
use knarr_store::{Event, EventKind, Range, RevisionError, Stored, Watch};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    Target, frames,
    list::{reach, too_large},
    parse, present, websocket,
};
use crate::{
    Outcome,
    accept::{Accept, Format, Shape},
    body::{BoxError, Response},
    chain::Call,
    custom::convert::{event_view, is_plain_event, views},
    query::{self, ListOptions},
    respond,
    selector::Selection,
    server::Shared,
};

/// Time between bookmarks on a quiet watch.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// Seconds that a watch lasts at most, whatever it asks for: ten years.
const LONGEST: u64 = 10 * 365 * 24 * 3600;
/// Bytes of changes that are handed on in one piece, when so many are there.
const PIECE: usize = 64 * 1024;
const END_OF_INITIAL: &str = "k8s.io/initial-events-end";

/// # Errors
/// 400, 406, 422 before the stream starts; what goes wrong later is an ERROR event.
pub async fn watch(call: &Call, target: &Target) -> Outcome<Response> {
    let accept = call.negotiate(&[Shape::Table, Shape::Partial])?;
    let options = ListOptions::new(&call.query, true)?;
    let mut selection = Selection::new(call, target)?;
    if !target.name.is_empty() {
        selection = selection.named(&target.name);
    }
    let from = query::revision(&options.resource_version).map_err(|why| {
        Box::new(Status {
            reason: String::new(),
            ..Status::failure(500, "", why)
        })
    })?;
    // The client may have it from another server, which was ahead; what never comes is told as an event.
    let _ = reach(call, from).await;
    let mut stream = Stream::start(call, target, &accept, &options, selection, from).await;
    if accept.shape == Shape::Table {
        stream.include = present::included(call)?.to_owned();
    }
    if websocket::is_asked(call) {
        return websocket::answer(call, stream)
            .ok_or_else(|| Status::bad_request("the connection cannot become a WebSocket").into());
    }
    let frames = futures::stream::unfold(stream, |mut stream| async move {
        let bytes = stream.next().await?;
        Some((Ok::<_, BoxError>(Frame::data(bytes)), stream))
    });
    let mut response = respond::raw(200, frames::content_type(accept.format), Bytes::new());
    *response.body_mut() = BodyExt::boxed_unsync(StreamBody::new(frames));
    Ok(response)
}

/// A running watch.
pub struct Stream {
    shared: Arc<Shared>,
    target: Target,
    accept: Accept,
    selection: Selection,
    /// State at the start, still to be sent as additions.
    initial: std::vec::IntoIter<Arc<Stored>>,
    /// Send the bookmark that ends the initial state.
    mark_initial: Option<u64>,
    watch: Option<Watch>,
    /// A change that was taken from the watch and is to be told next.
    held: Option<Arc<Event>>,
    /// Of a custom resource: tells when definitions change.
    definitions: Option<tokio::sync::watch::Receiver<()>>,
    /// What ends the stream at once, when it could not start.
    failed: Option<Status>,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    /// Wakes at the earlier of the two. It and what tells of the server's end are kept between changes: thousands of watches
    /// that enter and leave the timers' queue for each change cost more than the change.
    timer: Pin<Box<Sleep>>,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    columns_sent: bool,
    /// What rows of a Table hold of their objects.
    include: String,
}

impl Stream {
    async fn start(
        call: &Call,
        target: &Target,
        accept: &Accept,
        options: &ListOptions,
        selection: Selection,
        from: u64,
    ) -> Self {
        let seconds = options
            .timeout_seconds
            .filter(|s| *s > 0)
            .map(|s| u64::try_from(s).map_or(1, |s| s.min(LONGEST)));
        let now = Instant::now();
        let lasts = seconds.map_or_else(
            || Duration::from_secs(rand::random_range(1800..3600)),
            Duration::from_secs,
        );
        let mut stream = Stream {
            shared: call.shared.clone(),
            target: target.clone(),
            accept: *accept,
            selection,
            initial: Vec::new().into_iter(),
            mark_initial: None,
            watch: None,
            held: None,
            definitions: (target.resource.custom.is_some())
                .then(|| call.shared.definitions.subscribe()),
            failed: None,
            bookmarks: options.allow_bookmarks,
            next_bookmark: now + BOOKMARKS,
            deadline: now + lasts,
            timer: Box::pin(tokio::time::sleep(BOOKMARKS.min(lasts))),
            stopped: Box::pin(call.shared.stop.clone().cancelled_owned()),
            columns_sent: false,
            include: String::new(),
        };
        if let Err(status) = stream.open(options, from).await {
            stream.failed = Some(*status);
        }
        stream
    }

    async fn open(&mut self, options: &ListOptions, from: u64) -> Outcome<()> {
        let prefix = self.target.prefix();
        let with_state = options.send_initial_events.unwrap_or(from == 0);
        let mut start = from;
        if with_state {
            let current = self.shared.store.revision();
            if from > current {
                return Err(too_large(from, current).into());
            }
            let listing = self
                .shared
                .store
                .list(Range {
                    prefix: &prefix,
                    ..Range::default()
                })
                .map_err(|e| Box::new(revision_status(e)))?;
            start = listing.revision;
            let mut items = views(&self.shared, &self.target, listing.items).await?;
            let selection = &self.selection;
            let count = items.len();
            let choose = || items.retain(|stored| selection.matches(stored));
            selection.choose(count, choose);
            self.initial = items.into_iter();
            self.mark_initial = self.bookmarks.then_some(listing.revision);
        }
        // Without a revision and without the state wanted, only what comes from now on is told.
        let from = if start == 0 { None } else { Some(start) };
        self.watch = Some(
            self.shared
                .store
                .watch(&prefix, from)
                .map_err(|e| Box::new(revision_status(e)))?,
        );
        Ok(())
    }

    /// How changes are written.
    pub fn format(&self) -> Format {
        self.accept.format
    }

    /// The next piece of the stream; none at its end.
    pub async fn next(&mut self) -> Option<Bytes> {
        if let Some(status) = self.failed.take() {
            self.watch = None;
            return Some(self.error_frame(&status));
        }
        if let Some(piece) = self.initial_piece() {
            return Some(piece);
        }
        loop {
            if let Some(event) = self.held.clone() {
                let piece = match event_view(&self.shared, &self.target, event).await {
                    Ok(event) => self.piece(&event),
                    Err(status) => {
                        (self.held, self.watch) = (None, None);
                        self.error_frame(&status)
                    }
                };
                if !piece.is_empty() {
                    return Some(piece);
                }
            }
            // Also when there is always something to tell.
            if Instant::now() >= self.deadline {
                return None;
            }
            let watch = self.watch.as_mut()?;
            tokio::select! {
                biased;
                event = watch.next() => match event? {
                    Ok(event) => self.held = Some(event),
                    Err(error) => {
                        self.watch = None;
                        return Some(self.error_frame(&revision_status(error)));
                    }
                },
                // Behind the events: what was deleted with its definition is still told.
                () = changed(&mut self.definitions) => {
                    let registry = self.shared.registry.load();
                    let old = &self.target.resource;
                    let new = registry.get(&old.group, &old.plural);
                    self.target.resource = new.filter(|r| r.versions.contains(&self.target.version))?.clone();
                }
                () = &mut self.timer => {
                    let due = Instant::now() >= self.next_bookmark;
                    if due {
                        self.next_bookmark = Instant::now() + BOOKMARKS;
                    }
                    self.timer.as_mut().reset(self.next_bookmark.min(self.deadline));
                    if due && self.bookmarks {
                        let revision = watch.revision();
                        return Some(self.bookmark(revision, false));
                    }
                }
                () = &mut self.stopped => return None,
            }
        }
    }

    /// A piece of the initial state; the bookmark behind it comes with the last one.
    fn initial_piece(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        while out.len() < PIECE {
            let Some(stored) = self.initial.next() else {
                if let Some(revision) = self.mark_initial.take() {
                    out.extend_from_slice(&self.bookmark(revision, true));
                }
                break;
            };
            out.extend_from_slice(&self.frame("ADDED", &stored.json));
        }
        (!out.is_empty()).then(|| out.freeze())
    }

    /// The change that is held, as the version of the request has it, and those that are there already behind it.
    fn piece(&mut self, first: &Event) -> Bytes {
        self.held = None;
        let Some(frame) = self.event_frame(first) else {
            return Bytes::new();
        };
        let Some(Some(Ok(second))) = self.watch.as_mut().and_then(|w| w.next().now_or_never())
        else {
            return frame;
        };
        let mut out = BytesMut::from(&frame[..]);
        let mut event = second;
        loop {
            if !is_plain_event(&self.target, &event) {
                self.held = Some(event);
                break;
            }
            if let Some(frame) = self.event_frame(&event) {
                out.extend_from_slice(&frame);
            }
            if out.len() >= PIECE {
                break;
            }
            match self.watch.as_mut().and_then(|w| w.next().now_or_never()) {
                Some(Some(Ok(next))) => event = next,
                Some(Some(Err(error))) => {
                    self.watch = None;
                    out.extend_from_slice(&self.error_frame(&revision_status(error)));
                    break;
                }
                _ => break,
            }
        }
        out.freeze()
    }

    /// A change as this watch sees it: the selection may turn it into an addition or a removal, or hide it.
    fn event_frame(&mut self, event: &Event) -> Option<Bytes> {
        let now = event.kind != EventKind::Deleted && self.selection.matches(&event.object);
        let before = match event.kind {
            EventKind::Added => false,
            EventKind::Modified => event
                .previous
                .as_ref()
                .is_some_and(|p| self.selection.matches(p)),
            EventKind::Deleted => self.selection.matches(&event.object),
        };
        match (event.kind, before, now) {
            (EventKind::Added, _, true) => Some(self.shared_frame("ADDED", event)),
            (EventKind::Modified, true, true) => Some(self.shared_frame("MODIFIED", event)),
            (EventKind::Deleted, true, _) => Some(self.shared_frame("DELETED", event)),
            (EventKind::Modified, false, true) => Some(self.frame("ADDED", &event.object.json)),
            (EventKind::Modified, true, false) => {
                let previous = event.previous.as_ref()?;
                let json = at_revision(&previous.json, event.object.revision)?;
                Some(self.frame("DELETED", &json))
            }
            _ => None,
        }
    }

    /// The frame that all plain watchers of this change share.
    fn shared_frame(&mut self, kind: &'static str, event: &Event) -> Bytes {
        if self.accept.shape != Shape::Whole
            || !present::is_at(&event.object.json, &self.target.shown_api_version())
        {
            return self.frame(kind, &event.object.json);
        }
        let format = self.accept.format;
        let shared = match format {
            Format::Protobuf => &event.message,
            Format::Json | Format::Yaml => &event.frame,
        };
        shared
            .get_or_init(|| frames::frame(format, kind, &event.object.json))
            .clone()
    }

    /// A frame of this watch's own.
    fn frame(&mut self, kind: &str, json: &Bytes) -> Bytes {
        if self.accept.shape == Shape::Whole
            && present::is_at(json, &self.target.shown_api_version())
        {
            return frames::frame(self.accept.format, kind, json);
        }
        match self.target.decode(json) {
            Ok(object) => {
                let shown = self.shape(object);
                self.encode_frame(kind, &shown)
            }
            Err(status) => self.error_frame(&status),
        }
    }

    fn shape(&mut self, object: Value) -> Value {
        match self.accept.shape {
            Shape::Partial => present::partial(object, self.accept.beta),
            Shape::Table => {
                let revision = object["metadata"]["resourceVersion"].clone();
                let rows = vec![object];
                let metadata = json!({"resourceVersion": revision});
                let mut table = present::table(
                    &self.target,
                    &self.include,
                    self.accept.beta,
                    rows,
                    metadata,
                );
                // Columns are told once.
                if std::mem::replace(&mut self.columns_sent, true) {
                    table["columnDefinitions"] = Value::Null;
                }
                table
            }
            Shape::Whole | Shape::PartialList | Shape::Groups => self.target.shown(object),
        }
    }

    fn bookmark(&mut self, revision: u64, ends_initial: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if ends_initial {
            metadata["annotations"] = json!({END_OF_INITIAL: "true"});
        }
        let (kind, api_version) = (
            self.target.resource.kind.as_str(),
            self.target.shown_api_version(),
        );
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        let shown = match self.accept.shape {
            Shape::Partial => present::partial(object, self.accept.beta),
            _ => object,
        };
        self.encode_frame("BOOKMARK", &shown)
    }

    fn encode_frame(&self, kind: &str, object: &Value) -> Bytes {
        frames::frame(self.accept.format, kind, object.to_string().as_bytes())
    }

    fn error_frame(&self, status: &Status) -> Bytes {
        frames::failure(self.accept.format, status)
    }
}

/// Waits until definitions of custom resources change, when that is of interest.
async fn changed(definitions: &mut Option<tokio::sync::watch::Receiver<()>>) {
    if let Some(receiver) = definitions
        && receiver.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

fn revision_status(error: RevisionError) -> Status {
    match error {
        RevisionError::Compacted { asked, oldest } => {
            Status::expired(format!("too old resource version: {asked} ({oldest})"))
        }
        RevisionError::Future { asked, current } => too_large(asked, current),
    }
}

/// An object's bytes with another revision in them.
fn at_revision(json: &[u8], revision: u64) -> Option<Bytes> {
    let mut object = parse(json).ok()?;
    object["metadata"]["resourceVersion"] = revision.to_string().into();
    knarr_api::head::Encoded::new(&object)
        .ok()
        .map(|e| e.at_revision(revision))
}
