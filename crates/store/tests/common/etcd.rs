//! An etcd cluster on loopback, with TLS and client certificates.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use knarr_store::EtcdOptions;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

pub struct Cluster {
    dir: tempfile::TempDir,
    members: Vec<Member>,
    tls: bool,
}

struct Member {
    client: u16,
    peer: u16,
    running: Option<Child>,
}

impl Cluster {
    /// `None`, and a word, when etcd is not installed.
    pub async fn start(members: usize) -> Option<Cluster> {
        Cluster::start_with(members, true).await
    }

    pub async fn start_with(members: usize, tls: bool) -> Option<Cluster> {
        if Command::new("etcd").arg("--version").output().is_err() {
            eprintln!("skipped: etcd is not installed");
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        certificates(dir.path());
        let members = (0..members).map(|_| Member {
            client: free_port(),
            peer: free_port(),
            running: None,
        });
        let mut cluster = Cluster {
            members: members.collect(),
            dir,
            tls,
        };
        for n in 0..cluster.members.len() {
            cluster.start_member(n);
        }
        for n in 0..cluster.members.len() {
            cluster.wait_for_member(n).await;
        }
        Some(cluster)
    }

    pub fn size(&self) -> usize {
        self.members.len()
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub fn port(&self, n: usize) -> u16 {
        self.members[n].client
    }

    pub fn options(&self) -> EtcdOptions {
        let url = |m: &Member| format!("{}://127.0.0.1:{}", self.scheme(), m.client);
        let options = EtcdOptions::new(self.members.iter().map(url).collect());
        if !self.tls {
            return options;
        }
        EtcdOptions {
            ca_file: Some(self.path("ca.crt")),
            cert_file: Some(self.path("client.crt")),
            key_file: Some(self.path("client.key")),
            ..options
        }
    }

    fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    pub fn start_member(&mut self, n: usize) {
        self.start_as(n, "etcd-cluster");
    }

    /// Starts a member of another cluster in the place of one that was wiped, as when a backup is restored.
    pub fn start_another(&mut self, n: usize) {
        self.start_as(n, "another-cluster");
    }

    fn start_as(&mut self, n: usize, token: &str) {
        let peers: Vec<_> = self
            .members
            .iter()
            .enumerate()
            .map(|(n, m)| format!("m{n}=http://127.0.0.1:{}", m.peer))
            .collect();
        let member = &self.members[n];
        let client = format!("{}://127.0.0.1:{}", self.scheme(), member.client);
        let peer = format!("http://127.0.0.1:{}", member.peer);
        let mut command = Command::new("etcd");
        command
            .args(["--name", &format!("m{n}"), "--data-dir"])
            .arg(self.path(&format!("m{n}")))
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &peers.join(",")])
            .args(["--initial-cluster-token", token])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .args(["--logger", "zap", "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if self.tls {
            command.arg("--client-cert-auth");
            for (flag, file) in [
                ("--trusted-ca-file", "ca.crt"),
                ("--cert-file", "server.crt"),
                ("--key-file", "server.key"),
            ] {
                command.arg(flag).arg(self.path(file));
            }
        }
        self.members[n].running = Some(command.spawn().expect("etcd starts"));
    }

    /// Until its port is open.
    pub async fn wait_for_member(&self, n: usize) {
        let address = ("127.0.0.1", self.members[n].client);
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("etcd does not come up");
    }

    /// As by kill -9.
    pub fn kill_member(&mut self, n: usize) {
        if let Some(mut child) = self.members[n].running.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it can be waited for");
        }
    }

    /// Forgets everything that a member that does not run ever kept.
    pub fn wipe_member(&mut self, n: usize) {
        assert!(self.members[n].running.is_none());
        fs::remove_dir_all(self.path(&format!("m{n}"))).expect("its directory goes");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for n in 0..self.members.len() {
            self.kill_member(n);
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it has an address").port()
}

fn certificates(dir: &Path) {
    let ca_key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).expect("a certificate");
    fs::write(dir.join("ca.crt"), ca.pem()).expect("written");
    let issuer = Issuer::new(params, ca_key);
    for name in ["server", "client"] {
        let key = KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("parameters");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        fs::write(dir.join(format!("{name}.crt")), certificate.pem()).expect("written");
        fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).expect("written");
    }
}
