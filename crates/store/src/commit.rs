//! Group commit: turns the writes that wait into one durable batch, then publishes and acknowledges them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use api::object::Revision;
use tokio::sync::{mpsc, oneshot, watch};

use crate::store::Shared;
use crate::{Log, LogEntry};

/// A staged write on its way to the log.
pub(crate) struct Pending {
    /// Its changes; none for a write that only waits until what it saw is durable.
    pub(crate) entries: Vec<LogEntry>,
    /// The revision that is durable once this write is.
    pub(crate) last: Revision,
    /// Told the outcome; the writer may have gone away, which changes nothing.
    pub(crate) done: oneshot::Sender<Result<(), String>>,
}

/// The log thread: ends when every store handle is gone and the queue is empty.
pub(crate) fn run(
    mut log: Box<dyn Log>,
    shared: Arc<Shared>,
    mut queue: mpsc::Receiver<Pending>,
    published: watch::Sender<Revision>,
) {
    while let Some(first) = queue.blocking_recv() {
        let batch = gather(first, &mut queue, shared.limits.batch_bytes);
        let outcome = append(log.as_mut(), &shared, &batch);
        if let (Ok(()), Some(newest)) = (&outcome, batch.iter().map(|write| write.last).max()) {
            shared.write().mvcc.publish(newest, &shared.limits);
            published.send_replace(newest);
        }
        for write in batch {
            let _writer_gone = write.done.send(outcome.clone());
        }
    }
}

/// Everything that waits, in order, up to a number of bytes. Whole writes only: a transaction is never split.
fn gather(first: Pending, queue: &mut mpsc::Receiver<Pending>, limit: usize) -> Vec<Pending> {
    let size = |write: &Pending| write.entries.iter().map(|entry| entry.record.body.len()).sum::<usize>();
    let mut bytes = size(&first);
    let mut batch = vec![first];
    while bytes < limit {
        let Ok(next) = queue.try_recv() else { break };
        bytes += size(&next);
        batch.push(next);
    }
    batch
}

/// One durable commit. The first failure is final: what the log holds after it is unknown, so appending behind it could
/// leave a hole in the revisions.
fn append(log: &mut dyn Log, shared: &Shared, batch: &[Pending]) -> Result<(), String> {
    if let Some(reason) = &shared.read().failed {
        return Err(reason.clone());
    }
    let entries: Vec<LogEntry> = batch.iter().flat_map(|write| write.entries.iter().cloned()).collect();
    if entries.is_empty() {
        return Ok(());
    }
    // A panic in the engine must not leave writers waiting for ever: it is a failed log like any other.
    let appended = catch_unwind(AssertUnwindSafe(|| log.append(&entries)))
        .unwrap_or_else(|_| Err(io::Error::other("the storage engine panicked")));
    appended.map_err(|error| {
        let reason = format!(
            "cannot append {} changes up to revision {}: {error}; the store only reads until the server is restarted: \
             free or repair the disk, then restart it",
            entries.len(),
            entries.last().map_or(Revision(0), |entry| entry.record.revision),
        );
        tracing::error!(%reason, "the store's log failed");
        shared.write().failed = Some(reason.clone());
        reason
    })
}
