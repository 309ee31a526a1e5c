//! Asks upstream servers what the zone does not know.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use hickory_proto::{
    op::{Message, Query},
    rr::{Name, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The servers a resolver file names, with port 53.
pub fn upstreams(resolv_conf: &Path) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(resolv_conf).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().split('%').next()?.parse().ok())
        .map(|ip| SocketAddr::new(ip, 53))
        .collect()
}

/// The answer of the first upstream server that gives one, byte for byte but for the id.
///
/// # Errors
/// When there is no server, or none answers in time.
pub async fn ask(upstreams: &[SocketAddr], query: &[u8], tcp: bool) -> Result<Vec<u8>> {
    let mut last = anyhow::anyhow!("no upstream server");
    for server in upstreams {
        let asked = async {
            if tcp {
                ask_tcp(*server, query).await
            } else {
                ask_udp(*server, query).await
            }
        };
        match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => last = error.context(format!("{server}")),
            Err(_) => last = anyhow::anyhow!("{server} did not answer"),
        }
    }
    Err(last)
}

/// Addresses of `name` from upstream, as records.
///
/// # Errors
/// As [`ask`], and when the answer does not parse.
pub async fn resolve(upstreams: &[SocketAddr], name: Name, kind: RecordType) -> Result<Message> {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name, kind));
    let answer = ask(upstreams, &query.to_vec()?, false).await?;
    Ok(Message::from_vec(&answer)?)
}

/// One socket and one id per question, so that answers cannot be guessed (RFC 5452).
async fn ask_udp(server: SocketAddr, query: &[u8]) -> Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() {
        "0.0.0.0:0".parse()?
    } else {
        "[::]:0".parse()?
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    let (sent, id) = with_fresh_id(query)?;
    socket.send(&sent).await?;
    let mut buffer = vec![0; 65_535];
    loop {
        let n = socket.recv(&mut buffer).await?;
        if n >= 12 && buffer[..2] == id && same_question(&sent, &buffer[..n]) {
            buffer.truncate(n);
            buffer[..2].copy_from_slice(&query[..2]);
            return Ok(buffer);
        }
    }
}

fn with_fresh_id(query: &[u8]) -> Result<(Vec<u8>, [u8; 2])> {
    if query.len() < 12 {
        bail!("query is too short");
    }
    let id = Message::query().metadata.id.to_be_bytes();
    let mut sent = query.to_vec();
    sent[..2].copy_from_slice(&id);
    Ok((sent, id))
}

/// Whether an answer repeats the question's name and type, whatever the case of its letters.
fn same_question(query: &[u8], answer: &[u8]) -> bool {
    let question = |bytes: &[u8]| {
        Message::from_vec(bytes)
            .ok()
            .and_then(|m| m.queries.first().cloned())
    };
    match (question(query), question(answer)) {
        (Some(a), Some(b)) => a.name() == b.name() && a.query_type() == b.query_type(),
        _ => false,
    }
}

async fn ask_tcp(server: SocketAddr, query: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).context("query is too long")?;
    stream
        .write_all(&[&length.to_be_bytes(), query].concat())
        .await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_from_a_resolver_file() {
        let dir = std::env::temp_dir().join(format!("knarr-resolv-{}", std::process::id()));
        std::fs::write(
            &dir,
            "# x\nsearch a\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver bad\n",
        )
        .unwrap();
        let found = upstreams(&dir);
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(
            found,
            [
                "192.0.2.1:53".parse().unwrap(),
                "[fe80::1]:53".parse().unwrap()
            ]
        );
    }
}
