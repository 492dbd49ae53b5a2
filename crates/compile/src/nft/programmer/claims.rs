//! Who holds which frontend: an address or node port wanted by several Services goes to the first by name.

use std::collections::{BTreeMap, BTreeSet};

use api::object::ObjectKey;

use crate::nft::held::{Place, place};
use crate::service_table::{Address, Frontend, PortKey, Problem, ServiceEntry};

/// Every frontend with the Services that want it; the first one holds it.
#[derive(Debug, Default)]
pub(super) struct Claims {
    wanted: BTreeMap<Place, BTreeSet<ObjectKey>>,
    by_service: BTreeMap<ObjectKey, BTreeSet<Place>>,
}

/// A frontend whose holder is another one now.
pub(super) struct Change {
    pub(super) place: Place,
    before: Option<ObjectKey>,
    after: Option<ObjectKey>,
}

impl Change {
    /// Services to look at again.
    pub(super) fn winners(&self) -> impl Iterator<Item = ObjectKey> + '_ {
        self.before.iter().chain(&self.after).cloned()
    }
}

impl Claims {
    /// Replaces what a Service wants; the frontends that change hands between two Services because of it.
    pub(super) fn set(&mut self, service: &ObjectKey, entry: &ServiceEntry) -> Vec<Change> {
        let wanted: BTreeSet<Place> =
            entry.iter().flat_map(|(key, port)| port.frontends.iter().map(|frontend| place(frontend, *key))).collect();
        let old = self.by_service.remove(service).unwrap_or_default();
        let mut changes = Vec::new();
        for place in old.symmetric_difference(&wanted) {
            let services = self.wanted.entry(place.clone()).or_default();
            let before = services.first().cloned();
            if !services.remove(service) {
                services.insert(service.clone());
            }
            let after = services.first().cloned();
            if services.is_empty() {
                self.wanted.remove(place);
            }
            if before != after && (before.is_some() && after.is_some()) {
                changes.push(Change { place: place.clone(), before, after });
            } else if before.is_some() && after.is_none() {
                // Given up now; if another Service of the same plan takes it, the two must share a transaction.
                changes.push(Change { place: place.clone(), before: None, after: None });
            }
        }
        if !wanted.is_empty() {
            self.by_service.insert(service.clone(), wanted);
        }
        changes
    }

    /// Drops the frontends that a Service wants but does not hold; a problem for each.
    pub(super) fn retain_won(&self, service: &ObjectKey, entry: &mut ServiceEntry) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (key, port) in entry.iter_mut() {
            port.frontends.retain(|frontend| {
                let holder = self.wanted.get(&place(frontend, *key)).and_then(BTreeSet::first);
                let won = holder.is_none_or(|holder| holder == service);
                if let Some(holder) = holder.filter(|_| !won) {
                    problems.push(lost(service, frontend, *key, holder));
                }
                won
            });
        }
        problems
    }
}

fn lost(service: &ObjectKey, frontend: &Frontend, key: PortKey, holder: &ObjectKey) -> Problem {
    let what = match frontend.address {
        Address::Cluster(address) | Address::LoadBalancer(address) => format!("{address} port {}", frontend.port),
        Address::Node => format!("node port {}", frontend.port),
    };
    let why = format!("{what} ({:?}) already belongs to Service {holder}: give one of them another", key.protocol);
    Problem { service: service.clone(), why }
}
