//! ComponentStatuses: the health of the other parts of the control plane, asked for when somebody wants to know it.
//!
//! Parts that run in this process say themselves whether they live. For others the original's places are asked: a controller
//! manager's and a scheduler's health on this machine.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use knarr_api::Status;
use knarr_json::{Value, json};

use crate::{
    Outcome,
    accept::Shape,
    body::Response,
    chain::Call,
    proxy::backend::{Backend, Protocol},
    respond,
    rest::{Target, page, present},
    selector::Selection,
    server::Shared,
};

/// How long a part may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes that are read of its answer.
const LONGEST: usize = 10 << 10;
/// Parts that may be anywhere, and where the original looks for them.
const ELSEWHERE: [(&str, u16); 2] = [("controller-manager", 10257), ("scheduler", 10259)];
const STORE: &str = "etcd-0";

type Alive = Box<dyn Fn() -> bool + Send + Sync>;

/// Parts that run in this process, by name.
#[derive(Default)]
pub(crate) struct Components(Mutex<BTreeMap<String, Alive>>);

impl Components {
    pub fn add(&self, name: &str, alive: Alive) {
        let mut all = self.0.lock().unwrap_or_else(|e| e.into_inner());
        all.insert(name.to_owned(), alive);
    }

    /// Whether a part lives; nothing about one that does not run here.
    fn lives(&self, name: &str) -> Option<bool> {
        let all = self.0.lock().unwrap_or_else(|e| e.into_inner());
        all.get(name).map(|alive| alive())
    }
}

/// # Errors
/// 500 for a part that nobody knows; 400; 406.
pub(crate) async fn answer(call: &Call, target: &Target) -> Outcome<Response> {
    let shared = &call.shared;
    if !target.name.is_empty() {
        let accept = call.negotiate(&[Shape::Table, Shape::Partial])?;
        let known = names().any(|name| name == target.name);
        let object = match known {
            true => status(shared, &target.name).await,
            false => return Err(unknown(&target.name)),
        };
        return present::one(call, target, &accept, 200, &object.to_string().into());
    }
    let accept = call.negotiate(&[Shape::Table, Shape::PartialList])?;
    let selection = Selection::new(call, target)?;
    let wanted = names().filter(|name| {
        let head = target
            .resource
            .strategy
            .head(&json!({"metadata": {"name": name}}));
        selection.selects(&head)
    });
    let objects = futures::future::join_all(wanted.map(|name| status(shared, name))).await;
    let metadata = json!({});
    let shown = match accept.shape {
        Shape::Table => {
            let include = present::included(call)?;
            present::table(target, include, accept.beta, objects, metadata)
        }
        Shape::Partial | Shape::PartialList => {
            present::partial_list(objects, accept.beta, metadata)
        }
        Shape::Whole | Shape::Groups => {
            page::whole(target, &target.shown_api_version(), metadata, objects)
        }
    };
    Ok(respond::encoded(200, &accept, &shown))
}

fn names() -> impl Iterator<Item = &'static str> {
    ELSEWHERE.into_iter().map(|(name, _)| name).chain([STORE])
}

fn unknown(name: &str) -> Box<Status> {
    let status = Status::failure(500, "", format!("Component not found: {name}"));
    Box::new(status)
}

async fn status(shared: &Shared, name: &str) -> Value {
    let found = match ELSEWHERE.iter().find(|(known, _)| *known == name) {
        Some((_, port)) => match shared.components.lives(name) {
            Some(true) => told("True", "ok", ""),
            Some(false) => told("False", "has ended", ""),
            None => match probe(shared, *port).await {
                Ok(text) => told("True", &text, ""),
                Err(why) => told("False", &why, ""),
            },
        },
        None => match shared.store.trouble() {
            None => told("True", "ok", ""),
            Some(why) => told("False", "", &why),
        },
    };
    json!({"apiVersion": "v1", "kind": "ComponentStatus", "metadata": {"name": name}, "conditions": [found]})
}

fn told(status: &str, message: &str, error: &str) -> Value {
    let mut condition = json!({"type": "Healthy", "status": status});
    for (key, text) in [("message", message), ("error", error)] {
        if !text.is_empty() {
            condition[key] = text.into();
        }
    }
    condition
}

/// Asks a part at its port on this machine.
///
/// # Errors
/// Why it is not well.
async fn probe(shared: &Shared, port: u16) -> Result<String, String> {
    let url = format!("https://127.0.0.1:{port}/healthz");
    let asked = tokio::time::timeout(PATIENCE, ask(shared, port)).await;
    let late = || "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    let (code, text) = asked
        .unwrap_or_else(|_| Err(late().to_owned()))
        .map_err(|why| format!("Get {url:?}: {why}"))?;
    match code {
        200..400 => Ok(text),
        _ => Err(format!("HTTP probe failed with statuscode: {code}")),
    }
}

async fn ask(shared: &Shared, port: u16) -> Result<(u16, String), String> {
    let place = Backend {
        host: "127.0.0.1".to_owned(),
        port,
        protocol: Protocol::Https,
    };
    let nothing = Empty::new().map_err(|never| match never {});
    let request = Request::get("/healthz")
        .header(header::HOST, place.authority())
        .header(header::USER_AGENT, "kube-probe/1.36")
        .header(header::ACCEPT, "*/*")
        .body(nothing.boxed_unsync())
        .map_err(|e| e.to_string())?;
    let answer = place.ask(&shared.kubelets, request).await?;
    let code = answer.status().as_u16();
    let text = Limited::new(answer.into_body(), LONGEST).collect().await;
    let text = text.map_err(|e| e.to_string())?.to_bytes();
    Ok((code, String::from_utf8_lossy(&text).into_owned()))
}
