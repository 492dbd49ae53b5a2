//! Routes to the cluster's virtual networks: over `lo`, with the node's own address as the source.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, Result};
use kernel::nl::route::Rtnetlink;

use super::ledger::{Change, Ledger};
use super::look::Look;
use super::{Host, LO};
use crate::config::Network;
use crate::run::network::service_route;

/// Routes of these ranges that are not there.
pub(super) fn missing(network: &Network, wanted: impl IntoIterator<Item = (IpAddr, u8)>, look: &Look) -> Vec<Change> {
    let there = |(address, prefix): &(IpAddr, u8)| {
        let mut routes = look.main_routes();
        routes.any(|route| {
            (route.destination, route.prefix_len) == (*address, *prefix)
                && route.index.is_some_and(|index| look.name(index) == LO)
        })
    };
    let all = wanted.into_iter().filter(|range| !there(range));
    all.map(|(address, prefix)| change(network, address, prefix)).collect()
}

/// The configured ranges and pools, as (first address, bits).
pub(super) fn configured(network: &Network) -> BTreeSet<(IpAddr, u8)> {
    let all = network.service_cidrs.iter().cloned().chain(network.pools.cidrs());
    all.map(|cidr| (cidr.network, cidr.prefix)).collect()
}

fn change(network: &Network, destination: IpAddr, prefix: u8) -> Change {
    let source = network.node_addresses.iter().find(|own| own.is_ipv4() == destination.is_ipv4()).copied();
    Change::Route { link: LO.to_owned(), network: destination, prefix, source }
}

/// Notes and adds a route.
pub(super) fn add(ledger: &Ledger, change: Change) -> Result<()> {
    let Change::Route { link, network, prefix, source } = &change else { return Ok(()) };
    let (link, network, prefix, sources) = (link.clone(), *network, *prefix, Vec::from_iter(*source));
    ledger.make(change, || {
        let add = || -> kernel::nl::Result<()> {
            let mut netlink = Rtnetlink::open()?;
            let index = netlink.link_index(&link)?;
            match netlink.route_add(&service_route(network, prefix, &sources, index)) {
                Err(error) if error.already_exists() => Ok(()),
                done => done,
            }
        };
        add().with_context(|| format!("cannot add a route to {network}/{prefix}"))
    })
}

impl Host {
    /// Makes the routes to added Service networks those of `wanted`, as (first address, bits). What is noted may never have
    /// been made, or be gone since: it only tells which routes are no longer wanted.
    pub(crate) fn route_added(&self, wanted: &BTreeSet<(IpAddr, u8)>) -> Result<()> {
        let closed = self.closed.lock().unwrap_or_else(|poison| poison.into_inner());
        if *closed {
            return Ok(());
        }
        self.added.lock().unwrap_or_else(|poison| poison.into_inner()).clone_from(wanted);
        let configured = configured(&self.network);
        let stays = |route: &(IpAddr, u8)| wanted.contains(route) || configured.contains(route);
        for gone in self.ledger.changes().iter().filter(|change| added(change).is_some_and(|route| !stays(&route))) {
            self.ledger.undo_one(gone)?;
        }
        for new in missing(&self.network, wanted.iter().copied(), &Look::now()?) {
            add(&self.ledger, new)?;
        }
        Ok(())
    }
}

fn added(change: &Change) -> Option<(IpAddr, u8)> {
    match change {
        Change::Route { link, network, prefix, .. } if link == LO => Some((*network, *prefix)),
        _ => None,
    }
}
