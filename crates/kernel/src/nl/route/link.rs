//! Network devices: created, set up, listed.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::super::message::{CREATE, EXCLUSIVE, Writer};
use super::super::{Error, Result, parse};
use super::Rtnetlink;

const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const UP: u32 = libc::IFF_UP as u32;

/// One network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index, unique in its namespace.
    pub index: u32,
    /// Name.
    pub name: String,
    /// True if it is administratively up.
    pub up: bool,
    /// Largest packet.
    pub mtu: u32,
    /// Hardware address; empty if it has none.
    pub mac: Vec<u8>,
    /// `veth`, `bridge`, ...; empty for plain devices.
    pub kind: String,
}

/// A veth pair to be created.
#[derive(Clone, Copy, Debug)]
pub struct VethSpec<'a> {
    /// Name of the end that stays in this namespace; it is set up.
    pub name: &'a str,
    /// Name of the other end; it is left down (the kernel refuses to set it up before the pair is joined).
    pub peer_name: &'a str,
    /// Namespace in which the other end is created in place (moving it later costs 20 ms); None: this one.
    pub peer_netns: Option<BorrowedFd<'a>>,
    /// Largest packet; None: the kernel's default.
    pub mtu: Option<u32>,
    /// Hardware address of the near end; None: random.
    pub mac: Option<[u8; 6]>,
    /// Hardware address of the other end; None: random.
    pub peer_mac: Option<[u8; 6]>,
}

impl Rtnetlink {
    /// Every device of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let replies = self.dump("list links", GET_LINK, &header(0, 0, 0))?;
        Ok(replies.iter().filter_map(|reply| link(&reply.payload)).collect())
    }

    /// The device of this name; None if there is none.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let message = Writer::request(GET_LINK, 0, &header(0, 0, 0), |w| w.string(IFLA_IFNAME, name));
        match self.socket.query(&format!("look up link {name}"), message) {
            Err(error) if error.not_found() => Ok(None),
            other => Ok(other?.iter().find_map(|reply| link(&reply.payload))),
        }
    }

    /// The index of the device of this name.
    pub fn link_index(&mut self, name: &str) -> Result<u32> {
        let found = self.link(name)?.map(|link| link.index);
        found.ok_or_else(|| Error::os(&format!("look up link {name}"), libc::ENODEV, None))
    }

    /// Sets a device up or down.
    pub fn link_set_up(&mut self, index: u32, up: bool) -> Result<()> {
        let flags = if up { UP } else { 0 };
        let what = format!("set link {index} {}", if up { "up" } else { "down" });
        self.request(&what, Writer::request(NEW_LINK, 0, &header(index, flags, UP), |_| ()))
    }

    /// Deletes a device (of a veth pair, both ends).
    pub fn link_delete(&mut self, index: u32) -> Result<()> {
        self.request(&format!("delete link {index}"), Writer::request(DEL_LINK, 0, &header(index, 0, 0), |_| ()))
    }

    /// Creates a veth pair.
    pub fn veth_create(&mut self, veth: &VethSpec<'_>) -> Result<()> {
        let message = Writer::request(NEW_LINK, CREATE | EXCLUSIVE, &header(0, UP, UP), |w| {
            describe(w, veth.name, veth.mtu, veth.mac);
            w.nest(IFLA_LINKINFO, |w| {
                w.string(1, "veth");
                w.nest(2, |w| {
                    w.nest(1, |w| {
                        w.raw(&header(0, 0, 0));
                        describe(w, veth.peer_name, veth.mtu, veth.peer_mac);
                        if let Some(netns) = veth.peer_netns {
                            w.host32(IFLA_NET_NS_FD, netns.as_raw_fd() as u32);
                        }
                    });
                });
            });
        });
        self.request(&format!("create veth {}", veth.name), message)
    }

    /// Turns IPv4 forwarding of one device on or off, also where /proc/sys is read-only.
    ///
    /// A wrong attribute would be acknowledged and ignored: callers that depend on it read /proc/sys back. IPv6 has no
    /// such attribute; it is switched by `net.ipv6.conf.all.forwarding` only.
    pub fn forwarding4_set(&mut self, index: u32, on: bool) -> Result<()> {
        let message = Writer::request(NEW_LINK, 0, &header(index, 0, 0), |w| {
            w.nest(IFLA_AF_SPEC, |w| {
                w.nest(libc::AF_INET as u16, |w| w.nest(1, |w| w.host32(1, u32::from(on))));
            });
        });
        self.request(&format!("set IPv4 forwarding of link {index}"), message)
    }
}

fn describe(w: &mut Writer, name: &str, mtu: Option<u32>, mac: Option<[u8; 6]>) {
    w.string(IFLA_IFNAME, name);
    if let Some(mtu) = mtu {
        w.host32(IFLA_MTU, mtu);
    }
    if let Some(mac) = mac {
        w.attribute(IFLA_ADDRESS, &mac);
    }
}

/// struct ifinfomsg.
fn header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&change.to_ne_bytes());
    bytes
}

fn link(payload: &[u8]) -> Option<Link> {
    let attributes = payload.get(16..)?;
    let info = parse::find(attributes, IFLA_LINKINFO).unwrap_or_default();
    Some(Link {
        index: parse::host32(payload.get(4..)?)?,
        name: parse::find(attributes, IFLA_IFNAME).map(parse::text)?,
        up: parse::host32(payload.get(8..)?)? & UP != 0,
        mtu: parse::find(attributes, IFLA_MTU).and_then(parse::host32).unwrap_or(0),
        mac: parse::find(attributes, IFLA_ADDRESS).unwrap_or_default().to_vec(),
        kind: parse::find(info, 1).map(parse::text).unwrap_or_default(),
    })
}
