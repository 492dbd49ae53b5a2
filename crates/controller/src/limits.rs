//! The bounds of every queue, batch and loop of this crate, in one place.

use std::time::Duration;

/// Most watch steps taken in before a snapshot is published.
pub const WATCH_BATCH: usize = 1_024;
/// Services whose slices are written at the same time.
pub const SERVICES_AT_ONCE: usize = 32;
/// Deployments, ReplicaSets, namespaces, bindings or garbage looked at at the same time.
pub const OBJECTS_AT_ONCE: usize = 16;
/// Writes of one decision that are under way at the same time.
pub const WRITES_AT_ONCE: usize = 16;
/// Rounds of listing and deleting before a namespace waits for the next change.
pub const NAMESPACE_ROUNDS: usize = 8;
/// Events waiting to be written; more are dropped and counted.
pub const EVENTS_WAITING: usize = 4_096;
/// First pause after a failure.
pub const RETRY_FIRST: Duration = Duration::from_millis(10);
/// Longest pause after failures.
pub const RETRY_MOST: Duration = Duration::from_secs(30);
/// How often the node renews its Lease.
pub const LEASE_RENEW: Duration = Duration::from_secs(10);
/// For how long a Lease holds.
pub const LEASE_SECONDS: u64 = 40;
/// Every how many renewals the node status is refreshed although nothing changed.
pub const RENEWALS_PER_STATUS: u64 = 30;
/// How long a server may take to accept a connection.
pub const CONNECT: Duration = Duration::from_secs(5);
/// How long a server may take to begin an answer, or to end one that is not a watch.
pub const ANSWER: Duration = Duration::from_secs(30);
/// A watch that brings nothing for so long, not even a bookmark (kube-apiserver sends one a minute), is taken up again.
pub const SILENCE: Duration = Duration::from_secs(90);
/// For how long a lost watch is tried to be taken up where it ended before everything is listed again.
pub const RESUME: Duration = Duration::from_secs(5);
/// Longest pause between these attempts.
pub const RESUME_PAUSE: Duration = Duration::from_secs(1);
/// A watch is asked to end after this time and up to twice as long, as client-go does.
pub const WATCH_SECONDS: u64 = 300;
/// Longest line of a watch: etcd takes no object of more than some mebibytes.
pub const LINE_BYTES: usize = 16 << 20;
/// So much of a refusal is read.
pub const REFUSAL_BYTES: usize = 1 << 20;
/// Objects of one page of a list.
pub const PAGE: usize = 500;
/// Events about a node that are written at once, before the rate below holds.
pub const NODE_EVENTS_BURST: u32 = 25;
/// After that, one Event per so long, as client-go does.
pub const NODE_EVENT_EVERY: Duration = Duration::from_secs(300);
/// The same words about the same object are not said again for so long.
pub const NODE_EVENT_SAME: Duration = Duration::from_secs(600);
/// Words remembered for that.
pub const NODE_EVENTS_KNOWN: usize = 256;
