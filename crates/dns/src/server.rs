//! Serving over UDP and TCP. Answers from the zone are given on threads of their own that block on the socket, which costs
//! two system calls a query; only what must be asked upstream goes through the async runtime.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use hickory_proto::op::{Message, OpCode, ResponseCode};
use parking_lot::RwLock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::Semaphore,
    task::JoinSet,
};

use crate::{
    Config,
    answer::{self, Outcome},
    forward,
    zone::Zone,
};

const THREADS_PER_ADDRESS: usize = 2;
/// A TCP client that says nothing for this long is let go (RFC 7766 6.2.3).
const IDLE: Duration = Duration::from_secs(10);
/// Questions under way upstream at once; more are answered with SERVFAIL.
const UPSTREAM_AT_ONCE: usize = 1024;
const TCP_CLIENTS: usize = 1024;
/// Queries are small; anything larger is not one.
const LARGEST_QUERY: usize = 4096;

/// Bound sockets, ready to serve.
pub struct Server {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    upstreams: Arc<[SocketAddr]>,
}

struct Shared {
    zone: Arc<RwLock<Zone>>,
    upstreams: Arc<[SocketAddr]>,
    upstream_slots: Arc<Semaphore>,
    stop: AtomicBool,
}

/// UDP and TCP on one address. Port 0 asks for any port, the same for both: one that is free for UDP may be taken for TCP,
/// so several are tried.
async fn both(address: SocketAddr) -> std::io::Result<(UdpSocket, TcpListener)> {
    let mut draws = if address.port() == 0 { 16 } else { 1 };
    loop {
        let socket = UdpSocket::bind(address)?;
        draws -= 1;
        match TcpListener::bind(socket.local_addr()?).await {
            Err(error) if draws == 0 => return Err(error),
            Err(_) => {}
            Ok(listener) => return Ok((socket, listener)),
        }
    }
}

impl Server {
    /// # Errors
    /// When an address cannot be bound.
    pub async fn bind(config: &Config) -> Result<Self> {
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        for address in &config.listen {
            let (socket, listener) = both(*address)
                .await
                .with_context(|| format!("DNS cannot listen on {address}"))?;
            // So that serving threads notice when it is time to stop.
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            udp.push(socket);
            tcp.push(listener);
        }
        let own: Vec<SocketAddr> = udp.iter().filter_map(|s| s.local_addr().ok()).collect();
        let upstreams = config
            .upstreams
            .iter()
            .copied()
            .filter(|u| !own.contains(u))
            .collect();
        Ok(Server {
            udp,
            tcp,
            upstreams,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.udp
            .iter()
            .filter_map(|s| s.local_addr().ok())
            .collect()
    }

    /// Serves until dropped.
    ///
    /// # Errors
    /// When a socket fails for good.
    pub async fn run(self, zone: Arc<RwLock<Zone>>) -> Result<()> {
        let shared = Arc::new(Shared {
            zone,
            upstreams: self.upstreams,
            upstream_slots: Arc::new(Semaphore::new(UPSTREAM_AT_ONCE)),
            stop: AtomicBool::new(false),
        });
        let _stop = StopOnDrop(shared.clone());
        for socket in self.udp {
            let socket = Arc::new(socket);
            for _ in 0..THREADS_PER_ADDRESS {
                let (socket, shared, handle) = (socket.clone(), shared.clone(), Handle::current());
                std::thread::Builder::new()
                    .name("dns".into())
                    .spawn(move || serve_udp(&socket, &shared, &handle))?;
            }
        }
        let mut listeners = JoinSet::new();
        for listener in self.tcp {
            listeners.spawn(serve_tcp(listener, shared.clone()));
        }
        while let Some(ended) = listeners.join_next().await {
            ended??;
        }
        std::future::pending().await
    }
}

/// Ends the serving threads when the server's future goes.
struct StopOnDrop(Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

fn serve_udp(socket: &Arc<UdpSocket>, shared: &Arc<Shared>, handle: &Handle) {
    let mut buffer = [0; LARGEST_QUERY];
    while !shared.stop.load(Ordering::Relaxed) {
        let Ok((n, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let Some(query) = parse(&buffer[..n]) else {
            continue;
        };
        let query = match query {
            Ok(query) => query,
            Err(refusal) => {
                let _ = refusal.to_vec().map(|bytes| socket.send_to(&bytes, from));
                continue;
            }
        };
        let outcome = answer::answer(&shared.zone.read(), &query);
        if let Outcome::Answer(message) = &outcome {
            if let Some(bytes) = answer::encode_udp(&query, message) {
                let _ = socket.send_to(&bytes, from);
            }
            continue;
        }
        let Ok(slot) = shared.upstream_slots.clone().try_acquire_owned() else {
            continue;
        };
        let (socket, shared, raw) = (socket.clone(), shared.clone(), buffer[..n].to_vec());
        handle.spawn(async move {
            let _slot = slot;
            if let Some(bytes) = complete(&shared, &query, &raw, outcome, false).await {
                let _ = socket.send_to(&bytes, from);
            }
        });
    }
}

/// `None` for what deserves no answer, a refusal for what is a query but cannot be read.
fn parse(bytes: &[u8]) -> Option<Result<Message, Message>> {
    if bytes.len() < 12 || bytes[2] & 0x80 != 0 {
        return None;
    }
    Some(Message::from_vec(bytes).map_err(|_| {
        let id = u16::from_be_bytes([bytes[0], bytes[1]]);
        Message::error_msg(id, OpCode::Query, ResponseCode::FormErr)
    }))
}

/// The bytes of the final answer, with upstream's help where the zone needs it.
async fn complete(
    shared: &Shared,
    query: &Message,
    raw: &[u8],
    outcome: Outcome,
    tcp: bool,
) -> Option<Vec<u8>> {
    let message = match outcome {
        Outcome::Answer(message) => message,
        Outcome::Forward => match forward::ask(&shared.upstreams, raw, tcp).await {
            Ok(bytes) => return Some(bytes),
            Err(error) => {
                tracing::debug!(%error, "forwarding a DNS query");
                let mut message = Message::error_msg(
                    query.metadata.id,
                    query.metadata.op_code,
                    ResponseCode::ServFail,
                );
                message.add_queries(query.queries.iter().cloned());
                message.metadata.recursion_desired = query.metadata.recursion_desired;
                message.metadata.recursion_available = true;
                message
            }
        },
        Outcome::Chase(mut message, target) => {
            let kind = query.queries.first()?.query_type();
            if let Ok(found) = forward::resolve(&shared.upstreams, target, kind).await {
                message.add_answers(found.answers);
            }
            message
        }
    };
    if tcp {
        message.to_vec().ok()
    } else {
        answer::encode_udp(query, &message)
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) -> Result<()> {
    let slots = Arc::new(Semaphore::new(TCP_CLIENTS));
    loop {
        let slot = slots.clone().acquire_owned().await?;
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let _slot = slot;
                    let _ = tcp_client(stream, &shared).await;
                });
            }
            // Out of descriptors, mostly: give others time to close some.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn tcp_client(mut stream: TcpStream, shared: &Shared) -> Result<()> {
    loop {
        let mut length = [0; 2];
        tokio::time::timeout(IDLE, stream.read_exact(&mut length)).await??;
        let mut raw = vec![0; usize::from(u16::from_be_bytes(length))];
        tokio::time::timeout(IDLE, stream.read_exact(&mut raw)).await??;
        let answer = match parse(&raw) {
            None => return Ok(()),
            Some(Err(refusal)) => refusal.to_vec().ok(),
            Some(Ok(query)) => {
                let outcome = answer::answer(&shared.zone.read(), &query);
                complete(shared, &query, &raw, outcome, true).await
            }
        };
        let Some(answer) = answer else { return Ok(()) };
        let length = u16::try_from(answer.len())?.to_be_bytes();
        stream
            .write_all(&[&length, answer.as_slice()].concat())
            .await?;
    }
}
