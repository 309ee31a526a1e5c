//! Jobs and CronJobs.

mod cronjob;
mod failure;
mod indexes;
mod job;
mod printer;
mod schedule;
mod spec;
mod status;
mod success;
mod update;

pub use cronjob::CronJob;
pub use job::Job;
