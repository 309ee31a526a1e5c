//! Priority and fairness: how many requests are worked on at a time, and who waits when there are more.
//!
//! FlowSchemas sort requests into flows of a priority level; a level has seats. As long as a level has a free seat and
//! nobody waits for one, entering it is a few comparisons and one atomic step.

mod config;
pub(crate) mod dangling;
mod level;
mod matching;
mod queues;
mod shares;
mod width;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use http::{HeaderName, HeaderValue, header};
use knarr_store::{Range, Store};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{body::Response, chain::Call, respond, user::MASTERS};
use config::{Plan, Schema};
pub(crate) use level::Seat;
use level::{Limits, Refused};

const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");
/// How often levels lend seats to each other.
const ADJUST: Duration = Duration::from_secs(10);

/// How many requests at a time.
#[derive(Debug, Clone)]
pub struct FlowConfig {
    /// `--enable-priority-and-fairness`
    pub fair: bool,
    /// `--max-requests-inflight`; zero is without a limit.
    pub reads: u32,
    /// `--max-mutating-requests-inflight`; zero is without a limit.
    pub writes: u32,
    /// How long a request waits at most for a seat.
    pub wait: Duration,
}

impl Default for FlowConfig {
    fn default() -> Self {
        FlowConfig {
            fair: true,
            reads: 400,
            writes: 200,
            wait: Duration::from_secs(15),
        }
    }
}

/// Who may come in.
pub(crate) enum Flow {
    Fair(Fair),
    /// Two limits and no queues.
    Plain(Limits),
}

pub(crate) struct Fair {
    plan: ArcSwap<Plan>,
    counts: width::Counts,
    wait: Duration,
    seats: u32,
}

/// A request that came in. It keeps its seat until this is dropped.
pub(crate) struct Entered {
    _seat: Seat,
    schema: Option<Arc<Schema>>,
}

impl Entered {
    /// Tells the client where it was sorted into.
    pub fn tell(&self, response: &mut Response) {
        if let Some(schema) = &self.schema {
            tell(schema, response);
        }
    }
}

fn tell(schema: &Schema, response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(SCHEMA_UID, schema.uid.clone());
    headers.insert(LEVEL_UID, schema.level.uid.clone());
}

impl Flow {
    pub fn new(config: &FlowConfig, store: &Store) -> Self {
        if !config.fair {
            return Flow::Plain(Limits::new(config.reads, config.writes));
        }
        let seats = (config.reads + config.writes).max(1);
        Flow::Fair(Fair {
            plan: ArcSwap::from_pointee(read(store, seats, None)),
            counts: width::Counts::new(store.clone()),
            wait: config.wait,
            seats,
        })
    }

    /// Lets a request in, at once or after waiting.
    ///
    /// # Errors
    /// The 429 for one that found no place.
    pub async fn enter(&self, call: &Call, long: bool) -> Result<Option<Entered>, Response> {
        // Streams take no seats; watches do until they are under way.
        if long && call.info.verb != "watch" {
            return Ok(None);
        }
        match self {
            Flow::Fair(fair) => fair.enter(call).await.map(Some),
            Flow::Plain(_) if long => Ok(None),
            Flow::Plain(limits) => {
                let write = !matches!(call.info.verb.as_str(), "get" | "list" | "watch");
                match limits.enter(write) {
                    Some(seat) => Ok(Some(Entered {
                        _seat: seat,
                        schema: None,
                    })),
                    // Whoever repairs an overloaded server must get in.
                    None if call.user.in_group(MASTERS) => Ok(None),
                    None => Err(too_many()),
                }
            }
        }
    }

    /// Follows FlowSchemas and PriorityLevelConfigurations, and lets levels lend seats.
    pub fn follow(flow: &Arc<Flow>, store: &Store, stop: &CancellationToken, tasks: &TaskTracker) {
        if matches!(**flow, Flow::Plain(_)) {
            return;
        }
        for prefix in [config::SCHEMAS, config::LEVELS] {
            let (flow, store, stop) = (flow.clone(), store.clone(), stop.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = watch(&flow, &store, prefix) => {}
                }
            });
        }
        let (flow, stop) = (flow.clone(), stop.clone());
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(ADJUST);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = ticks.tick() => {}
                }
                if let Flow::Fair(fair) = &*flow {
                    shares::adjust(&fair.plan.load().levels, fair.seats);
                }
            }
        });
    }
}

impl Fair {
    async fn enter(&self, call: &Call) -> Result<Entered, Response> {
        let schema = {
            let plan = self.plan.load();
            matching::find(&plan.schemas, call).clone()
        };
        let width = if schema.level.exempt() {
            1
        } else {
            width::of(call, &self.counts)
        };
        let flow = || matching::flow(&schema, call);
        match schema.level.enter(width, flow, self.wait).await {
            Ok(seat) => Ok(Entered {
                _seat: seat,
                schema: Some(schema),
            }),
            Err(refused) => {
                let why = match refused {
                    Refused::Full => "concurrency-limit",
                    Refused::QueueFull => "queue-full",
                    Refused::TimedOut => "time-out",
                };
                tracing::debug!(why, level = schema.level.name, "request rejected");
                let mut response = too_many();
                tell(&schema, &mut response);
                Err(response)
            }
        }
    }
}

fn too_many() -> Response {
    let mut response = respond::text(429, "Too many requests, please try again later.\n");
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    response
}

fn read(store: &Store, seats: u32, old: Option<&Plan>) -> Plan {
    let objects = |prefix| {
        let range = Range {
            prefix,
            ..Range::default()
        };
        store.list(range).map(|l| l.items).unwrap_or_default()
    };
    Plan::new(
        &objects(config::SCHEMAS),
        &objects(config::LEVELS),
        seats,
        old,
    )
}

/// Reads all anew at each change: there are few of them, and they change seldom.
async fn watch(flow: &Flow, store: &Store, prefix: &'static str) {
    let Flow::Fair(fair) = flow else { return };
    loop {
        if let Ok(mut watch) = store.watch(prefix, None) {
            fair.plan
                .rcu(|old| Arc::new(read(store, fair.seats, Some(old))));
            while let Some(Ok(_)) = watch.next().await {
                fair.plan
                    .rcu(|old| Arc::new(read(store, fair.seats, Some(old))));
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
