//! Numbers for endpoints and their order in slots: what a port held before and wants now in, its new record out.

use std::collections::{BTreeMap, BTreeSet};

use super::Programmer;
use crate::nft::held::{Held, Numbered, timeout_class};
use crate::nft::words::ENDPOINT_MAX;
use crate::service_table::{Backend, PortEntry, PortKey};

impl Programmer {
    /// The new record of a port: endpoints keep their numbers and, as far as possible, their slots. None when no
    /// Service number is free.
    pub(super) fn number(
        &mut self,
        old: Option<Held>,
        key: PortKey,
        entry: &PortEntry,
        left: &mut Vec<u32>,
    ) -> Option<Held> {
        let mut held = match old {
            Some(held) => held,
            None => Held {
                id: self.take_id()?,
                key,
                frontends: Vec::new(),
                endpoints: BTreeMap::new(),
                cluster: Vec::new(),
                local: None,
                timeout_class: 0,
                next_number: 1,
            },
        };
        let chosen = entry.cluster.iter().chain(entry.local.iter().flatten());
        let wanted: BTreeSet<Backend> = chosen.chain(&entry.serving).copied().collect();
        let gone: Vec<Backend> = held.endpoints.keys().filter(|backend| !wanted.contains(backend)).copied().collect();
        for backend in gone {
            if let Some(numbered) = held.endpoints.remove(&backend) {
                self.forget(key.protocol, numbered.identity, left);
            }
        }
        let mut used: BTreeSet<u16> = held.endpoints.values().map(|numbered| numbered.number).collect();
        for backend in wanted {
            if held.endpoints.contains_key(&backend) {
                continue;
            }
            let Some(number) = next_free(&mut held.next_number, &used) else { break };
            used.insert(number);
            // Without a free identity the flows of this endpoint are found by address instead.
            let identity = self.identities.take().unwrap_or(0);
            held.endpoints.insert(backend, Numbered { number, identity });
        }
        let numbers = |set: &[Backend]| -> BTreeSet<u16> {
            set.iter().filter_map(|backend| held.endpoints.get(backend)).map(|numbered| numbered.number).collect()
        };
        let cluster = reorder(&held.cluster, numbers(&entry.cluster));
        let before = held.local.take().unwrap_or_default();
        let local = entry.local.as_ref().map(|local| reorder(&before, numbers(local)));
        held.cluster = cluster;
        held.local = local;
        held.frontends.clone_from(&entry.frontends);
        held.timeout_class = timeout_class(entry);
        Some(held)
    }
}

/// The next endpoint number in the circle 1..=4095 that is not used.
fn next_free(next: &mut u16, used: &BTreeSet<u16>) -> Option<u16> {
    for _ in 0..ENDPOINT_MAX {
        let candidate = *next;
        *next = if candidate == ENDPOINT_MAX { 1 } else { candidate + 1 };
        if !used.contains(&candidate) {
            return Some(candidate);
        }
    }
    None
}

/// The old order with as few changes as possible: newcomers take the places of those who left, then places at the end
/// move into what is still empty.
fn reorder(old: &[u16], mut wanted: BTreeSet<u16>) -> Vec<u16> {
    let mut order = old.to_vec();
    let stays: Vec<bool> = order.iter().map(|number| wanted.remove(number)).collect();
    let mut newcomers = wanted.into_iter();
    let mut empty = Vec::new();
    for (slot, stays) in stays.into_iter().enumerate() {
        if stays {
            continue;
        }
        match newcomers.next() {
            Some(newcomer) => order[slot] = newcomer,
            None => empty.push(slot),
        }
    }
    for slot in empty.into_iter().rev() {
        order.swap_remove(slot);
    }
    order.extend(newcomers);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_slots_change() {
        let set = |numbers: &[u16]| numbers.iter().copied().collect::<BTreeSet<u16>>();
        assert_eq!(reorder(&[1, 2, 3, 4], set(&[1, 3, 4])), [1, 4, 3]);
        assert_eq!(reorder(&[1, 2, 3], set(&[1, 3, 9])), [1, 9, 3]);
        assert_eq!(reorder(&[1, 2, 3], set(&[])), [0_u16; 0]);
        assert_eq!(reorder(&[], set(&[5, 6])), [5, 6]);
        assert_eq!(reorder(&[1, 2, 3, 4], set(&[4])), [4]);
    }

    #[test]
    fn endpoint_numbers_go_round() {
        let mut next = ENDPOINT_MAX;
        let used = BTreeSet::from([1]);
        assert_eq!(next_free(&mut next, &used), Some(ENDPOINT_MAX));
        assert_eq!(next_free(&mut next, &used), Some(2));
    }
}
