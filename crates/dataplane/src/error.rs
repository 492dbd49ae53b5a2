//! Why a dataplane could not do what it was told.

use kernel::nl;

/// Result of a dataplane call.
pub type Result<T> = std::result::Result<T, Error>;

/// A dataplane call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not hold what the caller took for granted: an element to delete is gone, or one to add is there.
    #[error("apply a batch: the table holds something else than was applied to it ({0}); observe it again")]
    Diverged(String),
    /// The batch exceeds one send.
    #[error("apply a batch: {bytes} bytes, one transaction carries {max}; split it between Services")]
    TooLarge {
        /// Size of the batch.
        bytes: usize,
        /// What fits.
        max: usize,
    },
    /// A key or value has the wrong number of bytes for its set.
    #[error("apply a batch: an element of {set} has {bytes} bytes where {expected} belong; this is a bug, report it")]
    Malformed {
        /// Set name.
        set: String,
        /// Bytes found.
        bytes: usize,
        /// Bytes that belong there.
        expected: usize,
    },
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] nl::Error),
    /// A test asked for this failure.
    #[error("apply a batch: failed on request ({0}); run without the fault flag")]
    Injected(&'static str),
}

impl Error {
    /// Sorts a kernel error of [`crate::Dataplane::apply`].
    pub(crate) fn of_apply(error: nl::Error) -> Self {
        match error.kind {
            nl::Kind::TooLarge { bytes, max } => Self::TooLarge { bytes, max },
            _ if error.not_found() || error.already_exists() => Self::Diverged(error.why),
            _ => Self::Kernel(error),
        }
    }
}
