//! Turns a Service and the pods it selects into its EndpointSlices and its Endpoints object, as the fewest writes.
//!
//! Which pods belong and with what conditions is in [`members`], how they are spread over slices in [`pack`], which
//! Services a change touches in [`index`]. Selector gone, type ExternalName, deletion begun: everything is left as it is.

use std::collections::{BTreeMap, BTreeSet};

use api::object::ObjectKey;

use crate::snapshot::{EndpointSlice, Family, Labels, Service, ServiceType, Snapshot};
use crate::write::Write;

pub mod index;
pub mod legacy;
mod members;
pub mod mirror;
mod pack;
mod proportional;
mod repack;
mod slice;
mod topology;

pub use index::Index;

/// Label that binds a slice to its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label that says who manages a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`] for the slices made here.
pub const CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// Label of the slices and Endpoints of a headless Service.
pub const HEADLESS: &str = "service.kubernetes.io/headless";

/// How slices are made.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Most endpoints in one slice, 1 to 1,000.
    pub max_per_slice: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_per_slice: 100 }
    }
}

/// Writes for one Service, and whether pods were left out because their Node is not known yet (try again later).
#[derive(Debug, Default)]
pub struct Outcome {
    /// Writes in an order in which every prefix is safe: additions before removals.
    pub writes: Vec<Write>,
    /// A selected pod runs on a Node that does not exist.
    pub node_missing: bool,
}

/// Brings the slices of `key` to what its pods ask for.
pub fn reconcile(snapshot: &Snapshot, index: &Index, key: &ObjectKey, config: Config) -> Outcome {
    let Some(service) = snapshot.services.get(key).filter(|service| is_ours(service)) else {
        return Outcome::default();
    };
    let (pods, node_missing) = members::select(snapshot, index, service);
    let (existing, strangers) = ours(snapshot, key, service);
    let mut draft = pack::Draft::default();
    let mut notes = Vec::new();
    for family in families(service) {
        let mut groups = members::groups(snapshot, service, &pods, family);
        let slices: Vec<&EndpointSlice> =
            existing.iter().copied().filter(|slice| slice.family == Some(family)).collect();
        notes.extend(topology::hint(snapshot, service, family, &mut groups, &slices));
        pack::pack(&mut draft, service, family, groups, &slices, config.max_per_slice);
    }
    let unsupported = existing.iter().filter(|slice| slice.family.is_none_or(|f| !families(service).contains(&f)));
    draft.delete.extend(unsupported.map(|slice| slice.meta.clone()));
    draft.delete.extend(strangers.into_iter().map(|slice| slice.meta.clone()));
    let mut writes = slice::writes(snapshot, service, draft);
    if !writes.is_empty() {
        // Told when something changes, not each time somebody looks.
        writes.extend(notes.into_iter().map(Write::Note));
    }
    Outcome { writes, node_missing }
}

/// Whether slices and Endpoints of this Service are made here.
pub fn is_ours(service: &Service) -> bool {
    service.service_type != ServiceType::ExternalName
        && !service.meta.deleting
        && service.selector.as_ref().is_some_and(|selector| !selector.is_empty())
}

/// Families to make slices for. A Service that has none yet is treated as IPv4, as `ipFamilies` defaults to one family.
fn families(service: &Service) -> Vec<Family> {
    if service.families.is_empty() { vec![Family::V4] } else { service.families.clone() }
}

/// Our slices of a Service, and those carrying our label that belong to an earlier Service of the same name.
fn ours<'a>(
    snapshot: &'a Snapshot,
    key: &ObjectKey,
    service: &Service,
) -> (Vec<&'a EndpointSlice>, Vec<&'a EndpointSlice>) {
    let Some(names) = snapshot.slices_of.get(key) else { return (Vec::new(), Vec::new()) };
    names
        .iter()
        .filter_map(|name| snapshot.slices.get(name).map(|slice| &**slice))
        .filter(|slice| slice.meta.labels.get(MANAGED_BY).is_some_and(|manager| **manager == *CONTROLLER))
        .filter(|slice| !slice.meta.deleting)
        .partition(|slice| slice.owner_uid.as_ref() == Some(&service.meta.uid))
}

/// Whether this is a label that producers own, so that a user's label of that name on the Service is not copied.
fn reserved(label: &str) -> bool {
    [SERVICE_NAME, MANAGED_BY, HEADLESS].contains(&label)
}

/// Labels of a slice of `service`.
fn labels(service: &Service) -> Labels {
    let mut labels: Labels = service
        .meta
        .labels
        .iter()
        .filter(|(name, _)| !reserved(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    labels.insert(SERVICE_NAME.into(), service.meta.key.name.clone());
    labels.insert(MANAGED_BY.into(), CONTROLLER.into());
    if service.headless {
        labels.insert(HEADLESS.into(), "".into());
    }
    labels
}

/// Whether the labels of a stored slice still say what they should. A headless label that somebody put on by hand is
/// tolerated (the conformance tests take endpoints out that way) until the Service changes; a missing one is not. A
/// Service that was headless and no longer is would otherwise stay without endpoints.
fn labels_current(slice: &EndpointSlice, service: &Service, wanted: &Labels) -> bool {
    let stored = &slice.meta.labels;
    let differ = |name: &str| stored.get(name) != wanted.get(name);
    let names: BTreeSet<&str> = stored.keys().chain(wanted.keys()).map(|name| &**name).collect();
    !names.into_iter().any(|name| {
        let by_hand = name == HEADLESS && !wanted.contains_key(HEADLESS) && slice.meta.revision > service.meta.revision;
        !by_hand && differ(name)
    })
}

/// Endpoints of one family by the ports they resolve to.
type Groups = BTreeMap<Vec<crate::snapshot::SlicePort>, Vec<crate::snapshot::Endpoint>>;

#[cfg(test)]
mod tests;
