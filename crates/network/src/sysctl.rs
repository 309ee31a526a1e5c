//! Kernel settings of the calling thread's network namespace, below `/proc/sys/net`.

use std::{fs, io, path::PathBuf};

/// `name` with `/` between its parts, as interface names may contain dots.
fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys/net").join(name)
}

pub fn get(name: &str) -> io::Result<String> {
    fs::read_to_string(path(name)).map(|v| v.trim().to_owned())
}

/// Writes only what differs, so that a read-only `/proc/sys` with the right values does not matter.
pub fn set(name: &str, value: &str) -> io::Result<()> {
    match get(name) {
        Ok(now) if now == value => Ok(()),
        _ => fs::write(path(name), value)
            .map_err(|e| io::Error::new(e.kind(), format!("net.{name} = {value}: {e}"))),
    }
}

/// For what is merely better: says so when it cannot be had.
pub fn try_set(name: &str, value: &str) {
    if let Err(error) = set(name, value) {
        tracing::debug!(%error, "kernel setting left as it is");
    }
}

/// Makes this namespace a router for IPv6. Interfaces that learn their routes from routers keep doing so, which the
/// kernel would stop otherwise.
pub fn forward_v6() -> io::Result<()> {
    if get("ipv6/conf/all/forwarding")? == "1" {
        return Ok(());
    }
    for entry in fs::read_dir(path("ipv6/conf"))?.flatten() {
        if let Some(name) = entry.file_name().to_str() {
            let accept_ra = format!("ipv6/conf/{name}/accept_ra");
            if get(&accept_ra).is_ok_and(|v| v == "1") {
                try_set(&accept_ra, "2");
            }
        }
    }
    set("ipv6/conf/all/forwarding", "1")
}
