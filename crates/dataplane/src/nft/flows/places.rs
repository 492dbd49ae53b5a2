//! Elements of address sets in, answers about single addresses out: is it one of the node, is it in a range of ours.

use std::collections::BTreeSet;
use std::net::IpAddr;

use compile::nft::state::{Batch, Key, SetName, State};

/// First address and the one after the last (all zeros: the range ends with the address space).
pub(super) type Range = (IpAddr, IpAddr);

/// What the kernel's address sets hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    node: BTreeSet<IpAddr>,
    own: BTreeSet<IpAddr>,
    refused: BTreeSet<Range>,
}

impl Places {
    /// What a whole table says.
    pub(super) fn of(state: &State) -> Self {
        let mut places = Self::default();
        for (set, elements) in state {
            elements.keys().for_each(|key| places.set(*set, key, true));
        }
        places
    }

    /// Follows a batch; the ranges that are new.
    pub(super) fn follow(&mut self, batch: &Batch) -> Vec<Range> {
        let before = self.refused.clone();
        batch.delete.iter().for_each(|element| self.set(element.set, &element.key, false));
        batch.add.iter().for_each(|element| self.set(element.set, &element.key, true));
        self.refused.difference(&before).copied().collect()
    }

    fn set(&mut self, set: SetName, key: &Key, there: bool) {
        match set {
            SetName::NodeportAddrs4 | SetName::NodeportAddrs6 => put(&mut self.node, address(key), there),
            SetName::DnsAddrs4 | SetName::DnsAddrs6 => put(&mut self.own, address(key), there),
            SetName::ServiceCidrs4 | SetName::ServiceCidrs6 => {
                let halves = key.split_at_checked(key.len() / 2);
                let range = halves.and_then(|(first, end)| Some((address(first)?, address(end)?)));
                put(&mut self.refused, range, there);
            }
            _ => (),
        }
    }

    /// Whether node ports answer on it.
    pub(super) fn is_node(&self, address: &IpAddr) -> bool {
        self.node.contains(address)
    }

    /// Whether nothing passes to it without being translated: in a range of ours, and not the cluster DNS on this node.
    pub(super) fn is_refused(&self, address: &IpAddr) -> bool {
        self.refused.iter().any(|range| within(range, address)) && !self.own.contains(address)
    }

    #[cfg(test)]
    pub(super) fn add_node(&mut self, address: IpAddr) {
        self.node.insert(address);
    }
}

/// Whether a range holds an address.
pub(super) fn within((first, end): &Range, address: &IpAddr) -> bool {
    let endless = end.is_unspecified();
    first.is_ipv4() == address.is_ipv4() && first <= address && (endless || address < end)
}

fn put<T: Ord>(set: &mut BTreeSet<T>, value: Option<T>, there: bool) {
    if let Some(value) = value {
        if there {
            set.insert(value);
        } else {
            set.remove(&value);
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
        _ => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use compile::nft::state::Element;

    #[test]
    fn ranges_and_addresses_follow_batches() {
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        let element = |set, key: &[u8]| Element { set, key: key.into(), value: Box::default() };
        let range = element(SetName::ServiceCidrs4, &[10, 96, 0, 0, 10, 97, 0, 0]);
        let node = element(SetName::NodeportAddrs4, &[192, 0, 2, 1]);
        let dns = element(SetName::DnsAddrs4, &[10, 96, 0, 10]);
        let mut places = Places::default();
        let add = Batch { add: vec![range.clone(), node.clone(), dns], ..Batch::default() };
        assert_eq!(places.follow(&add), [(ip("10.96.0.0"), ip("10.97.0.0"))]);
        assert!(places.is_refused(&ip("10.96.255.255")) && !places.is_refused(&ip("10.97.0.0")));
        assert!(!places.is_refused(&ip("10.96.0.10")), "the cluster DNS answers itself");
        assert!(places.is_node(&ip("192.0.2.1")));
        assert_eq!(places.follow(&Batch { delete: vec![range, node], ..Batch::default() }), []);
        assert!(!places.is_refused(&ip("10.96.0.1")) && !places.is_node(&ip("192.0.2.1")));
        assert!(within(&(ip("255.0.0.0"), ip("0.0.0.0")), &ip("255.1.2.3")));
    }
}
