//! A node between clients and the world: clients send from any address, the world gets whatever leaves the node, and
//! captures on both sides say what became of each packet.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

use dataplane::Dataplane;
use dataplane::nft::Nft;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto, socket_with};

use super::topology::{Host, Netns, Node, ip};
use super::wire::{Caught, Kind, Sent, decode};

/// Tells of circumstances by the six bits of the traffic class: 1 and 2 are foreign marks, 3 is a foreign priority. What
/// is for the node itself is refused in a way of its own; a scratch word that leaves the node sets all six bits.
const WATCH: &str = "table inet watch {
    chain given {
        ip dscp 1 ct mark set 0x80
        ip6 dscp 1 ct mark set 0x80
        ip dscp 2 ct mark set 0x40001
        ip6 dscp 2 ct mark set 0x40001
        ip dscp 3 meta priority set 0x10002
        ip6 dscp 3 meta priority set 0x10002
    }
    chain arriving { type filter hook prerouting priority -150; jump given
    }
    chain made { type filter hook output priority -150; jump given
    }
    chain here { type filter hook input priority 0
        meta l4proto tcp tcp flags & rst == 0 reject with icmpx type admin-prohibited
        meta l4proto { udp, sctp } reject with icmpx type admin-prohibited
    }
    chain leaving { type filter hook postrouting priority 300
        meta priority and 0xc0000000 == 0xc0000000 ip dscp set 63
        meta priority and 0xc0000000 == 0xc0000000 ip6 dscp set 63
    }
}";

/// Everything that sends and listens.
pub(crate) struct Stage {
    _node: Node,
    pub(crate) nft: Nft,
    clients: [UdpSocket; 2],
    own: [UdpSocket; 2],
    captures: [File; 2],
    /// They live as long as their namespaces are needed.
    _hosts: [Host; 2],
}

fn raw(netns: &Netns) -> [UdpSocket; 2] {
    netns.run(|| {
        [AddressFamily::INET, AddressFamily::INET6].map(|family| {
            let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW));
            UdpSocket::from(socket.unwrap_or_else(|error| panic!("a raw socket: {error}: run the tests as root")))
        })
    })
}

fn capture(netns: &Netns) -> File {
    /// `ETH_P_ALL` in network order.
    const ALL: std::num::NonZeroU32 = std::num::NonZeroU32::new(0x0003_u16.to_be() as u32).unwrap();
    let opened: OwnedFd = netns.run(|| {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, Some(Protocol::from_raw(ALL))).unwrap()
    });
    File::from(opened)
}

impl Stage {
    /// A node with these addresses, our rules installed and empty.
    pub(crate) fn new(addresses: &[IpAddr]) -> Self {
        let node = Node { netns: Netns::new() };
        node.netns.run(|| {
            for (file, value) in [
                ("ipv4/ip_forward", "1"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/default/rp_filter", "0"),
                ("ipv4/icmp_ratelimit", "0"),
                ("ipv4/icmp_ratemask", "0"),
                ("ipv6/icmp/ratelimit", "0"),
                ("ipv6/icmp/ratemask", "2"),
            ] {
                std::fs::write(format!("/proc/sys/net/{file}"), value)
                    .unwrap_or_else(|error| panic!("{file}: {error}"));
            }
        });
        addresses.iter().for_each(|address| node.local_address(*address));
        let world = node.attach("world", "100.64.0.2", "fd64::2");
        let clients = node.attach("clients", "100.64.0.3", "fd64::3");
        node.default_route("world", &world);
        let watched = node.netns.run(|| std::process::Command::new("nft").arg(WATCH).output());
        let watched = watched.unwrap_or_else(|error| panic!("run nft: {error}; install it: apt-get install nftables"));
        assert!(watched.status.success(), "{}", String::from_utf8_lossy(&watched.stderr));
        let mut nft = node.netns.run(|| Nft::open().unwrap());
        nft.install().unwrap();
        let captures = [capture(&world.netns), capture(&node.netns)];
        let (own, sockets) = (raw(&node.netns), raw(&clients.netns));
        Self { _node: node, nft, clients: sockets, own, captures, _hosts: [world, clients] }
    }

    /// Sends a packet from the clients, or from the node itself. What the rules refuse or drop on its way out of the
    /// node is an error of the call.
    pub(crate) fn send(&self, packet: &Sent, from_host: bool) {
        let sockets = if from_host { &self.own } else { &self.clients };
        let socket = &sockets[usize::from(packet.destination.is_ipv6())];
        match socket.send_to(&packet.bytes(), SocketAddr::new(packet.destination, 0)) {
            Err(error) if !(from_host && error.kind() == ErrorKind::PermissionDenied) => {
                panic!("send {packet:?}: {error}")
            }
            _ => (),
        }
    }

    /// What came to light since the last call.
    pub(crate) fn caught(&mut self, addresses: &[IpAddr]) -> Vec<Caught> {
        let mut all = Vec::new();
        let mut buffer = [0; 2048];
        for (at, capture) in self.captures.iter_mut().enumerate() {
            while let Ok(length) = capture.read(&mut buffer) {
                let Some(caught) = decode(&buffer[..length]) else { continue };
                // The node sees everything pass; only what is told to itself counts.
                let to_node = caught.kind != Kind::Arrived && addresses.contains(&caught.destination);
                if at == 0 || to_node {
                    all.push(caught);
                }
            }
        }
        all
    }

    /// Waits until neighbours are known and every packet sent before is through: a packet for nobody comes out again.
    pub(crate) fn settle(&mut self, token: u32, addresses: &[IpAddr]) -> Vec<Caught> {
        let mut all = Vec::new();
        for (step, (source, destination)) in
            [("100.64.0.3", "203.0.113.254"), ("fd64::3", "2001:db8:9::fe")].into_iter().enumerate()
        {
            let token = token + step as u32;
            let (source, destination) = (ip(source), ip(destination));
            let marker =
                Sent { source, destination, protocol: 17, source_port: 9, port: 9, token, dscp: 0, malformed: false };
            self.send(&marker, false);
            let until = std::time::Instant::now() + super::topology::PATIENCE;
            while !all.iter().any(|caught: &Caught| caught.token == token) {
                assert!(std::time::Instant::now() < until, "a packet from {source} to {destination} is lost");
                all.extend(self.caught(addresses));
                std::thread::yield_now();
            }
        }
        all
    }
}
