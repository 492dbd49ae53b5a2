//! The vocabulary of reads and watches: versions of objects, changes, ranges, pages.

use std::sync::Arc;

use api::object::{ObjectKey, Revision};

use crate::Body;

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
    pub body: Body,
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

/// Every table with its records, in order.
pub type Tables = Vec<(String, Vec<Arc<Record>>)>;
