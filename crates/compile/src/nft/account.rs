//! What the kernel counted in elements of our maps -> totals per Service port and per endpoint that never go back.
//!
//! Elements come and go (an endpoint that leaves, a table made anew), and their counters begin at zero each time. So a
//! reader in user space adds up differences: what was counted between its last reading and an element's end is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::object::ObjectKey;
use rpds::RedBlackTreeMapSync;

use super::held::backend_of;
use super::rules::bits::{NO_ENDPOINT, NO_LOCAL_ENDPOINT, OUTSIDE_RANGES};
use super::state::{Key, SetName, Value};
use super::words::{self, ServiceId};
use crate::service_table::{Backend, PortKey};

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// The Service.
    pub service: ObjectKey,
    /// Which port, in which family.
    pub port: PortKey,
}

/// Which Service port each number stands for. Copies are cheap and share everything.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    ports: RedBlackTreeMapSync<u32, Arc<Named>>,
}

impl Directory {
    /// The Service port whose number stands in a word (F, W or E).
    pub fn find(&self, word: u32) -> Option<&Arc<Named>> {
        self.ports.get(&ServiceId::of(word)?.0)
    }

    pub(super) fn add(&mut self, id: ServiceId, service: &ObjectKey, port: PortKey) {
        let same = |named: &Arc<Named>| named.service == *service && named.port == port;
        if !self.ports.get(&id.0).is_some_and(same) {
            self.ports.insert_mut(id.0, Arc::new(Named { service: service.clone(), port }));
        }
    }

    pub(super) fn remove(&mut self, id: ServiceId) {
        self.ports.remove_mut(&id.0);
    }
}

/// Where a counter was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    /// An element of a map of compiled data.
    Element(SetName),
    /// An element of the set that rules add to where connections go nowhere ([`super::rules::REJECTS`]).
    Reject,
}

/// One counter as the kernel showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Where.
    pub counted: Counted,
    /// Key of the element.
    pub key: Key,
    /// Value of the element; empty in sets.
    pub value: Value,
    /// First packets of connections.
    pub packets: u64,
}

/// Totals of one Service port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortTotals {
    /// New connections that met one of its frontends, whatever became of them.
    pub connections: u64,
    /// Of these, refused: no endpoint.
    pub refused: u64,
    /// Of these, dropped: policy Local without a local endpoint.
    pub dropped_local: u64,
    /// Of these, dropped: outside loadBalancerSourceRanges.
    pub dropped_ranges: u64,
    /// New connections per endpoint.
    pub endpoints: BTreeMap<Backend, u64>,
}

/// The totals since this reader began.
#[derive(Debug, Default)]
pub struct Totals {
    last: BTreeMap<(Counted, Key), Last>,
    ports: BTreeMap<Arc<Named>, PortTotals>,
}

#[derive(Debug)]
struct Last {
    owner: Arc<Named>,
    backend: Option<Backend>,
    packets: u64,
}

impl Totals {
    /// Takes all counters as they are now. Totals of Service ports that are no more are forgotten; those of endpoints go
    /// with their port.
    pub fn read(&mut self, directory: &Directory, readings: impl IntoIterator<Item = Reading>) {
        let mut last = BTreeMap::new();
        for reading in readings {
            let Some((owner, what)) = meaning(directory, &reading) else { continue };
            let at = (reading.counted, reading.key);
            let backend = if let What::Endpoint(backend) = what { Some(backend) } else { None };
            // A counter that belongs to somebody else by now, or went back, began anew.
            let before = self.last.get(&at).filter(|last| last.owner == owner && last.backend == backend);
            let before = before.map_or(0, |last| last.packets);
            let more = reading.packets.checked_sub(before).unwrap_or(reading.packets);
            let totals = self.ports.entry(Arc::clone(&owner)).or_default();
            *what.of(totals) += more;
            last.insert(at, Last { owner, backend, packets: reading.packets });
        }
        self.last = last;
        let known: BTreeSet<&Arc<Named>> = directory.ports.values().collect();
        self.ports.retain(|named, _| known.contains(named));
    }

    /// Every Service port with its totals, in order.
    pub fn ports(&self) -> impl Iterator<Item = (&Named, &PortTotals)> {
        self.ports.iter().map(|(named, totals)| (&**named, totals))
    }
}

#[derive(Clone, Copy)]
enum What {
    Frontend,
    Endpoint(Backend),
    Refused,
    DroppedLocal,
    DroppedRanges,
}

impl What {
    fn of(self, totals: &mut PortTotals) -> &mut u64 {
        match self {
            Self::Frontend => &mut totals.connections,
            Self::Endpoint(backend) => totals.endpoints.entry(backend).or_default(),
            Self::Refused => &mut totals.refused,
            Self::DroppedLocal => &mut totals.dropped_local,
            Self::DroppedRanges => &mut totals.dropped_ranges,
        }
    }
}

/// Whose counter it is and what it counts; none if nobody knows the number.
fn meaning(directory: &Directory, reading: &Reading) -> Option<(Arc<Named>, What)> {
    let (word, what) = match reading.counted {
        Counted::Element(SetName::Ep4 | SetName::Ep6) => {
            (words::word(&reading.key)?, What::Endpoint(backend_of(&reading.value)?))
        }
        Counted::Element(SetName::Front4 | SetName::Front6 | SetName::Nodeport4 | SetName::Nodeport6) => {
            (words::word(&reading.value)?, What::Frontend)
        }
        Counted::Element(_) => return None,
        Counted::Reject => {
            let word = words::word(&reading.key)?;
            let what = match u32::from(words::endpoint_of(word)) {
                NO_ENDPOINT => What::Refused,
                NO_LOCAL_ENDPOINT => What::DroppedLocal,
                OUTSIDE_RANGES => What::DroppedRanges,
                _ => return None,
            };
            (word, what)
        }
    };
    Some((Arc::clone(directory.find(word)?), what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Family, Protocol};

    fn reading(counted: Counted, key: u32, value: &[u8], packets: u64) -> Reading {
        Reading { counted, key: words::bytes(key), value: value.into(), packets }
    }

    fn port(port: u16) -> PortKey {
        PortKey { family: Family::V4, protocol: Protocol::Tcp, port }
    }

    #[test]
    fn totals_never_go_back() {
        let mut directory = Directory::default();
        directory.add(ServiceId(7), &ObjectKey::new("ns", "a"), port(80));
        let (mut totals, id) = (Totals::default(), ServiceId(7));
        let target = [10, 244, 0, 1, 0x1f, 0x90, 0, 0];
        let round = |front: u64, endpoint: u64, refused: u64| {
            [
                reading(Counted::Element(SetName::Front4), 1, &id.word().to_ne_bytes(), front),
                reading(Counted::Element(SetName::Ep4), id.endpoint(3), &target, endpoint),
                reading(Counted::Reject, id.word() | NO_ENDPOINT, &[], refused),
                reading(Counted::Reject, ServiceId(8).word() | NO_ENDPOINT, &[], 9),
            ]
        };
        totals.read(&directory, round(10, 6, 4));
        totals.read(&directory, round(15, 9, 6));
        // The endpoint's element was made anew, then the whole table.
        totals.read(&directory, round(20, 2, 6));
        totals.read(&directory, round(1, 1, 0));
        let (named, port_totals) = totals.ports().next().unwrap();
        assert_eq!((&*named.service.name, named.port.port), ("a", 80));
        assert_eq!((port_totals.connections, port_totals.refused), (21, 6));
        let backend = Backend { address: "10.244.0.1".parse().unwrap(), port: 8080 };
        assert_eq!(port_totals.endpoints, [(backend, 12)].into());
        assert_eq!(totals.ports().count(), 1, "a number that nobody has is nobody's");

        // Another Service gets the number: what it counts is its own, from the start.
        directory.add(ServiceId(7), &ObjectKey::new("ns", "b"), port(81));
        totals.read(&directory, round(3, 2, 0));
        let all: Vec<_> = totals.ports().map(|(named, totals)| (&*named.service.name, totals.connections)).collect();
        assert_eq!(all, [("b", 3)]);
    }
}
