//! Real client libraries and tools against a real cluster: programs that were written for the original.

mod helm;
mod kubectl;

use std::{path::PathBuf, process::Command};

use knarr_testkit::{Cluster, can_run};

use crate::cluster;

/// Where `scripts/clients` put them; `None`, said in a line, when it was not run.
fn installed() -> Option<PathBuf> {
    let target = std::env::var("CARGO_TARGET_DIR")
        .unwrap_or_else(|_| format!("{}/../../target", env!("CARGO_MANIFEST_DIR")));
    let dir = PathBuf::from(target).join("clients");
    if dir.join("installed").exists() {
        return dir.canonicalize().ok();
    }
    eprintln!("skipped: clients are not installed; run scripts/clients");
    None
}

fn walk(cluster: &Cluster, mut command: Command) {
    let output = command.env("KUBECONFIG", cluster.kubeconfig()).output();
    let output = output.expect("the client starts");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.trim_end().ends_with("done"),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn script(name: &str) -> String {
    format!("{}/tests/e2e/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_python_client() {
    let Some(clients) = installed().filter(|_| can_run()) else {
        return;
    };
    let cluster = cluster();
    let mut command = cluster.command(clients.join("python/bin/python"));
    command.arg(script("walk.py"));
    walk(&cluster, command);
}

#[test]
fn the_javascript_client() {
    let Some(clients) = installed().filter(|_| can_run()) else {
        return;
    };
    let cluster = cluster();
    let mut command = cluster.command("node");
    command.arg(script("walk.mjs")).arg(&clients);
    walk(&cluster, command);
}
