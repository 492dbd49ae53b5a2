//! A node with routed pods and an outside client, each a network namespace of its own, and the sockets in them.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use kernel::namespace;
use kernel::nl::route::{NewAddress, NewRoute, Rtnetlink, Scope, VethSpec};

/// How long a lost packet may keep a test waiting: far beyond any answer that comes at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A network namespace; it lives as long as this and the sockets in it.
pub(crate) struct Netns(OwnedFd);

impl Netns {
    /// A new, empty one with its loopback device up.
    pub(crate) fn new() -> Self {
        let spawned = std::thread::spawn(|| {
            let made = namespace::new_net();
            made.unwrap_or_else(|error| panic!("{error}: run the tests as root or under `unshare -Urn`"));
            let mut links = Rtnetlink::open().unwrap();
            let lo = links.link_index("lo").unwrap();
            links.link_set_up(lo, true).unwrap();
            namespace::current_net().unwrap()
        });
        Self(spawned.join().unwrap())
    }

    /// Runs `work` on a thread inside; sockets made there stay there.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = || {
                namespace::enter_net(self.0.as_fd()).unwrap();
                work()
            };
            scope.spawn(inside).join().unwrap()
        })
    }
}

/// The node and how many hosts hang off it.
pub(crate) struct Node {
    pub(crate) netns: Netns,
}

/// A host behind a veth of the node.
pub(crate) struct Host {
    pub(crate) netns: Netns,
    pub(crate) four: IpAddr,
    pub(crate) six: IpAddr,
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Node {
    /// A node with the addresses 10.244.0.1 and fd00:244::1 that forwards.
    pub(crate) fn new() -> Self {
        Self::with(["10.244.0.1", "fd00:244::1"])
    }

    /// A node with these addresses that forwards.
    pub(crate) fn with(addresses: [&str; 2]) -> Self {
        let netns = Netns::new();
        netns.run(|| {
            for (file, value) in [
                ("ipv4/ip_forward", "1"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/default/rp_filter", "0"),
                ("ipv4/icmp_ratelimit", "0"),
                ("ipv6/icmp/ratelimit", "0"),
                ("ipv4/icmp_msgs_per_sec", "1000000"),
                ("ipv4/icmp_msgs_burst", "1000000"),
            ] {
                std::fs::write(format!("/proc/sys/net/{file}"), value).unwrap();
            }
        });
        let node = Self { netns };
        addresses.iter().for_each(|address| node.local_address(ip(address)));
        node
    }

    /// Gives the node itself an address.
    pub(crate) fn local_address(&self, address: IpAddr) {
        self.netns.run(|| {
            let mut links = Rtnetlink::open().unwrap();
            let index = links.link_index("lo").unwrap();
            let new = NewAddress { index, address, prefix_len: bits(address), scope: Scope::Global };
            links.address_add(&new).unwrap();
        });
    }

    /// Sends everything that no other route names to a host; without a route, the node's own packets to Service
    /// addresses fail before any hook sees them.
    pub(crate) fn default_route(&self, name: &str, host: &Host) {
        self.netns.run(|| {
            let mut links = Rtnetlink::open().unwrap();
            let index = links.link_index(name).unwrap();
            for gateway in [host.four, host.six] {
                links.route_add(&NewRoute::default_via(gateway, index)).unwrap();
            }
        });
    }

    /// Attaches a host with these addresses, routed, no bridge.
    pub(crate) fn attach(&self, name: &str, four: &str, six: &str) -> Host {
        let host = Host { netns: Netns::new(), four: ip(four), six: ip(six) };
        let gateways = [ip("169.254.1.1"), ip("fe80::1")];
        self.netns.run(|| {
            let mut links = Rtnetlink::open().unwrap();
            let peer_netns = Some(host.netns.0.as_fd());
            let veth = VethSpec { name, peer_name: "eth0", peer_netns, mtu: None, mac: None, peer_mac: None };
            links.veth_create(&veth).unwrap();
            let index = links.link_index(name).unwrap();
            for address in gateways {
                let prefix_len = if address.is_ipv4() { 32 } else { 64 };
                links.address_add(&NewAddress { index, address, prefix_len, scope: Scope::Link }).unwrap();
            }
            for address in [host.four, host.six] {
                links.route_add(&NewRoute::direct(address, bits(address), index)).unwrap();
            }
        });
        host.netns.run(|| {
            let mut links = Rtnetlink::open().unwrap();
            let index = links.link_index("eth0").unwrap();
            links.link_set_up(index, true).unwrap();
            for (address, gateway) in [host.four, host.six].into_iter().zip(gateways) {
                let new = NewAddress { index, address, prefix_len: bits(address), scope: Scope::Global };
                links.address_add(&new).unwrap();
                links.route_add(&NewRoute::default_via(gateway, index)).unwrap();
            }
        });
        host
    }
}

/// Starts servers on the port of every address, both families (an IPv6 socket takes IPv4 too).
pub(crate) fn serve(netns: &Netns, port: u16, name: &str) {
    serve_at(netns, SocketAddr::new(ip("::"), port), name);
}

/// Starts a TCP and a UDP server that tell `name` and the peer's address. They end with the test process. A node with
/// several addresses needs one server for each, or UDP answers leave from the wrong one.
pub(crate) fn serve_at(netns: &Netns, address: SocketAddr, name: &str) {
    let (tcp, udp) = netns.run(|| (TcpListener::bind(address).unwrap(), UdpSocket::bind(address).unwrap()));
    let own = name.to_owned();
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let Ok(mut stream) = stream else { continue };
            let Ok(peer) = stream.peer_addr() else { continue };
            // The client may be gone already; that is its affair.
            let _ = stream.write_all(format!("{own} {}", peer.ip().to_canonical()).as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
        }
    });
    let own = name.to_owned();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(format!("{own} {}", peer.ip().to_canonical()).as_bytes(), peer);
        }
    });
}

/// Who answered, and which client address it saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) name: String,
    pub(crate) seen: IpAddr,
}

fn answer(text: &str) -> std::io::Result<Answer> {
    let malformed = || std::io::Error::other(format!("answer {text:?}"));
    let (name, seen) = text.split_once(' ').ok_or_else(malformed)?;
    Ok(Answer { name: name.into(), seen: seen.parse().map_err(|_| malformed())? })
}

/// One TCP connection; call it inside the client's namespace.
pub(crate) fn ask_tcp(target: SocketAddr) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    answer(&text)
}

/// One datagram from a new port and its answer; call it inside the client's namespace.
pub(crate) fn ask_udp(target: SocketAddr) -> std::io::Result<Answer> {
    let any = if target.is_ipv4() { ip("0.0.0.0") } else { ip("::") };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    ask_again(&socket)
}

/// One more datagram on a socket that is connected already.
pub(crate) fn ask_again(socket: &UdpSocket) -> std::io::Result<Answer> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(b"?")?;
    let mut buffer = [0; 128];
    let length = socket.recv(&mut buffer)?;
    answer(&String::from_utf8_lossy(&buffer[..length]))
}
