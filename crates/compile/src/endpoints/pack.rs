//! Turns desired endpoints and existing slices into slices to write, keep and delete: the fewest writes, never a
//! rebalancing, never more than the limit in a slice (KEP-0752).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Groups;
use crate::snapshot::{Endpoint, EndpointSlice, Family, Meta, Service, SlicePort};

/// Slices to write and to delete.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// New slices.
    pub create: Vec<Contents>,
    /// Existing slices with what they should hold.
    pub update: Vec<(Meta, Contents)>,
    /// Slices that are no longer needed.
    pub delete: Vec<Meta>,
}

/// What a slice holds.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    pub family: Family,
    pub ports: Vec<SlicePort>,
    pub endpoints: Vec<Endpoint>,
}

/// Who an endpoint is, whatever its conditions.
type Identity = (Option<Box<str>>, Option<Box<str>>, IpAddr);

/// An existing slice while its group is packed.
struct Open<'a> {
    slice: &'a EndpointSlice,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

/// Packs all groups of one family.
pub(super) fn pack(
    draft: &mut Draft,
    service: &Service,
    family: Family,
    groups: Groups,
    slices: &[&EndpointSlice],
    max: usize,
) {
    let mut by_ports: BTreeMap<Vec<SlicePort>, Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices {
        let mut ports = slice.ports.clone();
        ports.sort();
        by_ports.entry(ports).or_default().push(slice);
    }
    let mut mine = Draft::default();
    if groups.is_empty() {
        placeholder(&mut mine, service, family, slices);
    } else {
        for (ports, endpoints) in groups {
            let existing = by_ports.remove(&ports).unwrap_or_default();
            pack_group(&mut mine, service, family, ports, endpoints, &existing, max);
        }
        mine.delete.extend(by_ports.into_values().flatten().map(|slice| slice.meta.clone()));
    }
    recycle(&mut mine);
    draft.create.append(&mut mine.create);
    draft.update.append(&mut mine.update);
    draft.delete.append(&mut mine.delete);
}

fn pack_group(
    draft: &mut Draft,
    service: &Service,
    family: Family,
    ports: Vec<SlicePort>,
    endpoints: Vec<Endpoint>,
    existing: &[&EndpointSlice],
    max: usize,
) {
    let mut wanted: BTreeMap<Identity, Endpoint> =
        endpoints.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    let wanted_labels = super::labels(service);
    let mut open: Vec<Open<'_>> = Vec::new();
    for slice in existing {
        let mut changed = !super::labels_current(slice, service, &wanted_labels);
        let mut kept = Vec::with_capacity(slice.endpoints.len());
        for endpoint in &slice.endpoints {
            let desired = if kept.len() < max { wanted.remove(&identity(endpoint)) } else { None };
            changed |= desired.as_ref() != Some(endpoint);
            kept.extend(desired);
        }
        if kept.is_empty() {
            draft.delete.push(slice.meta.clone());
        } else {
            open.push(Open { slice, endpoints: kept, changed });
        }
    }
    let mut left: Vec<Endpoint> = wanted.into_values().collect();
    fill(&mut open, &mut left, max);
    let contents = |endpoints| Contents { family, ports: ports.clone(), endpoints };
    while !left.is_empty() {
        let rest = left.split_off(left.len().min(max));
        draft.create.push(contents(std::mem::replace(&mut left, rest)));
    }
    let written = open.into_iter().filter(|open| open.changed);
    draft.update.extend(written.map(|open| (open.slice.meta.clone(), contents(open.endpoints))));
}

/// Puts what is left into slices that are written anyway, fullest first; then the part that fills no whole slice into
/// the one untouched slice that it fits best.
fn fill(open: &mut [Open<'_>], left: &mut Vec<Endpoint>, max: usize) {
    let mut written: Vec<&mut Open<'_>> = open.iter_mut().filter(|open| open.changed).collect();
    written.sort_by_key(|open| std::cmp::Reverse(open.endpoints.len()));
    for slice in written {
        let room = max.saturating_sub(slice.endpoints.len()).min(left.len());
        slice.endpoints.extend(left.drain(..room));
    }
    let rest = left.len() % max;
    if rest == 0 {
        return;
    }
    let best = open
        .iter_mut()
        .filter(|open| !open.changed && open.endpoints.len() + rest <= max)
        .max_by_key(|open| open.endpoints.len());
    if let Some(slice) = best {
        slice.endpoints.extend(left.drain(left.len() - rest..));
        slice.changed = true;
    }
}

/// A family without endpoints keeps exactly one slice, empty.
fn placeholder(draft: &mut Draft, service: &Service, family: Family, slices: &[&EndpointSlice]) {
    let wanted_labels = super::labels(service);
    let empty = |slice: &EndpointSlice| slice.endpoints.is_empty() && slice.ports.is_empty();
    let kept = slices.iter().position(|slice| empty(slice));
    for (position, slice) in slices.iter().enumerate() {
        if Some(position) != kept {
            draft.delete.push(slice.meta.clone());
        }
    }
    let contents = Contents { family, ports: Vec::new(), endpoints: Vec::new() };
    match kept.and_then(|position| slices.get(position)) {
        None => draft.create.push(contents),
        Some(slice) if !super::labels_current(slice, service, &wanted_labels) => {
            draft.update.push((slice.meta.clone(), contents));
        }
        Some(_) => {}
    }
}

/// One write is cheaper than two: a slice to delete takes the contents of a slice to create.
fn recycle(draft: &mut Draft) {
    let pairs = draft.create.len().min(draft.delete.len());
    let contents = draft.create.drain(..pairs);
    draft.update.extend(draft.delete.drain(..pairs).zip(contents));
}

fn identity(endpoint: &Endpoint) -> Identity {
    (endpoint.pod.clone(), endpoint.pod_uid.clone(), endpoint.address)
}
