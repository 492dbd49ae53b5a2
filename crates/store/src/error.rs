//! What can go wrong, in three parts: what failed, why, what to do next.

use std::io;
use std::path::PathBuf;

use api::object::Revision;

/// Why a read or a watch cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The revision is older than what is kept.
    #[error("revision {asked} is too old: the oldest kept is {oldest}")]
    Compacted {
        /// Asked for.
        asked: Revision,
        /// Oldest that can be served.
        oldest: Revision,
    },
    /// The revision has not happened yet.
    #[error("revision {asked} is in the future: the store is at {current}")]
    Future {
        /// Asked for.
        asked: Revision,
        /// Newest.
        current: Revision,
    },
}

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    /// The closure refused; nothing was written.
    #[error("refused")]
    Refused(E),
    /// The log failed (disk full, I/O error). Whether this write is in it is not known; the store only reads from now on,
    /// until there is space again or it is opened again.
    #[error("the log failed: {0}")]
    Log(String),
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "cannot open the store {path}: another process holds its lock; \
         stop that process (`mainstay down`) or choose another --data-dir"
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Written by a later release.
    #[error(
        "cannot open the store {path}: it has format {found} and this program knows formats up to {known}; \
         run the newer mainstay that wrote it, or choose another --data-dir"
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Format in the file.
        found: u64,
        /// Newest format that this program reads.
        known: u64,
    },
    /// The log cannot be read or created.
    #[error("cannot open the store {path}: {step}: {source}; {next}")]
    Log {
        /// The file or directory (or a name for a log without one).
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
        /// What to do about it.
        next: &'static str,
    },
}
