//! What a kernel held before we came: elements in, records with the numbers they carry out, and what belongs to nobody.

use std::collections::{BTreeMap, BTreeSet};

use crate::nft::held::{Held, Numbered, Place, backend_of, place};
use crate::nft::ids::Numbers;
use crate::nft::state::{SetName, State, Value};
use crate::nft::words::{self, IDENTITY_MAX, ServiceId, endpoint_of};
use crate::service_table::{Backend, PortEntry, PortKey};

/// Observed elements, by the Service number they carry.
pub(super) struct Recovered {
    by_service: BTreeMap<ServiceId, BTreeMap<Place, Value>>,
    fixed: BTreeMap<Place, Value>,
    stray: BTreeMap<Place, Value>,
    fronts: BTreeMap<Place, ServiceId>,
}

impl Recovered {
    /// Sorts what was observed.
    pub(super) fn new(observed: State) -> Self {
        let mut recovered = Self {
            by_service: BTreeMap::new(),
            fixed: BTreeMap::new(),
            stray: BTreeMap::new(),
            fronts: BTreeMap::new(),
        };
        let mut allowed = Vec::new();
        for (set, elements) in observed {
            for (key, value) in elements {
                match owner(set, &key, &value) {
                    Owner::Fixed => drop(recovered.fixed.insert((set, key), value)),
                    Owner::Allowed => allowed.push(((set, key), value)),
                    Owner::Service(id) => {
                        if is_front(set) {
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
        recovered
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
    /// hold it, or if its number is in use already.
    pub(super) fn take(
        &mut self,
        key: PortKey,
        entry: &PortEntry,
        ids: &mut Numbers,
        identities: &mut Numbers,
        before: &mut BTreeMap<Place, Value>,
    ) -> Option<Held> {
        let id = entry.frontends.iter().find_map(|frontend| self.fronts.get(&place(frontend, key)).copied())?;
        let elements = self.by_service.remove(&id)?;
        if !ids.claim(id.0) {
            self.by_service.insert(id, elements);
            return None;
        }
        let endpoints = endpoints(&elements, identities);
        let known: BTreeSet<u16> = endpoints.values().map(|numbered| numbered.number).collect();
        let next_number = known.last().map_or(1, |last| if *last >= words::ENDPOINT_MAX { 1 } else { last + 1 });
        let cluster = slots(&elements, id, false, &known);
        let local = Some(slots(&elements, id, true, &known));
        before.extend(elements);
        Some(Held { id, key, frontends: Vec::new(), endpoints, cluster, local, timeout_class: 0, next_number })
    }

    /// Elements that nobody claimed.
    pub(super) fn rest(self) -> impl Iterator<Item = BTreeMap<Place, Value>> {
        let stray = (!self.stray.is_empty()).then_some(self.stray);
        self.by_service.into_values().chain(stray)
    }
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
        SetName::Pods4 | SetName::Pods6 | SetName::ServiceCidrs4 | SetName::ServiceCidrs6 => Owner::Fixed,
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

fn endpoints(elements: &BTreeMap<Place, Value>, identities: &mut Numbers) -> BTreeMap<Backend, Numbered> {
    let mut endpoints = BTreeMap::new();
    let mut numbers = BTreeSet::new();
    for ((set, key), value) in elements {
        let (SetName::Ep4 | SetName::Ep6, Some(word), Some(backend)) = (set, words::word(key), backend_of(value))
        else {
            continue;
        };
        let number = endpoint_of(word);
        if number == 0 || endpoints.contains_key(&backend) || !numbers.insert(number) {
            continue;
        }
        let mark = elements.get(&(SetName::CtIds, key.clone())).and_then(|value| words::word(value));
        let identity = mark.map_or(0, |mark| mark & IDENTITY_MAX);
        let identity =
            if identity != 0 && identities.claim(identity) { identity } else { identities.take().unwrap_or(0) };
        endpoints.insert(backend, Numbered { number, identity });
    }
    endpoints
}

/// Endpoint numbers in slot order; unknown and repeated ones are left out.
fn slots(elements: &BTreeMap<Place, Value>, id: ServiceId, local: bool, known: &BTreeSet<u16>) -> Vec<u16> {
    let mut slots: BTreeMap<u32, u16> = BTreeMap::new();
    for ((set, key), value) in elements {
        let (SetName::Slots, Some(head), Some(endpoint)) = (set, words::word(key), words::word(value)) else {
            continue;
        };
        let slot = key.get(4..).and_then(words::word);
        if let Some(slot) = slot.filter(|_| head == id.set(local)) {
            slots.insert(slot, endpoint_of(endpoint));
        }
    }
    let mut seen = BTreeSet::new();
    slots.into_values().filter(|number| known.contains(number) && seen.insert(*number)).collect()
}
