//! One try of a probe.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::{Container, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use knarr_runtime::Error;
use tokio::net::TcpStream;

use super::{Subject, grpc, http, seconds};
use crate::context::Context;

/// As much of a command's output as an event shows.
const MAX_OUTPUT: usize = 10 * 1024;

/// Whether it succeeded, and what was seen.
pub async fn once(ctx: &Context, subject: &Subject, probe: &Probe) -> (bool, String) {
    let timeout = seconds(probe.timeout_seconds, 1);
    let result = if let Some(exec) = &probe.exec {
        command(
            ctx,
            &subject.id,
            exec.command.as_deref().unwrap_or(&[]),
            timeout,
        )
        .await
    } else if let Some(get) = &probe.http_get {
        match http::Target::of(get, &subject.container, subject.pod_ip) {
            Ok(target) => http::probe(&target, timeout).await,
            Err(error) => Err(error),
        }
    } else if let Some(socket) = &probe.tcp_socket {
        tcp(subject, socket.host.as_deref(), &socket.port, timeout).await
    } else if let Some(action) = &probe.grpc {
        grpc::probe(subject.pod_ip, action, timeout).await
    } else {
        Ok(String::new())
    };
    match result {
        Ok(seen) => (true, seen),
        Err(why) => (false, why),
    }
}

async fn command(
    ctx: &Context,
    id: &str,
    command: &[String],
    timeout: Duration,
) -> Result<String, String> {
    match ctx.runtime().exec_sync(id, command, timeout).await {
        Ok(out) => {
            let mut said = out.stdout;
            said.extend(out.stderr);
            said.truncate(MAX_OUTPUT);
            let said = String::from_utf8_lossy(&said).into_owned();
            if out.exit_code == 0 {
                Ok(said)
            } else {
                Err(said)
            }
        }
        Err(Error::Timeout(_)) => Err(format!(
            "command timed out: \"{}\" timed out after {}s",
            command.join(" "),
            timeout.as_secs()
        )),
        Err(error) => Err(format!("{error:#}")),
    }
}

/// A port by number or by its name in the container.
pub fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(n) => Some(*n),
        IntOrString::String(name) => {
            let named = container
                .ports
                .iter()
                .flatten()
                .find(|p| p.name.as_ref() == Some(name));
            named
                .map(|p| p.container_port)
                .or_else(|| name.parse().ok())
        }
    };
    let number = number.ok_or_else(|| "couldn't find port by name".to_owned())?;
    u16::try_from(number)
        .ok()
        .filter(|p| *p > 0)
        .ok_or_else(|| format!("invalid port number: {number}"))
}

async fn tcp(
    subject: &Subject,
    host: Option<&str>,
    wanted: &IntOrString,
    timeout: Duration,
) -> Result<String, String> {
    let port = port(wanted, &subject.container)?;
    let own = || subject.pod_ip.map(|ip| ip.to_string());
    let host = host
        .filter(|h| !h.is_empty())
        .map(str::to_owned)
        .or_else(own)
        .ok_or("the pod has no address")?;
    let address = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    match tokio::time::timeout(timeout, TcpStream::connect(&address)).await {
        Ok(Ok(_)) => Ok(String::new()),
        Ok(Err(error)) => Err(format!(
            "dial tcp {address}: connect: {}",
            http::plain(&error)
        )),
        Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
    }
}
