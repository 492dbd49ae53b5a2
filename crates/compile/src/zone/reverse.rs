//! Questions about addresses: a name below in-addr.arpa or ip6.arpa in, the names that the address has out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Answer, QueryType, Zone, endpoint};

impl Zone {
    /// Names of cluster addresses come first; an endpoint has a name in each headless Service that includes it.
    /// Addresses outside the Service and pod ranges are not ours.
    pub(super) fn reverse(&self, name: &str, query: QueryType) -> Answer<'_> {
        let Some(address) = address_of(name) else { return Answer::Elsewhere };
        if !self.config.reverse.iter().any(|range| range.contains(address)) {
            return Answer::Elsewhere;
        }
        let names = self.names_of(address);
        match (names.is_empty(), query) {
            (true, _) => Answer::NoName,
            (false, QueryType::Ptr) => Answer::Names(names),
            (false, _) => Answer::NoData,
        }
    }

    fn names_of(&self, address: IpAddr) -> Vec<String> {
        let domain = &self.config.domain;
        if let Some(key) = self.cluster_ips.get(&address) {
            return vec![format!("{}.{}.svc.{domain}", key.name, key.namespace)];
        }
        let mut names = Vec::new();
        for key in self.endpoints.get(&address).into_iter().flat_map(|keys| keys.iter()) {
            let here = endpoint::ready(&self.snapshot, key).find(|ready| ready.endpoint.address == address);
            names.extend(here.map(|ready| {
                format!("{}.{}.{}.svc.{domain}", endpoint::label(ready.endpoint), key.name, key.namespace)
            }));
        }
        names
    }
}

/// The address a complete reverse name stands for (RFC 1035 3.5, RFC 3596 2.5).
fn address_of(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0_u8; 4];
        let mut labels = labels.rsplit('.');
        for octet in &mut octets {
            *octet = labels.next()?.parse().ok()?;
        }
        return labels.next().is_none().then(|| IpAddr::V4(Ipv4Addr::from(octets)));
    }
    let labels = name.strip_suffix(".ip6.arpa")?;
    let mut bits = 0_u128;
    let mut count = 0;
    for label in labels.rsplit('.') {
        let digit = label.chars().next().filter(|_| label.len() == 1)?.to_digit(16)?;
        bits = bits << 4 | u128::from(digit);
        count += 1;
    }
    (count == 32).then(|| IpAddr::V6(Ipv6Addr::from(bits)))
}
