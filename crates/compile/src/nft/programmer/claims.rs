//! Who holds which frontend: an address or node port wanted by several Services goes to the first by name.

use std::collections::{BTreeMap, BTreeSet};

use api::object::ObjectKey;

use crate::nft::held::{Place, place};
use crate::service_table::{Address, Frontend, PortKey, Problem, ServiceEntry};

/// Every frontend with the Services that want it; the first one holds it.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// In order of their names; nearly always one.
    wanted: BTreeMap<Place, Vec<ObjectKey>>,
    by_service: BTreeMap<ObjectKey, Box<[Place]>>,
}

impl Claims {
    /// Replaces what a Service wants; the Services between which a frontend changes hands because of it.
    pub(super) fn set(&mut self, service: &ObjectKey, entry: &ServiceEntry) -> BTreeSet<ObjectKey> {
        let wanted: BTreeSet<Place> =
            entry.iter().flat_map(|(key, port)| port.frontends.iter().map(|frontend| place(frontend, *key))).collect();
        let old: BTreeSet<Place> = self.by_service.remove(service).unwrap_or_default().into_iter().collect();
        let mut affected = BTreeSet::new();
        for place in old.symmetric_difference(&wanted) {
            let services = self.wanted.entry(place.clone()).or_insert_with(|| Vec::with_capacity(1));
            let before = services.first().cloned();
            match services.binary_search(service) {
                Ok(at) => _ = services.remove(at),
                Err(at) => services.insert(at, service.clone()),
            }
            if before.as_ref() != services.first() {
                affected.extend(before);
                affected.extend(services.first().cloned());
            }
            if services.is_empty() {
                self.wanted.remove(place);
            }
        }
        if !wanted.is_empty() {
            self.by_service.insert(service.clone(), wanted.into_iter().collect());
        }
        affected
    }

    /// Whether any Service wants this frontend.
    pub(super) fn wanted(&self, place: &Place) -> bool {
        self.wanted.contains_key(place)
    }

    /// Drops the frontends that a Service wants but does not hold; a problem for each.
    pub(super) fn retain_won(&self, service: &ObjectKey, entry: &mut ServiceEntry) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut seen = BTreeSet::new();
        for (key, port) in entry.iter_mut() {
            port.frontends.retain(|frontend| {
                let place = place(frontend, *key);
                let holder = self.wanted.get(&place).and_then(|services| services.first());
                // A Service that names a frontend twice (one address as cluster IP and as load balancer) holds it once.
                let won = holder.is_none_or(|holder| holder == service) && seen.insert(place);
                if let Some(holder) = holder.filter(|holder| *holder != service) {
                    problems.push(lost(service, frontend, *key, holder));
                }
                won
            });
        }
        // Nothing leads to the rest, and a restart could not tell whose it is.
        entry.retain(|_, port| !port.frontends.is_empty());
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
