//! Pod addresses: the pod ranges and who has which address in, an address per family for a new pod out. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses such as `10.244.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub base: IpAddr,
    /// Bits that are fixed.
    pub prefix: u8,
}

impl Range {
    /// Reads `address/bits`; none if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix) = (address.parse::<IpAddr>().ok()?, prefix.parse::<u8>().ok()?);
        let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
        let kept = bits.checked_sub(prefix)?;
        let mask = u128::MAX.checked_shl(u32::from(kept)).unwrap_or(0);
        Some(Self { base: address_of(address.is_ipv4(), number(address) & mask), prefix })
    }

    /// The node's own address: the first usable one.
    pub fn node(&self) -> IpAddr {
        self.at(1)
    }

    fn at(&self, offset: u128) -> IpAddr {
        address_of(self.base.is_ipv4(), number(self.base) + offset)
    }

    /// Offset of the last address that pods may have; the broadcast address of IPv4 stays free.
    fn last(&self) -> u128 {
        let bits = if self.base.is_ipv4() { 32 } else { 128 };
        // 2^32 addresses of an IPv6 range are more than this node can ever hand out.
        let size = 1u128 << u32::from(bits - self.prefix).min(32);
        size.saturating_sub(2)
    }

    fn contains(&self, address: IpAddr) -> bool {
        let offset = number(address).checked_sub(number(self.base));
        address.is_ipv4() == self.base.is_ipv4() && offset.is_some_and(|offset| (2..=self.last()).contains(&offset))
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.base, self.prefix)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => u128::from(four.to_bits()),
        IpAddr::V6(six) => six.to_bits(),
    }
}

fn address_of(four: bool, number: u128) -> IpAddr {
    match u32::try_from(number) {
        Ok(bits) if four => IpAddr::V4(Ipv4Addr::from_bits(bits)),
        _ => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

/// Hands out pod addresses. No address is given twice, and a freed one comes back only after the rest of the range, so
/// that late packets for a dead pod find nobody.
#[derive(Debug)]
pub struct Addresses {
    ranges: Vec<(Range, u128)>,
    taken: BTreeMap<IpAddr, String>,
}

impl Addresses {
    /// Nothing taken; pods start after the node's own address.
    pub fn new(ranges: &[Range]) -> Self {
        Self { ranges: ranges.iter().map(|range| (*range, 2)).collect(), taken: BTreeMap::new() }
    }

    /// Keeps the addresses a pod already has; false (and nothing kept) if one is foreign or another pod's, or if a family
    /// is missing.
    pub fn keep(&mut self, pod: &str, addresses: &[IpAddr]) -> bool {
        let ours = |address: &IpAddr| {
            self.ranges.iter().any(|(range, _)| range.contains(*address))
                && self.taken.get(address).is_none_or(|owner| owner == pod)
        };
        let families = self.ranges.iter().all(|(range, _)| addresses.iter().any(|address| range.contains(*address)));
        if addresses.len() != self.ranges.len() || !families || !addresses.iter().all(ours) {
            return false;
        }
        for address in addresses {
            self.taken.insert(*address, pod.to_owned());
            let range = self.ranges.iter_mut().find(|(range, _)| range.contains(*address));
            if let Some((range, next)) = range {
                *next = (*next).max(number(*address) - number(range.base) + 1);
            }
        }
        true
    }

    /// An address per range for a new pod; none if a range is exhausted.
    pub fn allocate(&mut self, pod: &str) -> Option<Vec<IpAddr>> {
        let mut given = Vec::new();
        for (range, next) in &mut self.ranges {
            let last = range.last();
            let start = if *next > last { 2 } else { *next };
            let mut offsets = (start..=last).chain(2..start);
            let offset = offsets.find(|offset| !self.taken.contains_key(&range.at(*offset)))?;
            *next = offset + 1;
            given.push(range.at(offset));
        }
        for address in &given {
            self.taken.insert(*address, pod.to_owned());
        }
        Some(given)
    }

    /// Frees what a pod had.
    pub fn release(&mut self, pod: &str) {
        self.taken.retain(|_, owner| owner != pod);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Addresses {
        Addresses::new(&["10.244.0.0/29", "fd00::/64"].map(|text| Range::parse(text).unwrap()))
    }

    fn four(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn pods_start_after_the_node_and_end_before_broadcast() {
        let mut addresses = small();
        let given: Vec<_> = (0..5).map(|pod| addresses.allocate(&pod.to_string()).unwrap()[0]).collect();
        assert_eq!(given, ["10.244.0.2", "10.244.0.3", "10.244.0.4", "10.244.0.5", "10.244.0.6"].map(four));
        assert_eq!(addresses.allocate("one too many"), None);
    }

    #[test]
    fn a_freed_address_comes_back_last() {
        let mut addresses = small();
        for pod in ["a", "b"] {
            addresses.allocate(pod).unwrap();
        }
        addresses.release("a");
        let next: Vec<_> = (0..4).map(|pod| addresses.allocate(&pod.to_string()).unwrap()[0]).collect();
        assert_eq!(next, ["10.244.0.4", "10.244.0.5", "10.244.0.6", "10.244.0.2"].map(four));
    }

    #[test]
    fn a_restart_keeps_addresses_and_never_doubles_them() {
        let mut addresses = small();
        let own = [four("10.244.0.3"), four("fd00::3")];
        assert!(addresses.keep("a", &own) && addresses.keep("a", &own));
        assert!(!addresses.keep("b", &own));
        assert!(!addresses.keep("b", &[four("10.9.0.3"), four("fd00::4")]));
        assert!(!addresses.keep("b", &[four("10.244.0.1"), four("fd00::4")]));
        assert!(!addresses.keep("b", &[four("10.244.0.4")]));
        let all: Vec<_> = (0..4).map(|pod| addresses.allocate(&pod.to_string()).unwrap()[0]).collect();
        assert!(!all.contains(&own[0]), "{all:?}");
    }

    #[test]
    fn ranges_are_masked_and_checked() {
        assert_eq!(Range::parse("10.244.7.9/16").unwrap().node(), four("10.244.0.1"));
        assert_eq!(Range::parse("fd00:1::/64").unwrap().node(), four("fd00:1::1"));
        assert_eq!(Range::parse("10.244.7.9/16").unwrap().to_string(), "10.244.0.0/16");
        assert_eq!(Range::parse("10.0.0.0/33"), None);
        assert_eq!(Range::parse("10.0.0.0"), None);
    }
}
