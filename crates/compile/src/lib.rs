//! Snapshot in, desired state out: what every sink (kernel maps, DNS zone, API objects, statuses) should hold.
//!
//! Pure: no clock, randomness, I/O, async or hash-ordered containers. Start reading at [`snapshot`].

pub mod allocate;
pub mod drain;
pub mod nft;
pub mod service_table;
pub mod snapshot;
pub mod topology;
