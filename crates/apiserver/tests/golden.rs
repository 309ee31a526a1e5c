//! Recorded answers of the original, compared with this server's, where the recordings are beside the repository.

mod common;

use std::{path::PathBuf, process::Command};

use common::Server;

/// Scenarios about the kinds that a first cluster needs.
const KINDS: &str = "^(configmap|secret|serviceaccount|namespace|node-|pod-|binding|event-|service-|endpoints|endpointslice|ingress|seed-|deployment|replicaset|conflicting|clusterrolebinding|rbac|access-|accept|body|content|create|crud|delete|dry-run|field-validation|list|managed|metadata|method|partial|patch|read|select|status|unknown|update|watch)";
/// Least share of them that must match, in percent.
const SHARE: usize = 90;

fn recordings() -> Option<PathBuf> {
    let shared = std::env::var_os("KNARR_SHARED").map(PathBuf::from);
    let beside = || {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(3)
            .map(|p| p.join("shared"))
    };
    let tool = shared.or_else(beside)?.join("golden/golden");
    let yaml = Command::new("python3").args(["-c", "import yaml"]).output();
    (tool.exists() && yaml.is_ok_and(|o| o.status.success())).then_some(tool)
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_answers_match() {
    let Some(tool) = recordings() else {
        eprintln!("skipped: no recordings beside the repository, or no python3 with yaml");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let kubeconfig = dir.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig("admin", &["system:masters"])).unwrap();
    let compare = tokio::process::Command::new(tool)
        .args(["check", "--only", KINDS, "--kubeconfig"])
        .arg(&kubeconfig)
        .output();
    let output = compare.await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    let numbers: Vec<usize> = last
        .split_whitespace()
        .filter_map(|w| w.parse().ok())
        .collect();
    let [matching, all, ..] = numbers[..] else {
        panic!(
            "the comparison failed: {last} {}",
            String::from_utf8_lossy(&output.stderr)
        )
    };
    println!("{last}");
    assert!(matching * 100 >= all * SHARE, "{last}\n{text}");
    server.stop().await;
}
