//! What brings the kernel to what should be routed. One implementation for each proxy mode.

use crate::service::ServicePort;

/// One Service before and after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceChange {
    pub old: Vec<ServicePort>,
    pub new: Vec<ServicePort>,
}

/// What changed since the last time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    pub changes: Vec<ServiceChange>,
}

/// A way to route Services.
pub trait Backend: Send {
    /// The mode's name.
    fn name(&self) -> &'static str;

    /// Brings the kernel from the old state of the named Services to the new one, all at once. The first call replaces
    /// what an earlier run left. After an error the change is remembered: the next call, also one without changes,
    /// brings it in.
    fn apply(&mut self, diff: &Diff) -> anyhow::Result<()>;

    /// Looks whether what was installed is still there, and installs it anew when somebody has removed it, as reloading
    /// a firewall may. True when that was so.
    fn check(&mut self) -> anyhow::Result<bool>;

    /// Removes everything that is ours.
    fn teardown(&mut self) -> anyhow::Result<()>;
}
