//! `/containerLogs`: what a container wrote.

use futures::StreamExt;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use knarr_runtime::{ContainerState, ContainerStatus};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Body, Query, Server, text};
use crate::{
    context::Context,
    logs::read::{Options, stream},
    pod::ops::log_file,
};

/// Pieces that wait for a slow reader.
const QUEUE: usize = 16;

fn options(query: &Query, now: Timestamp) -> Result<Options, String> {
    let number = |name: &str| match query.get(name).filter(|v| !v.is_empty()) {
        Some(v) => v
            .parse::<i64>()
            .map(Some)
            .map_err(|_| format!("invalid {name}: {v}")),
        None => Ok(None),
    };
    let positive = |name: &str| {
        number(name)?
            .map(|n| u64::try_from(n).map_err(|_| format!("invalid {name}: {n}")))
            .transpose()
    };
    let since = match (
        number("sinceSeconds")?,
        query.get("sinceTime").filter(|v| !v.is_empty()),
    ) {
        (Some(seconds), _) => now.checked_sub(SignedDuration::from_secs(seconds)).ok(),
        (None, Some(time)) => Some(
            time.parse()
                .map_err(|_| format!("invalid sinceTime: {time}"))?,
        ),
        (None, None) => None,
    };
    Ok(Options {
        follow: query.is_set(&["follow"]),
        tail: positive("tailLines")?,
        since,
        timestamps: query.is_set(&["timestamps"]),
        limit: positive("limitBytes")?,
        stderr: match query.get("stream") {
            Some("Stdout") => Some(false),
            Some("Stderr") => Some(true),
            _ => None,
        },
    })
}

/// Answers with a container's log.
pub async fn answer(
    server: &Server,
    namespace: &str,
    pod: &str,
    container: &str,
    query: &Query,
) -> Response<Body> {
    let options = match options(query, Timestamp::now()) {
        Ok(options) => options,
        Err(error) => return text(StatusCode::BAD_REQUEST, error),
    };
    let Some(found) = server.pods.find(namespace, pod) else {
        return text(
            StatusCode::NOT_FOUND,
            format!("pod \"{pod}\" does not exist"),
        );
    };
    let uid = found.metadata.uid.clone().unwrap_or_default();
    let seen = server.ctx.view.observe(&uid);
    let previous = query.is_set(&["previous"]);
    let status = if previous {
        seen.previous(container)
    } else {
        seen.latest(container)
    };
    let Some(status) = status.cloned() else {
        let what = if previous {
            format!("previous terminated container \"{container}\" in pod \"{pod}\" not found")
        } else {
            waiting(&found, container)
        };
        return text(StatusCode::BAD_REQUEST, what);
    };
    let log = log_file(&server.ctx, &found, &status);
    let (sender, receiver) = mpsc::channel(QUEUE);
    let ctx = server.ctx.clone();
    let follow = options.follow;
    tokio::spawn(async move {
        let ended = async {
            if follow {
                ended(&ctx, &status).await;
            }
        };
        if let Err(error) = stream(&log, &options, ended, sender).await {
            tracing::debug!(log = %log.display(), %error, "log not read");
        }
    });
    let body = StreamBody::new(ReceiverStream::new(receiver).map(|bytes| Ok(Frame::data(bytes))));
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain"),
    );
    response
}

/// Why there is no log yet.
fn waiting(pod: &k8s_openapi::api::core::v1::Pod, container: &str) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref();
    let all = status.into_iter().flat_map(|s| {
        s.container_statuses
            .iter()
            .chain(&s.init_container_statuses)
            .flatten()
    });
    let state = all
        .filter(|c| c.name == container)
        .find_map(|c| c.state.as_ref()?.waiting.as_ref()?.reason.clone());
    match state {
        Some(reason) => {
            format!("container \"{container}\" in pod \"{name}\" is waiting to start: {reason}")
        }
        None => format!("container \"{container}\" in pod \"{name}\" is not available"),
    }
}

/// Resolves when the container runs no more.
async fn ended(ctx: &Context, container: &ContainerStatus) {
    let mut events = ctx.runtime().events();
    loop {
        let running = |c: &ContainerStatus| {
            matches!(c.state, ContainerState::Running | ContainerState::Created)
        };
        match ctx.runtime().container_status(&container.id).await {
            Ok(now) if running(&now) => {}
            _ => return,
        }
        loop {
            match events.recv().await {
                Ok(event) if event.container_id != container.id => {}
                _ => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_requests() {
        let of = |q: &str| {
            let request = http::Request::get(format!("/x?{q}"))
                .body(())
                .expect("request");
            options(
                &Query::of(&request),
                Timestamp::from_second(100).expect("time"),
            )
        };
        let all = of("follow=true&tailLines=5&sinceSeconds=10&timestamps=true&limitBytes=7")
            .expect("options");
        assert!(all.follow && all.timestamps && all.tail == Some(5) && all.limit == Some(7));
        assert_eq!(all.since.map(|t| t.as_second()), Some(90));
        assert!(
            of("tailLines=x").is_err() && of("tailLines=-1").is_err() && of("sinceTime=x").is_err()
        );
        assert_eq!(
            of("sinceTime=1970-01-01T00:00:05Z")
                .expect("options")
                .since
                .map(|t| t.as_second()),
            Some(5)
        );
    }
}
