//! Why there is no sandbox: what failed, why, and what to do next.

use std::io;
use std::path::PathBuf;

use super::Mode;
use crate::holder::message::VERSION;

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another supervisor holds the data directory.
    #[error(
        "another mainstay runs on {0}: its lock is held.\nStop that one first: mainstay down --data-dir {0}\nOr choose another \
         directory: --data-dir DIR"
    )]
    Locked(PathBuf),
    /// The kernel refuses the namespaces.
    #[error("cannot start a sandbox: {0}")]
    Refused(String),
    /// Host mode without root's powers.
    #[error(
        "host mode is refused by the kernel ({0}): it needs root with CAP_SYS_ADMIN.\nTry: sudo mainstay up --host"
    )]
    NotRoot(io::Error),
    /// The holder ended while starting.
    #[error("the holder of the pods ended while starting: {0}.\nMore may be in {1}; then try again")]
    Died(String, PathBuf),
    /// The holder speaks another version.
    #[error(
        "the running holder speaks protocol {found}, this program {VERSION}.\nUse the release that started it, or stop and start \
         anew (pods restart): mainstay down"
    )]
    Version {
        /// What it speaks.
        found: u32,
    },
    /// The directory is in use by the other mode.
    #[error(
        "pods of {directory} run in {} mode, not in {} mode.\nStop them first: mainstay down --data-dir {directory}\nOr choose \
         another directory: --data-dir DIR", found.name(), wanted.name()
    )]
    Mode {
        /// The data directory.
        directory: PathBuf,
        /// What runs.
        found: Mode,
        /// What was asked for.
        wanted: Mode,
    },
    /// A system call failed.
    #[error("sandbox: {what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// Attaches to an I/O result what was attempted.
pub(super) fn io_of(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    |source| Error::Io { what, source }
}
