//! Turns configured ranges into bands: low ones for explicit requests, high ones for dynamic allocation (KEP-3070, KEP-3668).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use api::kinds::address;

use super::draw::Draw;
use crate::snapshot::Family;

/// Where Services get their addresses and node ports from.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranges {
    /// Service networks, primary family first, at most one per family.
    pub service: Vec<Cidr>,
    /// Node ports.
    pub node_ports: RangeInclusive<u16>,
}

impl Ranges {
    /// The network of a family, if configured.
    pub fn of(&self, family: Family) -> Option<&Cidr> {
        self.service.iter().find(|cidr| cidr.family() == family)
    }

    /// The family of Services that do not ask for one.
    pub fn primary(&self) -> Family {
        self.service.first().map_or(Family::V4, Cidr::family)
    }
}

/// A network: its first address and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    /// First address.
    pub network: IpAddr,
    /// Bits that all its addresses share.
    pub prefix: u8,
}

/// Why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a network: {why}; write one such as 10.96.0.0/16 or fd00:10:96::/112")]
pub struct CidrError {
    text: String,
    why: String,
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let error = |why: &str| CidrError { text: text.to_owned(), why: why.to_owned() };
        let (network, prefix) = text.split_once('/').ok_or_else(|| error("it has no /prefix"))?;
        let network: IpAddr = network.parse().map_err(|_| error("the part before / is no IP address"))?;
        let prefix: u8 = prefix.parse().map_err(|_| error("the part after / is no number"))?;
        let most = if network.is_ipv4() { 32 } else { 128 };
        if prefix > most {
            return Err(error(&format!("the prefix is longer than {most}")));
        }
        if address::masked(network, prefix) != network {
            let masked = address::masked(network, prefix);
            return Err(error(&format!("bits are set beyond the prefix ({masked}/{prefix} is meant?)")));
        }
        Ok(Self { network, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.network, self.prefix)
    }
}

impl Cidr {
    /// The range around an address such as `10.0.0.7/24`: bits beyond the prefix are allowed, and mean nothing, as Kubernetes
    /// reads source ranges. None if it is no range.
    pub fn around(text: &str) -> Option<Self> {
        let (address, prefix) = text.trim().split_once('/')?;
        let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then(|| Self { network: address::masked(address, prefix), prefix })
    }

    /// The family of its addresses.
    pub fn family(&self) -> Family {
        if self.network.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.network.is_ipv4() && address::masked(address, self.prefix) == self.network
    }

    /// Whether every address of `other` is in it.
    pub fn covers(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.network)
    }

    /// Whether its last address is the last of its family.
    pub fn is_last(&self) -> bool {
        let most = if self.network.is_ipv4() { u128::from(u32::MAX) } else { u128::MAX };
        number(self.network).saturating_add(self.size() - 1) >= most
    }

    /// Number of addresses, network and broadcast included.
    pub fn size(&self) -> u128 {
        let bits: u32 = if self.network.is_ipv4() { 32 } else { 128 };
        1u128.checked_shl(bits.saturating_sub(u32::from(self.prefix))).unwrap_or(u128::MAX)
    }

    /// The first address that a Service may have; none if the network is too small for any.
    pub fn first_usable(&self) -> Option<IpAddr> {
        (self.last() >= 1).then(|| self.at(1))
    }

    /// Whether a Service may have the address: not the network itself, and not the IPv4 broadcast address.
    pub(super) fn is_usable(&self, address: IpAddr) -> bool {
        self.contains(address) && (1..=self.last()).contains(&(number(address) - number(self.network)))
    }

    /// A free address: from the dynamic band if it has one, from the static band otherwise. None if there is none at all.
    pub(super) fn pick(&self, draw: &mut Draw, is_taken: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let bands = bands(1, self.last(), offset(self.size(), 16, 256));
        bands
            .into_iter()
            .find_map(|(low, high)| scan(low, high, draw, |at| is_taken(self.at(at))))
            .map(|at| self.at(at))
    }

    /// Offset of the last usable address; IPv6 has no broadcast address and uses it too.
    fn last(&self) -> u128 {
        (self.size() - 1).saturating_sub(u128::from(self.network.is_ipv4()))
    }

    fn at(&self, offset: u128) -> IpAddr {
        let number = number(self.network).wrapping_add(offset);
        match self.network {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(number as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
        }
    }
}

/// A free node port, by the same rules with other numbers.
pub(super) fn pick_port(range: &RangeInclusive<u16>, draw: &mut Draw, is_taken: impl Fn(u16) -> bool) -> Option<u16> {
    let (low, high) = (u128::from(*range.start()), u128::from(*range.end()));
    let bands = bands(low, high, offset((high + 1).saturating_sub(low), 32, 128));
    let port = bands.into_iter().find_map(|(low, high)| scan(low, high, draw, |port| is_taken(port as u16)));
    port.map(|port| port as u16)
}

/// Length of the static band: at least 16, at most `most`, a `share`-th between; none in a range of 16 or fewer.
fn offset(size: u128, share: u128, most: u128) -> u128 {
    if size <= 16 { 0 } else { (size / share).clamp(16, most) }
}

/// The dynamic band, then the static band.
fn bands(low: u128, high: u128, offset: u128) -> [(u128, u128); 2] {
    [(low + offset, high), (low, (low + offset).saturating_sub(1).min(high))]
}

/// The first free number at or after a random one, wrapping around; every number of the band is looked at once at most.
fn scan(low: u128, high: u128, draw: &mut Draw, is_taken: impl Fn(u128) -> bool) -> Option<u128> {
    if low > high {
        return None;
    }
    let start = low + draw.below(high - low + 1);
    (start..=high).chain(low..start).find(|number| !is_taken(*number))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}
