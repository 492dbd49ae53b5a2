//! Who may be its own client: addresses of endpoints and pods on this node in, elements of the hairpin sets out.
//!
//! A pod that reaches itself through a Service must see another source than its own address, or it answers itself
//! directly. Endpoints say on which node they are; pods, where they are watched, speak for endpoints that do not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::object::ObjectKey;

use super::batches::Group;
use crate::nft::held::{Place, octets};
use crate::nft::state::{SetName, Value};

/// Addresses on this node, with who has them.
#[derive(Debug, Default)]
pub(super) struct Hairpins {
    /// How many Services and pods name each.
    named: BTreeMap<IpAddr, usize>,
    services: BTreeMap<ObjectKey, Box<[IpAddr]>>,
    pods: BTreeMap<ObjectKey, Box<[IpAddr]>>,
    /// Whether each address that changed hands was there at the last [`Hairpins::take_changed`].
    changed: BTreeMap<IpAddr, bool>,
}

impl Hairpins {
    /// Replaces the addresses of a Service's endpoints.
    pub(super) fn set_service(&mut self, service: &ObjectKey, addresses: impl Iterator<Item = IpAddr>) {
        let new: BTreeSet<IpAddr> = addresses.collect();
        let old = replace(&mut self.services, service, new.iter().copied().collect());
        self.count(&old, &new);
    }

    /// Replaces the addresses of a pod; none if it is not here.
    pub(super) fn set_pod(&mut self, pod: &ObjectKey, addresses: impl Iterator<Item = IpAddr>) {
        let new: BTreeSet<IpAddr> = addresses.collect();
        let old = replace(&mut self.pods, pod, new.iter().copied().collect());
        self.count(&old, &new);
    }

    /// Pods on this node.
    pub(super) fn pods(&self) -> impl Iterator<Item = &ObjectKey> {
        self.pods.keys()
    }

    /// Every element.
    pub(super) fn elements(&self) -> impl Iterator<Item = (Place, Value)> {
        self.named.keys().map(|address| element(*address))
    }

    /// What came and went since the last call.
    pub(super) fn take_changed(&mut self) -> Group {
        let mut group = Group::default();
        for (address, was) in std::mem::take(&mut self.changed) {
            let is = self.named.contains_key(&address);
            group.before.extend((was && !is).then(|| element(address)));
            group.after.extend((is && !was).then(|| element(address)));
        }
        group
    }

    fn count(&mut self, old: &[IpAddr], new: &BTreeSet<IpAddr>) {
        let kept: BTreeSet<IpAddr> = old.iter().copied().collect();
        for address in kept.symmetric_difference(new) {
            let was = self.named.contains_key(address);
            self.changed.entry(*address).or_insert(was);
            let named = self.named.entry(*address).or_default();
            *named = if new.contains(address) { *named + 1 } else { named.saturating_sub(1) };
            if *named == 0 {
                self.named.remove(address);
            }
        }
    }
}

fn replace(all: &mut BTreeMap<ObjectKey, Box<[IpAddr]>>, key: &ObjectKey, new: Box<[IpAddr]>) -> Box<[IpAddr]> {
    let old = if new.is_empty() { all.remove(key) } else { all.insert(key.clone(), new) };
    old.unwrap_or_default()
}

fn element(address: IpAddr) -> (Place, Value) {
    let set = if address.is_ipv4() { SetName::Hairpin4 } else { SetName::Hairpin6 };
    let twice = [octets(address), octets(address)].concat();
    ((set, twice.into()), Value::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [10, 244, 0, last].into()
    }

    #[test]
    fn an_address_stays_as_long_as_anybody_names_it_and_only_changes_are_told() {
        let mut hairpins = Hairpins::default();
        let [a, b, pod] = ["a", "b", "p"].map(|name| ObjectKey::new("ns", name));
        hairpins.set_service(&a, [ip(1), ip(2), ip(1)].into_iter());
        hairpins.set_service(&b, [ip(1)].into_iter());
        hairpins.set_pod(&pod, [ip(3)].into_iter());
        let group = hairpins.take_changed();
        assert_eq!((group.before.len(), group.after.len(), hairpins.elements().count()), (0, 3, 3));
        hairpins.set_service(&a, std::iter::empty());
        let group = hairpins.take_changed();
        assert_eq!(group.before, [element(ip(2))].into(), "b still has the other one");
        assert!(group.after.is_empty());
        hairpins.set_service(&b, std::iter::empty());
        hairpins.set_pod(&pod, [ip(1), ip(3)].into_iter());
        let group = hairpins.take_changed();
        assert!(group.before.is_empty() && group.after.is_empty(), "it changed hands, nothing more");
        hairpins.set_pod(&pod, std::iter::empty());
        assert_eq!((hairpins.take_changed().before.len(), hairpins.pods().count()), (2, 0));
    }
}
