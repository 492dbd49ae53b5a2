//! Some or many tracked flows in one call: selected in the kernel, looked up, deleted, marked or made.

use std::net::IpAddr;

use super::super::message::{CREATE, DUMP, REQUEST, Writer};
use super::super::socket::bulk::Answer;
use super::super::{Result, Socket};
use super::{
    AF_INET, AF_INET6, DELETE, FILTER, FILTER_PROTOCOL, Flow, GET, ID, MARK, MARK_MASK, NEW, STATUS, TUPLE_ORIGINAL,
    TUPLE_REPLY, Tuple, flow, write_ip, write_tuple,
};

/// `CTA_FILTER_F_CTA_*` of enum ctnetlink_filter_flags in nf_conntrack_netlink.c.
const FILTER_DESTINATION: u32 = 1 << 1;
const FILTER_DESTINATION_PORT: u32 = 1 << 5;
const NAT_DESTINATION: u16 = 13;
const TIMEOUT: u16 = 7;
/// `IPS_CONFIRMED`: every flow in the table is.
const CONFIRMED: u32 = 8;
/// Requests per datagram: the answers to so many fit even into the receive buffer of an unprivileged process.
const DELETES_AT_ONCE: usize = 128;
const LOOKUPS_AT_ONCE: usize = 32;

/// Which flows to list: those of one family and protocol, and of one original destination if given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Select {
    /// IPv4, or IPv6.
    pub v4: bool,
    /// IP protocol number.
    pub protocol: u8,
    /// Address that the first packet was sent to.
    pub destination: Option<IpAddr>,
    /// Port that the first packet was sent to.
    pub destination_port: Option<u16>,
}

impl Select {
    /// Every flow of a family and protocol.
    pub fn all(v4: bool, protocol: u8) -> Self {
        Self { v4, protocol, destination: None, destination_port: None }
    }

    fn admits(&self, flow: &Flow) -> bool {
        flow.original.source.is_ipv4() == self.v4
            && flow.original.protocol == self.protocol
            && self.destination.is_none_or(|address| address == flow.original.destination)
            && self.destination_port.is_none_or(|port| port == flow.original.destination_port)
    }
}

/// Hands the selected flows to `each`. The kernel walks its whole table but returns only these (Linux 5.8 and newer;
/// an older one returns all of the family). Flows that come or go meanwhile may be missed.
pub fn each(socket: &mut Socket, select: Select, each: &mut dyn FnMut(Flow)) -> Result<()> {
    let family = if select.v4 { AF_INET } else { AF_INET6 };
    let message = Writer::request(GET, DUMP, &[family, 0, 0, 0], |w| {
        let mut flags = FILTER_PROTOCOL;
        w.nest(TUPLE_ORIGINAL, |w| {
            if let Some(address) = select.destination {
                flags |= FILTER_DESTINATION;
                w.nest(1, |w| write_ip(w, 2, 4, address));
            }
            w.nest(2, |w| {
                w.attribute(1, &[select.protocol]);
                if let Some(port) = select.destination_port {
                    flags |= FILTER_DESTINATION_PORT;
                    w.attribute(3, &port.to_be_bytes());
                }
            });
        });
        w.nest(FILTER, |w| {
            w.host32(1, flags);
            w.host32(2, 0);
        });
    });
    let streamed = socket.stream("list tracked flows", message, &mut |payload| {
        if let Some(found) = payload.get(4..).and_then(flow).filter(|flow| select.admits(flow)) {
            each(found);
        }
    });
    match streamed {
        // Nothing ever asked for tracking here.
        Err(error) if error.not_found() => Ok(()),
        other => other,
    }
}

/// Deletes flows by original tuple and id; how many were there.
pub fn delete_all(socket: &mut Socket, flows: &[(Tuple, u32)]) -> Result<usize> {
    let mut deleted = 0;
    for some in flows.chunks(DELETES_AT_ONCE) {
        let mut writer = Writer::new();
        for (tuple, id) in some {
            writer.message(DELETE, REQUEST, &[family(tuple), 0, 0, 0], |w| {
                write_tuple(w, TUPLE_ORIGINAL, tuple);
                w.be32(ID, *id);
            });
        }
        let answers = socket.answers("delete tracked flows", writer)?;
        deleted += answers.iter().filter(|answer| **answer != Answer::Absent).count();
    }
    Ok(deleted)
}

/// Looks flows up by their original tuples; in the same order, none for those that are gone.
pub fn look_up(socket: &mut Socket, tuples: &[Tuple]) -> Result<Vec<Option<Flow>>> {
    let mut found = Vec::with_capacity(tuples.len());
    for some in tuples.chunks(LOOKUPS_AT_ONCE) {
        let mut writer = Writer::new();
        for tuple in some {
            writer.message(GET, REQUEST, &[family(tuple), 0, 0, 0], |w| write_tuple(w, TUPLE_ORIGINAL, tuple));
        }
        for answer in socket.answers("look up tracked flows", writer)? {
            found.push(match answer {
                Answer::Object(bytes) => bytes.get(4..).and_then(flow),
                Answer::Done | Answer::Absent => None,
            });
        }
    }
    Ok(found)
}

/// Clears bits of the marks of flows; those that are gone are left out.
pub fn clear_marks(socket: &mut Socket, tuples: &[Tuple], bits: u32) -> Result<()> {
    for some in tuples.chunks(DELETES_AT_ONCE) {
        let mut writer = Writer::new();
        for tuple in some {
            writer.message(NEW, REQUEST, &[family(tuple), 0, 0, 0], |w| {
                write_tuple(w, TUPLE_ORIGINAL, tuple);
                w.be32(MARK, 0);
                w.be32(MARK_MASK, bits);
            });
        }
        socket.answers("clear marks of tracked flows", writer)?;
    }
    Ok(())
}

/// Makes flows that end after `seconds` without a packet, each translated to `flow.reply`'s source where that is not its
/// original destination: to measure with, and to stand for traffic that was.
pub fn insert(socket: &mut Socket, flows: &[Flow], seconds: u32) -> Result<()> {
    for some in flows.chunks(DELETES_AT_ONCE) {
        let mut writer = Writer::new();
        for flow in some {
            let (original, reply) = (&flow.original, &flow.reply);
            writer.message(NEW, REQUEST | CREATE, &[family(original), 0, 0, 0], |w| {
                write_tuple(w, TUPLE_ORIGINAL, original);
                write_tuple(w, TUPLE_REPLY, &mirrored(original));
                w.be32(TIMEOUT, seconds);
                w.be32(STATUS, flow.status | CONFIRMED);
                w.be32(MARK, flow.mark);
                if (reply.source, reply.source_port) != (original.destination, original.destination_port) {
                    w.nest(NAT_DESTINATION, |w| {
                        write_ip(w, 1, 4, reply.source);
                        w.nest(3, |w| w.attribute(1, &reply.source_port.to_be_bytes()));
                    });
                }
            });
        }
        socket.answers("make tracked flows", writer)?;
    }
    Ok(())
}

fn mirrored(tuple: &Tuple) -> Tuple {
    Tuple {
        source: tuple.destination,
        destination: tuple.source,
        protocol: tuple.protocol,
        source_port: tuple.destination_port,
        destination_port: tuple.source_port,
    }
}

fn family(tuple: &Tuple) -> u8 {
    if tuple.source.is_ipv4() { AF_INET } else { AF_INET6 }
}
