//! The durable side of the store: a batch of changes in, the newest state out.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use api::object::Revision;

use crate::Record;
use crate::body::Packer;
use crate::log::redb::Findings;

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
    /// The newest state, its bodies packed. Called once, before anything is appended.
    fn load(&mut self, packer: &Packer) -> io::Result<Loaded>;

    /// Appends changes with consecutive revisions; all of them are durable when it returns, and after a crash in the
    /// middle either all or none are there. After an error nothing more is appended until `reopen` succeeded.
    fn append(&mut self, batch: &[LogEntry]) -> io::Result<()>;

    /// Makes a log usable again whose append failed without harm to what was durable before (a full disk). Returns the
    /// revision at which it is: the last one acknowledged, or that of the failed batch if it became durable after all.
    fn reopen(&mut self) -> io::Result<Revision> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Verifies what is durable, without changing it.
    fn examine(&mut self) -> io::Result<Findings> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
