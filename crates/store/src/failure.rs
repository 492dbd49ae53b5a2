//! Why the log does not take writes: an error in, the text for whoever writes and whether waiting helps out.

use std::io;
use std::time::Instant;

use api::object::Revision;

/// A log that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What failed, why, and what to do, as one line.
    pub(crate) reason: String,
    /// Whether it passes by itself: nothing that was durable is in doubt, the disk is only full.
    pub(crate) passes: bool,
    /// When it was last tried.
    pub(crate) tried: Instant,
}

impl Failure {
    /// After an append that failed.
    pub(crate) fn of_append(changes: usize, last: Revision, error: &io::Error) -> Self {
        let passes = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let next = if passes {
            "reads and traffic go on, and writes go on by themselves once there is space: free some on the disk of the data \
             directory"
        } else {
            "the store only reads until the server is restarted: check the disk, then restart it"
        };
        let reason = format!("cannot append {changes} changes up to revision {last}: {error}; {next}");
        Self { reason, passes, tried: Instant::now() }
    }

    /// After the log came back with something else than what it had.
    pub(crate) fn of_reopening(found: Revision, acknowledged: Revision) -> Self {
        let reason = format!(
            "the log was opened again at revision {found}, but {acknowledged} was acknowledged; the store only reads: \
             check the disk, then restore a save (`mainstay store restore FILE`)"
        );
        Self { reason, passes: false, tried: Instant::now() }
    }
}
