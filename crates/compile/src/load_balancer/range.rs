//! A range of addresses as text in, first and last address out, and the networks that cover it.

use std::fmt;
use std::net::IpAddr;

use crate::allocate::Cidr;
use crate::service_table::family_of;
use crate::snapshot::Family;

/// Addresses from the first to the last, both included, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub first: IpAddr,
    /// Last address.
    pub last: IpAddr,
    /// The network it was given as.
    network: Option<Cidr>,
}

/// Addresses that mean something else: unspecified, loopback, link-local, multicast, broadcast.
const SPECIAL: [&str; 9] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "fe80::/10",
    "ff00::/8",
];

impl Range {
    /// `FIRST-LAST`, a network (without its own address and, in IPv4, the broadcast address) or one address.
    pub fn parse(text: &str) -> Result<Self, String> {
        let address = |part: &str| part.trim().parse().map_err(|_| format!("{part:?} is no IP address"));
        if let Some((first, last)) = text.split_once('-') {
            let (first, last): (IpAddr, IpAddr) = (address(first)?, address(last)?);
            if first.is_ipv4() != last.is_ipv4() {
                return Err(format!("{first} and {last} are of different families"));
            }
            if first > last {
                return Err(format!("{first} comes after {last}"));
            }
            return Self { first, last, network: None }.usable(text);
        }
        if !text.contains('/') {
            let only = address(text)?;
            return Self { first: only, last: only, network: None }.usable(text);
        }
        let cidr: Cidr = text.trim().parse().map_err(|error: crate::allocate::CidrError| error.to_string())?;
        let (low, size) = (number(cidr.network), cidr.size());
        let edge = u128::from(size > 2);
        let last = low.saturating_add(size - 1) - if cidr.network.is_ipv4() { edge } else { 0 };
        let family = cidr.family();
        Self { first: at(family, low + edge), last: at(family, last), network: Some(cidr) }.usable(text)
    }

    /// Refuses ranges in which no Service can be reached.
    fn usable(self, text: &str) -> Result<Self, String> {
        let special = |cidr: &str| {
            let cidr: Result<Cidr, _> = cidr.parse();
            cidr.is_ok_and(|cidr| cidr.contains(self.first) || cidr.contains(self.last) || self.contains(cidr.network))
        };
        if SPECIAL.iter().any(|cidr| special(cidr)) {
            return Err(format!("{text} holds unspecified, loopback, link-local, multicast or broadcast addresses"));
        }
        Ok(self)
    }

    /// The family of its addresses.
    pub fn family(&self) -> Family {
        family_of(self.first)
    }

    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && (self.first..=self.last).contains(&address)
    }

    /// Whether some address is in both.
    pub fn overlaps(&self, other: &Range) -> bool {
        self.family() == other.family() && self.first <= other.last && other.first <= self.last
    }

    /// Number of addresses.
    pub fn size(&self) -> u128 {
        (number(self.last) - number(self.first)).saturating_add(1)
    }

    /// Its addresses in order.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let family = self.family();
        (number(self.first)..=number(self.last)).map(move |address| at(family, address))
    }

    /// The network it was given as, else the fewest that cover it and nothing else: what routes and sets are made of.
    pub fn cidrs(&self) -> Vec<Cidr> {
        if let Some(network) = self.network {
            return vec![network];
        }
        let bits: u32 = if self.first.is_ipv4() { 32 } else { 128 };
        let (mut low, high) = (number(self.first), number(self.last));
        let mut cidrs = Vec::new();
        loop {
            // As large as the alignment of the first address and what is left allow.
            let left = (high - low).saturating_add(1);
            let host_bits = low.trailing_zeros().min(bits).min(left.ilog2());
            cidrs.push(Cidr { network: at(self.family(), low), prefix: (bits - host_bits) as u8 });
            match 1_u128.checked_shl(host_bits).and_then(|size| low.checked_add(size)) {
                Some(next) if next <= high => low = next,
                _ => return cidrs,
            }
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(out, "{}", self.first)
        } else {
            write!(out, "{}-{}", self.first, self.last)
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => u128::from(u32::from(four)),
        IpAddr::V6(six) => u128::from(six),
    }
}

fn at(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4((number as u32).into()),
        Family::V6 => IpAddr::V6(number.into()),
    }
}
