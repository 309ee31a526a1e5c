//! System calls that no library wraps: the mount API with descriptors, and clone3.

use std::{
    ffi::{CStr, CString},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use nix::{errno::Errno, unistd::Pid};

const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const OPEN_TREE_CLONE: u32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x04;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;

/// Mount attributes, as `mount_setattr` knows them.
pub(super) mod attr {
    pub const RDONLY: u64 = 0x1;
    pub const NOSUID: u64 = 0x2;
    pub const NODEV: u64 = 0x4;
    pub const NOEXEC: u64 = 0x8;
}

fn c_path(path: &Path) -> nix::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}

/// # Safety
/// The call must return a new descriptor.
unsafe fn new_fd(returned: libc::c_long) -> nix::Result<OwnedFd> {
    let raw = Errno::result(returned)?;
    // SAFETY: the kernel gave it to us, and its numbers fit an int.
    Ok(unsafe { OwnedFd::from_raw_fd(raw as i32) })
}

/// A mount of a new file system instance, not attached anywhere yet.
pub(super) fn new_mount(
    kind: &CStr,
    options: &[(&CStr, Option<&CStr>)],
    attributes: u64,
) -> nix::Result<OwnedFd> {
    // SAFETY: strings end with NUL, descriptors are open.
    unsafe {
        let context = new_fd(libc::syscall(
            libc::SYS_fsopen,
            kind.as_ptr(),
            FSOPEN_CLOEXEC,
        ))?;
        let fd = context.as_raw_fd();
        for (key, value) in options {
            let (command, value) = match value {
                Some(value) => (FSCONFIG_SET_STRING, value.as_ptr()),
                None => (FSCONFIG_SET_FLAG, std::ptr::null()),
            };
            Errno::result(libc::syscall(
                libc::SYS_fsconfig,
                fd,
                command,
                key.as_ptr(),
                value,
                0,
            ))?;
        }
        let none = std::ptr::null::<u8>();
        Errno::result(libc::syscall(
            libc::SYS_fsconfig,
            fd,
            FSCONFIG_CMD_CREATE,
            none,
            none,
            0,
        ))?;
        new_fd(libc::syscall(
            libc::SYS_fsmount,
            fd,
            FSMOUNT_CLOEXEC,
            attributes as libc::c_uint,
        ))
    }
}

/// A copy of the mount at `path` and of those below it, not attached anywhere yet.
pub(super) fn clone_tree(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as u32 | libc::AT_RECURSIVE as u32;
    let path = c_path(path)?;
    // SAFETY: the string ends with NUL.
    unsafe {
        new_fd(libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
        ))
    }
}

/// A copy of the mount that holds an open file, without those below it.
pub(super) fn clone_mount(at: impl AsFd) -> nix::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as u32 | libc::AT_EMPTY_PATH as u32;
    // SAFETY: the descriptor is open.
    unsafe {
        new_fd(libc::syscall(
            libc::SYS_open_tree,
            at.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
        ))
    }
}

/// Attaches a mount to the directory or file that `target` is open on.
pub(super) fn attach_mount(mount: impl AsFd, target: impl AsFd) -> nix::Result<()> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    let (from, to) = (mount.as_fd().as_raw_fd(), target.as_fd().as_raw_fd());
    // SAFETY: the descriptors are open.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from,
            c"".as_ptr(),
            to,
            c"".as_ptr(),
            flags,
        )
    };
    Errno::result(done).map(drop)
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Changes attributes and propagation (`MS_PRIVATE`, …; 0 leaves it) of a mount.
pub(super) fn set_mount(
    mount: impl AsFd,
    set: u64,
    propagation: u64,
    recursive: bool,
) -> nix::Result<()> {
    let change = MountAttr {
        set,
        clear: 0,
        propagation,
        user_namespace: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let fd = mount.as_fd().as_raw_fd();
    // SAFETY: the layout is the kernel's, the size is that of the value.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd,
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(&change),
            size_of::<MountAttr>(),
        )
    };
    Errno::result(done).map(drop)
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks into new namespaces and into a version 2 group. `child` runs in the new process, which ends when it returns.
///
/// # Safety
/// The caller must be the only thread of its process, as after `fork`.
pub(super) unsafe fn fork_into(
    namespaces: i32,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> nix::Result<Pid> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let into = if cgroup.is_some() {
        CLONE_INTO_CGROUP
    } else {
        0
    };
    let arguments = CloneArgs {
        flags: namespaces as u64 | into,
        cgroup: cgroup.map_or(0, |c| c.as_raw_fd() as u64),
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    // SAFETY: no memory is shared with the child, which therefore has its own copy of this stack.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_ref(&arguments),
            size_of::<CloneArgs>(),
        )
    };
    match Errno::result(pid)? {
        0 => {
            // Unwinding must not reach the code of the parent.
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(125);
            // SAFETY: ends the process without running the parent's exit handlers.
            unsafe { libc::_exit(code) }
        }
        pid => Ok(Pid::from_raw(pid as i32)),
    }
}

/// All descriptors from 3 on close at exec.
pub(super) fn close_others_at_exec() -> nix::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: only sets flags.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            CLOSE_RANGE_CLOEXEC,
        )
    };
    Errno::result(done).map(drop)
}

/// Closes all descriptors from 3 on.
pub(super) fn close_others() {
    // SAFETY: whoever calls this owns none of them any more.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}
