//! What a kernel held before we came: elements in, records with the numbers they carry out, and what belongs to nobody.

use std::collections::{BTreeMap, BTreeSet};

use super::arrange::Lanes;
use super::batches::Group;
use super::claims::Claims;
use crate::nft::balance::ring::HOLE;
use crate::nft::flows::{self, Flush};
use crate::nft::held::{Chosen, Held, Numbered, Place, Way, backend_of, place};
use crate::nft::ids::Numbers;
use crate::nft::rules::balance::{RINGS, ring_of};
use crate::nft::state::{SetName, State, Value};
use crate::nft::words::{self, IDENTITY_MAX, ServiceId, endpoint_of};
use crate::service_table::{Backend, PortEntry, PortKey};

/// Observed elements, by the Service number they carry.
pub(super) struct Recovered {
    by_service: BTreeMap<ServiceId, BTreeMap<Place, Value>>,
    fixed: BTreeMap<Place, Value>,
    stray: BTreeMap<Place, Value>,
    fronts: BTreeMap<Place, ServiceId>,
    /// Services whose frontends are not UDP.
    without_udp: BTreeSet<ServiceId>,
    /// Rings with the set that each was found at, until a port claims it.
    lanes: BTreeMap<(u8, u8), u32>,
    /// Identities that no endpoint has claimed yet, with the word they were found at.
    unclaimed: BTreeMap<u32, u32>,
}

impl Recovered {
    /// Sorts what was observed. Every number in it is taken until [`Recovered::rest`], so that none is handed out anew
    /// while its old elements are there.
    pub(super) fn new(observed: State, ids: &mut Numbers, identities: &mut Numbers, lanes: &mut Lanes) -> Self {
        let mut recovered = Self {
            by_service: BTreeMap::new(),
            fixed: BTreeMap::new(),
            stray: BTreeMap::new(),
            fronts: BTreeMap::new(),
            without_udp: BTreeSet::new(),
            lanes: BTreeMap::new(),
            unclaimed: BTreeMap::new(),
        };
        let mut allowed = Vec::new();
        for (set, elements) in observed {
            for (key, value) in elements {
                match owner(set, &key, &value) {
                    Owner::Fixed => drop(recovered.fixed.insert((set, key), value)),
                    Owner::Allowed => allowed.push(((set, key), value)),
                    Owner::Service(id) => {
                        if is_front(set) {
                            if protocol_of(set, &key).is_some_and(|number| number != UDP) {
                                recovered.without_udp.insert(id);
                            }
                            recovered.fronts.insert((set, key.clone()), id);
                        }
                        recovered.by_service.entry(id).or_default().insert((set, key), value);
                    }
                    Owner::Nobody => drop(recovered.stray.insert((set, key), value)),
                }
            }
        }
        for ((set, key), value) in allowed {
            recovered.allow((set, key), value);
        }
        recovered.by_service.retain(|id, elements| {
            let ours = ids.claim(id.0);
            if !ours {
                recovered.stray.append(elements);
            }
            ours
        });
        for ((set, key), value) in recovered.by_service.values().flatten() {
            if let (SetName::Special, Some(set), Some(word)) = (set, words::word(key), words::word(value))
                && let Some((class, lane)) = ring_of(word).filter(|(class, lane)| lanes.claim(*class, *lane))
            {
                recovered.lanes.insert((class, lane), set);
            }
            let (SetName::CtIds, Some(word), Some(mark)) = (set, words::word(key), words::word(value)) else {
                continue;
            };
            if identities.claim(mark & IDENTITY_MAX) {
                recovered.unclaimed.insert(mark & IDENTITY_MAX, word);
            }
        }
        recovered
    }

    /// Elements that name no Service: nothing leads to them, so they go first.
    pub(super) fn strays(&mut self) -> Group {
        Group { before: std::mem::take(&mut self.stray), ..Group::default() }
    }

    /// A source range belongs to the Service of the frontend it restricts.
    fn allow(&mut self, (set, key): Place, value: Value) {
        let (front, address) = if set == SetName::LbAllow4 { (SetName::Front4, 4) } else { (SetName::Front6, 16) };
        let owner = key.get(..address + 8).and_then(|front_key| self.fronts.get(&(front, front_key.into())).copied());
        match owner {
            Some(id) => drop(self.by_service.entry(id).or_default().insert((set, key), value)),
            None => drop(self.stray.insert((set, key), value)),
        }
    }

    /// Elements that belong to no Service by design.
    pub(super) fn take_fixed(&mut self) -> BTreeMap<Place, Value> {
        std::mem::take(&mut self.fixed)
    }

    /// The record of a port, found by its frontends; its elements are added to `before`. None if the kernel did not
    /// hold it, or if another port wants one of its frontends now: until that one is moved, its packets would meet the
    /// endpoints of this port.
    pub(super) fn take(
        &mut self,
        key: PortKey,
        entry: &PortEntry,
        identities: &mut Numbers,
        claims: &Claims,
        before: &mut BTreeMap<Place, Value>,
    ) -> Option<Held> {
        let own: BTreeSet<Place> = entry.frontends.iter().map(|frontend| place(frontend, key)).collect();
        let id = own.iter().find_map(|place| self.fronts.get(place).copied())?;
        let mut fronts = self.by_service.get(&id)?.keys().filter(|(set, _)| is_front(*set));
        if fronts.any(|front| !own.contains(front) && claims.wanted(front)) {
            return None;
        }
        let elements = self.by_service.remove(&id)?;
        let endpoints = endpoints(&elements, &mut self.unclaimed, identities);
        let known: BTreeSet<u16> = endpoints.values().map(|numbered| numbered.number).collect();
        let next_number = known.last().map_or(1, |last| if *last >= words::ENDPOINT_MAX { 1 } else { last + 1 });
        let cluster = self.slots(&elements, id.set(false), &known);
        let local = Some(self.slots(&elements, id.set(true), &known));
        before.extend(elements);
        Some(Held { id, key, frontends: Vec::new(), endpoints, cluster, local, timeout_class: 0, next_number })
    }

    /// A set as it was arranged. A table is not read back: it follows from its endpoints. What is unknown is left out.
    fn slots(&mut self, elements: &BTreeMap<Place, Value>, set: u32, known: &BTreeSet<u16>) -> Chosen {
        let special = elements.get(&(SetName::Special, words::bytes(set))).and_then(|value| words::word(value));
        let ring = special.and_then(ring_of).filter(|at| self.lanes.get(at) == Some(&set));
        let first = [set.to_ne_bytes(), [0; 4]].concat();
        let own = elements
            .range((SetName::Slots, first.into())..)
            .take_while(|((name, key), _)| *name == SetName::Slots && words::word(key) == Some(set));
        let slots = own.filter_map(|((_, key), value)| Some((words::word(key.get(4..)?)?, words::word(value)?)));
        let slots = slots.map(|(slot, word)| (slot, endpoint_of(word))).filter(|(_, number)| known.contains(number));
        let Some((class, lane)) = ring else {
            let order = if special.is_none() { slots.collect() } else { BTreeMap::new() };
            return Chosen::random(order.into_values().collect());
        };
        self.lanes.remove(&(class, lane));
        let mut order = vec![HOLE; RINGS.get(usize::from(class)).map_or(0, |slots| *slots as usize)];
        for (slot, number) in slots {
            if let Some(place) = order.get_mut(slot as usize) {
                *place = number;
            }
        }
        Chosen { order, way: Way::Ring { class, lane } }
    }

    /// Elements that nobody claimed; their numbers are free again. Flows of endpoints that left while nobody looked end
    /// now, unless a frontend says that they are not UDP.
    pub(super) fn rest(self, ids: &mut Numbers, identities: &mut Numbers, lanes: &mut Lanes) -> Vec<Group> {
        self.lanes.keys().for_each(|(class, lane)| lanes.free(*class, *lane));
        let mut left: BTreeMap<Option<ServiceId>, Vec<u32>> = BTreeMap::new();
        for (identity, word) in self.unclaimed {
            identities.free(identity);
            let id = ServiceId::of(word);
            if id.is_none_or(|id| !self.without_udp.contains(&id)) {
                left.entry(id).or_default().push(words::IDENTITY_OURS | identity);
            }
        }
        self.by_service.keys().for_each(|id| ids.free(id.0));
        let mut groups: Vec<Group> = Vec::with_capacity(self.by_service.len() + 1);
        for (id, before) in self.by_service {
            let gone = left.remove(&Some(id)).unwrap_or_default();
            let flush = flows::flush(&flows::targets(before.keys()), gone, None);
            groups.push(Group { before, flush: vec![flush], ..Group::default() });
        }
        // Of endpoints that left a Service which is still there; its frontends are looked at with that Service.
        let flush = left.into_values().map(|left| Flush { left, ..Flush::default() });
        groups.push(Group { flush: flush.collect(), ..Group::default() });
        groups.iter_mut().for_each(|group| group.flush.retain(|flush| !flush.is_empty()));
        groups
    }
}

/// In the IP header.
const UDP: u8 = 17;

/// The transport protocol in the key of a frontend.
fn protocol_of(set: SetName, key: &[u8]) -> Option<u8> {
    let at = match set {
        SetName::Front4 => 4,
        SetName::Front6 => 16,
        SetName::Nodeport4 | SetName::Nodeport6 => 0,
        _ => return None,
    };
    key.get(at).copied()
}

enum Owner {
    Fixed,
    Allowed,
    Service(ServiceId),
    Nobody,
}

fn owner(set: SetName, key: &[u8], value: &[u8]) -> Owner {
    let numbered = |bytes: &[u8]| words::word(bytes).and_then(ServiceId::of).map_or(Owner::Nobody, Owner::Service);
    match set {
        SetName::Pods4
        | SetName::Pods6
        | SetName::PodInterfaces
        | SetName::Egress4
        | SetName::Egress6
        | SetName::ServiceCidrs4
        | SetName::ServiceCidrs6 => Owner::Fixed,
        SetName::NodeportAddrs4 | SetName::NodeportAddrs6 | SetName::Hairpin4 | SetName::Hairpin6 => Owner::Fixed,
        SetName::DnsAddrs4 | SetName::DnsAddrs6 => Owner::Fixed,
        SetName::LbAllow4 | SetName::LbAllow6 => Owner::Allowed,
        _ if is_front(set) => numbered(value),
        _ => numbered(key),
    }
}

fn is_front(set: SetName) -> bool {
    matches!(set, SetName::Front4 | SetName::Front6 | SetName::Nodeport4 | SetName::Nodeport6)
}

/// Endpoints with their numbers. An identity that another word has too, or that is missing, is replaced.
fn endpoints(
    elements: &BTreeMap<Place, Value>,
    unclaimed: &mut BTreeMap<u32, u32>,
    identities: &mut Numbers,
) -> BTreeMap<Backend, Numbered> {
    let mut endpoints = BTreeMap::new();
    let mut numbers = BTreeSet::new();
    for ((set, key), value) in elements {
        let (SetName::Ep4 | SetName::Ep6, Some(word), Some(backend)) = (set, words::word(key), backend_of(value))
        else {
            continue;
        };
        let number = endpoint_of(word);
        if !words::is_endpoint(number) || endpoints.contains_key(&backend) || !numbers.insert(number) {
            continue;
        }
        let mark = elements.get(&(SetName::CtIds, key.clone())).and_then(|value| words::word(value));
        let identity = mark.map_or(0, |mark| mark & IDENTITY_MAX);
        let own = unclaimed.get(&identity) == Some(&word) && unclaimed.remove(&identity).is_some();
        let identity = if own { identity } else { identities.take().unwrap_or(0) };
        endpoints.insert(backend, Numbered { number, identity });
    }
    endpoints
}
