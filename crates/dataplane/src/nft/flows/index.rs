//! New UDP flows in, those of one endpoint or one frontend out, without a look at any other.
//!
//! A flow costs 12 bytes (IPv4; 24 for IPv6) and its share of a hash table. What ended stays until it is asked for or until
//! [`Index::next_group`] comes round to it; the kernel's id tells it from a later flow of the same addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Bound::{Excluded, Unbounded};

use kernel::nl::conntrack::{Flow, Tuple};

use super::{IDENTITY, OURS, UDP};

/// Where the first packet of a flow was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Destination {
    /// First, so that a node port's flows lie together.
    pub(super) port: u16,
    pub(super) address: IpAddr,
}

/// Flows that share endpoint and destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    /// Bits 0..22 of the mark; 0 where the mark says no endpoint.
    pub(super) identity: u32,
    pub(super) destination: Destination,
}

/// Senders and the kernel's ids of their flows.
#[derive(Clone, Debug)]
enum Sources {
    Four(HashMap<(Ipv4Addr, u16), u32>),
    Six(HashMap<(Ipv6Addr, u16), u32>),
}

/// A flow as it is asked of the kernel: original tuple and id.
pub(super) type Named = (Tuple, u32);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Index {
    groups: BTreeMap<Group, Sources>,
    by_destination: BTreeSet<(Destination, u32)>,
    count: usize,
    /// The group looked at last by `next_group`.
    looked_at: Option<Group>,
}

/// The endpoint that a mark names, as bits 0..22; 0 if it names none.
pub(super) fn identity(mark: u32) -> u32 {
    let identity = mark & IDENTITY;
    if identity & OURS != 0 && identity != OURS { identity } else { 0 }
}

impl Index {
    /// How many flows it holds.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Remembers a UDP flow.
    pub(super) fn add(&mut self, flow: &Flow) {
        let Flow { original, id, .. } = flow;
        if original.protocol != UDP {
            return;
        }
        let destination = Destination { port: original.destination_port, address: original.destination };
        self.put(Group { identity: identity(flow.mark), destination }, original.source, original.source_port, *id);
    }

    fn put(&mut self, group: Group, source: IpAddr, port: u16, id: u32) {
        let sources = self.groups.entry(group).or_insert_with(|| {
            self.by_destination.insert((group.destination, group.identity));
            match group.destination.address {
                IpAddr::V4(_) => Sources::Four(HashMap::new()),
                IpAddr::V6(_) => Sources::Six(HashMap::new()),
            }
        });
        let known = match (sources, source) {
            (Sources::Four(flows), IpAddr::V4(source)) => flows.insert((source, port), id).is_some(),
            (Sources::Six(flows), IpAddr::V6(source)) => flows.insert((source, port), id).is_some(),
            _ => true,
        };
        self.count += usize::from(!known);
    }

    /// Groups with this identity.
    pub(super) fn of_identity(&self, identity: u32) -> Vec<Group> {
        let least = Destination { port: 0, address: IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        let from = Group { identity, destination: least };
        self.groups.range(from..).map(|(group, _)| *group).take_while(|group| group.identity == identity).collect()
    }

    /// Groups whose flows were sent to a port of addresses that `here` accepts.
    pub(super) fn to_port(&self, port: u16, here: impl Fn(&IpAddr) -> bool) -> Vec<Group> {
        let from = (Destination { port, address: IpAddr::V4(Ipv4Addr::UNSPECIFIED) }, 0);
        let run = self.by_destination.range(from..).take_while(|(destination, _)| destination.port == port);
        let accepted = run.filter(|(destination, _)| here(&destination.address));
        accepted.map(|(destination, identity)| Group { identity: *identity, destination: *destination }).collect()
    }

    /// The flows of a group.
    pub(super) fn flows(&self, group: Group) -> Vec<Named> {
        let name = |source: IpAddr, port: u16, id: u32| {
            let Destination { port: destination_port, address: destination } = group.destination;
            (Tuple { source, destination, protocol: UDP, source_port: port, destination_port }, id)
        };
        match self.groups.get(&group) {
            Some(Sources::Four(flows)) => flows.iter().map(|((a, port), id)| name((*a).into(), *port, *id)).collect(),
            Some(Sources::Six(flows)) => flows.iter().map(|((a, port), id)| name((*a).into(), *port, *id)).collect(),
            None => Vec::new(),
        }
    }

    /// Forgets a whole group.
    pub(super) fn forget(&mut self, group: Group) {
        let gone = match self.groups.remove(&group) {
            Some(Sources::Four(flows)) => flows.len(),
            Some(Sources::Six(flows)) => flows.len(),
            None => return,
        };
        self.by_destination.remove(&(group.destination, group.identity));
        self.count -= gone;
    }

    /// Forgets one flow, unless a later one has its addresses.
    pub(super) fn forget_flow(&mut self, group: Group, (tuple, id): &Named) {
        let gone = match (self.groups.get_mut(&group), tuple.source) {
            (Some(Sources::Four(flows)), IpAddr::V4(source)) => remove(flows, (source, tuple.source_port), *id),
            (Some(Sources::Six(flows)), IpAddr::V6(source)) => remove(flows, (source, tuple.source_port), *id),
            _ => false,
        };
        self.count -= usize::from(gone);
        let empty = match self.groups.get_mut(&group) {
            Some(Sources::Four(flows)) => shrink(flows),
            Some(Sources::Six(flows)) => shrink(flows),
            None => false,
        };
        if empty {
            self.forget(group);
        }
    }

    /// The groups in a circle, one per call; none if there are none.
    pub(super) fn next_group(&mut self) -> Option<Group> {
        let beyond = |last| self.groups.range((Excluded(last), Unbounded)).next().map(|(group, _)| *group);
        let next = self.looked_at.and_then(beyond).or_else(|| self.groups.keys().next().copied());
        self.looked_at = next;
        next
    }

    /// Every identity that flows have.
    pub(super) fn identities(&self) -> BTreeSet<u32> {
        self.groups.keys().map(|group| group.identity).filter(|identity| *identity != 0).collect()
    }

    /// Identities mean nothing from now on: flows are told apart by where they lead.
    pub(super) fn forget_identities(&mut self) {
        let old = std::mem::take(self);
        for (group, sources) in old.groups {
            let group = Group { identity: 0, ..group };
            match sources {
                Sources::Four(flows) => {
                    flows.into_iter().for_each(|((a, port), id)| self.put(group, a.into(), port, id))
                }
                Sources::Six(flows) => {
                    flows.into_iter().for_each(|((a, port), id)| self.put(group, a.into(), port, id))
                }
            }
        }
    }
}

fn remove<K: std::hash::Hash + Eq>(flows: &mut HashMap<K, u32>, key: K, id: u32) -> bool {
    flows.get(&key) == Some(&id) && flows.remove(&key).is_some()
}

/// Gives memory back that a burst left; true if nothing is left.
fn shrink<K: std::hash::Hash + Eq>(flows: &mut HashMap<K, u32>) -> bool {
    if flows.capacity() > 64 && flows.len() < flows.capacity() / 4 {
        flows.shrink_to(flows.len() * 2);
    }
    flows.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(source: u16, to: &str, port: u16, mark: u32, id: u32) -> Flow {
        let destination: IpAddr = to.parse().unwrap();
        let address: IpAddr = if destination.is_ipv4() { [10, 0, 0, 9].into() } else { Ipv6Addr::LOCALHOST.into() };
        let tuple = |source, destination, source_port, destination_port| Tuple {
            source,
            destination,
            protocol: UDP,
            source_port,
            destination_port,
        };
        let original = tuple(address, destination, source, port);
        Flow { original, reply: tuple(destination, address, port, source), status: 0, mark, id }
    }

    #[test]
    fn flows_are_found_by_endpoint_and_by_frontend() {
        let mut index = Index::default();
        for (source, to, port, mark) in [
            (1, "10.96.0.1", 53, OURS | 7),
            (2, "10.96.0.1", 53, OURS | 7 | 0x80_0000),
            (3, "10.96.0.1", 53, OURS | 8),
            (4, "192.0.2.1", 30_053, OURS | 7),
            (5, "fd00::1", 30_053, OURS | 9),
            (6, "192.0.2.1", 30_053, 0x40),
            (7, "192.0.2.1", 30_053, OURS),
        ] {
            index.add(&flow(source, to, port, mark, u32::from(source)));
        }
        let sources = |groups: Vec<Group>| -> BTreeSet<u16> {
            groups.into_iter().flat_map(|group| index.flows(group)).map(|(tuple, _)| tuple.source_port).collect()
        };
        assert_eq!(index.len(), 7);
        assert_eq!(sources(index.of_identity(OURS | 7)), [1, 2, 4].into());
        assert_eq!(sources(index.of_identity(OURS | 6)), [].into());
        assert_eq!(sources(index.to_port(30_053, |_| true)), [4, 5, 6, 7].into());
        assert_eq!(sources(index.to_port(30_053, IpAddr::is_ipv6)), [5].into());
        assert_eq!(sources(index.of_identity(0)), [6, 7].into(), "another owner's mark, or no number: no endpoint");
        assert_eq!(index.identities(), [OURS | 7, OURS | 8, OURS | 9].into());
    }

    #[test]
    fn a_later_flow_of_the_same_addresses_is_another() {
        let mut index = Index::default();
        index.add(&flow(1, "10.96.0.1", 53, OURS | 7, 100));
        index.add(&flow(1, "10.96.0.1", 53, OURS | 7, 101));
        let [group] = index.of_identity(OURS | 7)[..] else { panic!("one group") };
        let [(tuple, id)] = index.flows(group)[..] else { panic!("one flow") };
        assert_eq!(id, 101);
        index.forget_flow(group, &(tuple, 100));
        assert_eq!(index.len(), 1);
        index.forget_flow(group, &(tuple, 101));
        assert_eq!((index.len(), index.next_group()), (0, None));
    }

    #[test]
    fn the_circle_meets_every_group_and_identities_can_lose_their_meaning() {
        let mut index = Index::default();
        for identity in 1..=5 {
            index.add(&flow(identity, "10.96.0.1", 53, OURS | u32::from(identity), 1));
        }
        let met: BTreeSet<u32> = (0..5).filter_map(|_| index.next_group()).map(|group| group.identity).collect();
        assert_eq!(met.len(), 5);
        index.forget_identities();
        assert_eq!((index.len(), index.identities().len()), (5, 0));
        assert_eq!(index.to_port(53, |_| true).len(), 1);
    }
}
