//! Turns the stored status of a Job and its pods into counts that survive both: a pod counts once, even when it is deleted
//! before or after we look. A finalizer holds each pod until its uid is written down; then the uid becomes a number.

use super::indexes::Indexes;
use super::{Job, Uncounted};
use crate::workloads::Pod;
use crate::write::{Edit, Write};

/// Finalizer of pods that are not counted yet.
pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// What the pods of a Job amount to.
pub(super) struct Tally<'a> {
    /// Counted, and noted but not counted.
    pub succeeded: i64,
    /// Counted, and noted but not counted.
    pub failed: i64,
    /// The counters to store.
    pub counters: (i64, i64),
    /// The uids to store.
    pub uncounted: Uncounted,
    /// Indexes that succeeded.
    pub completed: Indexes,
    /// Neither ended nor on their way out.
    pub active: Vec<&'a Pod>,
    /// On their way out, not ended.
    pub terminating: i64,
}

fn tracked(pod: &Pod) -> bool {
    pod.meta.finalizers.iter().any(|finalizer| **finalizer == *TRACKING)
}

fn size(uids: usize) -> i64 {
    i64::try_from(uids).unwrap_or(i64::MAX)
}

/// Counts.
pub(super) fn tally<'a>(job: &Job, mine: &[&'a Pod]) -> Tally<'a> {
    let stored = job.status.uncounted_terminated_pods.clone().unwrap_or_default();
    let held = |uid: &str| mine.iter().any(|pod| *pod.meta.uid == *uid && tracked(pod));
    let mut uncounted = Uncounted {
        succeeded: stored.succeeded.iter().filter(|uid| held(uid)).cloned().collect(),
        failed: stored.failed.iter().filter(|uid| held(uid)).cloned().collect(),
    };
    let limit = job.spec.completions.unwrap_or(0);
    let mut completed = Indexes::parse(if job.indexed() { &job.status.completed_indexes } else { "" }, limit);
    let released = |before: usize, after: usize| size(before) - size(after);
    let mut counters = (
        job.status.succeeded + released(stored.succeeded.len(), uncounted.succeeded.len()),
        job.status.failed + released(stored.failed.len(), uncounted.failed.len()),
    );
    for pod in mine.iter().filter(|pod| tracked(pod)) {
        let noted = uncounted.succeeded.contains(&pod.meta.uid) || uncounted.failed.contains(&pod.meta.uid);
        if noted {
            continue;
        }
        let lost = pod.meta.deleting() && !job.replaces_late();
        match &*pod.phase {
            "Succeeded" => {
                let index = pod.completion_index.filter(|index| job.indexed() && (0..limit).contains(index));
                if let Some(index) = index {
                    completed.insert(index);
                }
                uncounted.succeeded.insert(pod.meta.uid.clone());
            }
            "Failed" => {
                uncounted.failed.insert(pod.meta.uid.clone());
            }
            _ if lost => {
                uncounted.failed.insert(pod.meta.uid.clone());
            }
            _ => {}
        }
    }
    let failed = counters.1 + size(uncounted.failed.len());
    let mut succeeded = counters.0 + size(uncounted.succeeded.len());
    if job.indexed() {
        // An index counts once, however many of its pods succeeded.
        succeeded = completed.count();
        counters.0 = succeeded;
    }
    Tally {
        succeeded,
        failed,
        counters,
        uncounted,
        completed,
        active: mine.iter().copied().filter(|pod| pod.active()).collect(),
        terminating: size(mine.iter().filter(|pod| pod.meta.deleting() && !pod.finished()).count()),
    }
}

impl Tally<'_> {
    /// Whether every ended pod is in the counters.
    pub(super) fn settled(&self) -> bool {
        self.uncounted.succeeded.is_empty() && self.uncounted.failed.is_empty()
    }
}

/// Lets go of the pods that are written down. `all` lets go of every pod.
pub(super) fn release(mine: &[&Pod], uncounted: &Uncounted, all: bool, writes: &mut Vec<Write>) {
    for pod in mine.iter().filter(|pod| tracked(pod)) {
        let uid = &pod.meta.uid;
        if all || uncounted.succeeded.contains(uid) || uncounted.failed.contains(uid) {
            let edit = Edit::RemoveFinalizer(TRACKING);
            writes.push(Write::Edit { target: pod.target(), edit, note: None });
        }
    }
}

/// Lets go of a pod whose Job is gone.
pub fn release_orphan(pod: &Pod) -> Option<Write> {
    let edit = Edit::RemoveFinalizer(TRACKING);
    tracked(pod).then(|| Write::Edit { target: pod.target(), edit, note: None })
}
