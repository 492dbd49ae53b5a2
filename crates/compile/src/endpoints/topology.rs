//! Turns the endpoints of a Service with annotation `topology-mode: Auto` into the same with hints, and what to tell.

use std::collections::BTreeMap;

use api::kinds::SERVICE;

use super::Groups;
use super::pack::{Identity, identity};
use super::proportional::{self, Ready};
use crate::snapshot::{EndpointSlice, Family, Service, Snapshot};
use crate::write::{Note, Target};

/// Sets the zone hints of one family; a note when there are none, or when there are some for the first time.
pub(super) fn hint(
    snapshot: &Snapshot,
    service: &Service,
    family: Family,
    groups: &mut Groups,
    slices: &[&EndpointSlice],
) -> Option<Note> {
    if !service.topology_auto {
        return None;
    }
    let stored: BTreeMap<Identity, &str> = slices
        .iter()
        .flat_map(|slice| &slice.endpoints)
        .filter_map(|endpoint| Some((identity(endpoint), &**endpoint.hint_zones.first()?)))
        .collect();
    let ready: Vec<Ready<'_>> = groups
        .values()
        .flatten()
        .filter(|endpoint| endpoint.ready)
        .map(|endpoint| Ready { zone: endpoint.zone.as_deref(), hint: stored.get(&identity(endpoint)).copied() })
        .collect();
    let hints = proportional::hints(proportional::zones(snapshot).as_ref(), &ready);
    let family = super::slice::address_type(family);
    let note = |reason, message: &str, warning| {
        let message = format!("{message}, addressType: {family}");
        let about =
            Target { kind: &SERVICE, key: service.meta.key.clone(), uid: service.meta.uid.clone(), revision: None };
        Some(Note { about, reason, message, warning })
    };
    match hints {
        Ok(hints) => {
            let endpoints = groups.values_mut().flatten().filter(|endpoint| endpoint.ready);
            for (endpoint, zone) in endpoints.zip(hints) {
                endpoint.hint_zones = vec![zone];
            }
            let first = stored.is_empty();
            first.then(|| note("TopologyAwareHintsEnabled", "Topology Aware Hints has been enabled", false)).flatten()
        }
        Err(why) => note("TopologyAwareHintsDisabled", &why, true),
    }
}
