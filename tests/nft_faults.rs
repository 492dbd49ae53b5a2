//! The dataplane under faults: random histories in memory and in a real kernel, damage by others, and rules that change
//! hands under traffic.
//!
//! The parts in a real kernel need root (or `unshare -Urn`) and, as the other program, `nft`; without them they fail.

#[path = "nft_faults/damage.rs"]
mod damage;

#[path = "nft_faults/histories.rs"]
#[expect(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
mod histories;

#[path = "nft_faults/judge.rs"]
mod judge;

#[path = "property_nft/kernel.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with property_nft, which uses all of it")]
mod kernel_data;

#[path = "nft_faults/node.rs"]
#[expect(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
mod node;

#[path = "nft_faults/real.rs"]
#[expect(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
mod real;

#[path = "property_nft/reference.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with property_nft, which uses all of it")]
mod reference;

#[path = "nft_faults/swap.rs"]
#[expect(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
mod swap;

#[path = "nft_kernel/topology.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with nft_kernel, which uses all of it")]
mod topology;

#[path = "property_nft/world.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "shared with property_nft, which uses all of it")]
mod world;
