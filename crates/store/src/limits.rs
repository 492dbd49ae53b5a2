//! Every bound of the store in one place: what is kept, queued and handed out at once.

/// Bounds of one store. `Limits::default()` suits a server; tests shrink them to reach the edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Changes kept for watches and for reads in the past; older ones are compacted.
    pub history_events: usize,
    /// Bytes that the kept changes may hold beyond the live objects (replaced and deleted bodies).
    pub history_bytes: usize,
    /// Writes that may wait for the log at once; the next writer waits its turn before its closure runs.
    pub pending_writes: usize,
    /// Bytes after which the log thread closes a batch; a single larger write still goes through, alone.
    pub batch_bytes: usize,
    /// Changes that one `Watch::next` hands out at most.
    pub watch_events: usize,
    /// Time after which a log that found its disk full is tried again.
    pub retry_after: std::time::Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            history_events: 50_000,
            history_bytes: 16 << 20,
            pending_writes: 4096,
            batch_bytes: 16 << 20,
            watch_events: 1024,
            retry_after: std::time::Duration::from_secs(1),
        }
    }
}

/// What a kept change costs besides bodies: the event, its two shared pointers and a version slot.
pub(crate) const EVENT_BYTES: usize = 192;

/// Memory that redb may use for pages: reads are served by ours, so only the upper part of its tree is worth keeping.
pub(crate) const LOG_CACHE_BYTES: usize = 4 << 20;

/// Bodies shorter than this are kept as they are.
pub(crate) const PACK_LEAST_BYTES: usize = 160;
/// Bytes of one body that go into a dictionary.
pub(crate) const PACK_SAMPLE_BYTES: usize = 4 << 10;
/// Longest dictionary of a table.
pub(crate) const PACK_DICTIONARY_BYTES: usize = 16 << 10;
/// Dictionaries that one table makes at most.
pub(crate) const PACK_DICTIONARIES: usize = 16;
