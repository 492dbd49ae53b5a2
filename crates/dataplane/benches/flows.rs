//! What ending UDP flows costs: `cargo bench -p mainstay-dataplane --bench flows`, as root. Prints one figure per line.
//!
//! Makes a network namespace of its own with a million tracked flows, of which 10,000 lead to an endpoint that leaves; and
//! two hosts on a node to count processor time per new flow. `nf_conntrack_max` is one value for all namespaces: it is
//! raised for the run and put back.

#[allow(dead_code, clippy::unwrap_used, reason = "shared with the kernel tests")]
#[path = "../../../tests/nft_kernel/elements.rs"]
mod elements;
#[allow(clippy::unwrap_used, reason = "a bench that cannot measure should end")]
#[path = "flows/measure.rs"]
mod measure;
#[allow(dead_code, clippy::unwrap_used, reason = "shared with the kernel tests")]
#[path = "../../../tests/nft_kernel/topology.rs"]
mod topology;

fn main() {
    measure::run();
}
