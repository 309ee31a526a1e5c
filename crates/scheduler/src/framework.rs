//! What a scheduling plugin is.
//!
//! A plugin looks at the pod once per attempt and hands out a [`Filter`] or a [`Score`] that is then asked node by node;
//! what it needs of the whole cluster it works out in between. [`crate::cycle`] is the pipeline.

use std::{fmt, sync::Arc};

use crate::{
    cluster::{Cluster, NodeInfo},
    pod_info::PodInfo,
};

/// The highest score of a node.
pub const MAX_SCORE: i64 = 100;

/// Changes of the cluster after which a pod that did not fit may fit; a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events(pub u32);

impl Events {
    pub const NODE_ADDED: Events = Events(1);
    /// Allocatable resources grew or changed.
    pub const NODE_RESOURCES: Events = Events(2);
    pub const NODE_LABELS: Events = Events(4);
    /// Taints, or whether it may be scheduled to.
    pub const NODE_TAINTS: Events = Events(8);
    /// A pod on a node ended, was deleted, or did not come about.
    pub const POD_GONE: Events = Events(16);
    /// A pod came to a node, or changed its labels there.
    pub const POD_PLACED: Events = Events(32);
    /// Labels of a namespace.
    pub const NAMESPACE: Events = Events(64);
    pub const ALL: Events = Events(u32::MAX);

    pub const fn and(self, other: Events) -> Events {
        Events(self.0 | other.0)
    }

    pub fn meets(self, other: Events) -> bool {
        self.0 & other.0 != 0
    }
}

/// Why a node does not do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reason {
    Text(&'static str),
    /// Not enough of this resource.
    Insufficient(Arc<str>),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Text(text) => f.write_str(text),
            Reason::Insufficient(name) => write!(f, "Insufficient {name}"),
        }
    }
}

/// A node turned down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub reasons: smallvec::SmallVec<[Reason; 1]>,
    /// Whether it could do if pods on it went away.
    pub resolvable: bool,
}

impl Rejection {
    /// Pods going away would help.
    pub fn now(reason: &'static str) -> Self {
        Rejection {
            reasons: smallvec::smallvec![Reason::Text(reason)],
            resolvable: true,
        }
    }

    /// Pods going away would not help.
    pub fn always(reason: &'static str) -> Self {
        Rejection {
            resolvable: false,
            ..Rejection::now(reason)
        }
    }
}

/// Turns down nodes that one pod cannot run on.
pub trait Filter {
    /// # Errors
    /// Why the node does not do.
    fn check(&self, node: &NodeInfo) -> Result<(), Rejection>;

    /// Supposes that a pod is not on the node (any more), for finding out whether preemption would help.
    fn without(&mut self, _pod: &PodInfo, _node: &NodeInfo) {}

    /// Takes a supposition back.
    fn with(&mut self, _pod: &PodInfo, _node: &NodeInfo) {}
}

/// Tells better from worse nodes for one pod.
pub trait Score {
    fn score(&self, node: &NodeInfo) -> i64;

    /// Brings the scores of all nodes to 0..=[`MAX_SCORE`]. `nodes` are those that were scored, in the same order.
    fn normalize(&self, _cluster: &Cluster, _nodes: &[usize], _scores: &mut [i64]) {}
}

/// A rule of scheduling.
pub trait Plugin: Send + Sync {
    fn name(&self) -> &'static str;

    /// After what a pod that this plugin turned down should be tried again.
    fn wakes(&self) -> Events {
        Events::default()
    }

    /// `None` when no node would be turned down.
    fn filter<'a>(&self, _pod: &'a PodInfo, _cluster: &'a Cluster) -> Option<Box<dyn Filter + 'a>> {
        None
    }

    /// `None` when all nodes are as good. `feasible` are indices of the nodes that passed the filters.
    fn score<'a>(
        &self,
        _pod: &'a PodInfo,
        _cluster: &'a Cluster,
        _feasible: &[usize],
    ) -> Option<Box<dyn Score + 'a>> {
        None
    }

    /// How much its score counts.
    fn weight(&self) -> i64 {
        1
    }
}

/// Scales scores so that the highest is [`MAX_SCORE`]; `reverse` for plugins that count what is bad.
pub fn scale(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        if max == 0 {
            *score = if reverse { MAX_SCORE } else { 0 };
            continue;
        }
        *score = *score * MAX_SCORE / max;
        if reverse {
            *score = MAX_SCORE - *score;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling() {
        let scaled = |mut scores: Vec<i64>, reverse| {
            scale(&mut scores, reverse);
            scores
        };
        assert_eq!(scaled(vec![0, 5, 10], false), [0, 50, 100]);
        assert_eq!(scaled(vec![0, 5, 10], true), [100, 50, 0]);
        assert_eq!(scaled(vec![0, 0], false), [0, 0]);
        assert_eq!(scaled(vec![0, 0], true), [100, 100]);
    }
}
