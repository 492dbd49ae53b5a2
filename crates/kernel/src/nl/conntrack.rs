//! Connection tracking entries: listed as values, deleted by mark or one by one.

use std::net::IpAddr;

use super::message::{DUMP, Writer};
use super::{Result, Socket, parse};

const SUBSYSTEM: u16 = 1;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// Deletes every flow of `protocol` whose mark, under `mask`, is one of `marks`.
pub fn delete_marked(socket: &mut Socket, protocol: u8, marks: &[u32], mask: u32) -> Result<()> {
    /// From this many marks on, one walk in user space is cheaper than one walk in the kernel per mark.
    const WALKS_MAX: usize = 8;
    let in_kernel = marks.len() <= WALKS_MAX
        && marks.iter().try_for_each(|mark| delete_in_kernel(socket, protocol, *mark, mask)).is_ok();
    if in_kernel {
        return Ok(());
    }
    for flow in flows(socket, Some(protocol))? {
        if marks.contains(&(flow.mark & mask)) {
            delete(socket, &flow)?;
        }
    }
    Ok(())
}

/// Deletes one flow; one that is gone already is no error.
pub fn delete(socket: &mut Socket, flow: &Flow) -> Result<()> {
    let family = if flow.original.source.is_ipv4() { AF_INET } else { AF_INET6 };
    let message = Writer::request(DELETE, 0, &[family, 0, 0, 0], |w| {
        write_tuple(w, &flow.original);
        w.be32(ID, flow.id);
    });
    match socket.request("delete a tracked flow", message) {
        Err(error) if error.not_found() => Ok(()),
        other => other,
    }
}

/// Asks the kernel to walk the table itself (Linux 6.8 and newer understand the protocol filter here; older ones
/// refuse, because the tuple is incomplete).
fn delete_in_kernel(socket: &mut Socket, protocol: u8, mark: u32, mask: u32) -> Result<()> {
    for family in [AF_INET, AF_INET6] {
        let message = Writer::request(DELETE, 0, &[family, 0, 0, 0], |w| {
            w.nest(TUPLE_ORIGINAL, |w| w.nest(2, |w| w.attribute(1, &[protocol])));
            w.be32(MARK, mark);
            w.be32(MARK_MASK, mask);
            w.nest(FILTER, |w| {
                w.host32(1, FILTER_PROTOCOL);
                w.host32(2, 0);
            });
        });
        socket.request("delete tracked flows by mark", message)?;
    }
    Ok(())
}

fn write_tuple(w: &mut Writer, tuple: &Tuple) {
    w.nest(TUPLE_ORIGINAL, |w| {
        w.nest(1, |w| match (tuple.source, tuple.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                w.attribute(1, &source.octets());
                w.attribute(2, &destination.octets());
            }
            (source, destination) => {
                w.attribute(3, &six(source));
                w.attribute(4, &six(destination));
            }
        });
        w.nest(2, |w| {
            w.attribute(1, &[tuple.protocol]);
            w.attribute(2, &tuple.source_port.to_be_bytes());
            w.attribute(3, &tuple.destination_port.to_be_bytes());
        });
    });
}

fn six(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().octets(),
        IpAddr::V6(six) => six.octets(),
    }
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
