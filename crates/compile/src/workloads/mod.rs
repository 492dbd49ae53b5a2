//! Turns workloads and their pods into writes: create, scale and delete until the world is as written.
//!
//! Objects are decoded into the small types of [`objects`] at the door. [`deployment`], [`replica_set`],
//! [`stateful_set`], [`daemon_set`] and [`job`] decide, one object at a time.

mod claim;
pub mod daemon_set;
pub mod deployment;
pub mod hash;
mod history;
pub mod job;
pub mod objects;
mod placement;
mod pod;
pub mod replica_set;
mod revision;
mod rolling;
mod scale;
mod selector;
pub mod stateful_set;
mod status;
mod template;
pub mod time;

pub use daemon_set::DaemonSet;
pub use history::ControllerRevision;
pub use job::Job;
pub use stateful_set::StatefulSet;

pub use objects::{Deployment, Pod, ReplicaSet};
pub use selector::Selector;

use crate::write::Write;

/// The moment a decision is made at. Pure code has no clock, so it comes in as data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// Unix time in seconds.
    pub seconds: i64,
    /// The same moment as RFC 3339 text, as written into conditions.
    pub text: String,
}

/// What to do about one object.
#[derive(Debug, Default)]
pub struct Decision {
    /// Writes, in order.
    pub writes: Vec<Write>,
    /// Look again after so many seconds, because time alone will change the answer.
    pub again_after: Option<i64>,
}

impl Decision {
    fn sooner(&mut self, seconds: i64) {
        self.again_after = Some(self.again_after.map_or(seconds, |earlier| earlier.min(seconds)).max(1));
    }
}

#[cfg(test)]
mod tests;
