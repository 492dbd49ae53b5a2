//! A compact record of one Service port as the kernel holds it, and the elements it stands for.
//!
//! Elements are generated from records whenever two are compared, so that memory is paid per endpoint, not per element.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::balance::ring::HOLE;
use super::rules::balance::{ring_code, table_code};
use super::rules::bits::{PICK_DROP, PICK_FIRST, PICK_REFUSE, PICK_SPECIAL};
use super::rules::{TIMEOUTS, pick_classes};
use super::state::{Element, Key, SetName, Value};
use super::words::{self, IDENTITY_OURS, Policy, ServiceId, protocol_number};
use crate::allocate::Cidr;
use crate::balance::HashOn;
use crate::service_table::{Address, Backend, Frontend, Masquerade, PortEntry, PortKey};
use crate::snapshot::{Family, Protocol};

/// Numbers of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    /// Within the Service port, for E.
    pub(super) number: u16,
    /// Across all Services, for the conntrack mark.
    pub(super) identity: u32,
}

/// How an endpoint of a set is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    /// A random slot.
    #[default]
    Random,
    /// The next slot of a ring, which may have holes.
    Ring {
        /// Which size.
        class: u8,
        /// Which of the rules that count for one set each.
        lane: u8,
    },
    /// The slot that a hash of the client says.
    Table(HashOn),
}

/// An endpoint set: which slot names which endpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Chosen {
    /// Endpoint numbers in slot order, 0 for holes; a number may stand there several times.
    pub(super) order: Vec<u16>,
    pub(super) way: Way,
}

impl Chosen {
    /// Chosen from at random.
    pub(super) fn random(order: Vec<u16>) -> Self {
        Self { order, way: Way::Random }
    }

    /// Code of the algorithm, for sets that `special` has.
    fn special(&self) -> Option<u32> {
        match self.way {
            Way::Random => None,
            Way::Ring { class, lane } => Some(ring_code(class, lane)),
            Way::Table(on) => Some(table_code(on)),
        }
    }
}

/// One Service port in one family.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) id: ServiceId,
    pub(super) key: PortKey,
    pub(super) frontends: Vec<Frontend>,
    /// Chosen or still serving.
    pub(super) endpoints: BTreeMap<Backend, Numbered>,
    pub(super) cluster: Chosen,
    pub(super) local: Option<Chosen>,
    pub(super) timeout_class: u32,
    /// Where the next endpoint number is looked for.
    pub(super) next_number: u16,
}

/// Set, key: where an element lives.
pub(super) type Place = (SetName, Key);

impl Held {
    /// The elements of this record, by place.
    pub(super) fn elements(&self) -> BTreeMap<Place, Value> {
        let mut elements = BTreeMap::new();
        for frontend in &self.frontends {
            elements.insert(place(frontend, self.key), words::bytes(self.id.frontend(policy(frontend))));
            for (set, key) in allowed(frontend, self.key.protocol) {
                elements.insert((set, key), Value::default());
            }
        }
        self.set_elements(false, &self.cluster, &mut elements);
        if let Some(local) = &self.local {
            self.set_elements(true, local, &mut elements);
        }
        for (backend, numbered) in &self.endpoints {
            let word = words::bytes(self.id.endpoint(numbered.number));
            elements.insert((SetName::CtIds, word.clone()), words::bytes(IDENTITY_OURS | numbered.identity));
            let set = if self.key.family == Family::V4 { SetName::Ep4 } else { SetName::Ep6 };
            elements.insert((set, word), target(*backend));
        }
        elements
    }

    fn set_elements(&self, local: bool, chosen: &Chosen, elements: &mut BTreeMap<Place, Value>) {
        let special = chosen.special();
        let pick = match (chosen.order.len(), local) {
            (0, true) if !self.cluster.order.is_empty() => PICK_DROP,
            (0, _) => PICK_REFUSE,
            (count, _) if special.is_none() => pick_class(count),
            _ => PICK_SPECIAL,
        };
        if let Some(code) = special {
            let set = self.id.set(local);
            elements.insert((SetName::Special, words::bytes(set)), words::bytes(set | code));
        }
        let choice = self.id.choice(local, self.timeout_class, pick);
        let set = if local { SetName::SetLocal } else { SetName::SetCluster };
        elements.insert((set, words::bytes(self.id.word())), words::bytes(choice));
        let members = if local { SetName::MembersLocal } else { SetName::MembersCluster };
        for (slot, number) in (0_u32..).zip(&chosen.order).filter(|(_, number)| **number != HOLE) {
            let endpoint = words::bytes(self.id.endpoint(*number));
            let key: Vec<u8> = [self.id.set(local).to_ne_bytes(), slot.to_ne_bytes()].concat();
            elements.insert((SetName::Slots, key.into()), endpoint.clone());
            if self.timeout_class != 0 {
                elements.insert((members, endpoint), Value::default());
            }
        }
    }
}

/// The smallest class whose ladder serves `count` endpoints.
pub(super) fn pick_class(count: usize) -> u32 {
    let classes = pick_classes();
    let index = classes.partition_point(|class| (*class as usize) < count);
    index.min(classes.len() - 1) as u32 + PICK_FIRST
}

/// The class of a timeout, rounded up to the next that there is; 0 without affinity.
pub(super) fn timeout_class(entry: &PortEntry) -> u32 {
    let Some(seconds) = entry.affinity_seconds else { return 0 };
    let index = TIMEOUTS.partition_point(|timeout| *timeout < seconds);
    index.min(TIMEOUTS.len() - 1) as u32 + 1
}

/// For how long clients are remembered; none without affinity.
pub(super) fn kept_seconds(entry: &PortEntry) -> Option<u32> {
    let index = timeout_class(entry).checked_sub(1)?;
    TIMEOUTS.get(index as usize).copied()
}

fn policy(frontend: &Frontend) -> Policy {
    Policy {
        cluster_ip: matches!(frontend.address, Address::Cluster(_)),
        local: frontend.local,
        masquerade: frontend.masquerade == Masquerade::Always,
        direct: frontend.masquerade == Masquerade::Never,
        ranges: frontend.sources.is_some(),
    }
}

/// Where the element of a frontend lives.
pub(super) fn place(frontend: &Frontend, key: PortKey) -> Place {
    let port = transport(key.protocol, frontend.port);
    match frontend.address {
        Address::Cluster(address) | Address::LoadBalancer(address) => {
            let set = if address.is_ipv4() { SetName::Front4 } else { SetName::Front6 };
            (set, [octets(address), port].concat().into())
        }
        Address::Node => {
            let set = if key.family == Family::V4 { SetName::Nodeport4 } else { SetName::Nodeport6 };
            (set, port.into())
        }
    }
}

fn allowed(frontend: &Frontend, protocol: Protocol) -> Vec<Place> {
    let (Address::LoadBalancer(address), Some(sources)) = (frontend.address, &frontend.sources) else {
        return Vec::new();
    };
    let set = if address.is_ipv4() { SetName::LbAllow4 } else { SetName::LbAllow6 };
    let head = [octets(address), transport(protocol, frontend.port)].concat();
    let key = |range: &Cidr| {
        let (first, last) = bounds(range);
        [head.clone(), octets(first), head.clone(), octets(last)].concat().into()
    };
    sources.iter().map(|range| (set, key(range))).collect()
}

/// First and last address of a range.
pub(super) fn bounds(range: &Cidr) -> (IpAddr, IpAddr) {
    match range.network {
        IpAddr::V4(network) => {
            let hosts = u32::MAX.checked_shr(range.prefix.into()).unwrap_or(0);
            let first = u32::from(network) & !hosts;
            (IpAddr::V4(first.into()), IpAddr::V4((first | hosts).into()))
        }
        IpAddr::V6(network) => {
            let hosts = u128::MAX.checked_shr(range.prefix.into()).unwrap_or(0);
            let first = u128::from(network) & !hosts;
            (IpAddr::V6(first.into()), IpAddr::V6((first | hosts).into()))
        }
    }
}

/// Protocol (one byte, padded to four) and port (two bytes in network order, padded to four).
fn transport(protocol: Protocol, port: u16) -> Vec<u8> {
    let port = port.to_be_bytes();
    vec![protocol_number(protocol), 0, 0, 0, port[0], port[1], 0, 0]
}

/// Address and port of an endpoint as the value of `ep4` and `ep6`.
fn target(backend: Backend) -> Value {
    let port = backend.port.to_be_bytes();
    [octets(backend.address), vec![port[0], port[1], 0, 0]].concat().into()
}

/// The endpoint a value of `ep4` or `ep6` names.
pub(super) fn backend_of(value: &[u8]) -> Option<Backend> {
    let (address, port) = value.split_at_checked(value.len().checked_sub(4)?)?;
    let address = match address.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        _ => return None,
    };
    Some(Backend { address, port: u16::from_be_bytes([port[0], port[1]]) })
}

/// An address in network order.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// An element to add.
pub(super) fn element((set, key): Place, value: Value) -> Element {
    Element { set, key, value }
}
