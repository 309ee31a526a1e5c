//! Image archives made of programs on this machine.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use knarr_runtime::images::ImageBuilder;

/// Image of the program that Knarr carries.
pub const DEMO: &str = "knarr.io/demo:latest";

/// Where a program is.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .map(|dir| dir.join(program))
        .find(|p| p.is_file())
}

pub fn in_path(program: &str) -> bool {
    find(program).is_some()
}

/// The carried program.
pub fn demo() -> Vec<u8> {
    let image = ImageBuilder::new(DEMO)
        .file(knarr_demo::PATH, 0o755, knarr_demo::PROGRAM)
        .entrypoint([knarr_demo::PATH]);
    image.build().expect("demo image")
}

/// Debian's `busybox-static` with all its applets, and the carried program beside it. `None` where it is not installed.
pub fn busybox(name: &str) -> Option<Vec<u8>> {
    let busybox = std::fs::read(find("busybox")?).ok()?;
    let listed = Command::new("busybox").arg("--list").output().ok()?;
    let mut image = ImageBuilder::new(name)
        .file("/bin/busybox", 0o755, busybox)
        .file(knarr_demo::PATH, 0o755, knarr_demo::PROGRAM)
        .file(
            "/etc/passwd",
            0o644,
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
        )
        .file("/etc/group", 0o644, "root:x:0:\nnobody:x:65534:\n")
        .directory("/tmp", 0o1777)
        .directory("/root", 0o700)
        .env("PATH", "/bin")
        .cmd(["/bin/sh"]);
    for applet in String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter(|a| *a != "busybox")
    {
        image = image.symlink(&format!("/bin/{applet}"), "busybox");
    }
    image.build().ok()
}

/// Debian's nginx with the libraries it is linked to, set up as the official image is: in the foreground, logging to
/// standard output, with servers from `/etc/nginx/conf.d`. `None` where it is not installed.
pub fn nginx(name: &str) -> Option<Vec<u8>> {
    const CONFIG: &str = "daemon off;\nworker_processes 1;\nerror_log /dev/stderr;\npid /tmp/nginx.pid;\nevents { worker_connections 1024; }\nhttp {\n  access_log /dev/stdout;\n  include /etc/nginx/conf.d/*.conf;\n}\n";
    let program = find("nginx")?;
    let mut image = ImageBuilder::new(name)
        .file("/usr/sbin/nginx", 0o755, std::fs::read(&program).ok()?)
        .file("/etc/nginx/nginx.conf", 0o644, CONFIG)
        .file("/etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/:/bin/sh\nnobody:x:65534:65534::/:/\n")
        .file("/etc/group", 0o644, "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n")
        .directory("/etc/nginx/conf.d", 0o755)
        .directory("/var/log/nginx", 0o755)
        .directory("/var/lib/nginx", 0o755)
        .directory("/tmp", 0o1777)
        .stop_signal("SIGQUIT")
        .entrypoint(["/usr/sbin/nginx", "-e", "/dev/stderr"]);
    for library in libraries(&program)? {
        let bytes = std::fs::read(&library).ok()?;
        image = image.file(library.to_str()?, 0o755, bytes);
    }
    image.build().ok()
}

/// The shared libraries of a program, its loader among them, under the names it looks for.
fn libraries(program: &Path) -> Option<BTreeSet<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(
        text.lines()
            .filter_map(|l| l.split_whitespace().find(|w| w.starts_with('/')))
            .map(PathBuf::from)
            .collect(),
    )
}
