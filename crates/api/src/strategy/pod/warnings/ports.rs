//! Ports that get in each other's way.

use std::collections::HashMap;

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

/// More are not told to anybody: of each pair there is one.
const MOST: usize = 4096;

/// Ports of the same number.
pub fn overlaps(spec: &At, out: &mut Vec<String>) {
    let mut seen: HashMap<(i64, &str), Vec<Port>> = HashMap::new();
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
        let same = seen.entry(this.own).or_default();
        for other in &*same {
            if out.len() >= MOST {
                return;
            }
            if let Some(words) = this.conflict(other) {
                out.push(format!("{path}: {words} with {}", other.path));
            }
        }
        same.push(this);
    }
}

/// Ports of the same name, of which only the first is found.
pub fn names(spec: &At, out: &mut Vec<String>) {
    let mut seen: HashMap<&str, Path> = HashMap::new();
    for p in containers(spec).flat_map(|c| c.items("ports")) {
        let name = p.text("name");
        match seen.get(name) {
            _ if name.is_empty() => {}
            Some(first) => out.push(format!(
                "{}: duplicate port name {name:?} with {first}, services and probes that select ports by name will use {first}",
                p.path
            )),
            None => drop(seen.insert(name, p.path)),
        }
    }
}
