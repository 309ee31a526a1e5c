//! Jobs and CronJobs.

mod cronjob;
mod failure;
mod job;
mod schedule;

pub use cronjob::CronJob;
pub use job::Job;
