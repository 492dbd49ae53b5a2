//! Random bytes and what is served -> packets that could matter.

use compile::nft::interpret::Packet;
use compile::snapshot::{Protocol, Snapshot};

use super::world::{CLUSTER_IPS, Draw, LB_IPS, NODE_PORTS, PODS, PORTS, config, ip};

/// Any packet that could matter.
pub(crate) fn packet(draw: &mut Draw<'_>) -> Packet {
    let v6 = draw.rarely(3);
    let destinations: Vec<&str> = CLUSTER_IPS
        .into_iter()
        .chain(LB_IPS)
        .chain(CLUSTER_IPS)
        .chain(["198.51.100.1", "2001:db8:2::1", "10.96.0.10", "10.96.0.99", "198.51.100.2", "2001:db8:2::2"])
        .collect();
    let pods = PODS.into_iter().chain(["203.0.113.7", "203.0.113.200", "203.0.9.9", "2001:db8:1::7", "2001:db8:9::9"]);
    let of_family = |address: &&str| address.contains(':') == v6;
    let destinations: Vec<&str> = destinations.into_iter().filter(of_family).collect();
    let sources: Vec<&str> = pods.filter(of_family).collect();
    let destination = draw.one(&destinations);
    let host = draw.rarely(6);
    let (_, protocol, port) = draw.one(&PORTS);
    let source = if host { ["198.51.100.1", "2001:db8:2::1"][usize::from(v6)] } else { draw.one(&sources) };
    let node_port = destination.starts_with("198") || destination.starts_with("2001:db8:2");
    Packet {
        source: ip(source),
        destination: ip(destination),
        protocol: [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
            [["TCP", "UDP", "SCTP"].iter().position(|name| *name == protocol).unwrap_or_default()],
        port: if node_port { draw.one(&NODE_PORTS) } else { port },
        source_is_host: host,
    }
}

/// One packet for each address and port that is served now.
pub(crate) fn served_packets(snapshot: &Snapshot, draw: &mut Draw<'_>) -> Vec<Packet> {
    let mut packets = Vec::new();
    for service in snapshot.services.values() {
        for port in &service.ports {
            let mut ways: Vec<_> = service.cluster_ips.iter().chain(&service.load_balancer_ips).copied().collect();
            ways.push(config().node_port_addresses[draw.below(2)]);
            let destination = ways[draw.below(ways.len())];
            let at_node = config().node_port_addresses.contains(&destination);
            let sources =
                if destination.is_ipv4() { ["10.244.0.1", "203.0.113.7"] } else { ["fd24::1", "2001:db8:9::9"] };
            packets.push(Packet {
                source: ip(draw.one(&sources)),
                destination,
                protocol: port.protocol,
                port: if at_node { port.node_port } else { port.port },
                source_is_host: false,
            });
        }
    }
    packets
}
