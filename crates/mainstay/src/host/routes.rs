//! Routes to the cluster's virtual networks: over `lo`, with the node's own address as the source.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context, Result};
use compile::allocate::Cidr;
use kernel::nl::route::Rtnetlink;

use super::ledger::{Change, Ledger};
use super::look::Look;
use super::{Host, LO};
use crate::config::Network;
use crate::run::network::service_route;

/// Routes of the configured ranges and pools that are not there.
pub(super) fn missing(network: &Network, look: &Look) -> Vec<Change> {
    let there = |cidr: &Cidr| {
        let mut routes = look.main_routes();
        routes.any(|route| {
            (route.destination, route.prefix_len) == (cidr.network, cidr.prefix)
                && route.index.is_some_and(|index| look.name(index) == LO)
        })
    };
    let all = configured(network).into_iter().filter(|cidr| !there(cidr));
    all.map(|cidr| change(network, cidr.network, cidr.prefix)).collect()
}

fn configured(network: &Network) -> Vec<Cidr> {
    [&network.service_cidrs[..], &network.pools.cidrs()].concat()
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
    /// Makes the routes to added Service networks those of `wanted`, as (first address, bits).
    pub(crate) fn route_added(&self, wanted: &BTreeSet<(IpAddr, u8)>) -> Result<()> {
        let configured: BTreeSet<_> =
            configured(&self.network).iter().map(|cidr| (cidr.network, cidr.prefix)).collect();
        let noted: BTreeSet<(IpAddr, u8)> = self.ledger.changes().iter().filter_map(added).collect();
        for gone in noted.difference(wanted).filter(|route| !configured.contains(route)) {
            self.ledger.undo_one(&change(&self.network, gone.0, gone.1))?;
        }
        for new in wanted.difference(&noted) {
            add(&self.ledger, change(&self.network, new.0, new.1))?;
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
