//! The store: objects as bytes at revisions, watchable from any kept revision, over a durable log.
//!
//! Interface first: the bodies are being written.

use std::sync::Arc;

use api::object::{ObjectKey, Revision};
use bytes::Bytes;

/// One version of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Revision of this version.
    pub revision: Revision,
    /// Revision at which the object was created.
    pub created: Revision,
    /// The object as the API shows it.
    pub body: Bytes,
}

/// A change, as watchers see it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Revision of the change.
    pub revision: Revision,
    /// Table (`services`, `deployments.apps`, ...).
    pub table: &'static str,
    /// Version before, if the object existed.
    pub old: Option<Arc<Record>>,
    /// Version after; for a deletion the last state as it is to be shown (its revision is that of the deletion).
    pub new: Arc<Record>,
    /// Whether the object is gone.
    pub deleted: bool,
}

/// Part of a table.
#[derive(Clone, Debug, Default)]
pub struct Range {
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Only keys after this one (for chunks).
    pub after: Option<ObjectKey>,
    /// At most so many records; none means all.
    pub limit: Option<usize>,
}

/// Records read at one revision.
#[derive(Clone, Debug)]
pub struct Page {
    /// The revision read at.
    pub revision: Revision,
    /// Records in key order.
    pub records: Vec<Arc<Record>>,
    /// How many more records the range holds beyond `limit`.
    pub remaining: usize,
}

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
    /// The log failed (disk full, I/O error). Nothing that was not acknowledged before is promised; the store only
    /// reads from now on, until it is opened again.
    #[error("the log failed: {0}")]
    Log(String),
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {}

/// A write in progress. Sees every earlier write, acknowledged or not.
pub struct Txn<'a> {
    _store: &'a mut (),
}

/// A running watch over some tables.
pub struct Watch {}

impl Store {
    /// The newest acknowledged (durable) revision.
    pub fn revision(&self) -> Revision {
        todo!()
    }

    /// One object, now or at a kept revision.
    pub fn get(&self, _table: &str, _key: &ObjectKey, _at: Option<Revision>) -> Result<Option<Arc<Record>>, ReadError> {
        todo!()
    }

    /// A part of a table, now or at a kept revision.
    pub fn list(&self, _table: &str, _range: &Range, _at: Option<Revision>) -> Result<Page, ReadError> {
        todo!()
    }

    /// Changes of `tables` (all tables when empty) strictly after `from`.
    pub fn watch(&self, _tables: &[&'static str], _from: Revision) -> Result<Watch, ReadError> {
        todo!()
    }

    /// Runs `change` alone, with every earlier write visible; when it returns Ok, its puts and deletes get one
    /// revision each (in order), are made durable, published to readers and watchers, then acknowledged. When it
    /// returns Err, or changed nothing, nothing is written. The returned revision is the last one used (or the
    /// current one).
    pub async fn write<T, E>(
        &self,
        _change: impl FnOnce(&mut Txn<'_>) -> Result<T, E> + Send,
    ) -> Result<(T, Revision), WriteError<E>> {
        todo!()
    }
}

impl Txn<'_> {
    /// The revision that the next put or delete of this transaction gets.
    pub fn next_revision(&self) -> Revision {
        todo!()
    }

    /// One object.
    pub fn get(&self, _table: &str, _key: &ObjectKey) -> Option<Arc<Record>> {
        todo!()
    }

    /// All objects of a table (of one namespace, if given), in key order.
    pub fn scan(&self, _table: &str, _namespace: Option<&str>) -> Vec<Arc<Record>> {
        todo!()
    }

    /// Creates or replaces; `body` must already carry `next_revision()` as its resourceVersion.
    pub fn put(&mut self, _table: &'static str, _key: ObjectKey, _body: Bytes) {
        todo!()
    }

    /// Deletes; `last` is the final state watchers are shown (carrying `next_revision()`).
    pub fn delete(&mut self, _table: &'static str, _key: &ObjectKey, _last: Bytes) {
        todo!()
    }
}

impl Watch {
    /// The next changes, in revision order, with the revision up to which everything (of any table) has been seen:
    /// waits until the store has moved on, and may return no events when only other tables changed. An error when the
    /// watcher fell behind what is kept.
    pub async fn next(&mut self) -> Result<(Vec<Event>, Revision), ReadError> {
        todo!()
    }
}
