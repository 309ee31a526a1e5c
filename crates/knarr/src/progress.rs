//! What the user sees while a cluster starts: a spinner on a terminal, plain lines in a log.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

pub struct Progress {
    started: Instant,
    terminal: bool,
}

/// One step under way.
pub struct Step {
    text: String,
    since: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub fn new() -> Self {
        Progress {
            started: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    pub fn step(&self, text: impl Into<String>) -> Step {
        let text = text.into();
        let bar = self.terminal.then(|| {
            let bar = ProgressBar::new_spinner().with_message(text.clone());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Step {
            text,
            since: Instant::now(),
            bar,
        }
    }

    pub fn say(&self, text: impl AsRef<str>) {
        eprintln!("{}", text.as_ref());
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Step {
    /// Ends the step with a line that says how long it took.
    pub fn done(self) {
        let took = self.since.elapsed();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("  {} ({:.2} s)", self.text, took.as_secs_f64());
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
