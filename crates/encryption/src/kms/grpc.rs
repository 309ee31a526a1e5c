//! One call of gRPC over a Unix socket.

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;

const SERVICE: &str = "v2.KeyManagementService";

/// # Errors
/// Why there is no good answer.
pub async fn call(path: &str, method: &str, message: Vec<u8>) -> Result<Vec<u8>, String> {
    let told = |e: &dyn std::fmt::Display| format!("{path}: {e}");
    let stream = UnixStream::connect(path).await.map_err(|e| told(&e))?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|e| told(&e))?;
    let driver = tokio::spawn(connection);
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    framed.extend_from_slice(&message);
    let request = Request::post(format!("http://localhost/{SERVICE}/{method}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, "kube-apiserver")
        .body(Full::new(Bytes::from(framed)))
        .map_err(|e| told(&e))?;
    let response = sender.send_request(request).await.map_err(|e| told(&e))?;
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.map_err(|e| told(&e))?;
    driver.abort();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let of = |name: &str| {
        let value = trailers.get(name).or_else(|| parts.headers.get(name));
        value.and_then(|v| v.to_str().ok()).map(str::to_owned)
    };
    match of("grpc-status").as_deref() {
        Some("0") => {}
        code => {
            let code = code.unwrap_or("none");
            let message = of("grpc-message").unwrap_or_default();
            return Err(format!(
                "{method}: rpc error: code = {code} desc = {message}"
            ));
        }
    }
    let bytes = collected.to_bytes();
    let (head, rest) = bytes
        .split_first_chunk::<5>()
        .ok_or("an answer that is cut short")?;
    let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if head[0] != 0 || rest.len() != len {
        return Err("an answer in an unknown form".into());
    }
    Ok(rest.to_vec())
}
