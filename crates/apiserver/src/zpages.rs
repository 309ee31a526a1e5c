//! `/statusz` and `/flagz`: what this server is and was started with, for people at a terminal and, when asked for so, as
//! objects (`config.k8s.io`).

use jiff::Timestamp;
use knarr_json::{Value, json};

use crate::{
    KUBERNETES_VERSION,
    accept::{self, Accept, Format},
    body::Response,
    chain::Call,
    health,
    metrics::STARTED,
    respond,
};

/// What the pages call this component.
const NAME: &str = "apiserver";
const WARNING: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.";
/// Where else there is something to see.
const PATHS: [&str; 7] = [
    "/flagz", "/healthz", "/livez", "/metrics", "/readyz", "/statusz", "/version",
];
const GROUP: &str = "config.k8s.io";
/// Versions of the objects, newest first.
const VERSIONS: [&str; 2] = ["v1beta1", "v1alpha1"];

/// What a client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    /// An object at this version.
    Object(Accept, &'static str),
}

/// The answer for one of the pages; none for any other path.
pub(crate) fn answer(call: &Call) -> Option<Response> {
    let kind = match call.info.path.trim_end_matches('/') {
        "/statusz" => "Statusz",
        "/flagz" => "Flagz",
        _ => return None,
    };
    let form = form(call.accept_header().unwrap_or_default(), kind);
    Some(match form {
        Some(Form::Text) if kind == "Statusz" => page(status_text(Timestamp::now())),
        Some(Form::Text) => page(flags_text(call)),
        Some(Form::Object(accept, version)) => {
            let mut object = if kind == "Statusz" {
                status(Timestamp::now())
            } else {
                json!({"flags": call.shared.flags})
            };
            object["kind"] = kind.into();
            object["apiVersion"] = format!("{GROUP}/{version}").into();
            object["metadata"] = json!({"name": NAME});
            respond::encoded(200, &accept, &object)
        }
        None => respond::text(406, "media type not acceptable, must be: text/plain\n"),
    })
}

/// The first form of the client's liking that there is.
fn form(header: &str, kind: &str) -> Option<Form> {
    if header.trim().is_empty() {
        return Some(Form::Text);
    }
    accept::clauses(header).iter().find_map(|clause| {
        let format = match clause.media {
            "text/plain" | "text/*" | "*/*" => return Some(Form::Text),
            "application/json" => Format::Json,
            "application/yaml" => Format::Yaml,
            _ => return None,
        };
        let version = VERSIONS
            .into_iter()
            .find(|v| clause.param("v") == Some(v))?;
        let right = clause.param("g") == Some(GROUP) && clause.param("as") == Some(kind);
        let accept = Accept {
            format,
            ..Accept::default()
        };
        right.then_some(Form::Object(accept, version))
    })
}

fn page(text: String) -> Response {
    respond::text(200, text)
}

fn version() -> &'static str {
    let version = KUBERNETES_VERSION.trim_start_matches('v');
    version.split('+').next().unwrap_or(version)
}

fn emulated() -> String {
    let version = health::version();
    let part = |key: &str| version[key].as_str().unwrap_or_default().to_owned();
    format!("{}.{}", part("major"), part("minor"))
}

/// When this process began, and how many seconds ago that was.
fn lasted(now: Timestamp) -> (Timestamp, i64) {
    let started = Timestamp::from_second(*STARTED as i64).unwrap_or(now);
    (started, (now.as_second() - started.as_second()).max(0))
}

fn status(now: Timestamp) -> Value {
    let (started, seconds) = lasted(now);
    json!({
        "startTime": started, "uptimeSeconds": seconds, "goVersion": health::version()["goVersion"],
        "binaryVersion": version(), "emulationVersion": emulated(), "paths": PATHS,
    })
}

fn status_text(now: Timestamp) -> String {
    let (started, up) = lasted(now);
    let (hours, minutes, seconds) = (up / 3600, up / 60 % 60, up % 60);
    let go = health::version()["goVersion"].clone();
    format!(
        "\n{NAME} statusz\n{WARNING}\n\nStarted: {}\nUp: {hours} hr {minutes:02} min {seconds:02} sec\nGo version: {}\nBinary version: {}\nEmulation version: {}\nPaths: {}\n",
        started.strftime("%a %b %e %H:%M:%S UTC %Y"),
        go.as_str().unwrap_or_default(),
        version(),
        emulated(),
        PATHS.join(" ")
    )
}

fn flags_text(call: &Call) -> String {
    let flags = call.shared.flags.iter();
    let lines: String = flags.map(|(k, v)| format!("{k}={v}\n")).collect();
    format!("\n{NAME} flagz\n{WARNING}\n\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_given_to_those_who_name_them() {
        let object = |format, version| {
            let accept = Accept {
                format,
                ..Accept::default()
            };
            Some(Form::Object(accept, version))
        };
        for (header, want) in [
            ("", Some(Form::Text)),
            ("text/plain", Some(Form::Text)),
            ("*/*", Some(Form::Text)),
            ("application/json", None),
            ("application/xml", None),
            ("application/json;v=v1beta1;g=config.k8s.io", None),
            ("application/json;v=v1beta1;g=config.k8s.io;as=Flagz", None),
            (
                "application/json;v=v1beta1;g=config.k8s.io;as=Statusz",
                object(Format::Json, "v1beta1"),
            ),
            (
                "application/yaml;v=v1alpha1;g=config.k8s.io;as=Statusz",
                object(Format::Yaml, "v1alpha1"),
            ),
            (
                "application/json;v=foo;g=config.k8s.io;as=Statusz,*/*",
                Some(Form::Text),
            ),
        ] {
            assert_eq!(form(header, "Statusz"), want, "{header}");
        }
    }
}
