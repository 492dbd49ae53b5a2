//! Rules that change hands while connections run: a new version with data of the same form, one with another form, and a
//! process that dies on the way. Nothing may fail.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use compile::nft::expr::{Expression, Ruleset};
use compile::nft::rules;
use compile::snapshot::{Changes, Snapshot};
use dataplane::Dataplane;
use dataplane::keeper::{Done, Keeper};
use dataplane::nft::Nft;
use kernel::nl::socket::{Fault, Seam};
use serde_json::json;

use super::topology::{Host, Netns, Node, ask_again, ask_tcp, ask_udp, serve};
use super::world::{World, config};

const TARGETS: [&str; 2] = ["10.96.0.1:80", "[fd96::1]:80"];
const ECHO: [&str; 2] = ["10.96.0.1:81", "[fd96::1]:81"];
/// How often the rules change hands.
const SWAPS: usize = 16;

/// Two Services with both pods behind each, in both families; the second one remembers its clients.
fn world(pods: &[Host; 2]) -> World {
    let mut world = World::default();
    for (name, number, affinity) in [("plain", 1, "None"), ("sticky", 2, "ClientIP")] {
        let addresses = [format!("10.96.0.{number}"), format!("fd96::{number}")];
        let ports = json!([
            {"name": "t", "protocol": "TCP", "port": 80}, {"name": "u", "protocol": "UDP", "port": 80},
            {"name": "e", "protocol": "TCP", "port": 81},
        ]);
        let spec =
            json!({"clusterIP": addresses[0], "clusterIPs": addresses, "ports": ports, "sessionAffinity": affinity});
        world.put("services", "d", name, &json!({"metadata": {}, "spec": spec}));
        for (family, six) in [("IPv4", false), ("IPv6", true)] {
            let address = |pod: &Host| if six { pod.six } else { pod.four };
            let endpoints: Vec<_> = pods.iter().map(|pod| json!({"addresses": [address(pod)]})).collect();
            let slice = json!({
                "metadata": {"labels": {"kubernetes.io/service-name": name}}, "addressType": family,
                "ports": [{"name": "t", "protocol": "TCP", "port": 8080}, {"name": "u", "protocol": "UDP", "port": 8080},
                          {"name": "e", "protocol": "TCP", "port": 8081}],
                "endpoints": endpoints,
            });
            world.put("endpointslices", "d", &format!("{name}-{family}"), &slice);
        }
    }
    world
}

/// The second version has one more rule, the third one maps without counters.
fn version(number: usize) -> Ruleset {
    let mut ruleset = rules::ruleset(number != 2);
    if number == 1 {
        let chain = ruleset.chains.iter_mut().find(|chain| chain.name == "translate").unwrap();
        chain.rules.insert(0, vec![Expression::Counter(rules::RETRIED.to_owned())]);
    }
    ruleset
}

/// Answers bytes with the same bytes, until the peer goes.
fn echo(netns: &Netns, port: u16) {
    let listener = netns.run(|| TcpListener::bind(("::", port)).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut stream, mut buffer) = (stream, [0; 64]);
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..length]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// What the clients saw.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    connections: AtomicUsize,
    datagrams: AtomicUsize,
    kept: AtomicUsize,
    streams: AtomicUsize,
    failures: std::sync::Mutex<Vec<String>>,
}

impl Seen {
    fn fail(&self, what: &str, target: &str, why: impl std::fmt::Display) {
        self.failures.lock().unwrap().push(format!("{what} to {target}: {why}"));
    }

    /// Runs until told to stop, at least once.
    fn repeat(&self, count: &AtomicUsize, mut one: impl FnMut()) {
        loop {
            one();
            count.fetch_add(1, Ordering::Relaxed);
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// Tells the clients to stop when it goes.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn connect(seen: &Seen, target: &str) {
    let address: SocketAddr = target.parse().unwrap();
    seen.repeat(&seen.connections, || {
        if let Err(error) = ask_tcp(address) {
            seen.fail("a connection", target, error);
        }
    });
}

fn send(seen: &Seen, target: &str) {
    let address: SocketAddr = target.parse().unwrap();
    seen.repeat(&seen.datagrams, || {
        if let Err(error) = ask_udp(address) {
            seen.fail("a datagram", target, error);
        }
    });
}

fn keep_sending(seen: &Seen, target: &str) {
    let any = if target.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(target).unwrap();
    let mut first: Option<String> = None;
    seen.repeat(&seen.kept, || match ask_again(&socket) {
        Ok(answer) => {
            let known = first.get_or_insert_with(|| answer.name.clone());
            if *known != answer.name {
                seen.fail("a kept flow", target, format!("moved from {known} to {}", answer.name));
            }
        }
        Err(error) => seen.fail("a kept flow", target, error),
    });
}

fn keep_talking(seen: &Seen, target: &str) {
    let mut stream = TcpStream::connect(target).unwrap();
    stream.set_read_timeout(Some(super::topology::PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    seen.repeat(&seen.streams, || {
        let mut buffer = [0; 1];
        if let Err(error) = stream.write_all(b"x").and_then(|()| stream.read_exact(&mut buffer)) {
            seen.fail("a kept connection", target, error);
        }
    });
}

/// Dies after so many requests that change something.
#[derive(Debug)]
struct Dies(usize);

impl Seam for Dies {
    fn fault(&mut self, what: &str) -> Option<Fault> {
        if what.starts_with("read") || what.starts_with("list") {
            return (self.0 == 0).then_some(Fault::Refused(5));
        }
        if self.0 == 0 {
            return Some(Fault::Refused(5));
        }
        self.0 -= 1;
        None
    }
}

/// A new process with these rules takes over.
fn take_over(
    netns: &Netns,
    ruleset: Ruleset,
    dies_after: Option<usize>,
    snapshot: &Snapshot,
) -> dataplane::Result<Done> {
    let plane = netns.run(|| {
        let mut nft = Nft::open_ruleset(ruleset).unwrap();
        if let Some(requests) = dies_after {
            nft.set_seam(Box::new(Dies(requests)));
        }
        nft
    });
    Keeper::new(config(), Box::new(plane)).program(snapshot, &Changes::default())
}

#[test]
fn no_connection_is_lost_while_rules_change_hands_and_processes_die() {
    let node = Node::new();
    let pods = [node.attach("pod2", "10.244.0.2", "fd24::2"), node.attach("pod3", "10.244.0.3", "fd24::3")];
    let client = node.attach("pod4", "10.244.0.4", "fd24::4");
    for (pod, name) in pods.iter().zip(["a", "b"]) {
        serve(&pod.netns, 8080, name);
        echo(&pod.netns, 8081);
    }
    let mut world = world(&pods);
    let (snapshot, _) = world.builder.publish(world.revision);
    assert!(take_over(&node.netns, version(0), None, &snapshot).unwrap().switched);
    let seen = Seen::default();
    let sticky: Vec<SocketAddr> = vec!["10.96.0.2:80".parse().unwrap(), "[fd96::2]:80".parse().unwrap()];
    let stuck = |target: SocketAddr| client.netns.run(move || ask_tcp(target).unwrap().name);
    let (mut switched, mut died) = (0, 0);
    std::thread::scope(|scope| {
        // Also when this fails: the scope waits for the clients.
        let _stop = Stop(&seen.stop);
        let clients: [fn(&Seen, &str); 4] = [connect, send, keep_sending, keep_talking];
        for (work, targets) in clients.into_iter().zip([TARGETS, TARGETS, TARGETS, ECHO]) {
            for target in targets {
                let (seen, client) = (&seen, &client);
                scope.spawn(move || client.netns.run(|| work(seen, target)));
            }
        }
        let moved = |count: &AtomicUsize| {
            let before = count.load(Ordering::Relaxed);
            while count.load(Ordering::Relaxed) < before + 2 {
                std::thread::yield_now();
            }
        };
        for round in 1..=SWAPS {
            let number = round % 3;
            // Same form of data before and after: what the kernel remembers stays.
            let keeps = number == 1;
            let before: Vec<String> = sticky.iter().map(|target| stuck(*target)).collect();
            if round % 4 == 0 {
                died += usize::from(take_over(&node.netns, version(number), Some(round / 4 % 7), &snapshot).is_err());
            }
            switched += usize::from(take_over(&node.netns, version(number), None, &snapshot).unwrap().switched);
            if keeps {
                let after: Vec<String> = sticky.iter().map(|target| stuck(*target)).collect();
                assert_eq!(before, after, "clients are remembered across versions of the rules");
            }
            // Everybody gets through at least twice with these rules.
            [&seen.connections, &seen.datagrams, &seen.kept, &seen.streams].into_iter().for_each(moved);
        }
    });
    let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    println!(
        "{switched} switches, {died} deaths on the way: {} connections, {} datagrams, {} on kept flows, {} on kept connections",
        count(&seen.connections),
        count(&seen.datagrams),
        count(&seen.kept),
        count(&seen.streams),
    );
    assert_eq!(*seen.failures.lock().unwrap(), Vec::<String>::new());
    assert!(died >= 3, "{died}");
    assert!(switched > SWAPS / 2, "{switched}");
    unsettled(&node.netns);
}

/// Nobody met rules and data that do not belong together.
fn unsettled(netns: &Netns) {
    let counters = netns.run(|| {
        let mut nft = Nft::open_ruleset(version(0)).unwrap();
        let _ = nft.observe();
        nft.counters().unwrap()
    });
    let names: BTreeMap<&str, u64> =
        counters.named.iter().map(|(name, count)| (name.as_str(), count.packets)).collect();
    assert_eq!((names["unsettled"], names["refused"]), (0, 0), "{names:?}");
}
