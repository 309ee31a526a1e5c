//! Admission of connections: what a path and query ask for, as the options object that plugins and webhooks see.

use serde_json::{Map, Value, json};

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
    out.insert("kind".into(), kind.into());
    out.insert("apiVersion".into(), "v1".into());
    let query = &call.query;
    match kind {
        "PodExecOptions" | "PodAttachOptions" => {
            for flag in ["stdin", "stdout", "stderr", "tty"] {
                if query.flag(flag) {
                    out.insert(flag.into(), true.into());
                }
            }
            if let Some(container) = query.get("container").filter(|c| !c.is_empty()) {
                out.insert("container".into(), container.into());
            }
            if kind == "PodExecOptions" {
                let command: Vec<&str> = query.all("command").collect();
                out.insert("command".into(), json!(command));
            }
        }
        "PodPortForwardOptions" => {
            let ports: Vec<i64> = query.all("ports").filter_map(|p| p.parse().ok()).collect();
            if !ports.is_empty() {
                out.insert("ports".into(), ports.into());
            }
        }
        _ => {
            let path = if call.info.rest.is_empty() {
                "/"
            } else {
                &call.info.rest
            };
            out.insert("path".into(), path.into());
        }
    }
    Value::Object(out)
}
