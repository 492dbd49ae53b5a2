//! The durable side of the store: a batch of changes in, the newest state out.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use api::object::Revision;

use crate::Record;

pub mod faulty;
pub mod memory;
pub mod redb;

/// One change for the log.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// Table of the object.
    pub table: &'static str,
    /// Its version after the change (for a deletion: the last state).
    pub record: Arc<Record>,
    /// Whether the object is gone.
    pub deleted: bool,
}

/// What a log held when it was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// Revision of the last change appended, which may be the deletion of an object.
    pub revision: Revision,
    /// Live objects by table, in key order.
    pub tables: BTreeMap<String, Vec<Record>>,
}

/// Keeps changes. Used by one thread.
pub trait Log: Send + 'static {
    /// The newest state. Called once, before anything is appended.
    fn load(&mut self) -> io::Result<Loaded>;

    /// Appends changes with consecutive revisions; all of them are durable when it returns, and after a crash in the
    /// middle either all or none are there. After an error nothing more is appended.
    fn append(&mut self, batch: &[LogEntry]) -> io::Result<()>;
}
