//! Addresses of network devices.

use std::net::IpAddr;

use super::super::message::{CREATE, EXCLUSIVE, Writer};
use super::super::{Result, parse};
use super::{Rtnetlink, family, octets};

const NEW_ADDRESS: u16 = 20;
const DEL_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
/// Without it an IPv6 address is tentative, and unusable, for a second or two.
const NODAD: u32 = 0x02;

/// How far an address or a route is valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Everywhere.
    #[default]
    Global,
    /// On this link only; such an IPv4 address is never chosen as the source of masqueraded traffic.
    Link,
    /// On this host only.
    Host,
}

/// An address to be added; IPv6 without duplicate address detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewAddress {
    /// Device.
    pub index: u32,
    /// Address.
    pub address: IpAddr,
    /// Bits of the network part.
    pub prefix_len: u8,
    /// Scope.
    pub scope: Scope,
}

/// An address that a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Device.
    pub index: u32,
    /// Address.
    pub address: IpAddr,
    /// Bits of the network part.
    pub prefix_len: u8,
    /// Scope.
    pub scope: Scope,
    /// `IFA_F_...` bits.
    pub flags: u32,
}

impl Address {
    /// Whether it stays and may be given to others: no temporary (privacy), tentative, deprecated or failed address.
    pub fn is_stable(&self) -> bool {
        const TEMPORARY: u32 = 0x01;
        const DAD_FAILED: u32 = 0x08;
        const DEPRECATED: u32 = 0x20;
        const TENTATIVE: u32 = 0x40;
        // IPv4 uses the first bit for secondary addresses, which are as good as others.
        let temporary = if self.address.is_ipv6() { TEMPORARY } else { 0 };
        self.flags & (temporary | DAD_FAILED | DEPRECATED | TENTATIVE) == 0
    }
}

impl Rtnetlink {
    /// Adds an address; one that exists gives an error with [`super::super::Error::already_exists`].
    pub fn address_add(&mut self, new: &NewAddress) -> Result<()> {
        let message = Writer::request(NEW_ADDRESS, CREATE | EXCLUSIVE, &header(new), |w| {
            attributes(w, new);
            w.host32(IFA_FLAGS, NODAD);
        });
        self.request(&format!("add {}/{} to link {}", new.address, new.prefix_len, new.index), message)
    }

    /// Removes an address.
    pub fn address_delete(&mut self, old: &NewAddress) -> Result<()> {
        let message = Writer::request(DEL_ADDRESS, 0, &header(old), |w| attributes(w, old));
        self.request(&format!("remove {}/{} from link {}", old.address, old.prefix_len, old.index), message)
    }

    /// Every address of the namespace, both families.
    pub fn addresses(&mut self) -> Result<Vec<Address>> {
        let replies = self.dump("list addresses", GET_ADDRESS, &[0; 8])?;
        Ok(replies.iter().filter_map(|reply| address(&reply.payload)).collect())
    }
}

pub(super) fn scope_number(scope: Scope) -> u8 {
    match scope {
        Scope::Global => 0,
        Scope::Link => 253,
        Scope::Host => 254,
    }
}

fn scope(number: u8) -> Scope {
    match number {
        254.. => Scope::Host,
        253 => Scope::Link,
        _ => Scope::Global,
    }
}

/// struct ifaddrmsg.
fn header(new: &NewAddress) -> [u8; 8] {
    let mut bytes = [family(&new.address), new.prefix_len, NODAD as u8, scope_number(new.scope), 0, 0, 0, 0];
    bytes[4..8].copy_from_slice(&new.index.to_ne_bytes());
    bytes
}

fn attributes(w: &mut Writer, new: &NewAddress) {
    w.attribute(IFA_LOCAL, &octets(&new.address));
    w.attribute(IFA_ADDRESS, &octets(&new.address));
}

fn address(payload: &[u8]) -> Option<Address> {
    let attributes = payload.get(8..)?;
    // IFA_ADDRESS is the other end on point-to-point links; IFA_LOCAL, where present, is ours.
    let local = parse::find(attributes, IFA_LOCAL).or_else(|| parse::find(attributes, IFA_ADDRESS))?;
    Some(Address {
        index: parse::host32(payload.get(4..)?)?,
        address: parse::address(local)?,
        prefix_len: *payload.get(1)?,
        scope: scope(*payload.get(3)?),
        flags: parse::find(attributes, IFA_FLAGS).and_then(parse::host32).unwrap_or(u32::from(*payload.get(2)?)),
    })
}
