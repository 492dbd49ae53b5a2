//! Questions about addresses: a name below in-addr.arpa or ip6.arpa in, the names that the address has out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Answer, QueryType, Zone, build, endpoint};
use crate::allocate::Cidr;

/// A reverse name: the address bits it spells and how many of them; fewer than all for a name above an address.
struct Spelled {
    address: IpAddr,
    bits: u8,
}

impl Zone {
    /// Names of cluster addresses come first; an endpoint has a name in each headless Service that includes it.
    /// Addresses outside the Service and pod ranges are not ours.
    pub(super) fn reverse(&self, name: &str, query: QueryType) -> Answer<'_> {
        let Some((spelled, apex)) = self.reverse_cut(name) else { return Answer::Elsewhere };
        let full = if spelled.address.is_ipv4() { 32 } else { 128 };
        if spelled.bits < full {
            return match query {
                QueryType::Soa if spelled.bits == apex => Answer::Authority,
                QueryType::Ns if spelled.bits == apex => Answer::NameServer,
                _ => Answer::NoData,
            };
        }
        let names = self.names_of(spelled.address);
        match (names.is_empty(), query) {
            (true, _) => Answer::NoName,
            (false, QueryType::Ptr) => Answer::Names(names),
            (false, _) => Answer::NoData,
        }
    }

    /// Labels of the reverse zone that `name` is in: the owner of its SOA record.
    pub(super) fn reverse_apex(&self, name: &str) -> usize {
        self.reverse_cut(name).map_or(0, |(spelled, apex)| usize::from(apex / step(spelled.address)) + 2)
    }

    /// What `name` spells, and the bits of the zone it is in: a range that ends within a label is served as several
    /// zones of whole labels. None outside our ranges.
    fn reverse_cut(&self, name: &str) -> Option<(Spelled, u8)> {
        let spelled = spelled(name)?;
        let step = step(spelled.address);
        let apex = |range: &Cidr| range.prefix.div_ceil(step) * step;
        let added = self.snapshot.networks.values().flat_map(|network| &network.cidrs);
        let mut ranges = self.config.reverse.iter().chain(added);
        let range = ranges.find(|range| range.contains(spelled.address) && spelled.bits >= apex(range))?;
        Some((spelled, apex(range)))
    }

    fn names_of(&self, address: IpAddr) -> Vec<String> {
        let domain = &self.config.domain;
        if let Some(key) = build::of(&self.cluster_ips, address).next() {
            return vec![format!("{}.{}.svc.{domain}", key.name, key.namespace)];
        }
        let mut names = Vec::new();
        for key in build::of(&self.endpoints, address) {
            let here = endpoint::ready(&self.snapshot, key).find(|ready| ready.endpoint.address == address);
            names.extend(here.map(|ready| {
                format!("{}.{}.{}.svc.{domain}", endpoint::label(ready.endpoint), key.name, key.namespace)
            }));
        }
        names
    }
}

/// Bits that one label stands for.
fn step(address: IpAddr) -> u8 {
    if address.is_ipv4() { 8 } else { 4 }
}

/// What a reverse name spells (RFC 1035 3.5, RFC 3596 2.5). Only the one way to write a number counts.
fn spelled(name: &str) -> Option<Spelled> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0_u8; 4];
        let mut count = 0;
        for label in labels.rsplit('.') {
            let octet: u8 = label.parse().ok()?;
            let plain =
                label.bytes().all(|byte| byte.is_ascii_digit()) && (label.len() == 1 || !label.starts_with('0'));
            *octets.get_mut(count).filter(|_| plain)? = octet;
            count += 1;
        }
        return Some(Spelled { address: IpAddr::V4(Ipv4Addr::from(octets)), bits: count as u8 * 8 });
    }
    let labels = name.strip_suffix(".ip6.arpa")?;
    let mut bits = 0_u128;
    let mut count = 0_u8;
    for label in labels.rsplit('.') {
        let digit = label.chars().next().filter(|_| label.len() == 1 && count < 32)?.to_digit(16)?;
        bits |= u128::from(digit) << (124 - 4 * u32::from(count));
        count += 1;
    }
    Some(Spelled { address: IpAddr::V6(Ipv6Addr::from(bits)), bits: count * 4 })
}
