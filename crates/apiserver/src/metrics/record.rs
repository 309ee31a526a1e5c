//! One request on its way: counted when it comes, when it is answered, and, where it goes on after its answer has begun,
//! when it ends.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use super::family::Gauge;
use crate::{
    body::{BoxError, Response, ResponseBody},
    chain::Call,
    request::RequestInfo,
    server::Shared,
};

const COMPONENT: &str = "apiserver";

/// A request that is being served.
pub struct Observed {
    shared: Arc<Shared>,
    labels: Labels,
    started: Instant,
    running: Arc<Gauge>,
    long: bool,
}

/// What a request asked for, as metrics name it.
#[derive(Clone)]
struct Labels {
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    verb: &'static str,
    dry_run: String,
}

impl Labels {
    fn new(call: &Call, long: bool) -> Self {
        let info = &call.info;
        // What clients make up is not told, or they could fill the memory with it.
        let registry = call.shared.registry.load();
        let resource = registry.get(&info.group, &info.resource);
        let served = resource.is_some_and(|r| {
            let sub = &info.subresource;
            r.versions.contains(&info.version)
                && (sub.is_empty() || r.subresource_at(sub, &info.version).is_some())
        });
        let known = info.is_resource && (served || crate::reviews::find(&registry, info).is_some());
        let dry_run = call.query.all("dryRun").any(|d| d == "All");
        Labels {
            group: if known {
                info.group.clone()
            } else {
                String::new()
            },
            version: if known {
                info.version.clone()
            } else {
                String::new()
            },
            resource: if known {
                info.resource.clone()
            } else {
                String::new()
            },
            subresource: if known {
                info.subresource.clone()
            } else {
                path_of(info)
            },
            scope: scope(info, known),
            verb: verb(call, known, long),
            dry_run: if dry_run {
                "All".to_owned()
            } else {
                String::new()
            },
        }
    }

    fn without_dry_run(&self) -> [&str; 7] {
        [
            COMPONENT,
            &self.group,
            &self.resource,
            self.scope,
            &self.subresource,
            self.verb,
            &self.version,
        ]
    }
}

/// Paths of the server itself stand in place of a subresource.
fn path_of(info: &RequestInfo) -> String {
    let known = ["/healthz", "/livez", "/readyz", "/metrics", "/version"];
    known
        .iter()
        .find(|p| info.path == **p)
        .map_or_else(String::new, |p| (*p).to_owned())
}

fn scope(info: &RequestInfo, known: bool) -> &'static str {
    if !known {
        return "";
    }
    if !info.path_name().is_empty() || info.verb == "create" && !info.name.is_empty() {
        return "resource";
    }
    if info.namespace.is_empty() {
        "cluster"
    } else {
        "namespace"
    }
}

fn verb(call: &Call, known: bool, long: bool) -> &'static str {
    if known && long && call.info.verb != "watch" && call.info.subresource != "log" {
        return "CONNECT";
    }
    let apply = || {
        let content_type = call.header(http::header::CONTENT_TYPE).unwrap_or_default();
        content_type.starts_with("application/apply-patch")
    };
    match call.info.verb.as_str() {
        "get" if call.method == http::Method::HEAD => "HEAD",
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" if apply() => "APPLY",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        _ => "other",
    }
}

impl Observed {
    pub fn new(call: &Call, long: bool) -> Self {
        let labels = Labels::new(call, long);
        let metrics = &call.shared.metrics;
        let running = if long {
            metrics.long_running.with(&labels.without_dry_run())
        } else {
            let reads = matches!(call.info.verb.as_str(), "get" | "list" | "watch" | "head");
            let kind = if reads { "readOnly" } else { "mutating" };
            metrics.inflight.with(&[kind])
        };
        running.add(1);
        Observed {
            shared: call.shared.clone(),
            labels,
            started: Instant::now(),
            running,
            long,
        }
    }

    /// Counts the answer; of what goes on after it has begun, the end.
    pub fn answered(self, mut response: Response) -> Response {
        let code = response.status().as_u16();
        let body = std::mem::take(response.body_mut());
        let size = body.size_hint().exact();
        let long = self.long;
        let ends = Ends {
            observed: self,
            code,
        };
        if !long {
            ends.observed.sized(size);
            drop(ends);
            *response.body_mut() = body;
            return response;
        }
        *response.body_mut() = Measured { body, _ends: ends }.boxed_unsync();
        response
    }

    fn sized(&self, size: Option<u64>) {
        if let (Some(size), "GET" | "LIST") = (size, self.labels.verb) {
            let sizes = &self.shared.metrics.sizes;
            sizes
                .with(&self.labels.without_dry_run())
                .observe(size as f64);
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.running.add(-1);
    }
}

/// Counts a request when it goes.
struct Ends {
    observed: Observed,
    code: u16,
}

impl Drop for Ends {
    fn drop(&mut self) {
        let Observed {
            shared,
            labels,
            started,
            ..
        } = &self.observed;
        let code = self.code.to_string();
        let [
            component,
            group,
            resource,
            scope,
            subresource,
            verb,
            version,
        ] = labels.without_dry_run();
        let dry_run = &labels.dry_run;
        let metrics = &shared.metrics;
        metrics
            .requests
            .with(&[
                &code,
                component,
                dry_run,
                group,
                resource,
                scope,
                subresource,
                verb,
                version,
            ])
            .add(1);
        metrics
            .durations
            .with(&[
                component,
                dry_run,
                group,
                resource,
                scope,
                subresource,
                verb,
                version,
            ])
            .observe(started.elapsed().as_secs_f64());
    }
}

/// A body that goes on, counted when it ends.
struct Measured {
    body: ResponseBody,
    _ends: Ends,
}

impl Body for Measured {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
