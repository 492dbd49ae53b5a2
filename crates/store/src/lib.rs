//! The store: objects as bytes at revisions, watchable from any kept revision, over a durable log.
//!
//! - [`Store`] is the door: reads at a revision, [`Store::watch`], [`Store::write`].
//! - `mvcc` is the pure part: versions per key, one ring of changes, compaction.
//! - `commit` is the one thread that makes writes durable, many per disk commit, and then publishes them.
//! - [`log`] is the durable side behind a trait: redb in a file, memory, and a disk that fails on purpose.
//!
//! Two revisions matter. `head` is the newest change that a writer made; `published` is the newest durable one. Readers
//! and watchers only ever see what is published, the next writer sees the head. One number per change, without holes.

mod body;
mod commit;
pub mod durable;
mod error;
mod failure;
pub mod limits;
pub mod log;
mod mvcc;
mod quiet;
mod record;
pub mod save;
mod store;
mod txn;
mod watch;

pub use body::{Body, Packer};
pub use error::{OpenError, ReadError, WriteError};
pub use limits::Limits;
pub use log::redb::Findings;
pub use log::{Loaded, Log, LogEntry};
pub use record::{Event, Page, Range, Record, Tables};
pub use store::Store;
pub use txn::Txn;
pub use watch::Watch;
