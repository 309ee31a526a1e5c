//! Lifecycle hooks: `postStart` and `preStop`.

use std::{net::IpAddr, time::Duration};

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::{
    context::Context,
    probe::http::{self, Target},
};

/// Longest wait for an answer to an HTTP hook.
const HTTP_TIMEOUT: Duration = Duration::from_secs(600);

/// Runs one hook to its end.
///
/// # Errors
/// What failed, in the words of the hook's event.
pub async fn run(
    ctx: &Context,
    hook: &LifecycleHandler,
    container: &Container,
    id: &str,
    pod_ip: Option<IpAddr>,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        // The caller bounds hooks by the pod's grace period.
        let out = ctx
            .runtime()
            .exec_sync(id, &command, Duration::from_secs(24 * 3600))
            .await;
        let out = out.map_err(|e| format!("{e:#}"))?;
        let said = String::from_utf8_lossy(if out.stdout.is_empty() {
            &out.stderr
        } else {
            &out.stdout
        })
        .trim()
        .to_owned();
        return match out.exit_code {
            0 => Ok(()),
            code => Err(format!(
                "command '{}' exited with {code}: {said}",
                command.join(" ")
            )),
        };
    }
    if let Some(get) = &hook.http_get {
        let target = Target::of(get, container, pod_ip)?;
        let answer = http::get(&target, HTTP_TIMEOUT).await?;
        return if (200..400).contains(&answer.status) {
            Ok(())
        } else {
            Err(format!(
                "HTTP hook answered with statuscode: {}",
                answer.status
            ))
        };
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(
            u64::try_from(sleep.seconds).unwrap_or(0),
        ))
        .await;
    }
    Ok(())
}
