//! The etcd engine: an etcd cluster decides and keeps, and its watch feeds the read model.
//!
//! Keys are the original's (`/registry/…`), a write is a transaction that compares the key's revision, and revisions are
//! etcd's own. Several API servers share one etcd:
//!
//! - A write returns when this server's read model has it, so a client reads what it wrote.
//! - [`Engine::catch_up`] asks etcd for the newest revision (a read that the majority confirms) and waits until the read
//!   model is there, so a read sees what was written through any server. Questions that meet are asked once.
//! - A request that got no answer is sent again, to another member. Comparing revisions makes that safe: it is done at most
//!   once, and when it turns out to be done already, what is there is compared with what was to be written.

mod cluster;
mod compact;
mod feed;
mod list;
mod newest;
mod proto;
mod txn;
mod value;

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{
    cluster::{Cluster, PUT, Retry, TXN},
    feed::{Feed, Keys},
    newest::Newest,
    proto::{PutRequest, PutResponse},
    txn::{Attempt, Outcome},
    value::Values,
};
use super::Engine;
use crate::{
    HeadOf, OpenError, Stored, Transformer, Unavailable, Write, WriteError,
    model::{Limits, Model},
};

/// How long a request is tried before it is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the changes since the revision that was read at the start may take.
const OPENING: Duration = Duration::from_secs(60);
/// After this time without the revision that is waited for, the watch is asked whether it has given everything.
const QUIET: Duration = Duration::from_millis(50);

/// How to reach an etcd cluster.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// `https://10.0.0.1:2379`, one per member.
    pub servers: Vec<String>,
    /// PEM of the authorities that signed the servers' certificates; the system's when there is none.
    pub ca_file: Option<PathBuf>,
    /// PEM of this client's certificate and its key.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// What all keys begin with in etcd.
    pub prefix: String,
    /// Time between compactions of old revisions; zero leaves them to others.
    pub compaction_interval: Duration,
    /// How many past changes per resource are kept in memory for watches and old views, unless they hold more than 16 MiB.
    pub history: usize,
    /// Past changes older than this go, down to `history`.
    pub keep: Duration,
    /// Encryption at rest.
    pub transformer: Option<Arc<dyn Transformer>>,
}

impl EtcdOptions {
    /// With the original's defaults.
    pub fn new(servers: Vec<String>) -> Self {
        EtcdOptions {
            servers,
            ca_file: None,
            cert_file: None,
            key_file: None,
            prefix: "/registry".into(),
            compaction_interval: Duration::from_secs(300),
            history: 1000,
            keep: Duration::from_secs(300),
            transformer: None,
        }
    }
}

pub(crate) struct Etcd {
    cluster: Arc<Cluster>,
    model: Arc<Model>,
    values: Values,
    keys: Keys,
    newest: Newest,
    went_back: Arc<Notify>,
    /// Why the watch is down, when it is.
    trouble: Arc<Mutex<Option<String>>>,
    ticking: tokio::sync::Mutex<()>,
    stop: CancellationToken,
    /// Stops the tasks when the last clone of the store goes.
    _guard: DropGuard,
}

impl Etcd {
    /// Reads everything and begins to follow.
    pub(crate) async fn open(
        options: &EtcdOptions,
        head_of: HeadOf,
    ) -> Result<(Arc<Model>, Etcd), OpenError> {
        let unreachable = |why: &str| OpenError::Etcd {
            why: format!("etcd at {}: {why}", options.servers.join(", ")),
        };
        let cluster = Arc::new(Cluster::new(options)?);
        let prefix: Arc<str> = format!("/{}", options.prefix.trim_matches('/')).into();
        let keys = Keys::new(&prefix);
        let values = Values {
            prefix,
            head_of,
            transformer: options.transformer.clone(),
        };
        let listed = list::list_with_past(&cluster, &keys, &values)
            .await
            .map_err(|status| unreachable(status.message()))?;
        let limits = Limits::of(options.history, options.keep);
        let revision = listed.revision;
        let model = Model::with_past(listed.map, revision, limits, revision, HashMap::new());
        for (key, why) in listed.unreadable {
            model.note_unreadable(&key, Some(why));
        }
        let etcd = Etcd::start(options, cluster, keys, values, Arc::new(model));
        let caught_up = etcd.catch_up_within(OPENING).await;
        caught_up.map_err(|error| unreachable(&error.0))?;
        Ok((etcd.model.clone(), etcd))
    }

    fn start(
        options: &EtcdOptions,
        cluster: Arc<Cluster>,
        keys: Keys,
        values: Values,
        model: Arc<Model>,
    ) -> Etcd {
        let stop = CancellationToken::new();
        let went_back = Arc::new(Notify::new());
        let trouble: Arc<Mutex<Option<String>>> = Arc::default();
        let feed = Feed {
            cluster: cluster.clone(),
            model: model.clone(),
            keys: keys.clone(),
            values: values.clone(),
            stop: stop.clone(),
            went_back: went_back.clone(),
            trouble: trouble.clone(),
        };
        tokio::spawn(feed.run());
        if !options.compaction_interval.is_zero() {
            let interval = options.compaction_interval;
            tokio::spawn(compact::run(cluster.clone(), interval, stop.clone()));
        }
        tokio::spawn(trim(model.clone(), stop.clone()));
        let newest = Newest::start(cluster.clone(), keys.tick.clone(), PATIENCE);
        Etcd {
            cluster,
            model,
            values,
            keys,
            newest,
            went_back,
            trouble,
            ticking: tokio::sync::Mutex::default(),
            _guard: stop.clone().drop_guard(),
            stop,
        }
    }

    async fn do_write(&self, write: Write) -> Result<Arc<Stored>, WriteError> {
        if self.stop.is_cancelled() {
            return Err(WriteError::Engine("the store is closed".into()));
        }
        let attempt = Attempt::new(write, &self.values)?;
        match self.send(&attempt).await? {
            Outcome::Done(stored) => {
                // It is done whatever happens to the watch; readers that must not be behind wait for themselves.
                let _ = self.reach(stored.revision, false, PATIENCE).await;
                Ok(stored)
            }
            Outcome::Refused(error, revision) => {
                let _ = self.reach(revision, true, PATIENCE).await;
                Err(error)
            }
        }
    }

    /// Sends until it is known what became of it.
    async fn send(&self, attempt: &Attempt) -> Result<Outcome, WriteError> {
        let mut retry = Retry::new(PATIENCE);
        let mut again = false;
        loop {
            let answer = self.cluster.ask_once(TXN, attempt.request.clone()).await;
            let status = match answer {
                Ok(response) => {
                    let outcome = attempt.outcome(&response, again, &self.values);
                    return outcome.map_err(WriteError::Engine);
                }
                Err(status) => status,
            };
            if cluster::is_final(&status) {
                return Err(WriteError::Engine(status.message().to_owned()));
            }
            again = true;
            retry.pause(status).await.map_err(|status| {
                let why = status.message();
                WriteError::Engine(format!("etcd: {why}; the write may or may not be done"))
            })?;
        }
    }

    /// Waits until the read model has `revision`, which may be `foreign`: of a key that is not watched.
    async fn reach(
        &self,
        revision: u64,
        foreign: bool,
        patience: Duration,
    ) -> Result<(), Unavailable> {
        let mut reached = self.model.subscribe();
        let mut retry = Retry::new(patience);
        loop {
            let waited = timeout(QUIET, reached.wait_for(|now| *now >= revision));
            // It cannot fail otherwise: the sender lives in the model.
            if waited.await.is_ok() {
                return Ok(());
            }
            if foreign {
                self.tick().await;
            }
            let late = Unavailable("etcd's watch does not give what is newest".into());
            retry.pause(late).await?;
        }
    }

    async fn catch_up_within(&self, patience: Duration) -> Result<(), Unavailable> {
        let known = self.model.revision();
        let newest = self.newest.revision().await?;
        if newest < known {
            self.went_back.notify_one();
            let why = "etcd went back to an older state, as by a restored backup";
            return Err(Unavailable(why.into()));
        }
        self.reach(newest, true, patience).await
    }

    /// Revisions may come from keys that are not watched. A write to one that is shows how far the watch has come.
    async fn tick(&self) {
        // One is enough for all who wait.
        let Ok(_one) = self.ticking.try_lock() else {
            return;
        };
        let request = PutRequest {
            key: self.keys.tick.clone(),
            value: bytes::Bytes::from_static(b"{}"),
        };
        let done: Result<PutResponse, _> = self.cluster.ask_once(PUT, request).await;
        if let Err(status) = done {
            tracing::debug!(why = status.message(), "etcd takes no write");
        }
    }
}

impl Engine for Etcd {
    fn write(&self, write: Write) -> BoxFuture<'_, Result<Arc<Stored>, WriteError>> {
        Box::pin(self.do_write(write))
    }

    fn catch_up(&self) -> BoxFuture<'_, Result<(), Unavailable>> {
        Box::pin(self.catch_up_within(PATIENCE))
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.stop.cancel();
            self.model.close();
        })
    }
}

/// Lets go of old history.
async fn trim(model: Arc<Model>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(30)) => model.trim(),
        }
    }
}
