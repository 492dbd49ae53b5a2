//! Routes.

use std::net::IpAddr;

use super::super::message::{CREATE, EXCLUSIVE, REPLACE, Writer};
use super::super::{Result, parse};
use super::address::scope_number;
use super::{Rtnetlink, Scope, family, octets};

const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const MAIN: u8 = 254;
const UNICAST: u8 = 1;
/// rtm_protocol of routes that an administrator (or we) made.
const BOOT: u8 = 3;
/// `RTNH_F_ONLINK`: the gateway is reachable although no route says so.
const ONLINK: u32 = 4;

/// A route to be added to the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewRoute {
    /// Destination network; an unspecified address with prefix 0 is the default route.
    pub destination: IpAddr,
    /// Bits of the destination.
    pub prefix_len: u8,
    /// Next hop; None: directly on the link.
    pub gateway: Option<IpAddr>,
    /// Device; None: the kernel derives it from the gateway.
    pub index: Option<u32>,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// Take the gateway as reachable on the device.
    pub onlink: bool,
    /// Scope; [`Scope::Link`] for destinations directly on the link.
    pub scope: Scope,
}

impl NewRoute {
    /// A destination directly on a device.
    pub fn direct(destination: IpAddr, prefix_len: u8, index: u32) -> Self {
        let scope = Scope::Link;
        Self { destination, prefix_len, gateway: None, index: Some(index), source: None, onlink: false, scope }
    }

    /// The default route through a gateway that no other route has to reach.
    pub fn default_via(gateway: IpAddr, index: u32) -> Self {
        let destination = match gateway {
            IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let (gateway, index) = (Some(gateway), Some(index));
        Self { destination, prefix_len: 0, gateway, index, source: None, onlink: true, scope: Scope::Global }
    }
}

/// A unicast route that the kernel holds; one with several next hops counts once for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Destination network; unspecified for the default route.
    pub destination: IpAddr,
    /// Bits of the destination.
    pub prefix_len: u8,
    /// Next hop.
    pub gateway: Option<IpAddr>,
    /// Device.
    pub index: Option<u32>,
    /// Table (254 is main, 255 local).
    pub table: u32,
    /// Who made it (2 the kernel, 3 boot or us, 4 an administrator).
    pub protocol: u8,
    /// The route with the smallest one is used.
    pub metric: u32,
    /// Preferred source address.
    pub source: Option<IpAddr>,
}

impl Rtnetlink {
    /// Adds a route; one that exists gives an error with [`super::super::Error::already_exists`].
    pub fn route_add(&mut self, route: &NewRoute) -> Result<()> {
        self.route_write("add", CREATE | EXCLUSIVE, route)
    }

    /// Adds a route or replaces the one to the same destination.
    pub fn route_replace(&mut self, route: &NewRoute) -> Result<()> {
        self.route_write("replace", CREATE | REPLACE, route)
    }

    /// Deletes a route that was added as `route`.
    pub fn route_delete(&mut self, route: &NewRoute) -> Result<()> {
        let message = Writer::request(DELETE_ROUTE, 0, &header(route), |w| attributes(w, route));
        self.request(&format!("delete route {}/{}", route.destination, route.prefix_len), message)
    }

    /// Every unicast route of the namespace, both families, all tables.
    pub fn routes(&mut self) -> Result<Vec<Route>> {
        let mut out = Vec::new();
        for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
            let mut fixed = [0; 12];
            fixed[0] = family;
            let replies = self.dump("list routes", GET_ROUTE, &fixed)?;
            out.extend(replies.iter().flat_map(|reply| routes(&reply.payload)));
        }
        Ok(out)
    }

    /// The route that a packet of this namespace to `address` would take; None if it has none.
    pub fn route_to(&mut self, address: IpAddr) -> Result<Option<Route>> {
        let mut fixed = [0; 12];
        fixed[0] = family(&address);
        fixed[1] = if address.is_ipv4() { 32 } else { 128 };
        let message = Writer::request(GET_ROUTE, 0, &fixed, |w| w.attribute(RTA_DST, &octets(&address)));
        match self.socket.query(&format!("look up the route to {address}"), message) {
            Err(error) if matches!(error.errno(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ESRCH)) => {
                Ok(None)
            }
            other => Ok(other?.iter().flat_map(|reply| routes(&reply.payload)).next()),
        }
    }

    fn route_write(&mut self, verb: &str, flags: u16, route: &NewRoute) -> Result<()> {
        let message = Writer::request(NEW_ROUTE, flags, &header(route), |w| attributes(w, route));
        self.request(&format!("{verb} route {}/{}", route.destination, route.prefix_len), message)
    }
}

/// struct rtmsg.
fn header(route: &NewRoute) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[0] = family(&route.destination);
    bytes[1] = route.prefix_len;
    bytes[4] = MAIN;
    bytes[5] = BOOT;
    bytes[6] = scope_number(route.scope);
    bytes[7] = UNICAST;
    bytes[8..12].copy_from_slice(&(if route.onlink { ONLINK } else { 0 }).to_ne_bytes());
    bytes
}

fn attributes(w: &mut Writer, route: &NewRoute) {
    if route.prefix_len > 0 {
        w.attribute(RTA_DST, &octets(&route.destination));
    }
    if let Some(gateway) = route.gateway {
        w.attribute(RTA_GATEWAY, &octets(&gateway));
    }
    if let Some(index) = route.index {
        w.host32(RTA_OIF, index);
    }
    if let Some(source) = route.source {
        w.attribute(RTA_PREFSRC, &octets(&source));
    }
}

/// A route for each of its next hops.
fn routes(payload: &[u8]) -> Vec<Route> {
    let Some(whole) = route(payload) else { return Vec::new() };
    let hops = payload.get(12..).and_then(|attributes| parse::find(attributes, RTA_MULTIPATH));
    let hops: Vec<Route> = hops.into_iter().flat_map(next_hops).map(|hop| with_hop(whole, hop)).collect();
    if hops.is_empty() { vec![whole] } else { hops }
}

fn with_hop(route: Route, (index, attributes): (u32, &[u8])) -> Route {
    let gateway = parse::find(attributes, RTA_GATEWAY).and_then(parse::address);
    Route { index: Some(index), gateway: gateway.or(route.gateway), ..route }
}

/// Devices and attributes of a list of struct rtnexthop: length, flags, hops, index; stops at the first malformed one.
fn next_hops(mut list: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(parse::host16(list)?);
        let hop = (parse::host32(list.get(4..)?)?, list.get(8..length)?);
        list = list.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(hop)
    })
}

fn route(payload: &[u8]) -> Option<Route> {
    if *payload.get(7)? != UNICAST {
        return None;
    }
    let attributes = payload.get(12..)?;
    let unspecified: IpAddr = match i32::from(*payload.first()?) {
        libc::AF_INET => std::net::Ipv4Addr::UNSPECIFIED.into(),
        libc::AF_INET6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let address = |kind| parse::find(attributes, kind).and_then(parse::address);
    Some(Route {
        destination: address(RTA_DST).unwrap_or(unspecified),
        prefix_len: *payload.get(1)?,
        gateway: address(RTA_GATEWAY),
        index: parse::find(attributes, RTA_OIF).and_then(parse::host32),
        table: parse::find(attributes, RTA_TABLE).and_then(parse::host32).unwrap_or(u32::from(*payload.get(4)?)),
        protocol: *payload.get(5)?,
        metric: parse::find(attributes, RTA_PRIORITY).and_then(parse::host32).unwrap_or(0),
        source: address(RTA_PREFSRC),
    })
}
