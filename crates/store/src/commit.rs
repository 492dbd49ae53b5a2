//! Group commit: turns the writes that wait into one durable batch, then publishes and acknowledges them.

use std::io;
use std::sync::Arc;

use api::object::Revision;
use tokio::sync::{mpsc, oneshot, watch};

use crate::failure::Failure;
use crate::log::redb::Findings;
use crate::quiet::caught;
use crate::store::Shared;
use crate::{Log, LogEntry};

/// What a writer is told whose write rested on others that a failed log forgot.
pub(crate) const FORGOTTEN: &str = "the log failed while this waited; try again";

/// What the log thread is asked.
pub(crate) enum Message {
    /// To make a write durable.
    Write(Pending),
    /// To try a log again that failed.
    Retry(oneshot::Sender<Result<(), String>>),
    /// To verify what is durable.
    Examine(oneshot::Sender<io::Result<Findings>>),
}

/// A staged write on its way to the log.
pub(crate) struct Pending {
    /// Its changes; none for a write that only waits until what it saw is durable.
    pub(crate) entries: Vec<LogEntry>,
    /// The revision that is durable once this write is.
    pub(crate) last: Revision,
    /// The life of the log that it was staged in; after a failure its changes are forgotten.
    pub(crate) life: u64,
    /// Told the outcome; the writer may have gone away, which changes nothing.
    pub(crate) done: oneshot::Sender<Result<(), String>>,
}

/// The log thread: ends when every store handle is gone and the queue is empty.
pub(crate) fn run(
    mut log: Box<dyn Log>,
    shared: Arc<Shared>,
    mut queue: mpsc::Receiver<Message>,
    published: watch::Sender<Revision>,
) {
    let mut kept = None;
    while let Some(message) = kept.take().or_else(|| queue.blocking_recv()) {
        match message {
            Message::Write(first) => {
                let (batch, next) = gather(first, &mut queue, &shared);
                kept = next;
                commit(log.as_mut(), &shared, batch, &published);
            }
            Message::Retry(done) => {
                let _gone = done.send(retry(log.as_mut(), &shared, &published));
            }
            Message::Examine(done) => {
                let examined = guarded(|| log.examine());
                let _gone = done.send(examined);
            }
        }
    }
}

/// Everything that waits, in order, up to a number of bytes, and the message after it. Whole writes only: a transaction
/// is never split.
fn gather(first: Pending, queue: &mut mpsc::Receiver<Message>, shared: &Shared) -> (Vec<Pending>, Option<Message>) {
    let size = |write: &Pending| write.entries.iter().map(|entry| entry.record.body.len()).sum::<usize>();
    let mut bytes = size(&first);
    let mut batch = vec![first];
    while bytes < shared.limits.batch_bytes {
        match queue.try_recv() {
            Ok(Message::Write(next)) => {
                bytes += size(&next);
                batch.push(next);
            }
            Ok(other) => return (batch, Some(other)),
            Err(_) => break,
        }
    }
    (batch, None)
}

fn commit(log: &mut dyn Log, shared: &Shared, batch: Vec<Pending>, published: &watch::Sender<Revision>) {
    let life = shared.read().life;
    let (batch, forgotten): (Vec<_>, Vec<_>) = batch.into_iter().partition(|write| write.life == life);
    for write in forgotten {
        let _writer_gone = write.done.send(Err(FORGOTTEN.to_owned()));
    }
    let outcome = append(log, shared, &batch);
    if let (Ok(()), Some(newest)) = (&outcome, batch.iter().map(|write| write.last).max()) {
        let mut state = shared.write();
        state.mvcc.publish(newest, &shared.limits);
        state.published_at = std::time::Instant::now();
        drop(state);
        published.send_replace(newest);
    }
    for write in batch {
        let _writer_gone = write.done.send(outcome.clone());
    }
}

/// One durable commit. After a failure nothing is appended: what the log holds is unknown, so appending behind it could
/// leave a hole in the revisions.
fn append(log: &mut dyn Log, shared: &Shared, batch: &[Pending]) -> Result<(), String> {
    if let Some(failure) = &shared.read().failed {
        return Err(failure.reason.clone());
    }
    let entries: Vec<LogEntry> = batch.iter().flat_map(|write| write.entries.iter().cloned()).collect();
    if entries.is_empty() {
        return Ok(());
    }
    guarded(|| log.append(&entries)).map_err(|error| {
        let last = entries.last().map_or(Revision(0), |entry| entry.record.revision);
        let failure = Failure::of_append(entries.len(), last, &error);
        let reason = failure.reason.clone();
        tracing::error!(%reason, "the store's log failed");
        shared.write().failed = Some(failure);
        reason
    })
}

/// Opens a log again that found its disk full. What was staged and is not in it is forgotten: its writers were told so.
fn retry(log: &mut dyn Log, shared: &Shared, published: &watch::Sender<Revision>) -> Result<(), String> {
    match &shared.read().failed {
        None => return Ok(()),
        Some(failure) if !failure.passes => return Err(failure.reason.clone()),
        Some(_) => {}
    }
    let reopened = guarded(|| log.reopen());
    let mut state = shared.write();
    let (newest, head) = (state.mvcc.published(), state.mvcc.head());
    let revision = match reopened {
        Ok(revision) if newest <= revision && revision <= head => revision,
        Ok(revision) => {
            let failure = Failure::of_reopening(revision, newest);
            let reason = failure.reason.clone();
            state.failed = Some(failure);
            return Err(reason);
        }
        Err(error) => {
            tracing::warn!(%error, "the store's log cannot be opened again yet");
            return Err(state.failed.as_ref().map_or_else(String::new, |failure| failure.reason.clone()));
        }
    };
    state.mvcc.retract(revision);
    state.mvcc.publish(revision, &shared.limits);
    state.life += 1;
    state.failed = None;
    drop(state);
    published.send_replace(revision);
    tracing::warn!(%revision, "the store's log has space again and takes writes");
    Ok(())
}

/// A panic in the engine must not leave writers waiting for ever: it is a failed log like any other.
fn guarded<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    caught(work).unwrap_or_else(|| Err(io::Error::other("the storage engine panicked")))
}
