//! Pulling from a real registry on this machine.

mod common;

use std::{
    collections::HashMap,
    fs,
    io::Read,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use common::{Fixture, busybox_image, can_run, shell, unique};
use knarr_runtime::{
    ContainerConfig, Error, RegistryAuth, Runtime,
    images::{ImageBuilder, ImageStore, Packing, Puller, RegistryConfig, digest_of},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// `knarr` with password `secret`.
const HTPASSWD: &str = "knarr:$2b$04$uXBCUjLF5vFeA2Vi4f4fv.BFgysfvFRSLu/7y/C./d.ufVDfbohki";

struct Registry {
    process: Child,
    dir: PathBuf,
    host: String,
}

impl Registry {
    /// `None` where the program is not installed.
    fn start(auth: bool) -> Option<Self> {
        Self::start_with(auth, None)
    }

    /// With TLS when there is a certificate and key, in PEM.
    fn start_with(auth: bool, tls: Option<(&str, &str)>) -> Option<Self> {
        if !Path::new("/usr/bin/docker-registry").exists() {
            eprintln!("skipped: needs docker-registry");
            return None;
        }
        let dir = PathBuf::from(format!("/var/tmp/knarr-registry-{}", unique()));
        fs::create_dir_all(dir.join("data")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let at = dir.display();
        let tls = tls.map_or_else(String::new, |(certificate, key)| {
            fs::write(dir.join("tls.crt"), certificate).unwrap();
            fs::write(dir.join("tls.key"), key).unwrap();
            format!(", tls: {{certificate: {at}/tls.crt, key: {at}/tls.key}}")
        });
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {at}/data}}}}\nhttp: {{addr: 127.0.0.1:{port}{tls}}}\n"
        );
        if auth {
            fs::write(dir.join("htpasswd"), HTPASSWD).unwrap();
            config += &format!(
                "auth: {{htpasswd: {{realm: test, path: {}/htpasswd}}}}\n",
                dir.display()
            );
        }
        fs::write(dir.join("config.yml"), config).unwrap();
        let process = Command::new("/usr/bin/docker-registry")
            .args(["serve", dir.join("config.yml").to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self {
            process,
            dir,
            host: format!("127.0.0.1:{port}"),
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(&registry.host).is_err() {
            assert!(Instant::now() < deadline, "the registry does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(registry)
    }

    fn blob_path(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self.dir
            .join("data/docker/registry/v2/blobs/sha256")
            .join(&hex[..2])
            .join(hex)
            .join("data")
    }

    /// Puts an OCI archive where the registry keeps things. Returns the manifest's digest.
    fn push(&self, archive: &[u8], repository: &str, tag: &str) -> String {
        let files = unpack(archive);
        let repository = self
            .dir
            .join("data/docker/registry/v2/repositories")
            .join(repository);
        let link = |path: &str, digest: &str| {
            let path = repository.join(path).join("link");
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, digest).unwrap();
        };
        for (name, content) in files.iter().filter(|(name, _)| name.starts_with("blobs/")) {
            let hex = name.rsplit('/').next().unwrap();
            let path = self.blob_path(&format!("sha256:{hex}"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
            link(&format!("_layers/sha256/{hex}"), &format!("sha256:{hex}"));
        }
        let index: serde_json::Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
        let hex = digest.strip_prefix("sha256:").unwrap();
        link(&format!("_manifests/revisions/sha256/{hex}"), &digest);
        link(&format!("_manifests/tags/{tag}/current"), &digest);
        link(
            &format!("_manifests/tags/{tag}/index/sha256/{hex}"),
            &digest,
        );
        digest
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn unpack(archive: &[u8]) -> HashMap<String, Vec<u8>> {
    let mut files = HashMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.insert(name, content);
    }
    files
}

fn three_layers() -> Vec<u8> {
    let noise: Vec<u8> = (0..1_000_000u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect();
    busybox_image("pulled")
        .layer()
        .file("/noise", 0o644, noise)
        .layer()
        .file("/last", 0o644, "last")
        .packing(Packing::Gzip)
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_by_tag_and_digest_and_runs() {
    if !can_run() {
        return;
    }
    let Some(registry) = Registry::start(false) else {
        return;
    };
    let digest = registry.push(&three_layers(), "team/app", "v1");
    let f = Fixture::new().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let report = Arc::clone(&seen);
    let progress: knarr_runtime::Progress =
        Arc::new(move |done, total| report.lock().unwrap().push((done, total)));
    let name = format!("{}/team/app:v1", registry.host);
    let image = f
        .runtime
        .pull_image(&name, None, Some(progress))
        .await
        .unwrap();
    assert_eq!(image.repo_tags, std::slice::from_ref(&name));
    assert_eq!(
        image.repo_digests,
        [format!("{}/team/app@{digest}", registry.host)]
    );
    let seen = seen.lock().unwrap().clone();
    let (done, total) = *seen.last().unwrap();
    assert!(done == total && total > 0, "{seen:?}");
    let by_digest = format!("{}/team/app@{digest}", registry.host);
    assert_eq!(
        f.runtime
            .pull_image(&by_digest, None, None)
            .await
            .unwrap()
            .id,
        image.id
    );
    assert_eq!(
        f.runtime
            .image_status(&by_digest)
            .await
            .unwrap()
            .unwrap()
            .id,
        image.id
    );
    let sandbox = f.sandbox("pulled").await;
    let config = ContainerConfig {
        image_id: image.id.clone(),
        ..shell("p", "cat /last; wc -c < /noise")
    };
    let id = f.run(&sandbox, &config).await;
    f.wait_exit(&id).await;
    assert_eq!(f.log(&id).await, ["stdout F last1000000"]);
    let error = f
        .runtime
        .pull_image(&format!("{}/team/app:v2", registry.host), None, None)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "failed to pull and unpack image \"{0}/team/app:v2\": {0}/team/app:v2: not found",
            registry.host
        )
    );
    let error = f
        .runtime
        .pull_image("127.0.0.1:1/x:1", None, None)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("failed to do request") && error.contains("refused"),
        "{error}"
    );
    assert!(matches!(
        f.runtime.pull_image("No Image", None, None).await,
        Err(Error::Invalid(_))
    ));
}

/// A certificate for 127.0.0.1 that is its own authority, and its key.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_registries_are_verified() {
    if !can_run() {
        return;
    }
    let (ca, key) = certificate();
    let Some(registry) = Registry::start_with(false, Some((&ca, &key))) else {
        return;
    };
    registry.push(&three_layers(), "team/app", "v1");
    let dir = tempfile::tempdir().unwrap();
    let images = Arc::new(ImageStore::open(&dir.path().join("images")).unwrap());
    let certs = dir.path().join("certs.d");
    let puller = Puller::new(RegistryConfig {
        certs: Some(certs.clone()),
        ..RegistryConfig::default()
    })
    .unwrap();
    let trust = |pem: &str| {
        let own = certs.join(&registry.host);
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("ca.crt"), pem).unwrap();
    };
    let name = format!("{}/team/app:v1", registry.host);
    trust(&certificate().0);
    let refused = puller.pull(&images, &name, None, None).await.unwrap_err();
    let refused = refused.to_string();
    assert!(refused.contains("certificate"), "{refused}");
    trust("no certificate");
    let refused = puller.pull(&images, &name, None, None).await;
    assert!(refused.is_err());
    trust(&ca);
    let image = puller.pull(&images, &name, None, None).await.unwrap();
    assert_eq!(image.repo_tags, [name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn same_layer_is_fetched_once() {
    if !can_run() {
        return;
    }
    let Some(registry) = Registry::start(false) else {
        return;
    };
    registry.push(&three_layers(), "app", "v1");
    registry.push(
        &busybox_image("x")
            .layer()
            .file("/more", 0o644, "more")
            .packing(Packing::Zstd)
            .build()
            .unwrap(),
        "other",
        "v1",
    );
    let f = Fixture::new().await;
    let name = |repository: &str| format!("{}/{repository}:v1", registry.host);
    let (app, other) = (name("app"), name("other"));
    let pulls = (0..8).map(|n| {
        f.runtime
            .pull_image(if n % 2 == 0 { &app } else { &other }, None, None)
    });
    for pulled in futures::future::join_all(pulls).await {
        pulled.unwrap();
    }
    // busybox (already there), noise, last, more
    assert_eq!(
        fs::read_dir(f.runtime.image_store().layers_dir())
            .unwrap()
            .count(),
        4
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_refused() {
    if !can_run() {
        return;
    }
    let Some(registry) = Registry::start(false) else {
        return;
    };
    let archive = ImageBuilder::new("x")
        .file("/only", 0o644, "content".repeat(1000))
        .build()
        .unwrap();
    registry.push(&archive, "bad", "v1");
    let layer = unpack(&archive)
        .into_iter()
        .find(|(name, content)| {
            name.starts_with("blobs/") && content.windows(7).any(|w| w == b"content")
        })
        .unwrap();
    let path = registry.blob_path(&digest_of(&layer.1));
    let mut damaged = layer.1.clone();
    let at = damaged.len() / 2;
    damaged[at] ^= 0xff;
    fs::write(&path, &damaged).unwrap();
    let dir = registry.dir.join("store");
    let store = Arc::new(ImageStore::open(&dir).unwrap());
    let puller = Puller::new(RegistryConfig::default()).unwrap();
    let name = format!("{}/bad:v1", registry.host);
    let error = puller
        .pull(&store, &name, None, None)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("unexpected commit digest"), "{error}");
    assert!(store.list().is_empty());
    assert_eq!(fs::read_dir(store.layers_dir()).unwrap().count(), 0);
    assert_eq!(fs::read_dir(dir.join("tmp")).unwrap().count(), 0);
    fs::write(&path, &layer.1).unwrap();
    puller.pull(&store, &name, None, None).await.unwrap();
    // A mirror that does not have it is passed over.
    let mirrors = [(registry.host.clone(), vec!["http://127.0.0.1:1".to_owned()])].into();
    let puller = Puller::new(RegistryConfig {
        mirrors,
        ..RegistryConfig::default()
    })
    .unwrap();
    puller.pull(&store, &name, None, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_needed() {
    if !can_run() {
        return;
    }
    let Some(registry) = Registry::start(true) else {
        return;
    };
    registry.push(
        &ImageBuilder::new("x")
            .file("/only", 0o644, "x")
            .build()
            .unwrap(),
        "private",
        "v1",
    );
    let store = Arc::new(ImageStore::open(&registry.dir.join("store")).unwrap());
    let puller = Puller::new(RegistryConfig::default()).unwrap();
    let name = format!("{}/private:v1", registry.host);
    let wrong = RegistryAuth {
        username: "knarr".into(),
        password: "guess".into(),
        ..RegistryAuth::default()
    };
    for auth in [None, Some(&wrong)] {
        let error = puller
            .pull(&store, &name, auth, None)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("pull access denied") && error.contains("unauthorized"),
            "{error}"
        );
    }
    let right = RegistryAuth {
        password: "secret".into(),
        ..wrong
    };
    puller
        .pull(&store, &name, Some(&right), None)
        .await
        .unwrap();
}

/// A registry that wants tokens, for which no program is at hand here: answers from memory.
async fn token_registry(files: Arc<HashMap<String, Vec<u8>>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let own = host.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (files, own) = (Arc::clone(&files), own.clone());
            tokio::spawn(async move {
                let mut buffer = vec![0; 16384];
                let mut have = 0;
                while !buffer[..have].ends_with(b"\r\n\r\n") {
                    match stream.read(&mut buffer[have..]).await {
                        Ok(read @ 1..) => have += read,
                        _ => return,
                    }
                }
                let head = String::from_utf8_lossy(&buffer[..have]).into_owned();
                let (status, headers, body) = token_answer(&head, &own, &files);
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.write_all(&body).await;
            });
        }
    });
    host
}

fn token_answer(
    head: &str,
    host: &str,
    files: &HashMap<String, Vec<u8>>,
) -> (&'static str, String, Vec<u8>) {
    let path = head.split(' ').nth(1).unwrap_or("");
    let authorization = head.lines().find_map(|l| {
        l.to_lowercase()
            .starts_with("authorization: ")
            .then(|| l[15..].trim().to_owned())
    });
    if path.starts_with("/token?service=unit&scope=repository:app:pull") {
        // knarr:secret
        return match authorization.as_deref() {
            Some("Basic a25hcnI6c2VjcmV0") => {
                ("200 OK", String::new(), br#"{"token":"t0k3n"}"#.to_vec())
            }
            _ => (
                "403 Forbidden",
                String::new(),
                br#"{"errors":[{"code":"DENIED","message":"not you"}]}"#.to_vec(),
            ),
        };
    }
    if authorization.as_deref() != Some("Bearer t0k3n") {
        let challenge = format!(
            "WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"unit\",scope=\"repository:app:pull\"\r\n"
        );
        return ("401 Unauthorized", challenge, Vec::new());
    }
    let index: serde_json::Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let name = match path.rsplit('/').next().unwrap_or("") {
        "v1" => index["manifests"][0]["digest"]
            .as_str()
            .unwrap()
            .replace("sha256:", "blobs/sha256/"),
        digest => digest.replace("sha256:", "blobs/sha256/"),
    };
    match files.get(&name) {
        Some(content) => ("200 OK", String::new(), content.clone()),
        None => ("404 Not Found", String::new(), Vec::new()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_fetched() {
    if !can_run() {
        return;
    }
    let archive = ImageBuilder::new("x")
        .file("/only", 0o644, "x")
        .build()
        .unwrap();
    let host = token_registry(Arc::new(unpack(&archive))).await;
    let dir = PathBuf::from(format!("/var/tmp/knarr-token-{}", unique()));
    let store = Arc::new(ImageStore::open(&dir).unwrap());
    let puller = Puller::new(RegistryConfig::default()).unwrap();
    let name = format!("{host}/app:v1");
    let refused = puller.pull(&store, &name, None, None).await;
    let auth = RegistryAuth {
        username: "knarr".into(),
        password: "secret".into(),
        ..RegistryAuth::default()
    };
    let pulled = puller.pull(&store, &name, Some(&auth), None).await;
    fs::remove_dir_all(&dir).unwrap();
    let error = refused.unwrap_err().to_string();
    assert!(
        error.contains("failed to authorize: failed to fetch anonymous token")
            && error.contains("denied: not you"),
        "{error}"
    );
    pulled.unwrap();
}
