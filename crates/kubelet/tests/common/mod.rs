//! A cluster of its own for each test: real API server, real runtime, one node; cleaned up however the test ends.

#![allow(dead_code, reason = "each test file uses a part of this")]

use std::{
    ffi::{CStr, c_char, c_int},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use knarr_apiserver::{ApiServer, TokenConfig, UserInfo};
use knarr_bootstrap::pki::{Names, Pair, Pki};
use knarr_client::Informers;
use knarr_kubelet::Kubelet;
use knarr_runtime::{Embedded, SandboxConfig, SandboxNetwork, SandboxStatus, images::ImageBuilder};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};

/// The test executable is its own shim: before the test harness looks at the arguments, this does.
extern "C" fn become_shim(count: c_int, arguments: *const *const c_char) {
    // SAFETY: the C library hands over `count` strings.
    let words: Vec<String> = (0..usize::try_from(count).unwrap_or(0))
        .map(|at| {
            unsafe { CStr::from_ptr(*arguments.add(at)) }
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    if words.get(1).is_some_and(|w| w == "shim") {
        let code = knarr_runtime::shim_main(words.into_iter().skip(2));
        std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static BECOME_SHIM: extern "C" fn(c_int, *const *const c_char) = become_shim;

/// Says why a test does nothing.
pub fn can_run() -> bool {
    let root = nix::unistd::geteuid().is_root();
    let busybox = Path::new("/bin/busybox").exists();
    if !root {
        eprintln!("skipped: needs root");
    } else if !busybox {
        eprintln!("skipped: needs /bin/busybox (package busybox-static)");
    }
    root && busybox
}

/// Gives addresses and no connection.
struct NoNetwork;

#[async_trait]
impl SandboxNetwork for NoNetwork {
    async fn attach(&self, _: &str, _: &Path, _: &SandboxConfig) -> anyhow::Result<Vec<IpAddr>> {
        Ok(vec!["192.0.2.7".parse()?])
    }

    async fn detach(&self, _: &str) -> anyhow::Result<()> {
        Ok(())
    }

    async fn restore(&self, _: &[SandboxStatus]) -> anyhow::Result<()> {
        Ok(())
    }
}

fn busybox() -> Vec<u8> {
    let mut image = ImageBuilder::new("busybox:1")
        .directory("/bin", 0o755)
        .directory("/tmp", 0o1777)
        .file(
            "/bin/busybox",
            0o755,
            std::fs::read("/bin/busybox").expect("busybox"),
        );
    for applet in [
        "sh", "cat", "echo", "sleep", "touch", "rm", "test", "ls", "id", "nc", "httpd", "mount",
        "stat", "readlink", "true", "false", "grep",
    ] {
        image = image.symlink(&format!("/bin/{applet}"), "busybox");
    }
    image.build().expect("image")
}

fn certificates(pair: &Pair) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .expect("certificates")
}

fn key(pair: &Pair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("key")
}

pub struct Cluster {
    pub client: Client,
    pub dir: PathBuf,
    pub runtime: Embedded,
    pub pki: Pki,
    /// Where the kubelet serves.
    pub address: SocketAddr,
    api: ApiServer,
    /// The kubelet runs in a runtime of its own, so that it can be taken down whole.
    kubelet: Option<tokio::runtime::Runtime>,
}

impl Cluster {
    pub async fn start() -> Self {
        let name = format!("knarr-kubelet-test-{:08x}", rand::random::<u32>());
        let dir = PathBuf::from(format!("/var/tmp/{name}"));
        std::fs::create_dir_all(&dir).expect("directory");
        let names = Names {
            node_name: "n1".into(),
            node_ips: vec![Ipv4Addr::LOCALHOST.into()],
            service_ips: vec![],
            cluster_domain: "cluster.local".into(),
        };
        let pki = Pki::load_or_create(&dir.join("pki"), &names).expect("pki");
        let registry = knarr_api::builtin::registry();
        let heads = knarr_apiserver::head_of(&registry);
        let store = knarr_store::Store::open(knarr_store::Options::new(&dir.join("store")), heads)
            .await
            .expect("store");
        let range = "10.96.0.0/16".parse().expect("range");
        let mut config = knarr_apiserver::Config::new(store, registry, vec![range]);
        config.tokens = Some(TokenConfig {
            signing_key_pem: pki.service_account_key.clone(),
            issuer: "https://kubernetes".into(),
            audiences: vec!["https://kubernetes".into()],
            ..TokenConfig::default()
        });
        let api = ApiServer::new(config).await.expect("api server");
        let client = knarr_client::in_process(
            api.service(UserInfo::new("admin", ["system:masters"])),
            "test",
        );
        let runtime = open_runtime(&dir).await;
        runtime
            .image_store()
            .import(std::io::Cursor::new(busybox()), None)
            .expect("import");
        let address = free_port().await;
        let mut cluster = Cluster {
            client,
            dir,
            runtime,
            pki,
            address,
            api,
            kubelet: None,
        };
        cluster
            .create("ServiceAccount", json!({"metadata": {"name": "default"}}))
            .await;
        cluster
            .create(
                "ConfigMap",
                json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "authority"}}),
            )
            .await;
        cluster.start_kubelet();
        cluster
    }

    pub fn start_kubelet(&mut self) {
        let client = knarr_client::in_process(
            self.api.service(UserInfo::new("admin", ["system:masters"])),
            "test",
        );
        let name = self
            .dir
            .file_name()
            .expect("name")
            .to_string_lossy()
            .into_owned();
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pki.ca.as_bytes()).expect("ca"))
            .expect("ca");
        let tls = knarr_kubelet::server::tls(
            certificates(&self.pki.kubelet),
            key(&self.pki.kubelet),
            roots,
        )
        .expect("tls");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("runtime");
        let (dir, container_runtime, listen) = (
            self.dir.clone(),
            Arc::new(self.runtime.clone()),
            self.address,
        );
        runtime.spawn(async move {
            let kubelet = Kubelet::new(knarr_kubelet::Config {
                node_name: "n1".into(),
                node_ips: vec![Ipv4Addr::LOCALHOST.into()],
                root_dir: dir.join("kubelet"),
                log_dir: dir.join("logs"),
                static_pod_dir: Some(dir.join("manifests")),
                cluster_dns: vec![Ipv4Addr::new(10, 96, 0, 10).into()],
                cluster_domain: "cluster.local".into(),
                resolv_conf: "/etc/resolv.conf".into(),
                runtime: container_runtime,
                informers: Informers::new(client),
                tls,
                listen,
                max_pods: 110,
                eviction_hard: knarr_kubelet::Thresholds::default(),
                cgroup_root: format!("/{name}"),
                pod_cidrs: vec!["192.0.2.0/24".into()],
                labels: Default::default(),
                taints: vec![],
                register: true,
                version: "v1.36.2".into(),
            });
            if let Err(error) = kubelet.run().await {
                eprintln!("kubelet: {error:#}");
            }
        });
        self.kubelet = Some(runtime);
    }

    /// The kubelet comes back, with a runtime that has to find what runs.
    pub async fn restart_kubelet(&mut self) {
        self.runtime = open_runtime(&self.dir).await;
        self.start_kubelet();
    }

    pub fn stop_kubelet(&mut self) {
        if let Some(runtime) = self.kubelet.take() {
            runtime.shutdown_background();
        }
    }

    /// Creates an object of a core kind in namespace `default`.
    pub async fn create(&self, kind: &str, mut object: Value) {
        object["apiVersion"] = json!("v1");
        object["kind"] = json!(kind);
        let plural = format!("{}s", kind.to_lowercase());
        let request = http::Request::post(format!("/api/v1/namespaces/default/{plural}"))
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&object).expect("json"))
            .expect("request");
        self.client
            .request::<Value>(request)
            .await
            .unwrap_or_else(|e| panic!("{kind}: {e}"));
    }

    pub async fn patch(&self, path: &str, patch: Value) {
        let request = http::Request::patch(format!("/api/v1/namespaces/default/{path}"))
            .header("content-type", "application/merge-patch+json")
            .body(serde_json::to_vec(&patch).expect("json"))
            .expect("request");
        self.client
            .request::<Value>(request)
            .await
            .unwrap_or_else(|e| panic!("{path}: {e}"));
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    /// Creates a pod of this spec on the node.
    pub async fn run(&self, name: &str, mut spec: Value) {
        spec["nodeName"] = json!("n1");
        if spec["terminationGracePeriodSeconds"].is_null() {
            spec["terminationGracePeriodSeconds"] = json!(1);
        }
        let pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))
            .expect("a pod");
        self.pods()
            .create(&PostParams::default(), &pod)
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }

    /// Waits until the pod, as JSON, is as wanted.
    pub async fn until(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let pod = self
                .pods()
                .get_opt(name)
                .await
                .expect("get")
                .map(|p| serde_json::to_value(p).expect("json"));
            let pod = pod.unwrap_or(Value::Null);
            if wanted(&pod) {
                return pod;
            }
            if Instant::now() > deadline {
                let events: Api<k8s_openapi::api::core::v1::Event> =
                    Api::default_namespaced(self.client.clone());
                let events = events.list(&Default::default()).await.expect("events");
                for e in events {
                    eprintln!(
                        "event: {:?} {:?} {:?}",
                        e.involved_object.name, e.reason, e.message
                    );
                }
                panic!(
                    "{name} never {what}: {}",
                    serde_json::to_string_pretty(&pod).expect("json")
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn ready(&self, name: &str) -> Value {
        self.until(name, "ready", is_ready).await
    }

    pub async fn phase(&self, name: &str, phase: &str) -> Value {
        self.until(name, phase, |p| p["status"]["phase"] == phase)
            .await
    }

    pub async fn delete(&self, name: &str) {
        self.pods()
            .delete(name, &DeleteParams::default())
            .await
            .expect("delete");
        self.until(name, "gone", Value::is_null).await;
    }

    pub async fn exec(&self, name: &str, script: &str) -> String {
        use knarr_runtime::Runtime;
        let pod = self.pods().get(name).await.expect("pod");
        let status = pod
            .status
            .and_then(|s| s.container_statuses)
            .unwrap_or_default();
        let id = status[0].container_id.clone().unwrap_or_default();
        let id = id.rsplit('/').next().unwrap_or_default();
        let command = ["sh", "-c", script].map(str::to_owned);
        let out = self
            .runtime
            .exec_sync(id, &command, Duration::from_secs(10))
            .await
            .expect("exec");
        assert_eq!(out.exit_code, 0, "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// A TLS client with the API server's certificate for kubelets.
    pub fn tls_client(&self) -> tokio_rustls::TlsConnector {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pki.ca.as_bytes()).expect("ca"))
            .expect("ca");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let pair = &self.pki.apiserver_kubelet_client;
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(pair), key(pair))
            .expect("certificate");
        Arc::new(config).into()
    }
}

pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|c| {
        c.iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True")
    })
}

/// A container that runs a script.
pub fn shell(name: &str, script: &str) -> Value {
    json!({"name": name, "image": "busybox:1", "command": ["sh", "-c", script]})
}

/// A container that waits until it is asked to stop.
pub fn waiter(name: &str) -> Value {
    shell(name, "trap 'exit 0' TERM; while :; do sleep 0.05; done")
}

async fn open_runtime(dir: &Path) -> Embedded {
    let config = knarr_runtime::Config {
        root: dir.join("root"),
        state: dir.join("state"),
        cgroup_root: format!("/{}", dir.file_name().expect("name").to_string_lossy()),
        shim: std::env::current_exe().expect("executable"),
        network: Arc::new(NoNetwork),
        registries: Default::default(),
    };
    Embedded::open(config).await.expect("runtime")
}

async fn free_port() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("listen");
    listener.local_addr().expect("address")
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop_kubelet();
        let (runtime, api) = (self.runtime.clone(), self.api.clone());
        let done = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                api.stop().await;
                runtime.destroy_all().await
            })
        });
        if let Err(error) = done {
            eprintln!("cleanup: {error:#}");
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = self.dir.to_string_lossy().into_owned();
        for point in mounts
            .lines()
            .filter_map(|l| l.split(' ').nth(4))
            .filter(|p| p.starts_with(&own))
        {
            let _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
