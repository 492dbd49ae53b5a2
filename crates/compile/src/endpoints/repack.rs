//! Turns ports, each with the addresses it has, into the subsets of a canonical Endpoints object: ports that have the
//! same addresses go together.

use std::collections::BTreeMap;

/// Subsets by their ports: the addresses in order, each with whether it is ready there.
pub(super) type Subsets<P, A> = BTreeMap<Vec<P>, Vec<(A, bool)>>;

/// Groups ports by their addresses.
pub(super) fn repack<P: Ord, A: Ord>(by_port: BTreeMap<P, BTreeMap<A, bool>>) -> Subsets<P, A> {
    let mut by_addresses: BTreeMap<Vec<(A, bool)>, Vec<P>> = BTreeMap::new();
    for (port, addresses) in by_port {
        by_addresses.entry(addresses.into_iter().collect()).or_default().push(port);
    }
    by_addresses.into_iter().map(|(addresses, ports)| (ports, addresses)).collect()
}
