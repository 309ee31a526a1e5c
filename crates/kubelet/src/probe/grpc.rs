//! The gRPC health check, spoken by hand: one small message each way.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::GRPCAction;
use tokio::net::TcpStream;

use super::http::plain;

const PATH: &str = "/grpc.health.v1.Health/Check";
const MAX_ANSWER: usize = 4096;
/// `HealthCheckResponse.SERVING`.
const SERVING: u8 = 1;

/// Asks the health service of a pod.
///
/// # Errors
/// Why it does not count as serving.
pub async fn probe(
    ip: Option<IpAddr>,
    action: &GRPCAction,
    timeout: Duration,
) -> Result<String, String> {
    let ip = ip.ok_or("the pod has no address")?;
    let port = u16::try_from(action.port).map_err(|e| e.to_string())?;
    let service = action.service.clone().unwrap_or_default();
    match tokio::time::timeout(timeout, check(ip, port, &service)).await {
        Ok(result) => result,
        Err(_) => Err(format!(
            "timeout: failed to connect service \"{ip}:{port}\" within {}s: context deadline exceeded",
            timeout.as_secs()
        )),
    }
}

async fn check(ip: IpAddr, port: u16, service: &str) -> Result<String, String> {
    let authority = if ip.is_ipv6() {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    };
    let tcp = TcpStream::connect((ip, port)).await;
    let tcp = tcp.map_err(|e| {
        format!(
            "timeout: failed to connect service \"{authority}\": dial tcp {authority}: connect: {}",
            plain(&e)
        )
    })?;
    let (status, grpc_status, bytes) = exchange(tcp, &authority, service)
        .await
        .map_err(|e| format!("error: health rpc probe failed: {e}"))?;
    if status != 200 || grpc_status.as_deref().is_some_and(|s| s != "0") {
        return Err(format!(
            "error: health rpc probe failed: status {status}, code {}",
            grpc_status.unwrap_or_default()
        ));
    }
    // Five bytes of frame, then field 1 as a varint.
    match bytes.get(5..7) {
        Some([0x08, SERVING]) => Ok("service healthy".to_owned()),
        other => Err(format!(
            "service unhealthy (responded with \"{}\")",
            word(other.and_then(|b| b.get(1)).copied())
        )),
    }
}

fn word(status: Option<u8>) -> &'static str {
    match status {
        Some(2) => "NOT_SERVING",
        Some(3) => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    }
}

/// A `HealthCheckRequest` in its frame.
fn message(service: &str) -> Vec<u8> {
    let mut body = Vec::new();
    if let Ok(length) = u8::try_from(service.len()).map(|l| l.min(127))
        && length > 0
    {
        body.extend([0x0a, length]);
        body.extend(service.as_bytes().iter().take(usize::from(length)));
    }
    let mut out = vec![0];
    out.extend((body.len() as u32).to_be_bytes());
    out.extend(body);
    out
}

async fn exchange(
    tcp: TcpStream,
    authority: &str,
    service: &str,
) -> anyhow::Result<(u16, Option<String>, Bytes)> {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("http://{authority}{PATH}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(Bytes::from(message(service))))?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let text = |h: Option<&http::HeaderValue>| h.and_then(|v| v.to_str().ok()).map(str::to_owned);
    let early = text(response.headers().get("grpc-status"));
    let body = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await
        .map_err(|e| anyhow::anyhow!(e))?;
    let late = text(body.trailers().and_then(|t| t.get("grpc-status")));
    connection.abort();
    Ok((status, early.or(late), body.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn messages() {
        assert_eq!(message(""), [0, 0, 0, 0, 0]);
        assert_eq!(message("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
    }
}
