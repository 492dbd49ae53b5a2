//! The store's handle: turns calls into reads of published versions, watches, and staged writes.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;

use api::object::{ObjectKey, Revision};
use tokio::sync::{mpsc, oneshot, watch};

use crate::body::Packer;
use crate::commit::{self, Message, Pending};
use crate::failure::Failure;
use crate::log::redb::{FILE, Findings, RedbLog};
use crate::mvcc::Mvcc;
use crate::{Event, Limits, Log, LogEntry, OpenError, Page, Range, ReadError, Record, Tables, Txn, Watch, WriteError};

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
    pub(crate) packer: Packer,
}

pub(crate) struct State {
    pub(crate) mvcc: Mvcc,
    /// Why the log failed; as long as this is set, the store only reads.
    pub(crate) failed: Option<Failure>,
    /// How often the log was opened again: what was staged before is forgotten.
    pub(crate) life: u64,
    /// When the newest revision became visible.
    pub(crate) published_at: std::time::Instant,
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
    queue: Option<mpsc::Sender<Message>>,
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
            next: "restore a save (`mainstay store restore FILE`), or choose another --data-dir",
        };
        let packer = Packer::default();
        let loaded = log.load(&packer).map_err(|error| failed("reading its objects", error))?;
        let mvcc = Mvcc::new(loaded);
        let (queue, receiver) = mpsc::channel(limits.pending_writes.max(1));
        let (sender, published) = watch::channel(mvcc.published());
        let shared = Arc::new(Shared {
            state: RwLock::new(State { mvcc, failed: None, life: 0, published_at: std::time::Instant::now() }),
            limits,
            packer,
        });
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

    /// The newest durable revision, and when it became visible to readers and watchers.
    pub fn published(&self) -> (Revision, std::time::Instant) {
        let state = self.inner.shared.read();
        (state.mvcc.published(), state.published_at)
    }

    /// Why the log does not take writes, if it does not; reads go on.
    pub fn failure(&self) -> Option<String> {
        self.inner.shared.read().failed.as_ref().map(|failure| failure.reason.clone())
    }

    /// Whether the log takes no writes only for now: its disk is full, and it goes on by itself.
    pub fn failure_passes(&self) -> bool {
        self.inner.shared.read().failed.as_ref().is_some_and(|failure| failure.passes)
    }

    /// Verifies every page and row of the log, between two commits; writes wait meanwhile.
    pub async fn examine(&self) -> std::io::Result<Findings> {
        let stopped = || std::io::Error::other("the log thread stopped; restart the server");
        let (done, wait) = oneshot::channel();
        let Some(queue) = &self.inner.queue else { return Err(stopped()) };
        queue.send(Message::Examine(done)).await.map_err(|_| stopped())?;
        wait.await.map_err(|_| stopped())?
    }

    /// Everything at one revision, table by table.
    pub fn all(&self) -> (Revision, Tables) {
        let state = self.inner.shared.read();
        let revision = state.mvcc.published();
        let records = |table: &str| state.mvcc.scan(table, None, None, revision).cloned().collect::<Vec<_>>();
        let tables = state.mvcc.tables().map(|table| (table.to_owned(), records(table)));
        (revision, tables.filter(|(_, records)| !records.is_empty()).collect())
    }

    /// Bytes that bodies of live objects take in memory, and their lengths.
    pub fn body_bytes(&self) -> (usize, usize) {
        let (_, tables) = self.all();
        let records = tables.iter().flat_map(|(_, records)| records);
        records.fold((0, 0), |(held, plain), record| (held + record.body.held(), plain + record.body.len()))
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
        self.heal().await.map_err(WriteError::Log)?;
        // A place in the queue first: once the closure has run, nothing may make the write wait or vanish.
        let place = queue.reserve().await.map_err(|_| stopped())?;
        let (answer, last, wait) = {
            let _alone = self.inner.writer.lock().await;
            self.check_log()?;
            let mut txn = Txn::new(&self.inner.shared);
            let begun = txn.life();
            let answer = change(&mut txn).map_err(WriteError::Refused)?;
            let Staged { entries, last, durable, life } = self.stage(txn.into_changes(), begun)?;
            let (done, wait) = oneshot::channel();
            if !durable {
                place.send(Message::Write(Pending { entries, last, life, done }));
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

    /// Puts a transaction's changes at the head, unless the log failed since it was begun. Another writer may have healed the
    /// log while the closure ran: what the transaction saw, and numbered its changes after, may then be forgotten.
    fn stage<E>(&self, changes: Vec<Event>, begun: u64) -> Result<Staged, WriteError<E>> {
        let mut state = self.inner.shared.write();
        if let Some(failure) = &state.failed {
            return Err(WriteError::Log(failure.reason.clone()));
        }
        if state.life != begun {
            return Err(WriteError::Log(commit::FORGOTTEN.to_owned()));
        }
        let entry = |event: &Event| LogEntry { table: event.table, record: event.new.clone(), deleted: event.deleted };
        let entries = changes.iter().map(entry).collect();
        for event in changes {
            state.mvcc.stage(event);
        }
        let last = state.mvcc.head();
        Ok(Staged { entries, last, durable: last == state.mvcc.published(), life: state.life })
    }

    /// Tries a log again that found its disk full, now and then.
    async fn heal(&self) -> Result<(), String> {
        if self.inner.shared.read().failed.is_none() {
            return Ok(());
        }
        let patience = self.inner.shared.limits.retry_after;
        {
            let mut state = self.inner.shared.write();
            match &mut state.failed {
                None => return Ok(()),
                Some(failure) if failure.passes && failure.tried.elapsed() >= patience => {
                    failure.tried = std::time::Instant::now();
                }
                Some(failure) => return Err(failure.reason.clone()),
            }
        }
        let stopped = || "the log thread stopped; restart the server".to_owned();
        let (done, wait) = oneshot::channel();
        let Some(queue) = &self.inner.queue else { return Err(stopped()) };
        queue.send(Message::Retry(done)).await.map_err(|_| stopped())?;
        wait.await.map_err(|_| stopped())?
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
    life: u64,
}
