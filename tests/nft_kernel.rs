//! The nftables dataplane in a real kernel: real sockets in network namespaces, through hand-made Services.
//!
//! Needs root (or `unshare -Urn`) and, as an outside decoder, the `nft` program; without them it fails.

#[allow(clippy::unwrap_used, reason = "test code: a failure should end the test here")]
#[path = "nft_kernel/balance.rs"]
mod balance;
#[allow(clippy::unwrap_used, reason = "test code: a failure should end the test here")]
#[path = "nft_kernel/cluster.rs"]
mod cluster;
#[allow(clippy::unwrap_used, reason = "test code: a failure should end the test here")]
#[path = "nft_kernel/elements.rs"]
mod elements;
#[allow(clippy::unwrap_used, reason = "test code: a failure should end the test here")]
#[path = "nft_kernel/flows.rs"]
mod flows;
#[allow(clippy::unwrap_used, reason = "test code: a failure should end the test here")]
#[path = "nft_kernel/flows_tcp.rs"]
mod flows_tcp;
#[allow(clippy::unwrap_used, reason = "test code: a failure should end the test here")]
#[path = "nft_kernel/raw.rs"]
mod raw;
#[allow(clippy::unwrap_used, reason = "test code: a failure should end the test here")]
#[path = "nft_kernel/rows.rs"]
mod rows;
#[allow(clippy::unwrap_used, reason = "test code: a failure should end the test here")]
#[path = "nft_kernel/sender.rs"]
mod sender;
#[allow(clippy::unwrap_used, reason = "test code: a failure should end the test here")]
#[path = "nft_kernel/table.rs"]
mod table;
#[allow(clippy::unwrap_used, reason = "test code: a failure should end the test here")]
#[path = "nft_kernel/topology.rs"]
mod topology;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use compile::nft::flows::Flush;
use compile::nft::state::Element;
use dataplane::Dataplane;
use dataplane::nft::Nft;
use elements::*;
use topology::*;

/// A node with the rules installed, the usual ranges, two pods and an outside host.
struct Scene {
    node: Node,
    nft: Nft,
    pods: [Host; 2],
    outside: Host,
}

#[allow(clippy::unwrap_used, reason = "test code: a failure should end the test here")]
fn scene() -> Scene {
    let node = Node::new();
    let pods = [node.attach("pod2", "10.244.0.2", "fd00:244::2"), node.attach("pod3", "10.244.0.3", "fd00:244::3")];
    let outside = node.attach("out", "192.0.2.9", "fd00:bad::9");
    node.default_route("out", &outside);
    let mut nft = node.netns.run(|| Nft::open().unwrap());
    assert_eq!(nft.observe().unwrap(), None, "a new namespace holds no table of ours");
    nft.install().unwrap();
    nft.apply(&add(ranges())).unwrap();
    Scene { node, nft, pods, outside }
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), port)
}

#[allow(clippy::unwrap_used, reason = "test code: a failure should end the test here")]
fn both(target: &str) -> [(&'static str, SocketAddr, u8); 2] {
    let target = target.parse().unwrap();
    [("tcp", target, TCP), ("udp", target, UDP)]
}

fn ask(protocol: u8, target: SocketAddr) -> std::io::Result<Answer> {
    if protocol == TCP { ask_tcp(target) } else { ask_udp(target) }
}

/// Services 1 and 2 (IPv4 and IPv6) with both pods as endpoints, on a cluster IP and a node port.
#[allow(clippy::unwrap_used, reason = "test code: a failure should end the test here")]
fn two_pods(scene: &mut Scene) -> [Service; 2] {
    for (pod, name) in scene.pods.iter().zip(["a", "b"]) {
        serve(&pod.netns, 8080, name);
    }
    let service = |number, addresses: [IpAddr; 2]| {
        let endpoints = (1..).zip(addresses.map(|address| SocketAddr::new(address, 8080))).collect();
        Service { number, timeout_class: 0, endpoints }
    };
    let [a, b] = &scene.pods;
    let services = [service(1, [a.four, b.four]), service(2, [a.six, b.six])];
    let mut elements: Vec<Element> = services.iter().flat_map(Service::elements).collect();
    for transport in [TCP, UDP] {
        elements.push(front(at("10.96.0.10", 80), transport, 1, CLUSTER_IP));
        elements.push(front(at("fd00:96::10", 80), transport, 2, CLUSTER_IP));
        elements.push(nodeport(true, 30080, transport, 1, MASQUERADE));
        elements.push(nodeport(false, 30080, transport, 2, MASQUERADE));
    }
    elements.extend([ip("10.244.0.1"), ip("fd00:244::1")].map(nodeport_address));
    elements.extend([a.four, b.four, a.six, b.six].map(hairpin));
    scene.nft.apply(&add(elements)).unwrap();
    services
}

#[test]
fn cluster_ips_and_node_ports_reach_both_pods_over_tcp_and_udp_in_both_families() {
    let mut scene = scene();
    two_pods(&mut scene);
    for (target, own, node) in [
        ("10.96.0.10:80", scene.pods[0].four, ip("10.244.0.1")),
        ("[fd00:96::10]:80", scene.pods[0].six, ip("fd00:244::1")),
    ] {
        for (name, target, protocol) in both(target) {
            let mut names = BTreeMap::new();
            for _ in 0..40 {
                let answer = scene.pods[0].netns.run(|| ask(protocol, target)).unwrap();
                // A pod keeps its address, except towards itself, where the answer would not come back otherwise.
                let expected = if answer.name == "a" { node } else { own };
                assert_eq!(answer.seen, expected, "{name} {target} answered by {}", answer.name);
                *names.entry(answer.name).or_insert(0) += 1;
            }
            assert_eq!(names.len(), 2, "{name} {target}: {names:?}");
            let from_node = scene.node.netns.run(|| ask(protocol, target)).unwrap();
            assert!(["a", "b"].contains(&from_node.name.as_str()), "the node itself uses cluster IPs too");
        }
    }
    for target in ["10.244.0.1:30080", "[fd00:244::1]:30080"] {
        for (name, target, protocol) in both(target) {
            let answer = scene.outside.netns.run(|| ask(protocol, target)).unwrap();
            assert_eq!(answer.seen, target.ip(), "{name} {target}: outside clients are masqueraded");
        }
    }
    counted(&mut scene);
}

/// The kernel's own figures agree with what was sent: frontends count connections, endpoints add up to them, and
/// conntrack knows the translation and the endpoint's identity.
#[allow(clippy::unwrap_used, reason = "test code: a failure should end the test here")]
fn counted(scene: &mut Scene) {
    let counters = scene.nft.counters().unwrap();
    let frontends: u64 = counters.frontends.values().map(|count| count.packets).sum();
    let endpoints: u64 = counters.endpoints.values().map(|count| count.packets).sum();
    let flows = scene.nft.flows().unwrap();
    // A UDP socket may get the port of an earlier one: its datagrams then belong to that one's flow, which is counted once.
    let tracked = flows.iter().filter(|flow| flow.destination_translated()).count() as u64;
    let sent = 4 * 41 + 4;
    assert_eq!((frontends, endpoints), (tracked, tracked), "{sent} questions were asked");
    assert!((sent - 10..=sent).contains(&tracked), "{tracked} flows for {sent} questions");
    assert_eq!(counters.named["unsettled"].packets, 0);
    assert_eq!(counters.named["refused"].packets, 0);
    let translated = flows.iter().find(|flow| flow.original.destination == ip("10.96.0.10")).unwrap();
    assert!(translated.destination_translated());
    assert!(scene.pods.iter().any(|pod| pod.four == translated.reply.source));
    assert_eq!(translated.reply.source_port, 8080);
    assert!([identity(1, 1), identity(1, 2)].contains(&(translated.mark & 0x7f_ffff)));
}

#[test]
fn connections_spread_evenly_over_three_and_over_thirty_three_endpoints() {
    let mut scene = scene();
    let target = at("10.96.0.11", 80);
    scene.nft.apply(&add([front(target, TCP, 3, CLUSTER_IP)])).unwrap();
    let mut service = Service { number: 3, timeout_class: 0, endpoints: Vec::new() };
    scene.nft.apply(&add(service.elements())).unwrap();
    // 99.99 % quantiles of chi-square with 2 and 32 degrees of freedom.
    for (count, limit) in [(3u32, 18.4), (33, 71.0)] {
        let known = service.endpoints.len() as u32;
        for number in known..count {
            let port = 9000 + number as u16;
            serve(&scene.pods[1].netns, port, &number.to_string());
        }
        let next = Service {
            endpoints: (0..count).map(|n| (n + 1, SocketAddr::new(scene.pods[1].four, 9000 + n as u16))).collect(),
            ..service.clone()
        };
        scene.nft.apply(&service.swap(&next)).unwrap();
        service = next;
        let each = 60;
        let total = count * each;
        let answers = scene.pods[0].netns.run(|| (0..total).map(|_| ask_tcp(target).unwrap().name).collect::<Vec<_>>());
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for name in answers {
            *seen.entry(name).or_default() += 1;
        }
        assert_eq!(seen.len(), count as usize, "every endpoint answered");
        let expected = f64::from(each);
        let chi: f64 = seen.values().map(|got| (f64::from(*got) - expected).powi(2) / expected).sum();
        println!("{count} endpoints: chi-square {chi:.1} (limit {limit})");
        assert!(chi < limit, "{chi}: {seen:?}");
    }
}

#[test]
fn no_endpoints_and_unknown_ports_and_addresses_are_refused_at_once() {
    let mut scene = scene();
    let empty = Service { number: 4, timeout_class: 0, endpoints: Vec::new() };
    let targets = ["10.96.0.12", "fd00:96::12"].map(|address| at(address, 80));
    let mut batch = add(empty.elements());
    for target in targets {
        batch.add.extend([TCP, UDP].map(|transport| front(target, transport, 4, CLUSTER_IP)));
    }
    scene.nft.apply(&batch).unwrap();
    let unknown = [at("10.96.0.12", 81), at("10.96.3.3", 80), at("fd00:96::12", 81), at("fd00:96::3:3", 80)];
    for target in targets.into_iter().chain(unknown) {
        for protocol in [TCP, UDP] {
            let error = scene.pods[0].netns.run(|| ask(protocol, target)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{protocol} {target}: {error}");
            // A host's own datagram gets EPERM, as with every reject in the output hook.
            let error = scene.node.netns.run(|| ask(protocol, target)).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::PermissionDenied), "{error}");
        }
    }
    assert!(scene.nft.counters().unwrap().named["refused"].packets >= 24);
    // Addresses outside of the ranges are none of our business.
    serve(&scene.pods[1].netns, 8080, "b");
    let direct = SocketAddr::new(scene.pods[1].four, 8080);
    assert_eq!(scene.pods[0].netns.run(|| ask_tcp(direct)).unwrap().seen, scene.pods[0].four);
}

#[test]
fn no_connection_is_lost_while_endpoints_are_swapped_without_pause() {
    let mut scene = scene();
    let target = at("10.96.0.13", 80);
    for port in [8080, 8081, 8082, 8083] {
        serve(&scene.pods[1].netns, port, "b");
    }
    // Never the same endpoint numbers twice in a row, and changing counts: every lookup can meet a stale word.
    let address = scene.pods[1].four;
    let service = |numbers: std::ops::Range<u32>| Service {
        number: 5,
        timeout_class: 0,
        endpoints: numbers.map(|n| (n, SocketAddr::new(address, 8080 + (n % 4) as u16))).collect(),
    };
    let steps = [service(1..4), service(4..5), service(5..16), service(16..18)];
    scene.nft.apply(&add(steps[0].elements())).unwrap();
    scene.nft.apply(&add([front(target, TCP, 5, CLUSTER_IP)])).unwrap();
    let done = AtomicBool::new(false);
    let swaps = std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            let mut swaps = 0;
            while !done.load(Ordering::Relaxed) {
                scene.nft.apply(&steps[swaps % 4].swap(&steps[(swaps + 1) % 4])).unwrap();
                swaps += 1;
            }
            swaps
        });
        let client = &scene.pods[0];
        let failed: Vec<_> =
            client.netns.run(|| (0..4000).filter_map(|_| ask_tcp(target).err()).map(|e| e.to_string()).collect());
        done.store(true, Ordering::Relaxed);
        assert_eq!(failed, Vec::<String>::new());
        swapping.join().unwrap()
    });
    let named = scene.nft.counters().unwrap().named;
    println!("4000 connections, {swaps} swaps, {} looked up again", named["retried"].packets);
    assert!(swaps > 100, "{swaps}");
    assert_eq!(named["unsettled"].packets, 0);
}

#[test]
fn affinity_keeps_a_client_on_its_endpoint_until_that_endpoint_goes() {
    let mut scene = scene();
    let [a, b] = [&scene.pods[0], &scene.pods[1]];
    serve(&a.netns, 8080, "a");
    serve(&b.netns, 8080, "b");
    for (number, target, addresses) in
        [(6, at("10.96.0.14", 80), [a.four, b.four]), (7, at("fd00:96::14", 80), [a.six, b.six])]
    {
        // Class 24 is 10,800 s, Kubernetes' default.
        let endpoints = (1..).zip(addresses.map(|address| SocketAddr::new(address, 8080))).collect();
        let service = Service { number, timeout_class: 24, endpoints };
        scene.nft.apply(&add(service.elements())).unwrap();
        scene.nft.apply(&add([front(target, TCP, number, CLUSTER_IP | MASQUERADE)])).unwrap();
        let ask_many =
            || scene.outside.netns.run(|| (0..20).map(|_| ask_tcp(target).unwrap().name).collect::<Vec<_>>());
        let first = ask_many();
        assert!(first.iter().all(|name| *name == first[0]), "{target}: {first:?}");
        let index = usize::from(first[0] == "b");
        let mut other = service.clone();
        other.endpoints.remove(index);
        scene.nft.apply(&service.swap(&other)).unwrap();
        let second = ask_many();
        assert!(second.iter().all(|name| *name != first[0]), "{target}: the endpoint is gone: {second:?}");
        scene.nft.apply(&other.swap(&service)).unwrap();
        assert_eq!(ask_many(), second, "{target}: the new choice is remembered, not the old one");
    }
}

#[test]
fn udp_flows_of_an_endpoint_that_left_are_deleted_and_no_others() {
    let mut scene = scene();
    let services = two_pods(&mut scene);
    let client = scene.pods[1].netns.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect(at("10.96.0.10", 80)).unwrap();
        socket
    });
    let first = ask_again(&client).unwrap().name;
    assert_eq!(ask_again(&client).unwrap().name, first, "one flow, one endpoint");
    let kept = scene.pods[1].netns.run(|| {
        let sockets = (0..20).map(|_| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect(at("10.96.0.10", 80)).unwrap();
            let name = ask_again(&socket).unwrap().name;
            // The TCP flow to the same endpoints must survive: the kernel ends those itself.
            ask_tcp(at("10.96.0.10", 80)).unwrap();
            (socket, name)
        });
        sockets.collect::<Vec<_>>()
    });
    let index = usize::from(first == "b");
    let left = identity(1, index as u32 + 1);
    let before = scene.nft.flows().unwrap();
    let mut one = services[0].clone();
    one.endpoints.remove(index);
    let mut batch = services[0].swap(&one);
    batch.flush.push(Flush::left(left));
    scene.nft.apply(&batch).unwrap();
    let gone = |flow: &&dataplane::nft::Flow| flow.original.protocol == UDP && flow.mark & 0x7f_ffff == left;
    let expected: Vec<_> = before.iter().filter(|flow| !gone(flow)).map(|flow| flow.id).collect();
    let after: Vec<_> = scene.nft.flows().unwrap().iter().map(|flow| flow.id).collect();
    assert!(before.iter().filter(gone).count() > 1, "several flows had to go");
    assert!(expected.iter().all(|id| after.contains(id)), "no other flow went");
    assert_eq!(after.len(), expected.len());
    assert_ne!(ask_again(&client).unwrap().name, first, "the same socket reaches the endpoint that is left");
    for (socket, name) in kept.iter().filter(|(_, name)| *name != first) {
        assert_eq!(ask_again(socket).unwrap().name, *name);
    }
    // Many at once take the other way, which reads the table.
    batch = one.swap(&one);
    batch.flush = (1000..1020).chain([identity(1, 2 - index as u32)]).map(Flush::left).collect();
    scene.nft.apply(&batch).unwrap();
    let udp = scene.nft.flows().unwrap().into_iter().filter(|flow| flow.original.protocol == UDP);
    assert_eq!(udp.filter(|flow| flow.mark & 0x40_0000 != 0).count(), 0);
}

#[test]
fn cluster_dns_addresses_are_answered_by_the_node_untracked() {
    let mut scene = scene();
    for address in ["10.96.0.2", "fd00:96::2"] {
        scene.node.local_address(ip(address));
        scene.nft.apply(&add([dns_address(ip(address))])).unwrap();
    }
    for address in ["10.96.0.2", "fd00:96::2"] {
        serve_at(&scene.node.netns, at(address, 53), "dns");
        serve_at(&scene.node.netns, at(address, 9153), "metrics");
        for protocol in [TCP, UDP] {
            let answer = scene.pods[0].netns.run(|| ask(protocol, at(address, 53))).unwrap();
            assert_eq!(answer.name, "dns");
            assert_eq!(scene.node.netns.run(|| ask(protocol, at(address, 53))).unwrap().name, "dns");
            assert_eq!(scene.pods[0].netns.run(|| ask(protocol, at(address, 9153))).unwrap().name, "metrics");
        }
    }
    let flows = scene.nft.flows().unwrap();
    assert!(flows.iter().all(|flow| flow.original.destination_port != 53), "{flows:?}");
    assert!(flows.iter().any(|flow| flow.original.destination_port == 9153), "other ports are tracked as ever");
}
