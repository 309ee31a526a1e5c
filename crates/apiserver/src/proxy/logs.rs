//! `pods/log`.

use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use knarr_api::{Status, field};
use knarr_json::Value;

use super::{
    backend::{passed, uri},
    nodes,
    streams::encode,
};
use crate::{
    Outcome,
    body::{self, Response},
    chain::Call,
    respond,
    rest::{Target, parse},
};

/// Options that the kubelet takes as they are.
const PASSED: [&str; 8] = [
    "follow",
    "previous",
    "timestamps",
    "sinceSeconds",
    "sinceTime",
    "tailLines",
    "limitBytes",
    "stream",
];

pub async fn answer(call: &Call, target: &Target) -> Outcome<Response> {
    check(call, target)?;
    let pod = parse(&target.load(call)?.json)?;
    let container = container(
        &pod,
        call.query.get("container").unwrap_or_default(),
        &target.name,
    )?;
    let Some(node) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) else {
        // Nothing has run anywhere yet.
        return Ok(respond::raw(204, "text/plain", ""));
    };
    let backend = nodes::kubelet(call, node)?;
    let options: Vec<String> = PASSED
        .iter()
        .filter_map(|key| {
            call.query
                .get(key)
                .filter(|v| !v.is_empty())
                .map(|v| format!("{key}={}", encode(v)))
        })
        .collect();
    let query = if options.is_empty() {
        String::new()
    } else {
        format!("?{}", options.join("&"))
    };
    let path = format!(
        "/containerLogs/{}/{}/{container}{query}",
        target.namespace, target.name
    );
    let mut request = Request::new(body::empty());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri(&path)?;
    if let Ok(host) = backend.authority().parse() {
        request.headers_mut().insert(header::HOST, host);
    }
    let response = backend.send(&call.shared.kubelets, request).await?;
    if response.status() == StatusCode::OK {
        let mut response = passed(response);
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("text/plain"),
        );
        response.headers_mut().remove(header::TRANSFER_ENCODING);
        return Ok(response);
    }
    Err(refusal(target, response).await)
}

/// A kubelet's refusal as a Status.
async fn refusal(target: &Target, response: http::Response<hyper::body::Incoming>) -> Box<Status> {
    let code = response.status().as_u16();
    let bytes = response
        .into_body()
        .collect()
        .await
        .map(|b| b.to_bytes())
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    match code {
        400 => Status::bad_request(text).into(),
        404 => {
            let message = format!(
                "the server could not find the requested resource ( pods/log {})",
                target.name
            );
            respond::general(404, "NotFound", &message).into()
        }
        _ => Status::internal(text).into(),
    }
}

fn check(call: &Call, target: &Target) -> Outcome<()> {
    let root = field::Path::default();
    let mut errors = Vec::new();
    let mut least = |key: &str, least: i64, why: &str| -> Outcome<()> {
        if let Some(n) = call.query.int(key)?.filter(|n| *n < least) {
            errors.push(field::Error::invalid(&root.child(key), n, why));
        }
        Ok(())
    };
    least("tailLines", 0, "must be greater than or equal to 0")?;
    least("limitBytes", 1, "must be greater than 0")?;
    let both = call.query.get("sinceSeconds").is_some() && call.query.get("sinceTime").is_some();
    if !both {
        least("sinceSeconds", 1, "must be greater than 0")?;
    } else {
        let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        let mut error = field::Error::forbidden(&root, why);
        error.field = "[]".into();
        errors.push(error);
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("", "PodLogOptions", &target.name, &errors).into())
}

/// The container that is meant: the one named, the only one, or the one that the pod says is its main one.
///
/// # Errors
/// 400 for one that there is not, or when it is not clear.
pub fn container(pod: &Value, asked: &str, name: &str) -> Outcome<String> {
    let of = |key: &str| -> Vec<&str> {
        pod["spec"][key]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|c| c["name"].as_str())
            .collect()
    };
    let (init, main, ephemeral) = (
        of("initContainers"),
        of("containers"),
        of("ephemeralContainers"),
    );
    let all: Vec<&str> = [init, main.clone(), ephemeral].concat();
    if !asked.is_empty() {
        return if all.contains(&asked) {
            Ok(asked.to_owned())
        } else {
            Err(
                Status::bad_request(format!("container {asked} is not valid for pod {name}"))
                    .into(),
            )
        };
    }
    if let ([only], 1) = (&main[..], all.len()) {
        return Ok((*only).to_owned());
    }
    let marked = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
    if let Some(marked) = marked.filter(|m| all.contains(m)) {
        return Ok(marked.to_owned());
    }
    let choices = all.join(" ");
    let why =
        format!("a container name must be specified for pod {name}, choose one of: [{choices}]");
    Err(Status::bad_request(why).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn containers_are_chosen() {
        let pod = json!({"spec": {"containers": [{"name": "a"}]}});
        assert_eq!(container(&pod, "", "p").unwrap(), "a");
        let pod = json!({"spec": {"initContainers": [{"name": "prep"}], "containers": [{"name": "a"}, {"name": "b"}]}});
        assert_eq!(
            container(&pod, "", "p").unwrap_err().message,
            "a container name must be specified for pod p, choose one of: [prep a b]"
        );
        assert_eq!(container(&pod, "b", "p").unwrap(), "b");
        assert_eq!(
            container(&pod, "z", "p").unwrap_err().message,
            "container z is not valid for pod p"
        );
    }
}
