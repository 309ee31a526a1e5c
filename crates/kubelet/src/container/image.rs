//! Getting a container's image: pull policies, credentials, and one pull per image at a time.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
    time::Instant,
};

use base64::Engine;
use k8s_openapi::api::core::v1::{Container, Secret};
use knarr_runtime::{Error, Image, RegistryAuth, Runtime};
use parking_lot::Mutex;
use serde::Deserialize;

use crate::pod::memory::Waiting;

/// What happened on the way to an image, to be told as events.
#[derive(Debug, PartialEq, Eq)]
pub enum Note {
    Pulling,
    Pulled(String),
    Warning(&'static str, String),
}

/// Pulls images, each once at a time.
pub struct Puller {
    runtime: Arc<dyn Runtime>,
    busy: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

/// `Always` for a moving tag when nothing is said.
fn policy(container: &Container) -> &str {
    let image = container.image.as_deref().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let moving =
        !image.contains('@') && name.rsplit_once(':').is_none_or(|(_, tag)| tag == "latest");
    let default = if moving { "Always" } else { "IfNotPresent" };
    container
        .image_pull_policy
        .as_deref()
        .filter(|p| !p.is_empty())
        .unwrap_or(default)
}

impl Puller {
    pub fn new(runtime: Arc<dyn Runtime>) -> Self {
        Puller {
            runtime,
            busy: Mutex::default(),
        }
    }

    /// Makes sure that the container's image is there, and tells how.
    ///
    /// # Errors
    /// Why the container has to wait.
    pub async fn ensure(
        &self,
        container: &Container,
        secrets: &[Arc<Secret>],
        mut note: impl FnMut(Note),
    ) -> Result<Image, Waiting> {
        let image = container.image.as_deref().unwrap_or_default();
        let present = self.lookup(image, &mut note).await?;
        match (policy(container), present) {
            ("Never" | "IfNotPresent", Some(found)) => {
                note(Note::Pulled(format!(
                    "Container image \"{image}\" already present on machine and can be accessed by the pod"
                )));
                Ok(found)
            }
            ("Never", None) => {
                let message =
                    format!("Container image \"{image}\" is not present with pull policy of Never");
                note(Note::Warning("ErrImageNeverPull", message.clone()));
                Err(Waiting::new("ErrImageNeverPull", message))
            }
            ("IfNotPresent", None) => self.pull(image, false, secrets, &mut note).await,
            _ => self.pull(image, true, secrets, &mut note).await,
        }
    }

    async fn lookup(
        &self,
        image: &str,
        note: &mut impl FnMut(Note),
    ) -> Result<Option<Image>, Waiting> {
        match self.runtime.image_status(image).await {
            Ok(found) => Ok(found),
            Err(Error::Invalid(why)) => {
                let message = format!(
                    "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": {why}"
                );
                note(Note::Warning("InspectFailed", message.clone()));
                Err(Waiting::new("InvalidImageName", message))
            }
            Err(error) => {
                let message = format!("Failed to inspect image \"{image}\": {error}");
                note(Note::Warning("InspectFailed", message.clone()));
                Err(Waiting::new("ImageInspectError", message))
            }
        }
    }

    async fn pull(
        &self,
        image: &str,
        always: bool,
        secrets: &[Arc<Secret>],
        note: &mut impl FnMut(Note),
    ) -> Result<Image, Waiting> {
        let asked = Instant::now();
        let lock = self.lock(image);
        let _one_at_a_time = lock.lock().await;
        if !always && let Some(found) = self.lookup(image, note).await? {
            note(Note::Pulled(format!(
                "Container image \"{image}\" already present on machine and can be accessed by the pod"
            )));
            return Ok(found);
        }
        note(Note::Pulling);
        let began = Instant::now();
        match self.pull_with_any(image, secrets).await {
            Ok(found) => {
                let text = format!(
                    "Successfully pulled image \"{image}\" in {} ({} including waiting). Image size: {} bytes.",
                    duration(began),
                    duration(asked),
                    found.size
                );
                note(Note::Pulled(text));
                Ok(found)
            }
            Err(Error::Invalid(why)) => Err(Waiting::new("InvalidImageName", why)),
            Err(error) => {
                let message = format!("{error:#}");
                note(Note::Warning(
                    "Failed",
                    format!("Failed to pull image \"{image}\": {message}"),
                ));
                note(Note::Warning("Failed", "Error: ErrImagePull".to_owned()));
                Err(Waiting::new("ErrImagePull", message))
            }
        }
    }

    /// Tries each credential that fits, then none.
    async fn pull_with_any(&self, image: &str, secrets: &[Arc<Secret>]) -> Result<Image, Error> {
        let fitting = credentials(image, secrets);
        let mut last = None;
        for auth in fitting
            .iter()
            .map(Some)
            .chain(fitting.is_empty().then_some(None))
        {
            match self.runtime.pull_image(image, auth, None).await {
                Ok(found) => return Ok(found),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::Image("no credentials".to_owned())))
    }

    fn lock(&self, image: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock();
        busy.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = busy.get(image).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        busy.insert(image.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

fn duration(since: Instant) -> String {
    let ms = since.elapsed().as_millis();
    if ms < 1000 {
        format!("{ms}ms")
    } else {
        format!("{}.{:03}s", ms / 1000, ms % 1000)
    }
}

#[derive(Deserialize, Default)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Deserialize, Default)]
struct DockerAuth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
}

impl DockerAuth {
    fn into_auth(self) -> Option<RegistryAuth> {
        let (mut username, mut password) = (self.username, self.password);
        if let Ok(decoded) = base64::engine::general_purpose::STANDARD.decode(self.auth.trim()) {
            let text = String::from_utf8_lossy(&decoded).into_owned();
            if let Some((user, secret)) = text.split_once(':') {
                (username, password) = (user.to_owned(), secret.trim_end_matches('\0').to_owned());
            }
        }
        let any = !username.is_empty() || !self.identity_token.is_empty();
        any.then_some(RegistryAuth {
            username,
            password,
            identity_token: self.identity_token,
        })
    }
}

/// The registry and path of an image, without tag and digest.
fn repository(image: &str) -> String {
    let image = image.split('@').next().unwrap_or_default();
    let name_start = image.rfind('/').map_or(0, |i| i + 1);
    let end = image[name_start..]
        .find(':')
        .map_or(image.len(), |i| name_start + i);
    let image = &image[..end];
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => image.to_owned(),
        Some(_) => format!("docker.io/{image}"),
        None => format!("docker.io/library/{image}"),
    }
}

/// A key of the `auths` table as `registry[/path]`.
fn normalized(key: &str) -> String {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let host = if matches!(host, "index.docker.io" | "registry-1.docker.io") {
        "docker.io"
    } else {
        host
    };
    let path = path.trim_matches('/');
    let path = if matches!(path, "v1" | "v2") {
        ""
    } else {
        path
    };
    if path.is_empty() {
        host.to_owned()
    } else {
        format!("{host}/{path}")
    }
}

/// Whether a host pattern such as `*.example.com:5000` means that host.
fn host_matches(pattern: &str, host: &str) -> bool {
    let (pattern_parts, host_parts): (Vec<_>, Vec<_>) =
        (pattern.split('.').collect(), host.split('.').collect());
    let part = |(p, h): (&&str, &&str)| {
        p == h || *p == "*" || p.strip_prefix('*').is_some_and(|tail| h.ends_with(tail))
    };
    pattern_parts.len() == host_parts.len() && pattern_parts.iter().zip(&host_parts).all(part)
}

fn key_matches(key: &str, repository: &str) -> bool {
    let (key_host, key_path) = key.split_once('/').unwrap_or((key, ""));
    let (host, path) = repository.split_once('/').unwrap_or((repository, ""));
    let inside = path
        .strip_prefix(key_path)
        .is_some_and(|rest| key_path.is_empty() || rest.is_empty() || rest.starts_with('/'));
    host_matches(key_host, host) && inside
}

/// Credentials in the secrets that fit the image's registry, the most specific first.
pub fn credentials(image: &str, secrets: &[Arc<Secret>]) -> Vec<RegistryAuth> {
    let repository = repository(image);
    let mut found = Vec::new();
    for (key, auth) in secrets.iter().flat_map(|s| tables(s)) {
        let key = normalized(&key);
        if key_matches(&key, &repository) {
            found.extend(auth.into_auth().map(|a| (key.len(), a)));
        }
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found.into_iter().map(|(_, auth)| auth).collect()
}

fn tables(secret: &Secret) -> Vec<(String, DockerAuth)> {
    let data = |key: &str| {
        secret
            .data
            .as_ref()
            .and_then(|d| d.get(key))
            .map(|b| b.0.as_slice())
    };
    let new = data(".dockerconfigjson")
        .and_then(|b| serde_json::from_slice::<DockerConfig>(b).ok())
        .map(|c| c.auths);
    let old = || data(".dockercfg").and_then(|b| serde_json::from_slice(b).ok());
    new.or_else(old).unwrap_or_default().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    #[test]
    fn policies_by_tag() {
        let cases = [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1", "IfNotPresent"),
            ("localhost:5000/nginx", "Always"),
            ("nginx@sha256:00", "IfNotPresent"),
        ];
        for (image, want) in cases {
            let c = Container {
                image: Some(image.into()),
                ..Container::default()
            };
            assert_eq!(policy(&c), want, "{image}");
        }
    }

    #[test]
    fn the_most_specific_credential_first() {
        let json = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"},"reg.example:5000":{"username":"u","password":"p"},
            "reg.example:5000/team":{"username":"t","password":"q"},"*.wild.example":{"username":"w"}}}"#;
        let secret = Secret {
            data: Some([(".dockerconfigjson".to_owned(), ByteString(json.into()))].into()),
            ..Secret::default()
        };
        let names = |image: &str| {
            let found = credentials(image, &[Arc::new(secret.clone())]);
            found
                .into_iter()
                .map(|a| format!("{}:{}", a.username, a.password))
                .collect::<Vec<_>>()
        };
        assert_eq!(names("nginx"), ["a:b"]);
        assert_eq!(names("reg.example:5000/team/x:1"), ["t:q", "u:p"]);
        assert_eq!(names("reg.example:5000/teamwork/x"), ["u:p"]);
        assert_eq!(names("a.wild.example/x"), ["w:"]);
        assert!(names("other.example/x").is_empty());
    }
}
