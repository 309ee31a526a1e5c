//! What can go wrong when talking to netfilter.

use std::io;

/// Why a netlink exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket itself failed.
    #[error("netlink socket: {0}")]
    Socket(#[from] io::Error),
    /// The kernel refused one message of a transaction; nothing of the transaction was applied.
    #[error("{what}: {errno}{}", detail.as_deref().map(|d| format!(" ({d})")).unwrap_or_default())]
    Refused {
        /// The change that was refused, e.g. `add rule to chain ip/knarr-proxy/services`.
        what: String,
        errno: io::Error,
        /// The kernel's own words, when it had any.
        detail: Option<String>,
    },
    /// The kernel answered with something that cannot be understood.
    #[error("unexpected netlink answer: {0}")]
    Protocol(&'static str),
}

impl Error {
    /// The `errno` of a refused message or of a failing socket.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Refused { errno, .. } | Error::Socket(errno) => errno.raw_os_error(),
            Error::Protocol(_) => None,
        }
    }

    /// The object named does not exist.
    pub fn is_not_found(&self) -> bool {
        self.errno() == Some(libc::ENOENT)
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;
