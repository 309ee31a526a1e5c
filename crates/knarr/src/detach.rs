//! `knarr up --detach`: starts the same command in the background, shows what it says until the cluster is ready, returns.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    paths::Paths,
    preflight,
    up::{self, Options},
};

pub fn run(paths: &Paths, options: &Options) -> Result<()> {
    preflight::check()?;
    crate::apply::read(&options.file)?;
    // Says so at once when the directory or a port is taken; the child takes the lock again.
    drop(up::claim(paths, options)?);
    let _ = std::fs::remove_file(paths.ready());
    let path = paths.log();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let mut tail = File::open(&path)?;
    tail.seek(SeekFrom::End(0))?;
    let mut child = spawn(&log)?;
    loop {
        show(&mut tail)?;
        let ready =
            std::fs::read_to_string(paths.ready()).is_ok_and(|pid| pid == child.id().to_string());
        if ready {
            show(&mut tail)?;
            eprintln!(
                "Knarr runs in the background as process {}; its log is {}",
                child.id(),
                path.display()
            );
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            show(&mut tail)?;
            bail!(
                "Knarr ended while it started ({status}); {} has the whole log",
                path.display()
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn spawn(log: &File) -> Result<Child> {
    let args = std::env::args_os().skip(1).filter(|a| a != "--detach");
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?);
    // SAFETY: setsid is async-signal-safe.
    unsafe {
        command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into));
    }
    command
        .spawn()
        .context("cannot start the background process")
}

/// Copies what the background process wrote meanwhile.
fn show(tail: &mut File) -> Result<()> {
    let mut text = Vec::new();
    tail.read_to_end(&mut text)?;
    std::io::stderr().write_all(&text)?;
    Ok(())
}
