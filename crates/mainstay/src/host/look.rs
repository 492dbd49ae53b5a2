//! The host's network as the kernel tells it: links, addresses and routes.

use std::net::IpAddr;

use anyhow::{Context, Result};
use kernel::nl::route::{Address, Link, Route, Rtnetlink};

use super::neighbours::is_link;

/// What there is now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    /// Links.
    pub(crate) links: Vec<Link>,
    /// Their addresses.
    pub(crate) addresses: Vec<Address>,
    /// Unicast routes of all tables.
    pub(crate) routes: Vec<Route>,
}

/// Number of the main routing table.
const MAIN: u32 = 254;
/// Number of the table of the host's own addresses.
const LOCAL: u32 = 255;

impl Look {
    /// Looks in the calling thread's network namespace.
    pub(crate) fn now() -> Result<Self> {
        let look = || -> kernel::nl::Result<Self> {
            let mut netlink = Rtnetlink::open()?;
            Ok(Self { links: netlink.links()?, addresses: netlink.addresses()?, routes: netlink.routes()? })
        };
        look().context("cannot read the host's links, addresses and routes")
    }

    /// Name of a link.
    pub(crate) fn name(&self, index: u32) -> &str {
        self.links.iter().find(|link| link.index == index).map_or("", |link| link.name.as_str())
    }

    /// Routes of the main table.
    pub(crate) fn main_routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(|route| route.table == MAIN)
    }

    /// Links that lead anywhere, of all tables: split tunnels and second cards have routes, too.
    pub(crate) fn uplinks(&self, v4: bool) -> impl Iterator<Item = &str> {
        let leads = move |route: &&Route| {
            let link_local = match route.destination {
                IpAddr::V4(four) => four.is_link_local() && route.prefix_len >= 16,
                IpAddr::V6(six) => six.is_unicast_link_local() && route.prefix_len >= 10,
            };
            let far = !link_local && !route.destination.is_multicast();
            route.table != LOCAL && route.destination.is_ipv4() == v4 && far
        };
        let names = self.routes.iter().filter(leads).filter_map(|route| route.index).map(|index| self.name(index));
        names.filter(|name| !pods::network::is_interface(name) && !is_link(name))
    }

    /// Default routes of a family, the preferred one first.
    pub(crate) fn defaults(&self, v4: bool) -> Vec<&Route> {
        let mut all: Vec<_> =
            self.main_routes().filter(|route| route.prefix_len == 0 && route.destination.is_ipv4() == v4).collect();
        all.sort_by_key(|route| route.metric);
        all
    }

    /// Whether a link is the near end of a pod's.
    pub(crate) fn is_pod_link(&self, index: u32) -> bool {
        pods::network::is_interface(self.name(index))
    }
}
