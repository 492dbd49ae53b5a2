//! Packets that a rule logs (`log group N`) in, addresses and ports of each out: how new flows of a few rules are learned without
//! asking connection tracking for the events of all traffic.
//!
//! The kernel queues a packet's message inside the hook, so that once an RCU grace period has passed ([`crate::rcu`]),
//! the messages of all packets that were in our rules before it are in the queue.

use std::net::IpAddr;

use super::conntrack::Tuple;
use super::message::Writer;
use super::socket::bulk::Heard;
use super::{Protocol, Result, Socket, parse};

/// `NFNL_SUBSYS_ULOG` of linux/netfilter/nfnetlink.h.
const SUBSYSTEM: u16 = 4;
const PACKET: u16 = SUBSYSTEM << 8;
const CONFIG: u16 = SUBSYSTEM << 8 | 1;
/// `NFULA_CFG_*` of linux/netfilter/nfnetlink_log.h.
const COMMAND: u16 = 1;
const MODE: u16 = 2;
const BUFFER: u16 = 3;
const THRESHOLD: u16 = 5;
const BIND: u8 = 1;
/// `NFULNL_COPY_PACKET`, and how much of it: the headers. (Conntrack's own description of the flow needs a kernel option,
/// NETFILTER_NETLINK_GLUE_CT, that not all have.)
const COPY_PACKET: u8 = 2;
const COPY_BYTES: u32 = 80;
/// `NFULA_PAYLOAD`.
const PAYLOAD: u16 = 9;
/// What the kernel allocates per message at least; a larger message makes it allocate more.
const BUFFER_BYTES: u32 = 512;
const UDP: u8 = 17;

/// Listens to one log group of the network namespace in which it was opened.
#[derive(Debug)]
pub struct FlowLog {
    socket: Socket,
}

impl FlowLog {
    /// Takes a group, which has one listener at most (EBUSY or EPERM if there is one). It is free again when this is dropped.
    pub fn open(group: u16) -> Result<Self> {
        let mut socket = Socket::open(Protocol::Netfilter)?;
        let header = |writer: &mut Writer, attributes: &dyn Fn(&mut Writer)| {
            let [high, low] = group.to_be_bytes();
            writer.message(CONFIG, super::message::REQUEST, &[0, 0, high, low], attributes);
        };
        let mut bind = Writer::new();
        header(&mut bind, &|w| w.attribute(COMMAND, &[BIND]));
        socket.query("listen to a log group", bind)?;
        let mut configure = Writer::new();
        header(&mut configure, &|w| {
            w.attribute(MODE, &[&COPY_BYTES.to_be_bytes()[..], &[COPY_PACKET, 0]].concat());
            w.be32(BUFFER, BUFFER_BYTES);
            // Every message at once: a batch would wait in the kernel for a time that nobody can ask to end.
            w.be32(THRESHOLD, 1);
        });
        socket.query("configure a log group", configure)?;
        Ok(Self { socket })
    }

    /// Hands the addresses and ports of every logged UDP packet in the queue to `each`: as the rule saw them, so before a
    /// translation by it. A packet that is not understood counts as lost.
    pub fn read(&mut self, each: &mut dyn FnMut(Tuple)) -> Result<Heard> {
        let mut understood = true;
        let heard = self.socket.listen("read a log group", &mut |kind, payload| {
            if kind != PACKET {
                return;
            }
            match payload.get(4..).and_then(|bytes| parse::find(bytes, PAYLOAD)).and_then(tuple) {
                Some(tuple) => each(tuple),
                None => understood = false,
            }
        })?;
        Ok(Heard { lost: heard.lost || !understood, ..heard })
    }

    /// A descriptor that is readable when something is queued.
    pub fn waiter(&self) -> std::io::Result<std::os::fd::OwnedFd> {
        self.socket.waiter()
    }
}

/// Addresses and ports of a UDP packet, from its IP header on.
fn tuple(packet: &[u8]) -> Option<Tuple> {
    let (source, destination, protocol, length): (IpAddr, IpAddr, u8, usize) = match packet.first()? >> 4 {
        4 => {
            let address = |at: usize| Some(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?.into());
            (address(12)?, address(16)?, *packet.get(9)?, usize::from(packet.first()? & 0xf) * 4)
        }
        6 => {
            let address = |at: usize| Some(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?.into());
            (address(8)?, address(24)?, *packet.get(6)?, 40)
        }
        _ => return None,
    };
    let port = |at: usize| parse::be16(packet.get(at..)?);
    let (source_port, destination_port) = (port(length)?, port(length + 2)?);
    (protocol == UDP).then_some(Tuple { source, destination, protocol, source_port, destination_port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_short_or_foreign_packets_are_not() {
        let mut four = vec![0x46, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 1, 1, 1];
        four.extend([0x1f, 0x90, 0, 53, 0, 8, 0, 0]);
        let read = tuple(&four).unwrap();
        assert_eq!((read.source.to_string(), read.destination.to_string()), ("10.0.0.1".into(), "10.0.0.2".into()));
        assert_eq!((read.source_port, read.destination_port), (8080, 53), "behind the options");
        let mut six = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
        six.extend([[0xfd; 16], [0xfe; 16]].concat());
        six.extend([0, 1, 0, 2]);
        assert_eq!(tuple(&six).map(|tuple| (tuple.source_port, tuple.destination_port)), Some((1, 2)));
        six[6] = 0;
        assert_eq!(tuple(&six), None, "an extension header");
        assert_eq!((0..four.len() - 4).filter(|length| tuple(&four[..*length]).is_some()).count(), 0);
    }
}
