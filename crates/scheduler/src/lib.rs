//! The scheduler: finds a node for each pod.
//!
//! One task holds the cluster and the queue and is told of every change, so an attempt needs neither locks nor copies
//! ([`scheduler`]). An attempt is [`cycle`]: the rules are [`plugins`], a file each. What is decided is assumed at once and
//! bound in the background ([`bind`]).

pub mod bind;
pub mod cluster;
pub mod cycle;
pub mod framework;
pub mod labels;
pub mod plugins;
pub mod pod_info;
pub mod preempt;
pub mod quantity;
pub mod queue;
pub mod resources;
pub mod scheduler;

pub use scheduler::run;

/// What the scheduler must be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Pods that name this scheduler are its business.
    pub name: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            name: "default-scheduler".into(),
        }
    }
}
