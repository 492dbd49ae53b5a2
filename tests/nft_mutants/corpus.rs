//! Seeds -> sites (a cluster and what the kernel holds for it) and the packets that are asked about each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use compile::nft::Programmer;
use compile::nft::expr::{Contents, Field};
use compile::nft::interpret::{Circumstances, Interpreter, Memory, Packet, Tracked};
use compile::nft::rules::describe;
use compile::nft::state::{Key, SetName, State};
use compile::service_table::{Config, Interface, LocalPods};
use compile::snapshot::{Changes, Protocol};
use serde_json::{Value, json};

use super::clusters::{ENDPOINTS, Endpoints, RANGES, pods, service, slices};
use super::judge::{Case, Draw as Number, Site, host, ladder, run};
use super::words::{Words, word};
use super::world::{self, CLUSTER_IPS, LB_IPS, NODE_PORTS, PODS, World, ip};

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// All sites and cases, always the same.
pub(crate) fn corpus() -> (Vec<Site>, Vec<Case>) {
    let (mut sites, mut cases) = (Vec::new(), Vec::new());
    by_hand(&mut sites, &mut cases);
    by_chance(&mut sites, &mut cases);
    timeouts(&mut sites, &mut cases);
    rungs(&mut sites, &mut cases);
    commits(&mut sites, &mut cases);
    // In no order, so that what catches a mutant is seldom far.
    let mut chance = Chance(1);
    for at in (1..cases.len()).rev() {
        cases.swap(at, chance.below(at + 1));
    }
    (sites, cases)
}

/// xorshift64*: the same bytes for the same seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 56) as u8).collect()
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// What a kernel holds for a world, with Service numbers that use other bits than the first ones do.
fn site(name: &str, world: &mut World, config: &Config, numbers: u32) -> Site {
    let (snapshot, _) = world.builder.publish(world.revision);
    let mut programmer = Programmer::new(config.clone());
    programmer.plan(&snapshot, &Changes::default(), usize::MAX, &|_| 1);
    let state = renumbered(&programmer.state(), numbers);
    let mut slots: BTreeMap<u32, BTreeMap<u32, u32>> = BTreeMap::new();
    for (key, value) in state.get(&SetName::Slots).into_iter().flatten() {
        slots.entry(word(key)).or_default().insert(word(&key[4..]), word(value));
    }
    let slots = slots.into_iter().map(|(head, slots)| (head, slots.into_values().collect())).collect();
    Site { name: name.to_owned(), config: config.clone(), snapshot, state, slots }
}

/// Flips bits in every word that names a Service, the lower twelve in those that name an endpoint.
fn renumbered(state: &State, numbers: u32) -> State {
    let endpoints = |name: SetName, value: bool| match name {
        SetName::Slots => value,
        SetName::CtIds | SetName::Ep4 | SetName::Ep6 | SetName::MembersCluster | SetName::MembersLocal => true,
        _ => false,
    };
    let change = |fields: &[Field], bytes: &[u8], endpoint: bool| -> Key {
        let bits = if endpoint { numbers } else { numbers & !0xfff };
        let mut out = bytes.to_vec();
        let mut at = 0;
        for field in fields {
            if *field == Field::Word
                && let Some(word) = out.get_mut(at..at + 4)
            {
                let flipped = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]) ^ bits;
                word.copy_from_slice(&flipped.to_ne_bytes());
            }
            at += field.padded();
        }
        out.into()
    };
    let mut all = State::new();
    for (name, elements) in state {
        let set = describe(*name);
        let value = if let Contents::Data(fields) = &set.contents { &fields[..] } else { &[] };
        let elements = elements.iter().map(|(key, held)| {
            (change(&set.key, key, endpoints(*name, false)), change(value, held, endpoints(*name, true)))
        });
        all.insert(*name, elements.collect());
    }
    all
}

fn case(site: usize, packet: Packet) -> Case {
    Case {
        site,
        packet,
        circumstances: Circumstances { source_port: 40_000, ..Circumstances::default() },
        draws: vec![Number::Number(0)],
        memory: Memory::default(),
        commits: Vec::new(),
    }
}

fn packet(source: &str, destination: &str, protocol: Protocol, port: u16) -> Packet {
    Packet { source: ip(source), destination: ip(destination), protocol, port, source_is_host: false }
}

/// The marks, priorities and states that a packet may come with.
fn circumstances() -> Vec<Circumstances> {
    let usual = Circumstances { source_port: 40_000, ..Circumstances::default() };
    vec![
        usual,
        Circumstances { mark: 0x80, ..usual },
        Circumstances { mark: 0x100_0002, ..usual },
        Circumstances { mark: 0x8000_0001, ..usual },
        Circumstances { mark: 0x4_0001, priority: 0x1_0002, ..usual },
        Circumstances { priority: 0xc000_1234, ..usual },
        Circumstances { priority: 0x8000_0001, ..usual },
        Circumstances { priority: 0x4000_0001, ..usual },
        Circumstances { source_port: 53, ..usual },
        Circumstances { source_port: 0x3500, ..usual },
        Circumstances { tracked: Tracked::Established, mark: 0x40_0007, ..usual },
        Circumstances { tracked: Tracked::Invalid, ..usual },
        Circumstances { interface: interface("cni0"), ..usual },
        Circumstances { interface: interface("veth1"), ..usual },
        Circumstances { interface: interface("eth0"), ..usual },
    ]
}

fn interface(name: &str) -> [u8; 16] {
    std::array::from_fn(|at| name.as_bytes().get(at).copied().unwrap_or(0))
}

/// Adds a packet in some circumstances, with every choice, remembered and not.
fn add(sites: &[Site], cases: &mut Vec<Case>, site: usize, packet: Packet) {
    // The usual one always, of the others three each time, by turns.
    let known = circumstances();
    cases.push(Case { circumstances: known[0], ..case(site, packet) });
    for turn in 0..3 {
        let circumstances = known[1 + (cases.len() + 4 * turn) % (known.len() - 1)];
        cases.push(Case { circumstances, ..case(site, packet) });
    }
    add_draws(sites, cases, site, packet);
}

/// Adds a packet in every circumstance, with every choice, remembered and not.
fn add_all(sites: &[Site], cases: &mut Vec<Case>, site: usize, packet: Packet) {
    cases.extend(circumstances().into_iter().map(|circumstances| Case { circumstances, ..case(site, packet) }));
    add_draws(sites, cases, site, packet);
}

fn add_draws(sites: &[Site], cases: &mut Vec<Case>, site: usize, packet: Packet) {
    for draw in [Number::Number(1), Number::Number(2), Number::Top] {
        cases.push(Case { draws: vec![draw], ..case(site, packet) });
    }
    // A flow that nobody translated may carry our bit: then it means nothing.
    let marked = Circumstances { source_port: 40_000, mark: 0x80_0000, ..Circumstances::default() };
    let Some(words) = Words::new(&sites[site].state, &packet) else {
        cases.push(Case { circumstances: marked, ..case(site, packet) });
        return;
    };
    let map = if packet.source.is_ipv4() { "affinity4" } else { "affinity6" };
    let known: BTreeSet<u32> = words.slots(false).into_iter().chain(words.slots(true)).collect();
    let gone = words.slots(false).first().map_or(0, |word| word ^ 0x7f0);
    for endpoint in known.into_iter().chain([gone]).filter(|word| *word != 0) {
        let mut memory = Memory::default();
        memory.remember(map, &words.client(packet.source), &endpoint.to_ne_bytes(), 777);
        // Another client of the Service, who is not to be touched.
        let other = if packet.source.is_ipv4() { ip("203.0.113.99") } else { ip("2001:db8:1::99") };
        memory.remember(map, &words.client(other), &endpoint.to_ne_bytes(), 555);
        let draw = [Number::Number(0), Number::Top][cases.len() % 2];
        cases.push(Case { draws: vec![draw], memory, ..case(site, packet) });
    }
}

fn addresses(v6: bool, of: &[&'static str]) -> Vec<&'static str> {
    of.iter().copied().filter(|address| address.contains(':') == v6).collect()
}

/// Everything that may be sent in a world: to every address and port, from every kind of source.
fn packets(config: &Config) -> Vec<Packet> {
    let mut all = Vec::new();
    for v6 in [false, true] {
        let own = ["198.51.100.1", "2001:db8:2::1", "198.51.100.2", "2001:db8:2::2", "203.0.113.50", "2001:db8:9::50"];
        let dns = ["10.96.0.10", "fd96::10", "10.96.0.99", "fd96::99"];
        let to: Vec<&str> =
            [addresses(v6, &CLUSTER_IPS), addresses(v6, &LB_IPS), addresses(v6, &own), addresses(v6, &dns)].concat();
        let outside = ["203.0.113.7", "203.0.113.200", "203.0.9.9", "2001:db8:1::7", "2001:db8:9::9"];
        let from = [addresses(v6, &PODS), addresses(v6, &outside)].concat();
        for destination in to {
            let mut sources: Vec<(IpAddr, bool)> = from.iter().map(|source| (ip(source), false)).collect();
            sources.push((ip(["198.51.100.1", "2001:db8:2::1"][usize::from(v6)]), true));
            // The cluster DNS answers: made here, and again as it arrives by the loopback device.
            sources.push((ip(["10.96.0.10", "fd96::10"][usize::from(v6)]), true));
            sources.push((ip(["10.96.0.10", "fd96::10"][usize::from(v6)]), false));
            for (source, source_is_host) in sources {
                for protocol in PROTOCOLS {
                    for port in [80, 81, 53].into_iter().chain(NODE_PORTS) {
                        all.push(Packet { source, destination: ip(destination), protocol, port, source_is_host });
                    }
                }
            }
        }
        // Straight to a pod, and a pod to itself.
        let pods = addresses(v6, &PODS);
        for (source, destination) in [(pods[0], pods[1]), (pods[0], pods[0])] {
            all.push(packet(source, destination, Protocol::Udp, 8000));
            all.push(packet(source, destination, Protocol::Tcp, 53));
        }
    }
    all.retain(|packet| !packet.source_is_host || host(config).contains(&packet.source));
    all
}

fn config() -> Config {
    let mut config = world::config();
    config.dns_addresses.push(ip("fd96::10"));
    config
}

/// Each policy with each kind of node, affinity and endpoints by turns.
fn by_hand(sites: &mut Vec<Site>, cases: &mut Vec<Case>) {
    let policies = [("Cluster", "Cluster"), ("Local", "Local"), ("Cluster", "Local"), ("Local", "Cluster")];
    let interfaces = || vec![Interface::named("cni0").unwrap(), Interface::starting_with("veth").unwrap()];
    let usual = Config { node_addresses: vec![ip("192.0.2.2"), ip("2001:db8::1")], ..config() };
    let nodes = [
        usual.clone(),
        Config { egress: true, ..usual.clone() },
        Config { local_pods: LocalPods::Interfaces(interfaces()), ..usual.clone() },
        Config { local_pods: LocalPods::Nobody, ..usual.clone() },
        Config { masquerade_all: true, ..usual },
    ];
    let mut chance = Chance(0x6d61_696e_7374_6179);
    for (at, (external, internal)) in policies.into_iter().enumerate() {
        for (kind, config) in nodes.iter().enumerate() {
            let affinity = ((at + kind) % 3 == 0).then_some(10_800);
            let mut world = World { plain: true, ..World::default() };
            pods(&mut world);
            for index in 0..3 {
                let ranges: &[&str] = if index == 0 { &RANGES } else { &[] };
                let mut service = service(index, external, internal, affinity, ranges);
                if index == 2 || (kind, at) == (0, 3) {
                    // In one family only: its node ports are in the other one nobody's.
                    service["spec"]["clusterIPs"] = json!([CLUSTER_IPS[index]]);
                }
                world.put("services", "d", &format!("s{index}"), &service);
                slices(&mut world, index, ENDPOINTS[[0, 1 + (at + kind) % 2, 3][(index + at) % 3]]);
            }
            let numbers = chance.one(&[0, 0x2aaa_a000, 0x1555_5000, 0x3fff_f000]);
            sites.push(site(&format!("{external} {internal} on node {kind}"), &mut world, config, numbers));
            let site = sites.len() - 1;
            ways_in().into_iter().for_each(|packet| add_all(sites, cases, site, packet));
            if at == 0 {
                beside().into_iter().for_each(|packet| add_all(sites, cases, site, packet));
            }
            let all = packets(config);
            let kept: Vec<Packet> = all.into_iter().filter(|_| chance.below(60) == 0).collect();
            kept.into_iter().for_each(|packet| add(sites, cases, site, packet));
        }
    }
}

/// Every way into a Service from every kind of sender.
fn ways_in() -> Vec<Packet> {
    let mut all = Vec::new();
    for (v6, targets) in [
        (false, [("10.96.0.1", 80), ("10.96.0.2", 80), ("192.0.2.1", 80), ("192.0.2.2", 80), ("198.51.100.1", 30_000)]),
        (true, [("fd96::1", 80), ("fd96::2", 80), ("2001:db8::1", 80), ("2001:db8::1", 82), ("2001:db8:2::1", 30_000)]),
    ] {
        let senders = if v6 {
            ["fd24::1", "fd24::4", "2001:db8:1::7", "2001:db8:9::9"]
        } else {
            ["10.244.0.1", "10.244.0.4", "203.0.113.7", "203.0.9.9"]
        };
        for (destination, port) in targets {
            all.extend(senders.map(|source| packet(source, destination, Protocol::Tcp, port)));
            let own = packet(["198.51.100.1", "2001:db8:2::1"][usize::from(v6)], destination, Protocol::Tcp, port);
            all.push(Packet { source_is_host: true, ..own });
        }
    }
    all
}

/// What the cluster DNS is asked and answers, and what only looks like it.
fn beside() -> Vec<Packet> {
    let mut all = Vec::new();
    for (dns, other, pod) in [("10.96.0.10", "10.96.0.99", "10.244.0.1"), ("fd96::10", "fd96::99", "fd24::1")] {
        for protocol in PROTOCOLS {
            for (source, destination, port) in [
                (dns, pod, 40_001),
                (other, pod, 40_001),
                (pod, dns, 53),
                (pod, other, 53),
                (dns, pod, 53),
                (pod, pod, 53),
            ] {
                all.push(packet(source, destination, protocol, port));
            }
            all.push(Packet { source_is_host: true, ..packet(dns, pod, protocol, 40_001) });
            all.push(Packet { source_is_host: true, ..packet(dns, pod, protocol, 53) });
        }
    }
    all
}

/// Random worlds after random histories.
fn by_chance(sites: &mut Vec<Site>, cases: &mut Vec<Case>) {
    let mut chance = Chance(5);
    for seed in 0..24 {
        let mut world = World { plain: true, ..World::default() };
        world.begin();
        for _ in 0..8 + chance.below(30) {
            world.change(&chance.bytes(64));
        }
        let config = Config { egress: seed % 4 == 3, ..config() };
        let numbers = (chance.next() as u32) & 0x3fff_f000;
        sites.push(site(&format!("random world {seed}"), &mut world, &config, numbers));
        let all = packets(&config);
        for packet in all.into_iter().filter(|_| chance.below(160) == 0) {
            add(sites, cases, sites.len() - 1, packet);
        }
    }
}

/// One Service with each timeout that the rules know, and one between two.
fn timeouts(sites: &mut Vec<Site>, cases: &mut Vec<Case>) {
    let known = [
        1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 450, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200,
        10_800, 14_400, 18_000, 21_600, 28_800, 36_000, 43_200, 86_400, 11_000,
    ];
    for seconds in known {
        let mut world = World { plain: true, ..World::default() };
        for index in 0..2 {
            world.put("services", "d", &format!("s{index}"), &service(index, "Local", "Cluster", Some(seconds), &[]));
            slices(
                &mut world,
                index,
                [&[("10.244.0.1", "n1"), ("10.244.0.2", "n2")], &[("fd24::1", "n1"), ("fd24::2", "n2")]],
            );
        }
        // Numbers of endpoints that use the upper bits too.
        sites.push(site(&format!("timeout {seconds}"), &mut world, &config(), 0x1234_5a00));
        for (source, destination, port) in [
            ("203.0.113.7", "10.96.0.1", 80),
            ("203.0.113.7", "10.96.0.1", 81),
            ("203.0.113.7", "10.96.0.2", 80),
            ("2001:db8:1::7", "fd96::1", 80),
            ("2001:db8:1::7", "fd96::1", 81),
            ("2001:db8:1::7", "fd96::2", 80),
            ("203.0.113.7", "192.0.2.1", 80),
        ] {
            add(sites, cases, sites.len() - 1, packet(source, destination, Protocol::Tcp, port));
        }
    }
}

/// Sets on each rung of the ladder, full and with as few endpoints as it may have, and every way to draw.
fn rungs(sites: &mut Vec<Site>, cases: &mut Vec<Case>) {
    let mut world = World { plain: true, ..World::default() };
    let mut below = 0;
    for class in ladder() {
        let fewest = below + 1;
        below = class;
        for (count, affinity, policy) in
            [(fewest, "ClientIP", "Local"), (class.min(4094), "None", "Local"), (fewest, "ClientIP", "Cluster")]
        {
            // They remember, and others come first elsewhere, so that the bits of both are in their words.
            let spec = json!({
                "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}],
                "internalTrafficPolicy": policy,
                "sessionAffinity": affinity,
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10_800}},
            });
            world.put("services", "d", "s", &json!({"metadata": {}, "spec": spec}));
            let first = json!({"addresses": ["10.244.0.1"], "nodeName": "n2"});
            let elsewhere = (policy == "Local").then_some(first);
            let own = (0..count).map(
                |index| json!({"addresses": [format!("10.244.{}.{}", 1 + index / 250, index % 250)], "nodeName": "n1"}),
            );
            let endpoints: Vec<Value> = elsewhere.into_iter().chain(own).collect();
            let slice = json!({
                "metadata": {"labels": {"kubernetes.io/service-name": "s"}}, "addressType": "IPv4",
                "ports": [{"name": "", "port": 8080}], "endpoints": endpoints,
            });
            world.put("endpointslices", "d", "s", &slice);
            sites.push(site(&format!("{count} endpoints"), &mut world, &config(), 0x0f0f_0000));
            let to = packet("203.0.113.7", "10.96.0.1", Protocol::Tcp, 80);
            for misses in 0..7 {
                for then in [Number::Number(0), Number::Number(count - 1), Number::Number(count), Number::Top] {
                    let draws = [vec![Number::Top; misses], vec![then]].concat();
                    cases.push(Case { draws, ..case(sites.len() - 1, to) });
                }
            }
            // Remembered with an endpoint that is gone.
            if let Some(words) = Words::new(&sites[sites.len() - 1].state, &to) {
                let mut memory = Memory::default();
                let gone = words.head(false) | 0x9fff & 0xfff;
                memory.remember("affinity4", &words.client(to.source), &gone.to_ne_bytes(), 777);
                cases.push(Case { memory, ..case(sites.len() - 1, to) });
            }
        }
    }
}

/// A commit, two or three, before every look-up that a packet makes.
fn commits(sites: &mut Vec<Site>, cases: &mut Vec<Case>) {
    let rules = Interpreter::default();
    for (policy, told) in [("Cluster", ""), ("Local", ""), ("Cluster", "cni0"), ("Local", "cni0")] {
        let config = match told {
            "" => config(),
            name => Config { local_pods: LocalPods::Interfaces(vec![Interface::named(name).unwrap()]), ..config() },
        };
        let first = sites.len();
        let kinds: [(&str, [Endpoints; 2], Option<u32>); 3] = [
            ("one", [&[("10.244.0.1", "n1")], &[("fd24::1", "n1")]], None),
            ("others", [&[("10.244.0.2", "n1"), ("10.244.0.3", "n1")], &[("fd24::2", "n1"), ("fd24::3", "n1")]], None),
            ("remembered", [&[("10.244.0.4", "n1")], &[("fd24::4", "n1")]], Some(60)),
        ];
        for (name, endpoints, affinity) in kinds {
            let mut world = World { plain: true, ..World::default() };
            world.put("services", "d", "s0", &service(0, policy, policy, affinity, &[]));
            slices(&mut world, 0, endpoints);
            // Other numbers each time: whatever a word names is gone.
            let numbers = (sites.len() as u32).wrapping_mul(0x0101_1000) & 0x3fff_f000;
            sites.push(site(&format!("commit to {name}, {policy}, {told}"), &mut world, &config, numbers));
        }
        for (source, destination, port, source_is_host) in [
            ("203.0.113.7", "10.96.0.1", 80, false),
            ("10.244.0.9", "10.96.0.1", 80, false),
            ("10.244.0.9", "192.0.2.1", 80, false),
            ("203.0.113.7", "198.51.100.1", 30_000, false),
            ("198.51.100.1", "10.96.0.1", 80, true),
            ("198.51.100.1", "192.0.2.1", 80, true),
            ("2001:db8:1::7", "fd96::1", 80, false),
            ("fd24::9", "fd96::1", 80, false),
            ("fd24::9", "2001:db8::1", 80, false),
            ("2001:db8:2::1", "2001:db8::1", 80, true),
            ("2001:db8:1::7", "2001:db8:2::1", 30_000, false),
        ] {
            let packet = Packet { source_is_host, ..packet(source, destination, Protocol::Tcp, port) };
            for from in [first, first + 2] {
                let mut plain = case(from, packet);
                plain.circumstances.interface = interface(told);
                straddle(&rules, sites, cases, &plain, [first + 1, 2 * first + 2 - from]);
            }
        }
    }
}

/// One commit and two before every look-up, and three, each while the packet is on its way to what the one before it
/// promised.
fn straddle(rules: &Interpreter, sites: &[Site], cases: &mut Vec<Case>, plain: &Case, to: [usize; 2]) {
    let whole = run(rules, sites, plain, true).look_ups;
    for one in 0..whole {
        cases.push(Case { commits: vec![(one, to[0])], ..plain.clone() });
        cases.push(Case { commits: vec![(one, to[1])], ..plain.clone() });
        for two in one..2 * whole + 2 {
            cases.push(Case { commits: vec![(one, to[0]), (two, to[1])], ..plain.clone() });
        }
        let commits = vec![(one, to[0]), (one + whole, to[1]), (one + 2 * whole, plain.site)];
        cases.push(Case { commits, ..plain.clone() });
    }
}
