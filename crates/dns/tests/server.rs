//! Real sockets on loopback: one server holds a zone and forwards to another that stands for the outside.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use knarr_dns::{
    Config,
    server::Server,
    zone::{Endpoint, Entry, Zone},
};
use parking_lot::RwLock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

async fn start(zone: Zone, upstreams: Vec<SocketAddr>) -> SocketAddr {
    let config = Config {
        domain: zone.domain(),
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        upstreams,
        node_name: "n1".into(),
    };
    let server = Server::bind(&config).await.unwrap();
    let address = server.addresses()[0];
    tokio::spawn(server.run(Arc::new(RwLock::new(zone))));
    address
}

/// A cluster server and, behind it, an outside one that knows `www.example.com` and a name of many addresses.
async fn pair() -> SocketAddr {
    let mut outside = Zone::new("com");
    let address = |a: [u8; 4]| Entry::ClusterIp {
        addresses: vec![a.into()],
        ports: vec![],
    };
    outside.set("example", "www", Some(address([192, 0, 2, 80])));
    let outside = start(outside, vec![]).await;
    let mut inside = Zone::new("cluster.local");
    inside.set("default", "web", Some(address([10, 96, 0, 7])));
    inside.set(
        "default",
        "out",
        Some(Entry::ExternalName("www.example.svc.com".into())),
    );
    let endpoint = |i: u8| Endpoint {
        label: format!("p{i}"),
        address: [10, 244, 0, i].into(),
        ports: vec![],
    };
    inside.set(
        "default",
        "many",
        Some(Entry::Headless((1..200).map(endpoint).collect())),
    );
    start(inside, vec![outside]).await
}

fn query(name: &str) -> Vec<u8> {
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    query.to_vec().unwrap()
}

async fn udp(server: SocketAddr, bytes: &[u8]) -> Option<Message> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(bytes, server).await.unwrap();
    let mut buffer = [0; 4096];
    let n = timeout(Duration::from_secs(5), socket.recv(&mut buffer))
        .await
        .ok()?
        .ok()?;
    Some(Message::from_vec(&buffer[..n]).unwrap())
}

async fn tcp(server: SocketAddr, bytes: &[u8]) -> Message {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream
        .write_all(&[&(bytes.len() as u16).to_be_bytes(), bytes].concat())
        .await
        .unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).await.unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

fn addresses(message: &Message) -> Vec<String> {
    message
        .answers
        .iter()
        .filter_map(|r| {
            if let RData::A(a) = &r.data {
                Some(a.to_string())
            } else {
                None
            }
        })
        .collect()
}

#[tokio::test]
async fn cluster_names_are_answered_and_others_forwarded() {
    let server = pair().await;
    let inside = udp(server, &query("web.default.svc.cluster.local."))
        .await
        .unwrap();
    assert_eq!(addresses(&inside), ["10.96.0.7"]);
    let outside = udp(server, &query("www.example.svc.com.")).await.unwrap();
    assert_eq!(addresses(&outside), ["192.0.2.80"]);
    let alias = udp(server, &query("out.default.svc.cluster.local."))
        .await
        .unwrap();
    assert_eq!(
        (alias.answers.len(), addresses(&alias)),
        (2, vec!["192.0.2.80".to_owned()])
    );
    let nowhere = udp(server, &query("nowhere.test.")).await.unwrap();
    assert_eq!(nowhere.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn what_is_cut_over_udp_is_whole_over_tcp() {
    let server = pair().await;
    let bytes = query("many.default.svc.cluster.local.");
    assert!(udp(server, &bytes).await.unwrap().metadata.truncation);
    assert_eq!(addresses(&tcp(server, &bytes).await).len(), 199);
}

#[tokio::test]
async fn garbage_is_no_end_of_service() {
    let server = pair().await;
    let mut broken = query("web.default.svc.cluster.local.");
    broken.truncate(20);
    let refusal = udp(server, &broken).await.unwrap();
    assert_eq!(refusal.metadata.response_code, ResponseCode::FormErr);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for bytes in [&b""[..], b"x", &[0xff; 600], &[0xc0; 64]] {
        socket.send_to(bytes, server).await.unwrap();
    }
    let after = udp(server, &query("web.default.svc.cluster.local."))
        .await
        .unwrap();
    assert_eq!(addresses(&after), ["10.96.0.7"]);
}
