//! The process as the kernel sees it: time, memory, descriptors.

use std::{fs, sync::LazyLock};

use super::family::single;

/// Kernel time is told in hundredths of a second.
const TICKS: f64 = 100.0;

/// Seconds since 1970 at which this process first looked at the clock.
pub static STARTED: LazyLock<f64> =
    LazyLock::new(|| jiff::Timestamp::now().as_millisecond() as f64 / 1e3);

/// What cannot be read is left out.
pub fn write(out: &mut String) {
    if let Some((cpu, virtual_bytes, resident)) = usage() {
        single(
            out,
            "process_cpu_seconds_total",
            "Time spent on a processor, in seconds.",
            "counter",
            cpu,
        );
        single(
            out,
            "process_resident_memory_bytes",
            "Memory held, in bytes.",
            "gauge",
            resident,
        );
        single(
            out,
            "process_virtual_memory_bytes",
            "Address space, in bytes.",
            "gauge",
            virtual_bytes,
        );
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        single(
            out,
            "process_open_fds",
            "Open file descriptors.",
            "gauge",
            open.count(),
        );
    }
    if let Some(most) = limit() {
        single(
            out,
            "process_max_fds",
            "File descriptors there may be.",
            "gauge",
            most,
        );
    }
    single(
        out,
        "process_start_time_seconds",
        "Start of the process, in seconds since 1970.",
        "gauge",
        *STARTED,
    );
}

/// Processor seconds, bytes of address space, bytes of memory.
fn usage() -> Option<(f64, u64, u64)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |i: usize| fields.get(i)?.parse::<u64>().ok();
    let cpu = (field(11)? + field(12)?) as f64 / TICKS;
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some((cpu, field(20)?, pages * 4096))
}

fn limit() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_has_memory() {
        let (_, space, memory) = super::usage().unwrap();
        assert!(memory > 100_000 && space >= memory);
        assert!(super::limit().unwrap() > 3);
    }
}
