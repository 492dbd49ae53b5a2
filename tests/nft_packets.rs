//! Random clusters in a real kernel: what becomes of real packets is what the interpreter and the reference model say.
//!
//! Packets are written and captures are read byte by byte (`nft_packets/wire.rs`); where a packet goes, from whom it
//! seems to come, that its checksums are right, its flow's mark and the kernel's counters are all compared. Needs root
//! and `nft`.

#[path = "nft_packets/stage.rs"]
#[expect(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
mod stage;

#[path = "nft_packets/wire.rs"]
mod wire;

#[path = "property_nft/packets.rs"]
mod packets;

#[path = "property_nft/clusters.rs"]
mod clusters;

#[allow(dead_code, reason = "the module is shared with property_nft")]
#[path = "property_nft/reference.rs"]
#[expect(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
mod reference;

#[allow(dead_code, reason = "the module is shared with nft_kernel")]
#[allow(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
#[path = "nft_kernel/topology.rs"]
mod topology;

#[allow(dead_code, reason = "the module is shared with nft_mutants")]
#[path = "property_nft/words.rs"]
mod words;

#[allow(dead_code, reason = "the module is shared with property_nft")]
#[path = "property_nft/world.rs"]
#[expect(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use compile::nft::Programmer;
use compile::nft::interpret::{Circumstances, Interpreter, Memory, Packet, Tracked, Verdict};
use compile::nft::state::State;
use compile::nft::trace::{Question, trace};
use compile::service_table::{Backend, Config};
use compile::snapshot::{Protocol, Snapshot};
use dataplane::Dataplane;
use dataplane::nft::{Flow, encoded_len};

use self::reference::Reference;
use self::stage::Stage;
use self::topology::PATIENCE;
use self::wire::{Caught, Kind, Sent};
use self::words::Words;
use self::world::{Draw, World};

/// Packets compared in one run.
const PACKETS: u32 = 3000;

/// A packet on its way, and what may become of it.
struct Sending {
    packet: Packet,
    circumstances: Circumstances,
    sent: Sent,
    /// By interpreter and reference alike.
    allowed: BTreeSet<Verdict>,
    /// The mark that our rules must leave on its flow, unless they write their own.
    given: u32,
}

/// xorshift64*.
struct Chance(u64);

impl Chance {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut next = || {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
        };
        (0..count).map(|_| next()).collect()
    }
}

fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

/// Compares everything about one random history of a cluster.
struct Comparison {
    config: Config,
    stage: Stage,
    rules: Interpreter,
    chance: Chance,
    sent: u32,
    /// How many of each kind were compared.
    kinds: BTreeMap<String, usize>,
    counted: BTreeMap<&'static str, u64>,
    /// Clients that the kernel must remember.
    memory: Memory,
}

/// Clients remembered for less may be forgotten while the test runs.
const LASTING: u32 = 90;

impl Comparison {
    fn new(config: Config, seed: u64) -> Self {
        let stage = Stage::new(&config.node_port_addresses);
        let mut new = Self {
            config,
            stage,
            rules: Interpreter::default(),
            chance: Chance(seed),
            sent: 0,
            kinds: BTreeMap::new(),
            counted: BTreeMap::new(),
            memory: Memory::default(),
        };
        let addresses = new.config.node_port_addresses.clone();
        new.stage.settle(0xffff_0000, &addresses);
        new
    }

    /// Packets to send now; no two of them are of one flow.
    fn sendings(&mut self, snapshot: &Snapshot, state: &State) -> Vec<Sending> {
        let bytes = self.chance.bytes(900);
        let mut draw = Draw(&bytes);
        let mut packets: Vec<Packet> = packets::served_packets(snapshot, &mut draw);
        packets.extend(packets::served_packets(snapshot, &mut draw));
        packets.extend(packets::served_packets(snapshot, &mut draw));
        packets.extend((0..24).map(|_| packets::packet(&mut draw)));
        let reference = Reference { snapshot, config: &self.config };
        let mut all = Vec::new();
        let mut clients = BTreeSet::new();
        for (at, packet) in packets.into_iter().enumerate() {
            // What one packet makes the kernel remember decides about the next: one of each client at a time.
            let sticky = reference.asked(&packet, &[0; 16]).is_some_and(|(_, _, seconds)| seconds.is_some());
            let client = Words::new(state, &packet).filter(|_| sticky).map(|words| words.client(packet.source));
            if client.is_some_and(|client| !clients.insert(client)) {
                continue;
            }
            self.sent += 1;
            let dscp = if at % 3 == 0 { (1 + at / 3 % 3) as u8 } else { 0 };
            let malformed = packet.protocol == Protocol::Tcp && at % 5 == 4;
            let tracked = if malformed { Tracked::Invalid } else { Tracked::New };
            let source_port = 20_000 + (self.sent % 30_000) as u16;
            // What does not belong to a flow gets no mark.
            let given = if malformed { 0 } else { [0, 0x80, 0x4_0001, 0][usize::from(dscp)] };
            let priority = if dscp == 3 { 0x1_0002 } else { 0 };
            let circumstances =
                Circumstances { source_port, tracked, mark: given, priority, ..Circumstances::default() };
            let sent = Sent {
                source: packet.source,
                destination: packet.destination,
                protocol: number(packet.protocol),
                source_port,
                port: packet.port,
                token: 0x5157_0000 + self.sent,
                dscp,
                malformed,
            };
            let host = &self.config.node_port_addresses;
            let any = self.rules.verdicts_remembering(state, &packet, circumstances, host, &Memory::default());
            if !malformed {
                let expected = reference.verdicts(&packet).into_iter().map(|verdict| delivered(host, &packet, verdict));
                assert_eq!(any, expected.collect(), "{packet:?}: interpreter and reference");
            }
            let allowed = self.rules.verdicts_remembering(state, &packet, circumstances, host, &self.memory);
            let names = |_| None;
            let (rules, memory) = (&self.rules, &self.memory);
            let question = Question { rules, state, memory, host, names: &names };
            let traced = trace(&question, &packet, circumstances);
            assert_eq!(traced.verdicts, allowed, "what `mainstay trace` says of {packet:?}");
            assert!(!traced.why.is_empty(), "{packet:?}");
            assert!(allowed.is_subset(&any), "{packet:?}: {allowed:?} of {any:?}");
            all.push(Sending { packet, circumstances, sent, allowed, given });
        }
        all
    }

    /// Sends all, and finds out what became of each.
    fn observe(&mut self, sendings: &[Sending]) -> BTreeMap<u32, Caught> {
        let addresses = self.config.node_port_addresses.clone();
        let mut caught = Vec::new();
        for one in sendings {
            self.stage.send(&one.sent, one.packet.source_is_host);
            caught.extend(self.stage.caught(&addresses));
        }
        caught.extend(self.stage.settle(0xffff_0100, &addresses));
        let until = std::time::Instant::now() + PATIENCE;
        let missing = |caught: &[Caught]| {
            let shows = |one: &&Sending| one.allowed.iter().any(|verdict| *verdict != Verdict::Drop);
            let seen: BTreeSet<u32> = caught.iter().map(|caught| caught.token).collect();
            sendings.iter().filter(shows).any(|one| !seen.contains(&one.sent.token))
        };
        while missing(&caught) && std::time::Instant::now() < until {
            caught.extend(self.stage.caught(&addresses));
            std::thread::yield_now();
        }
        let mut found = BTreeMap::new();
        for one in caught.into_iter().filter(|one| one.token < 0xffff_0000) {
            assert!(sendings.iter().any(|sending| sending.sent.token == one.token), "late or strange: {one:?}");
            // A capture of the node's loopback device shows each packet going and coming.
            let told = one.kind != Kind::Arrived && addresses.contains(&one.destination);
            assert!(found.insert(one.token, one).is_none() || told, "twice: {one:?}");
        }
        found
    }

    /// Whether what was seen of a packet is what may become of it.
    fn compare(&mut self, one: &Sending, caught: Option<&Caught>) {
        let packet = &one.packet;
        let to = (packet.destination, packet.port);
        let what = match caught {
            None => "dropped",
            Some(caught) if caught.kind == Kind::Refused => "refused",
            Some(caught) if caught.kind == Kind::Host || (caught.destination, caught.port) == to => "passed",
            Some(_) => "translated",
        };
        let context = || format!("{packet:?} {:?}\ncaught {caught:?}\nmay {:?}", one.circumstances, one.allowed);
        let fits = |verdict: &Verdict| match (verdict, caught) {
            (Verdict::Drop, None) => true,
            (Verdict::Refuse, Some(caught)) => caught.kind == Kind::Refused,
            (Verdict::Pass, Some(_)) => what == "passed",
            (Verdict::Translate { backend, .. }, Some(caught))
                if self.config.node_port_addresses.contains(&backend.address) =>
            {
                caught.kind == Kind::Host
            }
            (Verdict::Translate { backend, masquerade }, Some(caught)) => {
                let hidden = caught.source != packet.source;
                // The node's own address is what it masquerades with.
                let seems = packet.source_is_host || hidden == *masquerade;
                caught.kind == Kind::Arrived
                    && (caught.destination, caught.port) == (backend.address, backend.port)
                    && seems
            }
            _ => false,
        };
        assert!(one.allowed.iter().any(fits), "{what}: {}", context());
        if let Some(caught) = caught.filter(|caught| caught.kind == Kind::Arrived) {
            assert!(caught.checksums, "checksums: {}", context());
            assert_eq!(caught.dscp, one.sent.dscp, "the scratch word left the node: {}", context());
            if caught.source != packet.source {
                assert!(self.config.node_port_addresses.contains(&caught.source), "{}", context());
            } else if !packet.source_is_host {
                assert_eq!(caught.source_port, one.sent.source_port, "{}", context());
            }
            if what == "passed" {
                assert_eq!(caught.source, packet.source, "{}", context());
            }
        }
        let family = if packet.destination.is_ipv4() { "IPv4" } else { "IPv6" };
        let from = if packet.source_is_host { "host" } else { "client" };
        for kind in [what.to_owned(), format!("{:?}", packet.protocol), family.to_owned(), from.to_owned()] {
            *self.kinds.entry(kind).or_default() += 1;
        }
        if one.circumstances.tracked == Tracked::Invalid {
            *self.kinds.entry(format!("invalid, {what}")).or_default() += 1;
        }
        if let Some(Verdict::Translate { masquerade: true, .. }) = one.allowed.first() {
            *self.kinds.entry("masqueraded".into()).or_default() += 1;
        }
    }

    /// What the kernel remembers of a client after its packet.
    fn remember(&mut self, reference: &Reference<'_>, state: &State, one: &Sending, caught: Option<&Caught>) {
        let asked = reference.asked(&one.packet, &[0; 16]).and_then(|(_, _, seconds)| seconds);
        let (Some(seconds), Tracked::New) = (asked, one.circumstances.tracked) else { return };
        let Some(words) = Words::new(state, &one.packet) else { return };
        let map = if one.packet.source.is_ipv4() { "affinity4" } else { "affinity6" };
        let key = words.client(one.packet.source);
        let known = self.memory.entries().any(|(name, held, ..)| (name, held) == (map, &*key));
        self.memory.forget(map, &key);
        let reached = caught.filter(|caught| caught.kind == Kind::Arrived);
        let backend = reached.map(|caught| Backend { address: caught.destination, port: caught.port });
        if let Some(endpoint) = backend.and_then(|backend| words.endpoint(backend)).filter(|_| seconds >= LASTING) {
            self.memory.remember(map, &key, &endpoint.to_ne_bytes(), seconds);
            let kind = if known { "remembered" } else { "first of a client" };
            *self.kinds.entry(kind.into()).or_default() += 1;
        }
    }

    /// Marks of the flows: the identity of the endpoint that was chosen, or what somebody else wrote.
    fn compare_flows(&mut self, sendings: &[Sending], found: &BTreeMap<u32, Caught>, state: &State, flows: &[Flow]) {
        for one in sendings.iter().filter(|one| one.circumstances.tracked == Tracked::New) {
            let Some(caught) = found.get(&one.sent.token).filter(|caught| caught.kind == Kind::Arrived) else {
                continue;
            };
            let translated = (caught.destination, caught.port) != (one.packet.destination, one.packet.port);
            let flow = flows.iter().find(|flow| {
                let tuple = &flow.original;
                (tuple.source, tuple.destination) == (one.packet.source, one.packet.destination)
                    && (tuple.protocol, tuple.source_port, tuple.destination_port)
                        == (one.sent.protocol, one.sent.source_port, one.packet.port)
            });
            let Some(flow) = flow else { panic!("no flow of {:?} {:?}", one.packet, one.circumstances) };
            let bits = flow.mark & !0x80_0000;
            if !translated || one.given != 0 {
                assert_eq!(bits, one.given, "{:?} {:?}", one.packet, one.circumstances);
            } else {
                let words = Words::new(state, &one.packet);
                let reached = Backend { address: caught.destination, port: caught.port };
                let identity = words.and_then(|words| Some(words.identity(words.endpoint(reached)?)));
                assert_eq!(Some(bits), identity, "{:?}: {flow:?}", one.packet);
            }
            *self.kinds.entry("marks".into()).or_default() += 1;
        }
    }

    /// The kernel counted what was seen.
    fn compare_counters(&mut self, found: &[(&Sending, Option<&Caught>)], snapshot: &Snapshot) {
        let reference = Reference { snapshot, config: &self.config };
        for (one, caught) in found {
            let name = match caught {
                None if one.circumstances.tracked == Tracked::Invalid => "dropped_invalid",
                None if reference.admitted(&one.packet) => "dropped_local",
                None => "dropped_ranges",
                Some(caught) if caught.kind == Kind::Refused => "refused",
                _ => continue,
            };
            *self.counted.entry(name).or_default() += 1;
        }
        let named = self.stage.nft.counters().unwrap_or_else(|error| panic!("{error}")).named;
        for name in ["refused", "dropped_local", "dropped_ranges", "dropped_invalid", "retried", "unsettled"] {
            assert_eq!(named[name].packets, self.counted.get(name).copied().unwrap_or_default(), "counter {name}");
        }
    }

    /// Mostly policies and endpoints that serve somebody, now and then anything.
    fn change(&mut self, world: &mut World) {
        let bytes = self.chance.bytes(64);
        let draw = &mut Draw(&bytes);
        for index in 0..3 {
            if draw.below(3) == 0 {
                let policies = ["Cluster", "Cluster", "Local"];
                let affinity = draw.one(&[None, Some(10_800), Some(10_800)]);
                let ranges = draw.one(&[&[][..], &clusters::RANGES[..]]);
                let service = clusters::service(index, draw.one(&policies), draw.one(&policies), affinity, ranges);
                world.put("services", "d", &format!("s{index}"), &service);
            }
            if draw.below(3) == 0 {
                clusters::slices(world, index, draw.one(&clusters::ENDPOINTS));
            }
        }
        if draw.rarely(4) {
            world.change(&self.chance.bytes(64));
        }
    }

    /// One state: programs it, sends, compares.
    fn round(&mut self, programmer: &mut Programmer, world: &mut World) {
        let (snapshot, changes) = world.builder.publish(world.revision);
        let plan = programmer.plan(&snapshot, &changes, self.stage.nft.batch_bytes_max(), &encoded_len);
        for batch in &plan.batches {
            self.stage.nft.apply(batch).unwrap_or_else(|error| panic!("{error}\n{batch:#?}"));
        }
        let observed = self.stage.nft.observe().unwrap_or_else(|error| panic!("{error}")).unwrap_or_default();
        assert_eq!(observed, programmer.state(), "the kernel is what the programmer says");
        let sendings = self.sendings(&snapshot, &observed);
        let found = self.observe(&sendings);
        let seen: Vec<_> = sendings.iter().map(|one| (one, found.get(&one.sent.token))).collect();
        for (one, caught) in &seen {
            self.compare(one, *caught);
        }
        let reference = Reference { snapshot: &snapshot, config: &self.config.clone() };
        for (one, caught) in &seen {
            self.remember(&reference, &observed, one, *caught);
        }
        let flows = self.stage.nft.flows().unwrap_or_else(|error| panic!("{error}"));
        self.compare_flows(&sendings, &found, &observed, &flows);
        self.compare_counters(&seen, &snapshot);
    }
}

/// What a host delivers to itself never passes the hook that masquerades.
fn delivered(host: &[IpAddr], packet: &Packet, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Translate { backend, .. } if !packet.source_is_host && host.contains(&backend.address) => {
            Verdict::Translate { backend, masquerade: false }
        }
        other => other,
    }
}

#[test]
fn real_packets_go_where_interpreter_and_reference_say() {
    let config = world::config();
    let mut comparison = Comparison::new(config.clone(), 0x6d61_696e_7374_6179);
    let mut programmer = Programmer::new(config);
    let mut world = World { plain: true, ..World::default() };
    world.begin();
    clusters::pods(&mut world);
    let began = std::time::Instant::now();
    while comparison.sent < PACKETS {
        comparison.round(&mut programmer, &mut world);
        comparison.change(&mut world);
    }
    println!("{} packets in {:?}: {:?}", comparison.sent, began.elapsed(), comparison.kinds);
    for (kind, least) in [
        ("translated", 1000),
        ("masqueraded", 600),
        ("refused", 120),
        ("dropped", 200),
        ("passed", 600),
        ("Tcp", 1000),
        ("Udp", 500),
        ("Sctp", 500),
        ("IPv4", 1200),
        ("IPv6", 900),
        ("host", 150),
        ("marks", 1200),
        ("remembered", 300),
        ("invalid, dropped", 150),
        ("invalid, passed", 20),
    ] {
        let count = comparison.kinds.get(kind).copied().unwrap_or_default();
        assert!(count >= least, "{kind}: {count} of {least}");
    }
}
