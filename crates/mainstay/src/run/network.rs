//! The node's own network inside a sandbox: its addresses on `lo`, the cluster DNS addresses, routes to the Services.

use std::net::IpAddr;

use anyhow::{Context, Result};
use kernel::nl::route::{NewAddress, NewRoute, Rtnetlink, Scope};

use crate::config::Network;

/// Whether a port that waits out its last connection may begin another one, where time stamps tell them apart. Of the
/// network of the thread that writes it.
const TIME_WAIT_REUSE: &str = "/proc/sys/net/ipv4/tcp_tw_reuse";

/// Sets up the network namespace of the calling thread. What is there already stays: the namespace may be adopted.
pub(crate) fn set_up(network: &Network) -> Result<()> {
    let mut netlink = Rtnetlink::open().context("cannot open a netlink socket in the sandbox")?;
    let index = netlink.link_index("lo").context("the sandbox has no lo")?;
    netlink.link_set_up(index, true).context("cannot set lo up")?;
    for address in network.node_addresses.iter().chain(&network.dns_addresses) {
        let prefix_len = if address.is_ipv4() { 32 } else { 128 };
        let new = NewAddress { index, address: *address, prefix_len, scope: Scope::Global };
        unless_there(netlink.address_add(&new)).with_context(|| format!("cannot add {address} to lo"))?;
    }
    // The relay of published ports is one client to every Service: used ports must be free again sooner than in a minute.
    if let Err(error) = std::fs::write(TIME_WAIT_REUSE, "1") {
        tracing::debug!(%error, setting = TIME_WAIT_REUSE, "left as it is: published ports take some hundred new clients a second");
    }
    // Without a route the node's own packets to a Service address would fail before any rule sees them.
    for cidr in network.service_cidrs.iter().chain(&network.pools.cidrs()) {
        let route = service_route(cidr.network, cidr.prefix, &network.node_addresses, index);
        unless_there(netlink.route_add(&route)).with_context(|| format!("cannot add a route to {}", cidr.network))?;
    }
    Ok(())
}

/// A route to a Service network: over `lo`, with the node's own address as the source.
pub(crate) fn service_route(network: IpAddr, prefix: u8, addresses: &[IpAddr], index: u32) -> NewRoute {
    let source = addresses.iter().find(|address| same_family(**address, network)).copied();
    NewRoute { source, ..NewRoute::direct(network, prefix, index) }
}

fn same_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

/// What is there already is as it should be.
pub(super) fn unless_there(result: kernel::nl::Result<()>) -> kernel::nl::Result<()> {
    match result {
        Err(error) if error.already_exists() => Ok(()),
        other => other,
    }
}
