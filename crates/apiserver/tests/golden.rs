//! Recorded answers of the original, compared with this server's, where the recordings are beside the repository.

mod common;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use common::Server;

/// Scenarios that start with this are about custom resources.
const CUSTOM: &str = "cr";
/// Scenarios about built-in kinds that need a custom resource.
const NEED_CUSTOM: [&str; 1] = ["validating-admission-policy-params-and-warnings.yaml"];
/// Least share of all steps that must match to the letter, in percent.
const SHARE: usize = 98;
/// The same of steps that are not about custom resources.
const BUILT_IN_SHARE: usize = 99;

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

/// What a comparison said.
struct Outcome {
    text: String,
    /// Steps that match, and all steps.
    steps: (usize, usize),
}

impl Outcome {
    /// Scenario of every step that differs.
    fn differing(&self) -> Vec<&str> {
        let lines = self.text.lines().filter_map(|l| l.strip_prefix("DIFFERS "));
        lines.filter_map(|l| l.split(' ').next()).collect()
    }
}

async fn compare(tool: &Path, kubeconfig: &Path, words: &[&str]) -> Outcome {
    let output = tokio::process::Command::new(tool)
        .arg("check")
        .args(words)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default();
    let numbers: Vec<usize> = last
        .split_whitespace()
        .filter_map(|w| w.parse().ok())
        .collect();
    let [_, _, matching, all] = numbers[..] else {
        panic!(
            "the comparison failed: {last} {}",
            String::from_utf8_lossy(&output.stderr)
        )
    };
    println!("{last}");
    Outcome {
        steps: (matching, all),
        text,
    }
}

/// Checks that what differs outside custom resources differs in words only.
async fn differ_in_words_only(tool: &Path, kubeconfig: &Path, scenarios: &[&str]) {
    if scenarios.is_empty() {
        return;
    }
    let only = format!("^({})$", scenarios.join("|"));
    let loose = compare(tool, kubeconfig, &["--contract", "--only", &only]).await;
    let (matching, all) = loose.steps;
    assert_eq!(matching, all, "{}", loose.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_answers_match() {
    let Some(tool) = recordings() else {
        eprintln!("skipped: no recordings beside the repository, or no python3 with yaml");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), |config| config.old_versions = false).await;
    let kubeconfig = dir.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig("admin", &["system:masters"])).unwrap();
    let exact = compare(&tool, &kubeconfig, &[]).await;
    let differing = exact.differing();
    for scenario in &differing {
        println!("differs: {scenario}");
    }
    let mut built_in: Vec<&str> = differing
        .into_iter()
        .filter(|s| !s.starts_with(CUSTOM) && !NEED_CUSTOM.contains(s))
        .collect();
    let (matching, all) = exact.steps;
    assert!(
        matching * 100 >= all * SHARE,
        "{matching} of {all}\n{}",
        exact.text
    );
    assert!(
        built_in.len() * 100 <= all * (100 - BUILT_IN_SHARE),
        "{}",
        exact.text
    );
    built_in.dedup();
    differ_in_words_only(&tool, &kubeconfig, &built_in).await;
    server.stop().await;
}
