//! What is the newest revision? One question to etcd answers all who ask at that moment.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{
    cluster::{Cluster, RANGE},
    proto::{RangeRequest, RangeResponse, revision},
};
use crate::Unavailable;

type Reply = oneshot::Sender<Result<u64, Unavailable>>;

pub(super) struct Newest {
    questions: mpsc::UnboundedSender<Reply>,
}

impl Newest {
    /// Runs until it is dropped. `key` is the key that is looked at; it need not exist.
    pub(super) fn start(cluster: Arc<Cluster>, key: Bytes, patience: Duration) -> Newest {
        let (questions, mut queue) = mpsc::unbounded_channel::<Reply>();
        tokio::spawn(async move {
            while let Some(first) = queue.recv().await {
                // Only those who asked before the request is sent: others may know of newer writes.
                let mut waiting = vec![first];
                while let Ok(reply) = queue.try_recv() {
                    waiting.push(reply);
                }
                let answer = ask(&cluster, &key, patience).await;
                for reply in waiting {
                    let _ = reply.send(answer.clone()); // nobody waiting any more is fine
                }
            }
        });
        Newest { questions }
    }

    /// A revision that is not older than any write that was acknowledged before the call.
    pub(super) async fn revision(&self) -> Result<u64, Unavailable> {
        let stopped = || Unavailable("the store is closed".into());
        let (reply, answer) = oneshot::channel();
        self.questions.send(reply).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

async fn ask(cluster: &Cluster, key: &Bytes, patience: Duration) -> Result<u64, Unavailable> {
    // Not serializable: the member asks the majority before it answers.
    let request = RangeRequest {
        key: key.clone(),
        keys_only: true,
        ..RangeRequest::default()
    };
    let answer: Result<RangeResponse, _> = cluster.ask(RANGE, &request, patience).await;
    match answer {
        Ok(response) => Ok(revision(response.header.as_ref())),
        Err(status) => Err(Unavailable(format!("etcd: {}", status.message()))),
    }
}
