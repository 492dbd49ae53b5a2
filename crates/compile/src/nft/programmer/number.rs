//! Numbers for endpoints and their order in slots: what a port held before and wants now in, its new record out.

use std::collections::{BTreeMap, BTreeSet};

use super::Programmer;
use super::arrange::Member;
use super::starting::Starting;
use crate::nft::held::{Chosen, Held, Numbered, timeout_class};
use crate::nft::words::{ENDPOINT_MAX, is_endpoint};
use crate::service_table::{Backend, PortEntry, PortKey};

impl Programmer {
    /// The new record of a port: endpoints keep their numbers and, as far as possible, their slots. None when no
    /// Service number is free.
    pub(super) fn number(
        &mut self,
        old: Option<Held>,
        key: PortKey,
        entry: &PortEntry,
        starting: &mut Starting,
        left: &mut Vec<u32>,
    ) -> Option<Held> {
        let mut held = match old {
            Some(held) => held,
            None => Held {
                id: self.take_id()?,
                key,
                frontends: Vec::new(),
                endpoints: BTreeMap::new(),
                cluster: Chosen::default(),
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
            starting.arrived(key, backend, entry);
        }
        starting.settle(key, entry, |backend| held.endpoints.contains_key(backend));
        let members = |set: &[Backend]| -> Vec<Member> {
            let numbered = set.iter().filter_map(|backend| Some((*backend, held.endpoints.get(backend)?)));
            let member = |(backend, numbered): (Backend, &Numbered)| Member {
                number: numbered.number,
                backend,
                weight: starting.weight(key, backend, entry),
            };
            numbered.map(member).collect()
        };
        let (cluster, local) = (members(&entry.cluster), entry.local.as_ref().map(|local| members(local)));
        let before = std::mem::take(&mut held.cluster);
        held.cluster = self.arrange(before, &cluster, entry.algorithm);
        let before = held.local.take().unwrap_or_default();
        held.local = match local {
            Some(local) => Some(self.arrange(before, &local, entry.algorithm)),
            None => {
                self.give_up(&before);
                None
            }
        };
        held.frontends.clone_from(&entry.frontends);
        held.timeout_class = timeout_class(entry);
        Some(held)
    }
}

/// The next endpoint number in the circle that is not used.
fn next_free(next: &mut u16, used: &BTreeSet<u16>) -> Option<u16> {
    for _ in 0..ENDPOINT_MAX {
        let candidate = *next;
        *next = if candidate == ENDPOINT_MAX { 1 } else { candidate + 1 };
        if is_endpoint(candidate) && !used.contains(&candidate) {
            return Some(candidate);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_numbers_go_round() {
        let mut next = ENDPOINT_MAX;
        let used = BTreeSet::from([1]);
        assert_eq!(next_free(&mut next, &used), Some(ENDPOINT_MAX));
        assert_eq!(next_free(&mut next, &used), Some(2));
        next = 2048;
        assert_eq!(next_free(&mut next, &used), Some(2049), "2048 would look like a local set");
    }
}
