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
