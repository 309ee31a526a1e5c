//! Ports that get in each other's way.

use super::containers;
use crate::{field::Path, validation::At};

/// Number in the container and protocol; number and address on the host.
struct Port<'a> {
    own: (i64, &'a str),
    host: i64,
    ip: &'a str,
    path: Path,
}

impl<'a> Port<'a> {
    fn of(p: &At<'a>) -> Self {
        Port {
            own: (p.int("containerPort").unwrap_or(0), p.text("protocol")),
            host: p.int("hostPort").unwrap_or(0),
            ip: p.text("hostIP"),
            path: p.path.clone(),
        }
    }

    /// How this port, of the same number as the other, relates to it.
    fn conflict(&self, other: &Port) -> Option<&'static str> {
        if self.ip == other.ip && self.host == other.host {
            Some("duplicate port definition")
        } else if self.host == 0 || other.host == 0 {
            Some("overlapping port definition")
        } else if self.host == other.host && self.ip.is_empty() != other.ip.is_empty() {
            Some("dangerously ambiguous port definition")
        } else {
            None
        }
    }
}

/// Ports of the same number.
pub fn overlaps(spec: &At, out: &mut Vec<String>) {
    let mut seen: Vec<Port> = Vec::new();
    for p in containers(spec).flat_map(|c| c.items("ports")) {
        let this = Port::of(&p);
        let path = &this.path;
        if !this.ip.is_empty() && this.host == 0 {
            out.push(format!(
                "{path}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{}}}",
                p.text("name"),
                this.own.0,
                this.own.1,
                this.ip
            ));
        }
        for other in seen.iter().filter(|o| o.own == this.own) {
            if let Some(words) = this.conflict(other) {
                out.push(format!("{path}: {words} with {}", other.path));
            }
        }
        seen.push(this);
    }
}

/// Ports of the same name, of which only the first is found.
pub fn names(spec: &At, out: &mut Vec<String>) {
    let mut seen: Vec<(&str, Path)> = Vec::new();
    for p in containers(spec).flat_map(|c| c.items("ports")) {
        let name = p.text("name");
        match seen.iter().find(|(n, _)| *n == name) {
            _ if name.is_empty() => {}
            Some((_, first)) => out.push(format!(
                "{}: duplicate port name {name:?} with {first}, services and probes that select ports by name will use {first}",
                p.path
            )),
            None => seen.push((name, p.path)),
        }
    }
}
