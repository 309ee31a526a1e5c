//! One task per pod: what is wanted and what is observed go into [`plan`], what it says is done, [`status`] tells.

pub mod backoff;
pub mod cleanup;
mod held;
mod last_words;
pub mod memory;
pub mod ops;
pub mod plan;
mod probing;
mod report;
pub mod status;
pub mod wanted;
pub mod worker;
mod worker_jobs;
