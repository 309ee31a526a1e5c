//! Admission of connections: what a path and query ask for, as the options object that plugins and webhooks see.

use knarr_json::{Map, Value, json};

use crate::{
    Outcome,
    admission::{self, Attributes, Operation, Options},
    chain::Call,
    rest::Target,
};

/// # Errors
/// What a plugin, policy or webhook answers.
pub async fn admit(call: &Call, target: &Target) -> Outcome<()> {
    let attributes = Attributes {
        options: Options::None,
        ..Attributes::new(call, target, Operation::Connect)
    };
    let mut object = options(call, attributes.kind.kind);
    admission::admit(&attributes, &mut object).await
}

/// `PodExecOptions` and its kin, as the query says them.
fn options(call: &Call, kind: &str) -> Value {
    let mut out = Map::new();
    out.insert("kind", kind.into());
    out.insert("apiVersion", "v1".into());
    let query = &call.query;
    match kind {
        "PodExecOptions" | "PodAttachOptions" => {
            for flag in ["stdin", "stdout", "stderr", "tty"] {
                if query.flag(flag) {
                    out.insert(flag, true.into());
                }
            }
            if let Some(container) = query.get("container").filter(|c| !c.is_empty()) {
                out.insert("container", container.into());
            }
            if kind == "PodExecOptions" {
                let command: Vec<&str> = query.all("command").collect();
                out.insert("command", json!(command));
            }
        }
        "PodPortForwardOptions" => {
            let ports: Vec<i64> = query.all("ports").filter_map(|p| p.parse().ok()).collect();
            if !ports.is_empty() {
                out.insert("ports", ports.into());
            }
        }
        _ => {
            let path = if call.info.rest.is_empty() {
                "/"
            } else {
                &call.info.rest
            };
            out.insert("path", path.into());
        }
    }
    Value::Object(out)
}
