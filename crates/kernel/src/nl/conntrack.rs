//! Connection tracking entries: listed as values, looked up and deleted one by one or many at once.

pub mod bulk;

use std::net::IpAddr;

use super::message::{DUMP, Writer};
use super::{Result, Socket, parse};

const SUBSYSTEM: u16 = 1;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;
const NEW: u16 = SUBSYSTEM << 8;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const MARK: u16 = 8;
const ID: u16 = 12;
const MARK_MASK: u16 = 21;
const FILTER: u16 = 25;
/// `CTA_FILTER_F_CTA_PROTO_NUM` of enum ctnetlink_filter_flags in nf_conntrack_netlink.c.
const FILTER_PROTOCOL: u32 = 1 << 3;
const AF_INET: u8 = libc::AF_INET as u8;
const AF_INET6: u8 = libc::AF_INET6 as u8;

/// One direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Sender's port (0 where the protocol has none).
    pub source_port: u16,
    /// Receiver's port (0 where the protocol has none).
    pub destination_port: u16,
}

/// One tracked flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// As the first packet was sent.
    pub original: Tuple,
    /// As answers arrive; differs from the mirrored original where an address was translated.
    pub reply: Tuple,
    /// `IPS_*` bits.
    pub status: u32,
    /// The flow's mark.
    pub mark: u32,
    /// The kernel's identity of this entry.
    pub id: u32,
}

impl Flow {
    /// True if the destination was translated (`IPS_DST_NAT`).
    pub fn destination_translated(&self) -> bool {
        self.status & 0x20 != 0
    }

    /// True if the source was translated (`IPS_SRC_NAT`).
    pub fn source_translated(&self) -> bool {
        self.status & 0x10 != 0
    }
}

/// Every flow of this namespace, or only those of one protocol.
pub fn flows(socket: &mut Socket, protocol: Option<u8>) -> Result<Vec<Flow>> {
    let message = Writer::request(GET, DUMP, &[0; 4], |_| ());
    let replies = match socket.dump("list tracked flows", message) {
        // A namespace in which nothing ever asked for tracking, or a kernel without it, has no flows.
        Err(error) if error.not_found() => return Ok(Vec::new()),
        other => other?,
    };
    let flows = replies.iter().filter_map(|reply| flow(reply.payload.get(4..)?));
    Ok(flows.filter(|flow| protocol.is_none_or(|wanted| flow.original.protocol == wanted)).collect())
}

fn write_tuple(w: &mut Writer, kind: u16, tuple: &Tuple) {
    w.nest(kind, |w| {
        w.nest(1, |w| {
            write_ip(w, 1, 3, tuple.source);
            write_ip(w, 2, 4, tuple.destination);
        });
        w.nest(2, |w| write_transport(w, tuple));
    });
}

/// An address in the attribute of its family.
fn write_ip(w: &mut Writer, four: u16, six: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => w.attribute(four, &address.octets()),
        IpAddr::V6(address) => w.attribute(six, &address.octets()),
    }
}

fn write_transport(w: &mut Writer, tuple: &Tuple) {
    w.attribute(1, &[tuple.protocol]);
    w.attribute(2, &tuple.source_port.to_be_bytes());
    w.attribute(3, &tuple.destination_port.to_be_bytes());
}

fn flow(attributes: &[u8]) -> Option<Flow> {
    let number = |kind| parse::find(attributes, kind).and_then(parse::be32).unwrap_or(0);
    Some(Flow {
        original: tuple(parse::find(attributes, TUPLE_ORIGINAL)?)?,
        reply: tuple(parse::find(attributes, TUPLE_REPLY)?)?,
        status: number(STATUS),
        mark: number(MARK),
        id: number(ID),
    })
}

fn tuple(attributes: &[u8]) -> Option<Tuple> {
    let ip = parse::find(attributes, 1)?;
    let transport = parse::find(attributes, 2)?;
    let address = |four, six| parse::find(ip, four).or_else(|| parse::find(ip, six)).and_then(parse::address);
    let port = |kind| parse::find(transport, kind).and_then(parse::be16).unwrap_or(0);
    Some(Tuple {
        source: address(1, 3)?,
        destination: address(2, 4)?,
        protocol: *parse::find(transport, 1)?.first()?,
        source_port: port(2),
        destination_port: port(3),
    })
}
