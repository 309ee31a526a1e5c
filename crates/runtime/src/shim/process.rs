//! The last steps of a new process: who it is, what it may do, and the program it becomes.

use std::{
    ffi::CString,
    fs,
    os::{fd::BorrowedFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use nix::{
    errno::Errno,
    unistd::{
        AccessFlags, Gid, Uid, access, chdir, execve, fchown, setgroups, setresgid, setresuid,
    },
};
use seccompiler::BpfProgram;

use super::{sys::close_others_at_exec, users};
use crate::spec::ProcessSpec;

/// Highest capability of the running kernel.
fn last_capability() -> u32 {
    fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .ok()
        .and_then(|t| t.trim().parse().ok())
        .unwrap_or(40)
}

/// Becomes the program. Returns only with the reason why not.
pub(super) fn become_program(
    process: &ProcessSpec,
    seccomp: &[BpfProgram],
    die_with_parent: bool,
) -> anyhow::Result<std::convert::Infallible> {
    let identity = users::look_up(&process.user)?;
    let mut env = process.env.clone();
    if !env.iter().any(|e| e.starts_with("HOME=")) {
        env.push(format!("HOME={}", identity.home));
    }
    let last = last_capability();
    enter_directory(&process.cwd)?;
    own_streams(identity.uid, identity.gid);
    close_others_at_exec()?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    if !process.no_new_privs {
        // Without no_new_privs a filter needs the privilege that is dropped next.
        load_filters(seccomp)?;
    }
    limit_bounding_set(process.capabilities, last)?;
    setgroups(
        &identity
            .groups
            .iter()
            .map(|g| Gid::from_raw(*g))
            .collect::<Vec<_>>(),
    )
    .context("set groups")?;
    keep_capabilities()?;
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    setresgid(gid, gid, gid).context("set group")?;
    setresuid(uid, uid, uid).context("set user")?;
    set_capabilities(process.capabilities).context("set capabilities")?;
    if die_with_parent {
        // SAFETY: takes numbers only.
        Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })
            .context("PR_SET_PDEATHSIG")?;
    }
    let program = find_program(process, &env)?;
    if process.no_new_privs {
        // SAFETY: takes numbers only.
        Errno::result(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
            .context("no_new_privs")?;
        load_filters(seccomp)?;
    }
    let strings = |list: &[String]| {
        list.iter()
            .map(|s| CString::new(s.as_str()))
            .collect::<Result<Vec<_>, _>>()
            .context("a NUL in a string")
    };
    let (args, env) = (strings(&process.args)?, strings(&env)?);
    let path = CString::new(program.as_os_str().as_encoded_bytes()).context("a NUL in a path")?;
    execve(&path, &args, &env)
        .map_err(|error| anyhow!("exec {}: {}", program.display(), describe(error)))
}

fn describe(error: Errno) -> String {
    match error {
        Errno::ENOENT => "no such file or directory".to_owned(),
        Errno::EACCES => "permission denied".to_owned(),
        Errno::ENOEXEC => "exec format error".to_owned(),
        other => other.desc().to_lowercase(),
    }
}

fn enter_directory(dir: &str) -> anyhow::Result<()> {
    let dir = if dir.is_empty() { "/" } else { dir };
    match chdir(dir) {
        Err(Errno::ENOENT) => {
            fs::create_dir_all(dir).with_context(|| format!("mkdir {dir}"))?;
            chdir(dir)
        }
        done => done,
    }
    .with_context(|| format!("chdir to cwd ({dir:?}) set in config.json failed"))
}

/// A process that is not root has to be able to open `/dev/stdout` anew.
fn own_streams(uid: u32, gid: u32) {
    for fd in 0..3 {
        // SAFETY: descriptors 0 to 2 are open here.
        let stream = unsafe { BorrowedFd::borrow_raw(fd) };
        let Ok(stat) = nix::sys::stat::fstat(stream) else {
            continue;
        };
        let device = nix::sys::stat::SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT);
        let null = device == nix::sys::stat::SFlag::S_IFCHR
            && stat.st_rdev == nix::sys::stat::makedev(1, 3);
        if !null && stat.st_uid != uid {
            // A read-only or foreign stream stays as it is; the program can still use the descriptor.
            let _ = fchown(stream, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        }
    }
}

fn limit_bounding_set(keep: u64, last: u32) -> anyhow::Result<()> {
    for capability in 0..=last {
        if keep & (1 << capability) == 0 {
            // SAFETY: takes numbers only.
            Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) })
                .context("limit capabilities")?;
        }
    }
    Ok(())
}

fn keep_capabilities() -> anyhow::Result<()> {
    // SAFETY: takes numbers only.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) })
        .map(drop)
        .context("PR_SET_KEEPCAPS")
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default)]
struct CapabilityWord {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Knarr may lack a capability itself, e.g. CAP_SYS_RESOURCE in a container: it cannot be handed on then.
fn set_capabilities(keep: u64) -> nix::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = CapabilityHeader {
        version: VERSION_3,
        pid: 0,
    };
    let mut words = [CapabilityWord::default(), CapabilityWord::default()];
    // SAFETY: the layout is the kernel's for version 3: two words.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_capget, &raw const header, words.as_mut_ptr())
    })?;
    for (word, bits) in words.iter_mut().zip([keep as u32, (keep >> 32) as u32]) {
        word.permitted &= bits;
        word.effective = word.permitted;
        word.inheritable = 0;
    }
    // SAFETY: as above.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, words.as_ptr()) })
        .map(drop)
}

fn load_filters(filters: &[BpfProgram]) -> anyhow::Result<()> {
    for filter in filters {
        let program = libc::sock_fprog {
            len: u16::try_from(filter.len()).context("seccomp profile too long")?,
            filter: filter.as_ptr().cast_mut().cast(),
        };
        // SAFETY: the program outlives the call, which copies it.
        let done = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                &raw const program,
            )
        };
        Errno::result(done).context("load seccomp profile")?;
    }
    Ok(())
}

/// Finds the program as a shell would, and says why not in the words that users know.
fn find_program(process: &ProcessSpec, env: &[String]) -> anyhow::Result<PathBuf> {
    let Some(name) = process.args.first().filter(|n| !n.is_empty()) else {
        bail!("no command specified")
    };
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(name.into()),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {
                bail!("exec: {name:?}: stat {name}: no such file or directory")
            }
            Err(error) => bail!("exec: {name:?}: {}", describe(error)),
        };
    }
    let path = env
        .iter()
        .rev()
        .find_map(|e| e.strip_prefix("PATH="))
        .unwrap_or("");
    path.split(':')
        .map(|dir| Path::new(if dir.is_empty() { "." } else { dir }).join(name))
        .find(|candidate| executable(candidate).is_ok())
        .ok_or_else(|| anyhow!("exec: {name:?}: executable file not found in $PATH"))
}

fn executable(path: &Path) -> nix::Result<()> {
    let data =
        fs::metadata(path).map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?;
    if data.is_dir() {
        return Err(Errno::EISDIR);
    }
    if data.permissions().mode() & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    access(path, AccessFlags::X_OK)
}
