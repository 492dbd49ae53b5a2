//! What the kernel tells of packets that carry `nftrace`: which rule or policy decided, and about which packet.

use std::net::IpAddr;
use std::time::Duration;

use super::rulesets::Table;
use super::{Protocol, Result, Socket, parse};

/// `NFNLGRP_NFTRACE`.
const GROUP: i32 = 9;
const TRACE: u16 = 10 << 8 | 17;
const POLICY: u32 = 1;
const NF_DROP: u32 = 0;

/// One step of one traced packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The kernel's number of the packet: the same in all of its events.
    pub id: u32,
    /// Where the step was taken.
    pub table: Table,
    /// Its chain.
    pub chain: String,
    /// The rule; none for a chain's policy.
    pub rule: Option<u64>,
    /// Whether the packet ended here.
    pub dropped: bool,
    /// The packet: protocol, destination and destination port, when the kernel told them.
    pub packet: Option<Packet>,
    /// Index of the link by which it came in, when the kernel told it: with the packet, unless it is one of this host.
    pub incoming: Option<u32>,
}

/// Which packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Protocol number.
    pub protocol: u8,
    /// Where it goes.
    pub destination: IpAddr,
    /// Port that it goes to; 0 for protocols without.
    pub port: u16,
}

/// Receives events of the calling thread's network namespace.
#[derive(Debug)]
pub struct Tracer(Socket);

impl Tracer {
    /// Starts to listen.
    pub fn open() -> Result<Self> {
        let socket = Socket::open(Protocol::Netfilter)?;
        socket.join(GROUP)?;
        Ok(Self(socket))
    }

    /// The events of the next datagrams; empty if none came in `patience`, or if so many came that some were lost.
    pub fn events(&mut self, patience: Duration) -> Result<Vec<Event>> {
        let replies = self.0.heard(patience)?;
        Ok(replies.iter().filter(|reply| reply.kind == TRACE).filter_map(|reply| event(&reply.payload)).collect())
    }
}

fn event(payload: &[u8]) -> Option<Event> {
    let attributes = payload.get(4..)?;
    let find = |kind| parse::find(attributes, kind);
    let number = |kind| find(kind).and_then(parse::be32);
    let verdict = find(5).and_then(|nest| parse::find(nest, 1)).and_then(parse::be32);
    let policy = number(4)? == POLICY;
    let decided = if policy { number(16) } else { verdict };
    let headers = find(8).map(|network| (network, find(9).unwrap_or_default()));
    Some(Event {
        id: number(6)?,
        table: Table { family: *payload.first()?, name: parse::text(find(1)?) },
        chain: find(2).map(parse::text).unwrap_or_default(),
        rule: if policy { None } else { find(3).and_then(parse::be64) },
        dropped: decided == Some(NF_DROP),
        incoming: number(10),
        packet: headers.and_then(|(network, transport)| packet(network, transport)),
    })
}

fn packet(network: &[u8], transport: &[u8]) -> Option<Packet> {
    let (protocol, destination) = match network.first()? >> 4 {
        4 => (*network.get(9)?, parse::address(network.get(16..20)?)?),
        6 => (*network.get(6)?, parse::address(network.get(24..40)?)?),
        _ => return None,
    };
    let port = if matches!(protocol, 6 | 17) { transport.get(2..).and_then(parse::be16).unwrap_or(0) } else { 0 };
    Some(Packet { protocol, destination, port })
}

#[cfg(test)]
mod tests {
    use super::super::message::Writer;
    use super::*;

    #[test]
    fn a_policy_and_a_rule_say_who_dropped_which_packet() {
        let mut ip = [0_u8; 20];
        ip[0] = 0x45;
        ip[9] = 17;
        ip[16..].copy_from_slice(&[10, 96, 0, 10]);
        let message = |policy: bool| {
            let mut w = Writer::new();
            w.raw(&[2, 0, 0, 0]);
            w.string(1, "filter");
            w.string(2, "FORWARD");
            w.be32(6, 99);
            w.be32(4, if policy { 1 } else { 3 });
            if policy {
                w.be32(16, 0);
            } else {
                w.be64(3, 7);
                w.nest(5, |w| w.be32(1, 0));
            }
            w.be32(10, 3);
            w.attribute(8, &ip);
            w.attribute(9, &[0x80, 0, 0, 53]);
            w.bytes().to_vec()
        };
        for policy in [true, false] {
            let event = event(&message(policy)).unwrap();
            assert!(event.dropped && event.id == 99 && event.incoming == Some(3));
            assert_eq!(event.rule, if policy { None } else { Some(7) });
            let packet = event.packet.unwrap();
            assert_eq!((packet.protocol, packet.port, packet.destination.to_string().as_str()), (17, 53, "10.96.0.10"));
        }
        assert_eq!(event(&[2, 0, 0]), None);
        assert_eq!(packet(&[0x45; 10], &[]), None, "a cut header is no packet");
    }
}
