//! How endpoints are chosen, from the annotation to the connection: compiled Services in a real kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use api::object::{ObjectKey, Revision};
use compile::nft::account::{Bytes, Carried, Totals};
use compile::nft::interpret::{Packet, Verdict, interpret};
use compile::nft::state::State;
use compile::nft::{Plan, Programmer};
use compile::service_table::Config;
use compile::snapshot::{Builder, Changes, Protocol, Snapshot};
use dataplane::Dataplane;
use dataplane::nft::{FlowBytes, Nft, Reader, encoded_len};
use kernel::nl::route::{NewAddress, Rtnetlink, Scope};
use serde_json::{Value, json};

use super::topology::*;

/// A node that follows a cluster of hand-made objects; endpoints are ports of one pod.
struct Cluster {
    node: Node,
    client: Host,
    server: Host,
    outside: Host,
    nft: Nft,
    programmer: Programmer,
    builder: Builder,
    revision: u64,
    snapshot: std::sync::Arc<Snapshot>,
}

fn config() -> Config {
    let ranges = |texts: [&str; 2]| texts.map(|text| text.parse().unwrap()).into();
    Config {
        node: "n1".into(),
        pod_cidrs: ranges(["10.244.0.0/16", "fd00:244::/64"]),
        service_cidrs: ranges(["10.96.0.0/16", "fd00:96::/112"]),
        node_port_addresses: vec![ip("10.244.0.1")],
        ..Config::default()
    }
}

fn cluster() -> Cluster {
    let node = Node::new();
    let client = node.attach("pod2", "10.244.0.2", "fd00:244::2");
    let server = node.attach("pod3", "10.244.0.3", "fd00:244::3");
    let outside = node.attach("out", "192.0.2.9", "fd00:bad::9");
    node.default_route("out", &outside);
    let mut nft = node.netns.run(|| Nft::open().unwrap());
    nft.install().unwrap();
    let programmer = Programmer::new(config());
    let builder = Builder::default();
    Cluster { node, client, server, outside, nft, programmer, builder, revision: 0, snapshot: Default::default() }
}

impl Cluster {
    fn put(&mut self, plural: &str, name: &str, object: &Value) {
        self.revision += 1;
        let key = ObjectKey::new("ns", name);
        self.builder.put(plural, &key, Revision(self.revision), object.to_string().as_bytes()).unwrap();
    }

    /// A Service on 10.96.0.N and fd00:96::N, port 80.
    fn service(&mut self, number: u8, annotations: &Value, spec: &Value) {
        let addresses = [format!("10.96.0.{number}"), format!("fd00:96::{number:x}")];
        let mut object = json!({
            "metadata": { "annotations": annotations },
            "spec": {
                "type": "ClusterIP", "clusterIP": addresses[0], "clusterIPs": addresses,
                "ports": [{ "port": 80, "protocol": "TCP", "name": "t" },
                          { "port": 80, "protocol": "UDP", "name": "u" }],
            },
        });
        for (name, value) in spec.as_object().unwrap() {
            object["spec"][name] = value.clone();
        }
        self.put("services", &format!("s{number}"), &object);
    }

    /// Endpoint `index` of a Service, with a weight: one slice per family, for each endpoint has a port of its own.
    fn endpoint(&mut self, service: u8, index: u16, weight: u32) {
        for (family, address) in [("IPv4", self.server.four), ("IPv6", self.server.six)] {
            let slice = json!({
                "metadata": {
                    "labels": { "kubernetes.io/service-name": format!("s{service}") },
                    "annotations": { "mainstay.dev/weights": format!("{address}={weight}") },
                },
                "addressType": family,
                "ports": [{ "name": "t", "protocol": "TCP", "port": 9000 + index },
                          { "name": "u", "protocol": "UDP", "port": 9000 + index }],
                "endpoints": [{ "addresses": [address], "nodeName": "n1" }],
            });
            self.put("endpointslices", &format!("s{service}-{family}-{index}"), &slice);
        }
    }

    fn remove_endpoint(&mut self, service: u8, index: u16) {
        for family in ["IPv4", "IPv6"] {
            self.builder.delete("endpointslices", &ObjectKey::new("ns", format!("s{service}-{family}-{index}")));
        }
    }

    fn plan(&mut self) -> Plan {
        self.revision += 1;
        let (snapshot, changes) = self.builder.publish(Revision(self.revision));
        self.snapshot = snapshot;
        let bytes_max = self.nft.batch_bytes_max();
        self.programmer.plan(&self.snapshot, &changes, bytes_max, &encoded_len)
    }

    /// Brings the kernel to what was put; returns how many elements were written.
    fn apply(&mut self) -> usize {
        let plan = self.plan();
        plan.batches.iter().for_each(|batch| self.nft.apply(batch).unwrap());
        plan.batches.iter().map(|batch| batch.add.len() + batch.delete.len()).sum()
    }

    fn serve(&self, endpoints: std::ops::Range<u16>) {
        endpoints.for_each(|index| serve(&self.server.netns, 9000 + index, &index.to_string()));
    }

    /// Who answers `count` connections in a row.
    fn ask(&self, number: u8, count: usize) -> Vec<u16> {
        self.ask_at(SocketAddr::new(ip(&format!("10.96.0.{number}")), 80), count)
    }

    fn ask_at(&self, target: SocketAddr, count: usize) -> Vec<u16> {
        self.client.netns.run(|| (0..count).map(|_| ask_tcp(target).unwrap().name.parse().unwrap()).collect())
    }

    /// A new process takes the kernel over: with nothing changed it has nothing to write.
    fn restart(&mut self) {
        let observed = self.nft.observe().unwrap().unwrap();
        self.programmer = Programmer::new(config());
        self.programmer.adopt(observed.clone());
        let bytes_max = self.nft.batch_bytes_max();
        let plan = self.programmer.plan(&self.snapshot, &Changes::default(), bytes_max, &encoded_len);
        assert!(plan.batches.is_empty(), "nothing changed: {:?}", plan.batches);
        assert_eq!(self.programmer.state(), observed);
    }

    fn state(&mut self) -> State {
        self.nft.observe().unwrap().unwrap()
    }

    fn unsettled(&mut self) -> u64 {
        self.nft.counters().unwrap().named["unsettled"].packets
    }
}

fn balance(how: &str) -> Value {
    json!({ "mainstay.dev/balance": how })
}

/// Whether each of `among` comes exactly once in every round.
fn in_turn(answers: &[u16], among: &[u16]) -> bool {
    let all: BTreeSet<&u16> = among.iter().collect();
    answers.windows(among.len()).all(|round| round.iter().collect::<BTreeSet<_>>() == all)
}

#[test]
fn round_robin_serves_each_endpoint_once_per_round_for_each_service_by_itself() {
    let mut cluster = cluster();
    cluster.serve(0..20);
    for service in [20, 21, 22] {
        cluster.service(service, &balance("round-robin"), &json!({}));
    }
    (0..3).for_each(|index| cluster.endpoint(20, index, 1));
    (0..18).for_each(|index| cluster.endpoint(21, index, 1));
    (0..3).for_each(|index| cluster.endpoint(22, index, 1));
    cluster.apply();
    assert_eq!(cluster.programmer.problems().count(), 0);
    // Three Services in turn, so that a count they shared would show.
    let mut answers: BTreeMap<u8, Vec<u16>> = BTreeMap::new();
    for _ in 0..40 {
        for service in [20, 21, 22] {
            answers.entry(service).or_default().extend(cluster.ask(service, 1));
        }
    }
    assert!(in_turn(&answers[&20], &[0, 1, 2]), "{:?}", answers[&20]);
    assert!(in_turn(&answers[&21], &(0..18).collect::<Vec<_>>()), "{:?}", answers[&21]);
    assert!(in_turn(&answers[&22], &[0, 1, 2]), "{:?}", answers[&22]);
    let six = cluster.ask_at(SocketAddr::new(ip("fd00:96::14"), 80), 30);
    assert!(in_turn(&six, &[0, 1, 2]), "{six:?}");
    cluster.restart();
    cluster.remove_endpoint(21, 4);
    let written = cluster.apply();
    assert!(written <= 24, "{written} elements for one endpoint of two protocols and families");
    let rest: Vec<u16> = (0..18).filter(|index| *index != 4).collect();
    let after = cluster.ask(21, 50);
    assert!(in_turn(&after, &rest), "{after:?}");
    cluster.endpoint(20, 2, 2);
    cluster.apply();
    let weighted = cluster.ask(20, 40);
    let round: Vec<usize> = (0..3).map(|index| weighted.iter().filter(|own| **own == index).count()).collect();
    assert_eq!(round, [10, 10, 20], "weights count in turns too: {weighted:?}");
    let close = weighted.windows(3).any(|three| three == [2, 2, 2]);
    assert!(!close, "spread over the round: {weighted:?}");
    assert_eq!(cluster.unsettled(), 0);
}

#[test]
fn weights_are_shares_of_connections_and_zero_is_none_unless_all_are_zero() {
    let mut cluster = cluster();
    cluster.serve(0..4);
    cluster.service(23, &json!({}), &json!({}));
    let weights = [1, 3, 6, 0];
    for (index, weight) in (0..).zip(weights) {
        cluster.endpoint(23, index, weight);
    }
    cluster.apply();
    cluster.restart();
    let total = 1200;
    let answers = cluster.ask(23, total);
    let seen = |index: u16| answers.iter().filter(|own| **own == index).count() as f64;
    // 99.99 % quantile of chi-square with 2 degrees of freedom.
    let chi: f64 = (0..3)
        .map(|index| {
            let expected = total as f64 * f64::from(weights[usize::from(index)]) / 10.0;
            (seen(index) - expected).powi(2) / expected
        })
        .sum();
    println!("weights 1, 3, 6: chi-square {chi:.1} (limit 18.4)");
    assert!(chi < 18.4, "{chi}");
    assert_eq!(seen(3), 0.0);
    (0..4).for_each(|index| cluster.endpoint(23, index, 0));
    cluster.apply();
    let all: BTreeSet<u16> = cluster.ask(23, 120).into_iter().collect();
    assert_eq!(all.len(), 4, "nobody wants any: everybody gets some");
}

/// Gives the outside host more addresses.
fn clients(cluster: &Cluster, count: u16) -> Vec<[IpAddr; 2]> {
    let all: Vec<[IpAddr; 2]> = (0..count)
        .map(|n| [ip(&format!("198.18.{}.{}", n / 250, n % 250 + 1)), ip(&format!("fd00:bad::1:{n:x}"))])
        .collect();
    cluster.outside.netns.run(|| {
        let mut links = Rtnetlink::open().unwrap();
        let index = links.link_index("lo").unwrap();
        for address in all.iter().flatten() {
            let prefix_len = if address.is_ipv4() { 32 } else { 128 };
            links.address_add(&NewAddress { index, address: *address, prefix_len, scope: Scope::Global }).unwrap();
        }
    });
    all
}

/// One datagram from a certain address, from a new port.
fn ask_from(source: IpAddr, target: SocketAddr) -> u16 {
    let socket = UdpSocket::bind((source, 0)).unwrap();
    socket.connect(target).unwrap();
    ask_again(&socket).unwrap().name.parse().unwrap()
}

#[test]
fn consistent_hash_keeps_clients_on_their_endpoint_and_the_kernel_hashes_as_the_interpreter() {
    let mut cluster = cluster();
    cluster.serve(0..6);
    cluster.service(24, &balance("consistent-hash"), &json!({}));
    (0..6).for_each(|index| cluster.endpoint(24, index, 1));
    cluster.apply();
    cluster.restart();
    let clients = clients(&cluster, 120);
    let targets = ["10.96.0.24", "fd00:96::18"].map(|address| SocketAddr::new(ip(address), 80));
    let ask_all = |cluster: &Cluster| -> Vec<[u16; 2]> {
        let both = |client: &[IpAddr; 2]| [ask_from(client[0], targets[0]), ask_from(client[1], targets[1])];
        cluster.outside.netns.run(|| clients.iter().map(both).collect())
    };
    let first = ask_all(&cluster);
    assert_eq!(ask_all(&cluster), first, "the same client, the same endpoint");
    let state = cluster.state();
    for (client, answers) in clients.iter().zip(&first) {
        for ((source, target), answer) in client.iter().zip(targets).zip(answers) {
            let packet = Packet {
                source: *source,
                destination: target.ip(),
                protocol: Protocol::Udp,
                port: 80,
                source_is_host: false,
            };
            let verdict = interpret(&state, &packet, &mut |_| 0);
            let Verdict::Translate { backend, .. } = verdict else { panic!("{packet:?}: {verdict:?}") };
            assert_eq!(backend.port, 9000 + answer, "{source}: kernel and interpreter choose alike");
        }
    }
    let used: BTreeSet<u16> = first.iter().flatten().copied().collect();
    assert_eq!(used.len(), 6, "240 clients reach all six");
    cluster.remove_endpoint(24, 2);
    let written = cluster.apply();
    let without = ask_all(&cluster);
    let pairs = || first.iter().flatten().zip(without.iter().flatten());
    let moved = pairs().filter(|(before, after)| before != after).count();
    let had_to = pairs().filter(|(before, _)| **before == 2).count();
    println!("{moved} of 240 clients moved, {had_to} had to; {written} elements written");
    assert!(without.iter().flatten().all(|answer| *answer != 2));
    assert!(moved <= had_to + 7, "{moved} moved, {had_to} had to");
    cluster.endpoint(24, 2, 1);
    cluster.apply();
    assert_eq!(ask_all(&cluster), first, "the same endpoints, the same table");
    cluster.service(
        24,
        &json!({ "mainstay.dev/balance": "consistent-hash", "mainstay.dev/hash-on": "connection" }),
        &json!({}),
    );
    cluster.apply();
    cluster.restart();
    let one: BTreeSet<u16> =
        cluster.outside.netns.run(|| (0..80).map(|_| ask_from(clients[0][0], targets[0])).collect());
    assert!(one.len() > 3, "other ports are other connections: {one:?}");
    assert_eq!(cluster.unsettled(), 0);
}

#[test]
fn affinity_comes_first_and_the_algorithm_chooses_who_is_new() {
    let mut cluster = cluster();
    cluster.serve(0..5);
    let affinity = json!({ "sessionAffinity": "ClientIP" });
    for (service, how) in [(25, "round-robin"), (26, "consistent-hash")] {
        cluster.service(service, &balance(how), &affinity);
        (0..5).for_each(|index| cluster.endpoint(service, index, 1));
    }
    cluster.apply();
    cluster.restart();
    let clients = clients(&cluster, 10);
    for service in [25, 26] {
        let target = SocketAddr::new(ip(&format!("10.96.0.{service}")), 80);
        let ask = |client: &[IpAddr; 2]| ask_from(client[0], target);
        let round = || cluster.outside.netns.run(|| clients.iter().map(ask).collect::<Vec<_>>());
        let first = round();
        if service == 25 {
            assert!(in_turn(&first, &[0, 1, 2, 3, 4]), "new clients come in turn: {first:?}");
        }
        assert_eq!(round(), first, "known clients stay");
    }
    let target = SocketAddr::new(ip("10.96.0.25"), 80);
    let before = cluster.outside.netns.run(|| ask_from(clients[0][0], target));
    cluster.endpoint(25, before, 0);
    cluster.apply();
    let after = cluster.outside.netns.run(|| ask_from(clients[0][0], target));
    assert_ne!(after, before, "weight 0 means no new connections, of remembered clients neither");
}

#[test]
fn an_annotation_changed_live_loses_no_connection() {
    let mut cluster = cluster();
    cluster.serve(0..4);
    cluster.service(27, &json!({}), &json!({}));
    (0..4).for_each(|index| cluster.endpoint(27, index, 1));
    cluster.apply();
    let ways = ["round-robin", "random", "consistent-hash", "round-robin", "consistent-hash", "random"];
    let target = SocketAddr::new(ip("10.96.0.27"), 80);
    let done = AtomicBool::new(false);
    let client = std::mem::replace(&mut cluster.client, cluster.node.attach("pod4", "10.244.0.4", "fd00:244::4"));
    let mut changes = 0;
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            client.netns.run(|| {
                let going_on = std::iter::repeat(()).take_while(|()| !done.load(Ordering::Relaxed));
                let answers = going_on.map(|()| ask_tcp(target).map_err(|error| error.to_string()));
                answers.fold((0, Vec::new()), |(asked, mut failed), answer| {
                    failed.extend(answer.err());
                    (asked + 1, failed)
                })
            })
        });
        while changes < 18 {
            cluster.service(27, &balance(ways[changes % ways.len()]), &json!({}));
            cluster.endpoint(27, 3, (changes % 3) as u32);
            cluster.apply();
            changes += 1;
        }
        done.store(true, Ordering::Relaxed);
        let (asked, failed) = asking.join().unwrap();
        println!("{asked} connections, {changes} changes of algorithm and weight");
        assert_eq!(failed, Vec::<String>::new());
        assert!(asked > 100, "{asked}");
    });
    assert_eq!(cluster.unsettled(), 0);
    cluster.service(27, &balance("rund-robin"), &json!({}));
    cluster.apply();
    let problems: Vec<_> = cluster.programmer.problems().map(|problem| problem.why.clone()).collect();
    assert!(problems.len() == 1 && problems[0].contains("mainstay.dev/balance"), "{problems:?}");
    assert_eq!(cluster.ask(27, 40).into_iter().collect::<BTreeSet<_>>().len(), 4, "it works as by default");
}

#[test]
fn connections_and_rejects_are_counted_per_service_and_endpoint_and_never_go_back() {
    let mut cluster = cluster();
    cluster.serve(0..2);
    cluster.service(28, &json!({}), &json!({}));
    (0..2).for_each(|index| cluster.endpoint(28, index, 1));
    cluster.service(29, &json!({}), &json!({}));
    cluster.service(30, &json!({}), &json!({ "internalTrafficPolicy": "Local" }));
    cluster.endpoint(30, 0, 1);
    let mut slice = json!({
        "metadata": { "labels": { "kubernetes.io/service-name": "s30" } }, "addressType": "IPv4",
        "ports": [{ "name": "t", "protocol": "TCP", "port": 9000 }],
        "endpoints": [{ "addresses": ["10.244.0.3"], "nodeName": "n2" }],
    });
    cluster.remove_endpoint(30, 0);
    cluster.put("endpointslices", "s30-far", &slice);
    cluster.apply();
    let mut reader = cluster.node.netns.run(|| Reader::open().unwrap());
    let mut totals = Totals::default();
    let at = |number: u8| SocketAddr::new(ip(&format!("10.96.0.{number}")), 80);
    cluster.ask(28, 30);
    let refused = cluster.client.netns.run(|| (0..7).filter(|_| ask_tcp(at(29)).is_err()).count());
    assert_eq!(refused, 7);
    // Dropped: nobody answers, so the test does not wait for the client's patience.
    let socket = cluster.client.netns.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    slice["ports"] =
        json!([{ "name": "u", "protocol": "UDP", "port": 9000 }, { "name": "t", "protocol": "TCP", "port": 9000 }]);
    cluster.put("endpointslices", "s30-far", &slice);
    cluster.apply();
    socket.send_to(b"?", at(30)).unwrap();
    totals.read(&cluster.programmer.directory(), reader.read().unwrap());
    let of = |totals: &Totals, name: &str, udp: bool| {
        let found = totals.ports().find(|(named, _)| {
            let port = named.port;
            let four = port.family == compile::snapshot::Family::V4;
            &*named.service.name == name && four && (port.protocol == Protocol::Udp) == udp
        });
        found.unwrap_or_else(|| panic!("no totals of {name}")).1.clone()
    };
    let served = of(&totals, "s28", false);
    assert_eq!((served.connections, served.refused), (30, 0));
    assert_eq!(served.endpoints.values().sum::<u64>(), 30);
    assert_eq!(served.endpoints.len(), 2);
    let empty = of(&totals, "s29", false);
    assert_eq!((empty.connections, empty.refused, empty.endpoints.len()), (7, 7, 0));
    assert_eq!(of(&totals, "s30", true).dropped_local, 1);
    // An endpoint leaves and comes back, then the whole table is made anew: the sums go on.
    cluster.remove_endpoint(28, 1);
    cluster.apply();
    cluster.endpoint(28, 1, 1);
    cluster.apply();
    cluster.ask(28, 10);
    totals.read(&cluster.programmer.directory(), reader.read().unwrap());
    assert_eq!(of(&totals, "s28", false).connections, 40);
    cluster.nft.install().unwrap();
    cluster.programmer.adopt(State::new());
    cluster.apply();
    cluster.ask(28, 5);
    totals.read(&cluster.programmer.directory(), reader.read().unwrap());
    let again = of(&totals, "s28", false);
    assert_eq!((again.connections, again.endpoints.values().sum::<u64>()), (45, 45));
    assert_eq!(of(&totals, "s29", false).refused, 7);
}

#[test]
fn bytes_are_counted_per_endpoint_of_flows_that_are_there_and_of_flows_that_ended() {
    let mut cluster = cluster();
    cluster.serve(0..2);
    cluster.service(31, &balance("round-robin"), &json!({}));
    (0..2).for_each(|index| cluster.endpoint(31, index, 1));
    cluster.apply();
    assert!(cluster.node.netns.run(|| FlowBytes::open().unwrap()).is_none(), "nothing is counted unless asked for");
    let switch = "/proc/sys/net/netfilter/nf_conntrack_acct";
    cluster.node.netns.run(|| std::fs::write(switch, "1").unwrap());
    let mut flows = cluster.node.netns.run(|| FlowBytes::open().unwrap().unwrap());
    let mut reader = cluster.node.netns.run(|| Reader::open().unwrap());
    let mut carried = Carried::default();
    let target = SocketAddr::new(ip("10.96.0.31"), 80);
    // Two flows of one datagram each way: 20 + 8 bytes of headers and one byte, answered by "N 10.244.0.2".
    let sockets: Vec<UdpSocket> = cluster.client.netns.run(|| {
        let open = || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect(target).unwrap();
            ask_again(&socket).unwrap();
            socket
        };
        vec![open(), open()]
    });
    let each = Bytes { sent: 20 + 8 + 1, received: 20 + 8 + 12 };
    let read = |flows: &mut FlowBytes, reader: &mut Reader, carried: &mut Carried| -> Vec<Bytes> {
        let readings = reader.read().unwrap();
        flows.read(carried, &cluster.programmer.directory(), &readings).unwrap();
        carried.endpoints().map(|(_, _, bytes)| bytes).filter(|bytes| *bytes != Bytes::default()).collect()
    };
    assert_eq!(read(&mut flows, &mut reader, &mut carried), [each; 2], "one flow for each");
    // All flows end; what they carried stays, and the next flows add to it.
    cluster.node.netns.run(|| {
        let mut socket = kernel::nl::Socket::open(kernel::nl::Protocol::Netfilter).unwrap();
        let flows = kernel::nl::conntrack::flows(&mut socket, None).unwrap();
        let named: Vec<_> = flows.iter().map(|flow| (flow.original, flow.id)).collect();
        assert_eq!(kernel::nl::conntrack::bulk::delete_all(&mut socket, &named).unwrap(), named.len());
    });
    assert_eq!(read(&mut flows, &mut reader, &mut carried), [each; 2]);
    sockets.iter().for_each(|socket| drop(ask_again(socket).unwrap()));
    let twice = Bytes { sent: 2 * each.sent, received: 2 * each.received };
    assert_eq!(read(&mut flows, &mut reader, &mut carried), [twice; 2]);
}
