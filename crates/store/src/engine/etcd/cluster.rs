//! Talking to the members of an etcd cluster: gRPC with or without TLS, one connection per member, another member when one
//! does not answer.

use std::{
    marker::PhantomData,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use prost::Message;
use tokio::time::{Instant, timeout};
use tonic::{
    Code, Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataValue,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::{
    EtcdOptions,
    proto::{Header, WatchRequest, WatchResponse},
};
use crate::OpenError;

/// One member gets this long to answer before the next one is asked.
const ATTEMPT: Duration = Duration::from_secs(3);
const CONNECT: Duration = Duration::from_secs(2);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Pages of values and bursts of events are larger than the usual 4 MiB.
const LARGEST: usize = 256 << 20;

pub(super) const RANGE: &str = "/etcdserverpb.KV/Range";
pub(super) const PUT: &str = "/etcdserverpb.KV/Put";
pub(super) const TXN: &str = "/etcdserverpb.KV/Txn";
pub(super) const COMPACT: &str = "/etcdserverpb.KV/Compact";
const WATCH: &str = "/etcdserverpb.Watch/Watch";

pub(super) struct Cluster {
    members: Vec<Channel>,
    /// Which member is asked: the same one until it fails.
    preferred: AtomicUsize,
    /// Id of the cluster that the read model was made from; 0 before.
    id: AtomicU64,
}

impl Cluster {
    /// Takes note of whose state was read.
    pub(super) fn met(&self, header: Option<&Header>) {
        if let Some(header) = header {
            self.id.store(header.cluster, Ordering::Relaxed);
        }
    }

    /// Whether an answer comes from the cluster whose state was read.
    pub(super) fn is_known(&self, header: Option<&Header>) -> bool {
        let known = self.id.load(Ordering::Relaxed);
        known == 0 || header.is_none_or(|header| header.cluster == known)
    }

    /// Connects when the first request comes.
    pub(super) fn new(options: &EtcdOptions) -> Result<Cluster, OpenError> {
        if options.servers.is_empty() {
            return Err(config("no etcd server is named".into()));
        }
        let tls = tls(options)?;
        let members = options.servers.iter().map(|server| member(server, &tls));
        Ok(Cluster {
            members: members.collect::<Result<_, _>>()?,
            preferred: AtomicUsize::new(0),
            id: AtomicU64::new(0),
        })
    }

    /// Asks until there is an answer, or one that no other member and no later attempt would change, or `patience` is over.
    pub(super) async fn ask<Q, A>(
        &self,
        path: &'static str,
        request: &Q,
        patience: Duration,
    ) -> Result<A, Status>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut retry = Retry::new(patience);
        loop {
            match self.ask_once(path, request.clone()).await {
                Err(status) if !is_final(&status) => retry.pause(status).await?,
                answer => return answer,
            }
        }
    }

    /// Asks one member. When it does not answer, the next request goes to another one.
    pub(super) async fn ask_once<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let (index, channel) = self.member();
        let asked = timeout(ATTEMPT, unary(channel, path, request));
        let answer = asked
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("etcd member does not answer")));
        if answer.as_ref().is_err_and(|status| !is_final(status)) {
            self.avoid(index);
        }
        answer
    }

    /// Opens a watch at one member, whose number is given, too. The member ends it when it loses touch with the others.
    pub(super) async fn watch(
        &self,
        create: WatchRequest,
    ) -> Result<(usize, Streaming<WatchResponse>), Status> {
        let (index, channel) = self.member();
        let opened = timeout(ATTEMPT, watch(channel, create));
        opened
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("etcd member does not answer")))
            .map(|stream| (index, stream))
            .inspect_err(|_| self.avoid(index))
    }

    fn member(&self) -> (usize, Channel) {
        let index = self.preferred.load(Ordering::Relaxed) % self.members.len();
        (index, self.members[index].clone())
    }

    /// The next requests go elsewhere than to this member, unless they do already.
    pub(super) fn avoid(&self, index: usize) {
        let next = (index + 1) % self.members.len();
        let _ = self
            .preferred
            .compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Waits longer and longer between attempts.
pub(super) struct Retry {
    until: Instant,
    pause: Duration,
}

impl Retry {
    pub(super) fn new(patience: Duration) -> Retry {
        Retry {
            until: Instant::now() + patience,
            pause: PAUSE,
        }
    }

    /// # Errors
    /// `why`, when it has taken too long.
    pub(super) async fn pause<E>(&mut self, why: E) -> Result<(), E> {
        if Instant::now() + self.pause >= self.until {
            return Err(why);
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// Whether asking again would get the same answer: the request itself is refused, and nothing was done.
pub(super) fn is_final(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::OutOfRange
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented
            | Code::ResourceExhausted
    )
}

async fn unary<Q, A>(channel: Channel, path: &'static str, request: Q) -> Result<A, Status>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let mut grpc = client(channel).await?;
    let path = http::uri::PathAndQuery::from_static(path);
    let answer = grpc.unary(Request::new(request), path, Coding::<Q, A>::default());
    Ok(answer.await?.into_inner())
}

async fn watch(channel: Channel, create: WatchRequest) -> Result<Streaming<WatchResponse>, Status> {
    let mut grpc = client(channel).await?;
    // The stream of requests stays open: etcd ends a watch whose client has no more to say.
    let requests = futures::StreamExt::chain(
        futures::stream::iter([create]),
        futures::stream::pending::<WatchRequest>(),
    );
    let mut request = Request::new(requests);
    request
        .metadata_mut()
        .insert("hasleader", MetadataValue::from_static("true"));
    let path = http::uri::PathAndQuery::from_static(WATCH);
    let coding = Coding::<WatchRequest, WatchResponse>::default();
    Ok(grpc.streaming(request, path, coding).await?.into_inner())
}

async fn client(channel: Channel) -> Result<Grpc<Channel>, Status> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(LARGEST);
    let ready = grpc.ready().await;
    ready.map_err(|e| Status::unavailable(describe(&e)))?;
    Ok(grpc)
}

/// An error with what led to it, in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn member(server: &str, tls: &ClientTlsConfig) -> Result<Channel, OpenError> {
    let bad =
        |e: tonic::transport::Error| config(format!("etcd server {server}: {}", describe(&e)));
    let endpoint = Endpoint::from_shared(server.to_owned()).map_err(bad)?;
    let endpoint = match endpoint.uri().scheme_str() {
        Some("https") => endpoint.tls_config(tls.clone()).map_err(bad)?,
        Some("http") => endpoint,
        _ => {
            let why = "must begin with http:// or https://";
            return Err(config(format!("etcd server {server}: {why}")));
        }
    };
    let endpoint = endpoint
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20);
    Ok(endpoint.connect_lazy())
}

fn tls(options: &EtcdOptions) -> Result<ClientTlsConfig, OpenError> {
    let read = |path: &std::path::Path| std::fs::read(path).map_err(OpenError::io("read", path));
    let mut tls = ClientTlsConfig::new();
    tls = match &options.ca_file {
        Some(path) => tls.ca_certificate(Certificate::from_pem(read(path)?)),
        None => tls.with_enabled_roots(),
    };
    match (&options.cert_file, &options.key_file) {
        (Some(cert), Some(key)) => Ok(tls.identity(Identity::from_pem(read(cert)?, read(key)?))),
        (None, None) => Ok(tls),
        _ => Err(config(
            "a client certificate for etcd needs its key, and a key its certificate".into(),
        )),
    }
}

fn config(why: String) -> OpenError {
    OpenError::Etcd { why }
}

/// Protobuf messages as gRPC carries them.
struct Coding<Q, A>(PhantomData<fn(Q) -> A>);

impl<Q, A> Default for Coding<Q, A> {
    fn default() -> Self {
        Coding(PhantomData)
    }
}

impl<Q: Message + 'static, A: Message + Default + 'static> Codec for Coding<Q, A> {
    type Encode = Q;
    type Decode = A;
    type Encoder = Coding<Q, A>;
    type Decoder = Coding<Q, A>;

    fn encoder(&mut self) -> Self::Encoder {
        Coding::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Coding::default()
    }
}

impl<Q: Message + 'static, A> Encoder for Coding<Q, A> {
    type Item = Q;
    type Error = Status;

    fn encode(&mut self, item: Q, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(into)
            .map_err(|e| Status::internal(e.to_string()))
    }
}

impl<Q, A: Message + Default + 'static> Decoder for Coding<Q, A> {
    type Item = A;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<A>, Status> {
        A::decode(from)
            .map(Some)
            .map_err(|e| Status::internal(e.to_string()))
    }
}
