//! TCP from one source port through a virtual IP and straight to the endpoint behind it, in either order.
//!
//! After the translation both have the same addresses and ports, so the kernel's entry of one stands in the way of the
//! other (kubernetes#90042, #90258): it must give the newcomer another source port, and nothing may wait for the old entry.

use std::net::{IpAddr, SocketAddr, TcpStream};

use dataplane::Dataplane;

use super::elements::*;
use super::topology::*;
use super::{Scene, at, scene};

/// The only port that the client may use.
const PORT: u16 = 40_000;
/// Enough for entries in every state of closing to be met.
const TURNS: usize = 8;

/// Connections of a Service on a virtual IP lead to pod 1; pod 0 has one source port.
fn one_port() -> (Scene, Vec<[SocketAddr; 2]>) {
    let mut scene = scene();
    let [client, server] = &scene.pods;
    serve(&server.netns, 8080, "b");
    let mut pairs = Vec::new();
    for (number, vip, own) in [(1, "10.96.0.30", server.four), (2, "fd00:96::30", server.six)] {
        let direct = SocketAddr::new(own, 8080);
        let service = Service { number, timeout_class: 0, endpoints: vec![(1, direct)] };
        scene.nft.apply(&add(service.elements())).unwrap();
        scene.nft.apply(&add([front(at(vip, 80), TCP, number, CLUSTER_IP)])).unwrap();
        pairs.push([at(vip, 80), direct]);
    }
    client.netns.run(|| {
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", format!("{PORT} {PORT}")).unwrap();
    });
    (scene, pairs)
}

/// First packets that the client had to send again: what a hang begins with.
fn sent_again(client: &Netns) -> u64 {
    let text = client.run(|| std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap());
    let rows: Vec<Vec<&str>> =
        text.lines().filter(|line| line.starts_with("TcpExt:")).map(|line| line.split(' ').collect()).collect();
    let at = rows[0].iter().position(|name| *name == "TCPSynRetrans").unwrap();
    rows[1][at].parse().unwrap()
}

#[test]
fn a_source_port_used_through_a_virtual_ip_can_go_straight_to_the_endpoint_and_back_again() {
    let (scene, pairs) = one_port();
    let client = &scene.pods[0].netns;
    for pair in pairs {
        for turn in 0..TURNS {
            for (way, target) in ["virtual IP", "direct"].iter().zip(pair) {
                let answer = client.run(|| ask_tcp(target));
                let answer = answer.unwrap_or_else(|error| panic!("turn {turn}, {way} {target}: {error}"));
                assert_eq!(answer.name, "b");
            }
        }
    }
    assert_eq!(sent_again(client), 0, "no connection had to be begun twice");
}

#[test]
fn both_ways_work_at_once_from_one_source_port() {
    let (scene, pairs) = one_port();
    let client = &scene.pods[0].netns;
    for [vip, direct] in pairs {
        for (first, second) in [(vip, direct), (direct, vip)] {
            let open = client.run(|| TcpStream::connect_timeout(&first, PATIENCE).unwrap());
            assert_eq!(open.local_addr().unwrap().port(), PORT);
            let answer = client.run(|| ask_tcp(second)).unwrap_or_else(|error| panic!("{second}: {error}"));
            assert_eq!(answer.name, "b");
            let seen: Vec<IpAddr> = vec![scene.pods[0].four, scene.pods[0].six];
            assert!(seen.contains(&answer.seen), "the pod's address is kept: {}", answer.seen);
        }
    }
    assert_eq!(sent_again(client), 0);
}
