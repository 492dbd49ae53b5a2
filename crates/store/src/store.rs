//! The store's handle: turns calls into reads of published versions, watches, and staged writes.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;

use api::object::{ObjectKey, Revision};
use tokio::sync::{mpsc, oneshot, watch};

use crate::commit::{self, Pending};
use crate::log::redb::{FILE, RedbLog};
use crate::mvcc::Mvcc;
use crate::{Event, Limits, Log, LogEntry, OpenError, Page, Range, ReadError, Record, Txn, Watch, WriteError};

#[cfg(test)]
mod tests;

/// The store. Cheap to clone; the last handle (or watch) to go waits for the log and closes it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// What the log thread and the handles share. Never locked while the disk works or while a writer's closure runs.
pub(crate) struct Shared {
    state: RwLock<State>,
    pub(crate) limits: Limits,
}

pub(crate) struct State {
    pub(crate) mvcc: Mvcc,
    /// Why the log failed; from then on the store only reads.
    pub(crate) failed: Option<String>,
}

impl Shared {
    /// No foreign code runs under the lock, so a poisoned one still holds a consistent state.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Inner {
    shared: Arc<Shared>,
    /// One writer's closure at a time; also orders the queue, so that the log sees revisions in order.
    writer: tokio::sync::Mutex<()>,
    published: watch::Receiver<Revision>,
    /// Taken only when the store closes.
    queue: Option<mpsc::Sender<Pending>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue = None;
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(_)) = thread.map(JoinHandle::join) {
            tracing::error!("the store's log thread panicked; what it acknowledged is durable");
        }
    }
}

impl Store {
    /// Opens a store over a log: loads the newest state and starts the log thread. The revision goes on from there.
    pub fn open(mut log: Box<dyn Log>, limits: Limits) -> Result<Self, OpenError> {
        let failed = |step, source| OpenError::Log {
            path: "log".into(),
            step,
            source,
            next: "restore the data directory from a copy, or choose another --data-dir",
        };
        let loaded = log.load().map_err(|error| failed("reading its objects", error))?;
        let mvcc = Mvcc::new(loaded);
        let (queue, receiver) = mpsc::channel(limits.pending_writes.max(1));
        let (sender, published) = watch::channel(mvcc.published());
        let shared = Arc::new(Shared { state: RwLock::new(State { mvcc, failed: None }), limits });
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("store-log".into())
            .spawn(move || commit::run(log, of_thread, receiver, sender))
            .map_err(|error| failed("starting its log thread", error))?;
        let inner = Inner {
            shared,
            writer: tokio::sync::Mutex::new(()),
            published,
            queue: Some(queue),
            thread: Mutex::new(Some(thread)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Opens (or creates) the embedded store in a directory.
    pub fn open_dir(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        let directory = directory.as_ref();
        Self::open(Box::new(RedbLog::open_dir(directory)?), Limits::default()).map_err(|error| match error {
            OpenError::Log { step, source, next, .. } => {
                OpenError::Log { path: directory.join(FILE), step, source, next }
            }
            error => error,
        })
    }

    /// The newest acknowledged (durable) revision.
    pub fn revision(&self) -> Revision {
        self.inner.shared.read().mvcc.published()
    }

    /// Why the log failed, if it did: the store still reads, but refuses writes until it is opened again.
    pub fn failure(&self) -> Option<String> {
        self.inner.shared.read().failed.clone()
    }

    /// One object, now or at a kept revision.
    pub fn get(&self, table: &str, key: &ObjectKey, at: Option<Revision>) -> Result<Option<Arc<Record>>, ReadError> {
        let state = self.inner.shared.read();
        let at = state.mvcc.readable(at)?;
        Ok(state.mvcc.get(table, key, at).cloned())
    }

    /// A part of a table, now or at a kept revision.
    pub fn list(&self, table: &str, range: &Range, at: Option<Revision>) -> Result<Page, ReadError> {
        let state = self.inner.shared.read();
        let at = state.mvcc.readable(at)?;
        Ok(state.mvcc.page(table, range, at))
    }

    /// Changes of `tables` (all tables when empty) strictly after `from`.
    pub fn watch(&self, tables: &[&'static str], from: Revision) -> Result<Watch, ReadError> {
        self.inner.shared.read().mvcc.readable(Some(from))?;
        Ok(Watch::new(self.clone(), tables.to_vec(), from))
    }

    /// Runs `change` alone, with every earlier write visible; when it returns Ok, its puts and deletes get one
    /// revision each (in order), are made durable, published to readers and watchers, then acknowledged. When it
    /// returns Err, or changed nothing, nothing is written. The returned revision is the last one used (or the
    /// current one).
    ///
    /// Dropping the future before the closure ran writes nothing; dropping it later leaves the write whole, only nobody
    /// waits for it. A write that changed nothing still waits until what its closure saw is durable, so no answer ever
    /// rests on something that a crash can take back.
    pub async fn write<T, E>(
        &self,
        change: impl FnOnce(&mut Txn<'_>) -> Result<T, E> + Send,
    ) -> Result<(T, Revision), WriteError<E>> {
        let stopped = || WriteError::Log("the log thread stopped; restart the server".into());
        let Some(queue) = &self.inner.queue else { return Err(stopped()) };
        // A place in the queue first: once the closure has run, nothing may make the write wait or vanish.
        let place = queue.reserve().await.map_err(|_| stopped())?;
        let (answer, last, wait) = {
            let _alone = self.inner.writer.lock().await;
            self.check_log()?;
            let mut txn = Txn::new(&self.inner.shared);
            let answer = change(&mut txn).map_err(WriteError::Refused)?;
            let Staged { entries, last, durable } = self.stage(txn.into_changes())?;
            let (done, wait) = oneshot::channel();
            if !durable {
                place.send(Pending { entries, last, done });
            }
            (answer, last, (!durable).then_some(wait))
        };
        match wait {
            None => Ok((answer, last)),
            Some(wait) => match wait.await {
                Ok(Ok(())) => Ok((answer, last)),
                Ok(Err(reason)) => Err(WriteError::Log(reason)),
                Err(_) => Err(stopped()),
            },
        }
    }

    /// Puts a transaction's changes at the head, unless the log failed meanwhile.
    fn stage<E>(&self, changes: Vec<Event>) -> Result<Staged, WriteError<E>> {
        let mut state = self.inner.shared.write();
        if let Some(reason) = &state.failed {
            return Err(WriteError::Log(reason.clone()));
        }
        let entry = |event: &Event| LogEntry { table: event.table, record: event.new.clone(), deleted: event.deleted };
        let entries = changes.iter().map(entry).collect();
        for event in changes {
            state.mvcc.stage(event);
        }
        let last = state.mvcc.head();
        Ok(Staged { entries, last, durable: last == state.mvcc.published() })
    }

    fn check_log<E>(&self) -> Result<(), WriteError<E>> {
        self.failure().map_or(Ok(()), |reason| Err(WriteError::Log(reason)))
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Revision> {
        self.inner.published.clone()
    }

    pub(crate) fn changes(&self, tables: &[&'static str], from: Revision) -> Result<(Vec<Event>, Revision), ReadError> {
        let limit = self.inner.shared.limits.watch_events.max(1);
        self.inner.shared.read().mvcc.changes(tables, from, limit)
    }
}

/// A transaction at the head.
struct Staged {
    entries: Vec<LogEntry>,
    last: Revision,
    /// Nothing changed and nothing is on its way: there is nothing to wait for.
    durable: bool,
}
