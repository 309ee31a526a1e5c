//! With a real service on a Unix socket: it seals by turning bytes over, under a key id that can change.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;

use super::*;

type Said = Result<Frame<Bytes>, std::convert::Infallible>;

async fn serve(path: PathBuf, key: Arc<Mutex<String>>) {
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let key = key.clone();
        let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
            let key = key.lock().clone();
            async move {
                let method = request
                    .uri()
                    .path()
                    .rsplit('/')
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                let bytes = request.into_body().collect().await?.to_bytes();
                let message = answer(&method, &bytes[5..], &key);
                let mut framed = vec![0];
                framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
                framed.extend_from_slice(&message);
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                let frames: [Said; 2] = [
                    Ok(Frame::data(framed.into())),
                    Ok(Frame::trailers(trailers)),
                ];
                let body = StreamBody::new(futures::stream::iter(frames));
                Ok::<_, hyper::Error>(Response::new(body))
            }
        });
        tokio::spawn(
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

fn turned(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|b| !b).collect()
}

fn answer(method: &str, message: &[u8], key: &str) -> Vec<u8> {
    let text = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    match method {
        "Status" => [text(1, b"v2"), text(2, b"ok"), text(3, key.as_bytes())].concat(),
        // Both messages begin with the bytes in question.
        "Encrypt" => [
            text(1, &turned(&message[2..2 + message[1] as usize])),
            text(2, key.as_bytes()),
        ]
        .concat(),
        _ => text(1, &turned(&message[2..2 + message[1] as usize])),
    }
}

fn config(path: &std::path::Path) -> config::Kms {
    config::Kms {
        api_version: "v2".into(),
        name: "test".into(),
        endpoint: format!("unix://{}", path.display()),
        timeout: Some("2s".into()),
        cachesize: None,
    }
}

#[test]
fn times_are_read_within_reason() {
    for (text, millis) in [("3s", 3000), ("500ms", 500), ("1.5m", 90_000)] {
        assert_eq!(seconds(text), Ok(Duration::from_millis(millis)), "{text}");
    }
    for bad in [
        "",
        "3",
        "s",
        "0s",
        "-1s",
        "1h",
        "1e9s",
        "10000000000000000000s",
    ] {
        assert!(seconds(bad).is_err(), "{bad}");
    }
}

/// Who seals does not wait for a service that hangs.
#[test]
fn a_service_that_hangs_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.sock");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let serving = runtime.spawn(serve(path.clone(), Arc::new(Mutex::new("one".to_owned()))));
    while !path.exists() {
        thread::sleep(Duration::from_millis(5));
    }
    let kms = Kms::start_fresh(&config(&path), Duration::from_millis(10)).unwrap();
    // From here on connections are taken by nobody.
    serving.abort();
    thread::sleep(Duration::from_millis(100));
    let _silent = {
        std::fs::remove_file(&path).unwrap();
        std::os::unix::net::UnixListener::bind(&path).unwrap()
    };
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(500) {
        let before = Instant::now();
        kms.seal("/registry/secrets/a/b", b"text").unwrap();
        // Whoever waited for the service would wait for two seconds and more.
        assert!(before.elapsed() < Duration::from_millis(1500));
    }
}

#[test]
fn a_service_seals_seeds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kms.sock");
    let key = Arc::new(Mutex::new("one".to_owned()));
    assert!(Kms::start(&config(&path)).is_err(), "nobody is there yet");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.spawn(serve(path.clone(), key.clone()));
    while !path.exists() {
        thread::sleep(Duration::from_millis(5));
    }
    let first = Kms::start(&config(&path)).unwrap();
    let kept = first.seal("/registry/secrets/a/b", b"text").unwrap();
    assert_eq!(
        first.open("/registry/secrets/a/b", &kept).unwrap(),
        (b"text".to_vec(), false)
    );
    assert!(
        first.open("/registry/secrets/a/c", &kept).is_err(),
        "sealed for another object"
    );

    *key.lock() = "two".into();
    let second = Kms::start(&config(&path)).unwrap();
    assert_eq!(
        second.open("/registry/secrets/a/b", &kept).unwrap(),
        (b"text".to_vec(), true)
    );
    assert!(second.open("/registry/secrets/a/b", b"rubbish").is_err());
    // A server that learns of another key seals with another seed.
    let key_of = |kms: &Kms| {
        let kept = kms.seal("/registry/secrets/a/b", b"text").unwrap();
        Sealed::decode(&kept).unwrap().key_id
    };
    let third = Kms::start_fresh(&config(&path), Duration::from_millis(20)).unwrap();
    assert_eq!(key_of(&third), "two");
    *key.lock() = "three".into();
    let began = Instant::now();
    while key_of(&third) != "three" && began.elapsed() < Duration::from_secs(20) {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(key_of(&third), "three");
    assert_eq!(key_of(&first), "one", "it has not asked again yet");
}
