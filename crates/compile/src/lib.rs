//! Snapshot in, desired state out: what every sink (kernel maps, DNS zone, API objects, statuses) should hold.
//!
//! Pure: no clock, randomness, I/O, async or hash-ordered containers. Start reading at [`snapshot`].

pub mod allocate;
pub mod balance;
pub mod diagnose;
pub mod drain;
pub mod endpoints;
pub mod garbage;
pub mod health_check;
pub mod load_balancer;
pub mod namespaces;
pub mod nft;
pub mod schedule;
pub mod service_table;
pub mod snapshot;
pub mod topology;
pub mod workloads;
pub mod write;
pub mod zone;
