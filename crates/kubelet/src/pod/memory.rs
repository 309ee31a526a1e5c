//! What a pod's task remembers between two looks: what it is doing, what failed, what probes found.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use super::backoff::Backoff;

/// Why a container is not running, as in `state.waiting`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waiting {
    pub reason: String,
    pub message: String,
}

impl Waiting {
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Waiting {
            reason: reason.into(),
            message: message.into(),
        }
    }
}

/// What is being done to a container right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    Starting,
    Stopping,
    Removing,
}

/// A probe or hook decided that the container has to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condemned {
    pub message: String,
    /// Seconds; the pod's grace period when none.
    pub grace: Option<i64>,
}

/// What is remembered about one container of the spec.
#[derive(Debug, Clone, Default)]
pub struct Slot {
    pub busy: Option<Busy>,
    pub waiting: Option<Waiting>,
    /// Not to be started before.
    pub retry_at: Option<Timestamp>,
    pub crash: Backoff,
    pub pull: Backoff,
    /// The container that the next fields are about.
    pub id: String,
    /// The start hook ran and the startup probe, if any, succeeded.
    pub started: bool,
    /// The readiness probe's last word; without one, `started`.
    pub ready: bool,
    pub condemned: Option<Condemned>,
}

/// A step of the whole pod that may fail and be tried again.
#[derive(Debug, Clone, Default)]
pub struct Step {
    pub busy: bool,
    pub done: bool,
    pub retry_at: Option<Timestamp>,
    pub failures: u32,
}

impl Step {
    /// Whether it has to be taken now; tells when to look again otherwise.
    pub fn due(&self, now: Timestamp) -> Result<bool, Timestamp> {
        match self.retry_at {
            _ if self.done || self.busy => Ok(false),
            Some(at) if at > now => Err(at),
            _ => Ok(true),
        }
    }
}

/// Why a pod must stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub why: Why,
    /// When the last container has to be gone.
    pub deadline: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Deleted in the API, or its file removed.
    Deleted,
    /// The phase is Succeeded or Failed by itself already.
    Completed,
    /// This node gave it up: refused admission, deadline exceeded, evicted.
    Failed { reason: String, message: String },
}

/// What a pod's task remembers.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    pub containers: BTreeMap<String, Slot>,
    pub sandbox: Step,
    pub volumes: Step,
    pub ending: Option<Ending>,
    /// What containers left at their end, by container id.
    pub messages: BTreeMap<String, String>,
}

impl Memory {
    pub fn slot(&mut self, name: &str) -> &mut Slot {
        self.containers.entry(name.to_owned()).or_default()
    }

    pub fn is_busy(&self, name: &str) -> bool {
        self.containers.get(name).is_some_and(|s| s.busy.is_some())
    }
}
