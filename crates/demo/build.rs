//! Compiles `program/main.rs` with the compiler that builds Knarr, statically, so that it runs in an image of its own.

use std::{env, path::PathBuf, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=program");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("demo");
    let status = Command::new(env::var_os("RUSTC").expect("cargo sets RUSTC"))
        .args([
            "--edition",
            "2024",
            "--crate-name",
            "demo",
            "-C",
            "opt-level=s",
            "-C",
            "panic=abort",
            "-C",
            "strip=symbols",
        ])
        .args(["-C", "target-feature=+crt-static", "--target"])
        .arg(env::var_os("TARGET").expect("cargo sets TARGET"))
        .arg("-o")
        .arg(&out)
        .arg("program/main.rs")
        .status()
        .expect("rustc runs");
    assert!(status.success(), "the demo program did not compile");
}
