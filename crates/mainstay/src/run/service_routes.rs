//! Snapshots in, routes to added Service networks out: without one the node's own packets to a Service address there
//! would fail before any rule sees them. The routes of the configured ranges are there from the start.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use compile::service_table::{self, outermost, service_networks};
use compile::snapshot::Snapshot;
use kernel::nl::route::Rtnetlink;
use tokio::sync::watch;

use super::network::{service_route, unless_there};
use crate::host::Host;

/// Keeps the routes until there are no more snapshots. Must run on a thread in the node's network.
pub(crate) async fn keep(
    config: service_table::Config,
    addresses: Vec<IpAddr>,
    mut latest: watch::Receiver<Arc<Snapshot>>,
    host: Option<Arc<Host>>,
) {
    // A host may still hold routes of an earlier server.
    let mut made = host.is_none().then(BTreeSet::new);
    loop {
        let snapshot = latest.borrow_and_update().clone();
        let wanted = added(&snapshot, &config);
        if made.as_ref() != Some(&wanted) {
            let done = match &host {
                Some(host) => host.route_added(&wanted),
                None => change(made.as_ref().unwrap_or(&BTreeSet::new()), &wanted, &addresses).map_err(Into::into),
            };
            match done {
                Ok(()) => made = Some(wanted),
                Err(error) => tracing::warn!(
                    error = format!("{error:#}"),
                    "routes to added Service networks could not be changed"
                ),
            }
        }
        if latest.changed().await.is_err() {
            return;
        }
    }
}

/// Networks beyond the configured ones, as (first address, prefix).
fn added(snapshot: &Snapshot, config: &service_table::Config) -> BTreeSet<(IpAddr, u8)> {
    let networks = outermost(&service_networks(snapshot, config)).into_iter();
    let configured = |network: &compile::allocate::Cidr| config.service_cidrs.iter().any(|cidr| cidr.covers(network));
    networks.filter(|network| !configured(network)).map(|network| (network.network, network.prefix)).collect()
}

fn change(
    made: &BTreeSet<(IpAddr, u8)>,
    wanted: &BTreeSet<(IpAddr, u8)>,
    addresses: &[IpAddr],
) -> kernel::nl::Result<()> {
    let mut netlink = Rtnetlink::open()?;
    let index = netlink.link_index("lo")?;
    for (network, prefix) in wanted.difference(made) {
        unless_there(netlink.route_add(&service_route(*network, *prefix, addresses, index)))?;
    }
    for (network, prefix) in made.difference(wanted) {
        netlink.route_delete(&service_route(*network, *prefix, addresses, index))?;
    }
    Ok(())
}
