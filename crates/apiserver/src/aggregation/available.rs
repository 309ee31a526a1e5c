//! Whether the servers that APIServices name can be reached, and what they say about themselves.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;
use knarr_json::{Value, json};
use knarr_store::{Range, Stored, Watch};

use super::{PREFIX, Remote, documents, proxy, remote};
use crate::{UserInfo, body, poststart::Client, rest::meta, server::Shared, user::MASTERS};

/// Time between looks at those that are well.
const RESYNC: Duration = Duration::from_secs(30);
/// First pause after one that is not well; it doubles up to [`RESYNC`].
const RETRY: Duration = Duration::from_millis(500);
/// Changes that come together are looked at together.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a server may take to show its resources.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest document that is read, in bytes.
const LONGEST: usize = 32 << 20;
/// Who asks when nobody in particular does.
const SELF: &str = "system:kube-aggregator";

/// What is said about an APIService.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Verdict {
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn no(reason: &'static str, message: String) -> Self {
        Verdict {
            status: "False",
            reason,
            message,
        }
    }

    fn passed() -> Self {
        Verdict {
            status: "True",
            reason: "Passed",
            message: "all checks passed".into(),
        }
    }
}

/// Looks after all remotes until the server stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let client = Client::new(shared.clone());
    let mut pause = RETRY;
    loop {
        // What changes while it looks is looked at again.
        let from = shared.store.revision();
        let well = settle(&shared, &client).await;
        pause = if well { RETRY } else { (pause * 2).min(RESYNC) };
        let wait = if well { RESYNC } else { pause };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = changed(&shared, from) => {}
            () = tokio::time::sleep(wait) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns when something changes that a verdict rests on.
async fn changed(shared: &Shared, from: u64) {
    let watch = |prefix: &str| shared.store.watch(prefix, Some(from));
    let Ok(mut services) = watch(PREFIX) else {
        return;
    };
    if shared.aggregator.all().is_empty() {
        services.next().await;
        return;
    }
    let (Ok(specs), Ok(slices)) = (
        watch("/registry/services/specs/"),
        watch("/registry/endpointslices/"),
    ) else {
        return;
    };
    let behind: Vec<(String, String)> = shared
        .aggregator
        .all()
        .iter()
        .map(|r| (r.namespace.clone(), r.service.clone()))
        .collect();
    let is_behind =
        |namespace: &str, service: &str| behind.iter().any(|(n, s)| n == namespace && s == service);
    tokio::select! {
        _ = services.next() => {}
        () = concerning(specs, |o| is_behind(&o.head.namespace, &o.head.name)) => {}
        () = concerning(slices, |o| {
            let service = o.head.label("kubernetes.io/service-name");
            service.is_some_and(|s| is_behind(&o.head.namespace, s))
        }) => {}
    }
}

/// Returns when an object changes that is of interest, or the watch ends.
async fn concerning(mut watch: Watch, wanted: impl Fn(&Stored) -> bool) {
    while let Some(Ok(event)) = watch.next().await {
        let before = event.previous.as_deref();
        if wanted(&event.object) || before.is_some_and(&wanted) {
            return;
        }
    }
}

/// Checks every remote; whether all are well.
async fn settle(shared: &Arc<Shared>, client: &Client) -> bool {
    let checks = shared
        .aggregator
        .all()
        .into_iter()
        .map(|remote| async move {
            let verdict = judge(shared, &remote).await;
            let well = verdict.status == "True";
            // What it serves is known before it is said to be there.
            if well {
                shared
                    .aggregator
                    .note(&remote.name, documents::ask(shared, &remote).await);
            }
            if let Err(error) = tell(shared, client, &remote, &verdict).await {
                tracing::warn!(%error, apiservice = remote.name, "status of an APIService");
            }
            well
        });
    futures::future::join_all(checks)
        .await
        .into_iter()
        .all(|well| well)
}

async fn judge(shared: &Shared, remote: &Remote) -> Verdict {
    let key = format!(
        "/registry/services/specs/{}/{}",
        remote.namespace, remote.service
    );
    let service = shared.store.get(&key);
    let service = service.and_then(|s| serde_json::from_slice::<Value>(&s.json).ok());
    let prefix = format!("/registry/endpointslices/{}/", remote.namespace);
    let listing = shared.store.list(Range {
        prefix: &prefix,
        ..Range::default()
    });
    let slices: Vec<Value> = listing
        .map(|l| l.items)
        .unwrap_or_default()
        .iter()
        .filter(|s| s.head.label("kubernetes.io/service-name") == Some(&remote.service))
        .filter_map(|s| serde_json::from_slice(&s.json).ok())
        .collect();
    if let Err(verdict) = reachable(remote, service.as_ref(), &slices) {
        return verdict;
    }
    match shows(shared, remote).await {
        Ok(()) => Verdict::passed(),
        Err(why) => Verdict::no("FailedDiscoveryCheck", why),
    }
}

/// Whether a Service with endpoints stands behind it. Pure.
fn reachable(remote: &Remote, service: Option<&Value>, slices: &[Value]) -> Result<(), Verdict> {
    let Remote {
        service: name,
        namespace,
        port,
        ..
    } = remote;
    let Some(service) = service else {
        let message = format!("service/{name} in {namespace:?} is not present");
        return Err(Verdict::no("ServiceNotFound", message));
    };
    if service["spec"]["type"] != "ClusterIP" {
        return Ok(());
    }
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let Some(wanted) = ports.into_iter().find(|p| p["port"] == json!(port)) else {
        let message = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return Err(Verdict::no("ServicePortError", message));
    };
    if slices.is_empty() {
        let message = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return Err(Verdict::no("EndpointsNotFound", message));
    }
    let port_name = wanted["name"].as_str().unwrap_or_default();
    if slices.iter().any(|slice| has_endpoint(slice, port_name)) {
        return Ok(());
    }
    let message = format!(
        "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
    );
    Err(Verdict::no("MissingEndpoints", message))
}

fn has_endpoint(slice: &Value, port_name: &str) -> bool {
    let any = |key: &str, right: &dyn Fn(&Value) -> bool| {
        slice[key].as_array().into_iter().flatten().any(right)
    };
    any("endpoints", &|e| e["conditions"]["ready"] != false)
        && any("ports", &|p| {
            p["name"].as_str().unwrap_or_default() == port_name && p["port"].is_u64()
        })
}

/// Whether the server shows the resources of its group version.
async fn shows(shared: &Shared, remote: &Remote) -> Result<(), String> {
    let url = format!(
        "https://{}:{}{}",
        remote.server_name(),
        remote.port,
        remote.path()
    );
    let missing = |why: String| format!("failing or missing response from {url}: {why}");
    // Its certificate is not looked at: what it says here is not believed, only that it says something.
    let identity = shared.aggregator.identity.as_deref();
    let connector = remote::connector(None, identity)?;
    let request = request(&remote.path(), "application/json");
    let sent = proxy::exchange(shared, remote, &connector, request);
    let response = match tokio::time::timeout(PATIENCE, sent).await {
        Ok(Ok(response)) => response,
        Ok(Err(why)) => return Err(missing(format!("Get {url:?}: {why}"))),
        Err(_) => return Err(format!("timed out waiting for {url}")),
    };
    let code = response.status().as_u16();
    if (200..300).contains(&code) {
        return Ok(());
    }
    Err(missing(format!("bad status from {url}: {code}")))
}

fn request(path: &str, accept: &str) -> Request<body::RequestBody> {
    let mut request = Request::new(body::empty());
    if let Ok(uri) = path.parse() {
        *request.uri_mut() = uri;
    }
    let headers = request.headers_mut();
    proxy::identify(headers, &UserInfo::new(SELF, [MASTERS]));
    if let Ok(accept) = accept.parse() {
        headers.insert(header::ACCEPT, accept);
    }
    request
}

/// A document of a remote, whose certificate must be right.
pub(super) async fn fetch(
    shared: &Shared,
    remote: &Remote,
    path: &str,
    accept: &str,
) -> Option<Bytes> {
    let mut request = request(path, accept);
    let host = remote.server_name().parse().ok()?;
    request.headers_mut().insert(header::HOST, host);
    let sent = async {
        let response = proxy::send(shared, remote, request).await.ok()?;
        let whole = response.status() == http::StatusCode::OK;
        let body = Limited::new(response.into_body(), LONGEST)
            .collect()
            .await
            .ok()?;
        whole.then(|| body.to_bytes())
    };
    tokio::time::timeout(PATIENCE, sent).await.ok()?
}

/// Writes the verdict into the status, when it is a new one.
async fn tell(
    shared: &Shared,
    client: &Client,
    remote: &Remote,
    verdict: &Verdict,
) -> Result<(), String> {
    let Some(stored) = shared.store.get(&format!("{PREFIX}{}", remote.name)) else {
        return Ok(());
    };
    let mut object: Value = serde_json::from_slice(&stored.json).map_err(|e| e.to_string())?;
    let before = object["status"].clone();
    say(&mut object, verdict, &meta::time(Timestamp::now()));
    if object["status"] == before {
        return Ok(());
    }
    let path = format!(
        "/apis/apiregistration.k8s.io/v1/apiservices/{}/status",
        remote.name
    );
    client.send(Method::PUT, &path, &object).await
}

/// Puts the verdict among the conditions; the time of the last change stays while the status does.
fn say(object: &mut Value, verdict: &Verdict, now: &str) {
    let conditions = &mut object["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(all) = conditions.as_array_mut() else {
        return;
    };
    let at = all
        .iter()
        .position(|c| c["type"] == "Available")
        .unwrap_or_else(|| {
            all.push(json!({"type": "Available"}));
            all.len() - 1
        });
    let condition = &mut all[at];
    if condition["status"] != verdict.status {
        condition["status"] = verdict.status.into();
        condition["lastTransitionTime"] = now.into();
    }
    condition["reason"] = verdict.reason.into();
    condition["message"] = verdict.message.as_str().into();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote() -> Remote {
        let object = json!({"metadata": {"name": "v1.x.io"}, "spec": {"group": "x.io", "version": "v1", "insecureSkipTLSVerify": true,
            "service": {"name": "s", "namespace": "n", "port": 443}}});
        Remote::new(&object, None).unwrap()
    }

    #[test]
    fn reasons_are_told() {
        let service =
            json!({"spec": {"type": "ClusterIP", "ports": [{"port": 443, "name": "web"}]}});
        let elsewhere = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}});
        let external = json!({"spec": {"type": "ExternalName"}});
        let slice = |ready: bool, port: &str| json!({"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}], "ports": [{"name": port, "port": 8443}]});
        let reason = |service: Option<&Value>, slices: &[Value]| {
            reachable(&remote(), service, slices)
                .err()
                .map(|v| v.reason)
        };
        for (service, slices, want) in [
            (None, vec![], Some("ServiceNotFound")),
            (Some(&external), vec![], None),
            (Some(&elsewhere), vec![], Some("ServicePortError")),
            (Some(&service), vec![], Some("EndpointsNotFound")),
            (
                Some(&service),
                vec![slice(false, "web")],
                Some("MissingEndpoints"),
            ),
            (
                Some(&service),
                vec![slice(true, "other")],
                Some("MissingEndpoints"),
            ),
            (
                Some(&service),
                vec![slice(false, "web"), slice(true, "web")],
                None,
            ),
        ] {
            assert_eq!(reason(service, &slices), want, "{service:?} {slices:?}");
        }
    }

    #[test]
    fn times_change_with_the_status_only() {
        let mut object = json!({});
        say(&mut object, &Verdict::no("A", "a".into()), "1");
        say(&mut object, &Verdict::no("B", "b".into()), "2");
        let condition = &object["status"]["conditions"][0];
        assert_eq!(
            (&condition["lastTransitionTime"], &condition["reason"]),
            (&json!("1"), &json!("B"))
        );
        say(&mut object, &Verdict::passed(), "3");
        assert_eq!(object["status"]["conditions"][0]["lastTransitionTime"], "3");
    }
}
