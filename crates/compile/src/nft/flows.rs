//! What one UDP Service port held and holds in, which of its flows must end out.
//!
//! The rule is kube-proxy's (pkg/proxy/conntrack), per changed port instead of over everything, and with deleted and
//! emptied Services included: a flow through a frontend stays only as long as it leads to an endpoint that serves there.
//! Traffic policies, topology and termination end no flow. TCP and SCTP flows end by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::held::{Held, Place};
use super::state::{SetName, Value};
use super::words::{self, IDENTITY_OURS, ServiceId};
use crate::service_table::Backend;
use crate::snapshot::Protocol;

/// In the IP header.
const UDP: u8 = 17;

/// Where the first packet of a flow was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Port, in host order.
    pub port: u16,
    /// IPv4, or IPv6.
    pub v4: bool,
    /// Address; none for a node port, which is one on every address of the node.
    pub address: Option<IpAddr>,
}

/// What becomes of the UDP flows of one Service port once a batch is committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flush {
    /// Identities (conntrack mark bits 0..22, i.e. 0x400000 | id) of endpoints that left: their flows end.
    pub left: Vec<u32>,
    /// Frontends of this port, before or after. Flows without identity through them end unless they lead to `serving`.
    pub frontends: Vec<Target>,
    /// Frontends that the port no longer holds: whoever holds them now says which flows stay, else all end.
    pub closed: Vec<Target>,
    /// Frontends that the port did not hold before: flows through them end unless they lead to `serving`, also those that
    /// were never translated.
    pub opened: Vec<Target>,
    /// Endpoints that keep their flows, with their identities (as in `left`; 0x400000 alone: none).
    pub serving: Vec<(Backend, u32)>,
}

impl Flush {
    /// An endpoint's identity, and nothing else, left.
    pub fn left(identity: u32) -> Self {
        Self { left: vec![identity], ..Self::default() }
    }

    /// True if no flow can be concerned.
    pub fn is_empty(&self) -> bool {
        self.left.is_empty() && self.closed.is_empty() && self.opened.is_empty()
    }
}

/// The UDP frontends among elements.
pub(super) fn targets<'a>(elements: impl IntoIterator<Item = &'a Place>) -> BTreeSet<Target> {
    elements.into_iter().filter_map(target).collect()
}

/// The UDP frontends of a record as it was. One that was recovered does not know them, but the elements do.
pub(super) fn held_before(held: &Held, elements: &BTreeMap<Place, Value>) -> BTreeSet<Target> {
    if held.key.protocol != Protocol::Udp {
        return BTreeSet::new();
    }
    if !held.frontends.is_empty() {
        return held_now(held);
    }
    let own = |value: &Value| words::word(value).and_then(ServiceId::of) == Some(held.id);
    targets(elements.iter().filter(|(_, value)| own(value)).map(|(place, _)| place))
}

fn held_now(held: &Held) -> BTreeSet<Target> {
    let places: Vec<Place> = held.frontends.iter().map(|frontend| super::held::place(frontend, held.key)).collect();
    targets(&places)
}

fn target((set, key): &Place) -> Option<Target> {
    let (v4, width) = match set {
        SetName::Front4 => (true, 4),
        SetName::Front6 => (false, 16),
        SetName::Nodeport4 => (true, 0),
        SetName::Nodeport6 => (false, 0),
        _ => return None,
    };
    let (address, transport) = key.split_at_checked(width)?;
    let address = match width {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(address).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(address).ok()?)),
        _ => None,
    };
    let &[UDP, _, _, _, high, low, ..] = transport else { return None };
    Some(Target { port: u16::from_be_bytes([high, low]), v4, address })
}

/// The difference of one port between what it held (frontends, identities that left) and its record now (none: it is gone).
pub(super) fn flush(before: &BTreeSet<Target>, left: Vec<u32>, now: Option<&Held>) -> Flush {
    let after = now.filter(|held| held.key.protocol == Protocol::Udp).map_or_else(BTreeSet::new, held_now);
    let closed: Vec<Target> = before.difference(&after).copied().collect();
    let opened: Vec<Target> = after.difference(before).copied().collect();
    if left.is_empty() && closed.is_empty() && opened.is_empty() {
        return Flush::default();
    }
    let endpoints = now.into_iter().flat_map(|held| &held.endpoints);
    Flush {
        left,
        frontends: before.union(&after).copied().collect(),
        closed,
        opened,
        serving: endpoints.map(|(backend, numbered)| (*backend, IDENTITY_OURS | numbered.identity)).collect(),
    }
}
