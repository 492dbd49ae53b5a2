//! Permanent neighbour entries: a link-layer address that needs no ARP or NDP.

use std::net::IpAddr;

use super::super::Result;
use super::super::message::{CREATE, REPLACE, Writer};
use super::{Rtnetlink, family, octets};

const NEW_NEIGHBOUR: u16 = 28;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
/// `NUD_PERMANENT`.
const PERMANENT: u16 = 0x80;

/// A neighbour entry to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewNeighbour {
    /// Device.
    pub index: u32,
    /// The neighbour's address.
    pub address: IpAddr,
    /// The neighbour's hardware address.
    pub mac: [u8; 6],
}

impl Rtnetlink {
    /// Writes a permanent entry, replacing what was known.
    pub fn neighbour_set(&mut self, new: &NewNeighbour) -> Result<()> {
        // struct ndmsg: family, padding, index, state, flags, type.
        let mut fixed = [0; 12];
        fixed[0] = family(&new.address);
        fixed[4..8].copy_from_slice(&new.index.to_ne_bytes());
        fixed[8..10].copy_from_slice(&PERMANENT.to_ne_bytes());
        let message = Writer::request(NEW_NEIGHBOUR, CREATE | REPLACE, &fixed, |w| {
            w.attribute(NDA_DST, &octets(&new.address));
            w.attribute(NDA_LLADDR, &new.mac);
        });
        self.request(&format!("set neighbour {}", new.address), message)
    }
}
