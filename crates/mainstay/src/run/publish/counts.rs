//! What the relay did, counted where it happens.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

/// Numbers since the start; those called `open` are of now.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// TCP connections that are relayed.
    pub(super) open: AtomicU64,
    /// TCP connections that were taken.
    pub(super) taken: AtomicU64,
    /// Those that could not be led on: nobody answered in the cluster.
    pub(super) unanswered: AtomicU64,
    /// How often a limit let connections wait.
    pub(super) waited: AtomicU64,
    /// Bytes from clients.
    pub(super) bytes_in: AtomicU64,
    /// Bytes to clients.
    pub(super) bytes_out: AtomicU64,
    /// UDP clients that are known.
    pub(super) udp_open: AtomicU64,
    /// UDP clients that were forgotten to make room.
    pub(super) udp_evicted: AtomicU64,
    /// Datagrams that were lost: a full queue, or nobody answered.
    pub(super) udp_dropped: AtomicU64,
}

/// One more.
pub(super) fn more(counter: &AtomicU64) {
    add(counter, 1);
}

/// So many more.
pub(super) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// Counts one while it lives.
pub(super) struct Living<'a>(&'a AtomicU64);

impl<'a> Living<'a> {
    /// Begins.
    pub(super) fn new(counter: &'a AtomicU64) -> Self {
        more(counter);
        Self(counter)
    }
}

impl Drop for Living<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counts {
    /// As JSON.
    pub(super) fn to_json(&self) -> Value {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        json!({
            "connectionsOpen": of(&self.open),
            "connections": of(&self.taken),
            "unanswered": of(&self.unanswered),
            "waited": of(&self.waited),
            "bytesIn": of(&self.bytes_in),
            "bytesOut": of(&self.bytes_out),
            "udpClientsOpen": of(&self.udp_open),
            "udpClientsEvicted": of(&self.udp_evicted),
            "datagramsDropped": of(&self.udp_dropped),
        })
    }
}
