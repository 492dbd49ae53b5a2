//! The nftables data under random histories: the same as fresh, the same as the reference, safe at every moment, and
//! cheap to change.

#[path = "property_nft/kernel.rs"]
#[expect(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
mod kernel;

#[path = "property_nft/reference.rs"]
#[expect(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
mod reference;

#[path = "property_nft/world.rs"]
#[expect(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
mod world;

#[path = "property_nft/packets.rs"]
mod packets;

#[path = "property_nft/cost.rs"]
mod cost;

#[path = "property_nft/cases.rs"]
mod cases;

#[path = "property_nft/garbage.rs"]
#[expect(clippy::unwrap_used, reason = "a test fails where its world is not as expected")]
mod garbage;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use compile::balance::Algorithm;
use compile::nft::interpret::{Interpreter, Memory, Packet, Verdict};
use compile::nft::state::{Batch, Element, SetName, State};
use compile::nft::words::ServiceId;
use compile::nft::{Plan, Programmer};
use compile::service_table::Backend;
use compile::snapshot::{Changes, Protocol, Snapshot};
use proptest::prelude::*;

use self::kernel::{commit, meaning, protocols, service_of, word};
use self::packets::{packet, served_packets};
use self::reference::Reference;
use self::world::{Draw, World, config};

/// Stands for the size on the wire.
fn size(element: &Element) -> usize {
    12 + element.key.len() + element.value.len()
}

/// A node: what its kernel holds and who programs it.
struct Node {
    kernel: State,
    programmer: Programmer,
    rules: Interpreter,
    /// How many packets were compared, of each kind.
    compared: Compared,
}

/// Packets by what became of them and by what is special about them.
type Compared = BTreeMap<&'static str, usize>;

/// At least this many packets of each kind are compared.
const COMPARED: [(&str, usize); 20] = [
    ("all", 100_000),
    ("passed", 10_000),
    ("refused", 20_000),
    ("dropped", 400),
    ("translated", 10_000),
    ("masqueraded", 5000),
    ("hairpin", 150),
    ("tcp", 20_000),
    ("udp", 10_000),
    ("sctp", 10_000),
    ("IPv4", 20_000),
    ("IPv6", 20_000),
    ("from this host", 5000),
    ("policy Local", 2500),
    ("policy Cluster", 3000),
    ("outside of source ranges", 80),
    ("with affinity", 2500),
    ("remembered", 1000),
    ("zone hints", 500),
    ("node hints", 500),
];

fn node() -> Node {
    let rules = Interpreter::default();
    Node { kernel: State::new(), programmer: Programmer::new(config()), rules, compared: Compared::default() }
}

impl Node {
    /// All verdicts that the data allows: every draw of the choice is tried.
    fn verdicts(&self, packet: &Packet) -> BTreeSet<Verdict> {
        let mut among = 1;
        let mut verdicts = BTreeSet::new();
        let mut drawn = 0;
        while drawn < among {
            verdicts.insert(self.rules.interpret(&self.kernel, packet, &mut |bound| {
                among = among.max(bound);
                drawn
            }));
            drawn += 1;
        }
        verdicts
    }

    fn plan(&mut self, snapshot: &Snapshot, changes: &Changes, bytes_max: usize) -> Plan {
        let plan = self.programmer.plan(snapshot, changes, bytes_max, &size);
        let sizes = plan.batches.iter().map(|batch| batch.delete.iter().chain(&batch.add).map(size).sum::<usize>());
        let mut total = 0;
        for (batch, size) in plan.batches.iter().zip(sizes) {
            total += size;
            let swap = batch.delete.iter().chain(&batch.add).any(|element| is_range(element.set));
            let one = batch.delete.len() <= 1 && batch.add.len() <= 1;
            assert!(size <= bytes_max || one || swap, "{size} of {bytes_max} bytes in {batch:?}");
        }
        assert_eq!(total, plan.bytes, "bytes are those of the batches");
        plan
    }

    /// Commits `batches` and holds every moment between them against what was before and what will be.
    fn apply(&mut self, batches: &[Batch], packets: &[Packet], target: (&State, &Reference<'_>)) {
        let (target, reference) = target;
        let served = |verdicts: &BTreeSet<Verdict>| verdicts.iter().all(|verdict| backend(verdict).is_some());
        let watched: Vec<_> = packets
            .iter()
            .map(|packet| {
                let always = served(&self.verdicts(packet)) && served(&reference.verdicts(packet));
                (packet, always, usable(packet, &self.kernel, target))
            })
            .collect();
        for (index, batch) in batches.iter().enumerate() {
            commit(&mut self.kernel, batch).unwrap_or_else(|error| panic!("batch {index}: {error}\n{batches:#?}"));
            for (packet, always, usable) in &watched {
                let now = self.verdicts(packet);
                let strange = now.iter().filter_map(backend).find(|backend| !usable.contains(backend));
                assert_eq!(strange, None, "{packet:?} after batch {index} of {batches:#?}");
                assert!(!always || served(&now), "{packet:?} -> {now:?} after batch {index} of {batches:#?}");
            }
        }
    }

    /// After the last batch: the kernel is what the programmer says, what a fresh one would make, and what the
    /// reference allows.
    fn check(&mut self, snapshot: &Snapshot, packets: &[Packet], reference: &Reference<'_>) {
        assert_eq!(self.kernel, self.programmer.state());
        let mut fresh = node();
        let plan = fresh.programmer.plan(snapshot, &Changes::default(), usize::MAX, &size);
        plan.batches
            .iter()
            .for_each(|batch| commit(&mut fresh.kernel, batch).expect("an empty kernel takes everything"));
        assert_eq!(meaning(&self.kernel), meaning(&fresh.kernel), "incremental is fresh");
        assert_eq!(fixed(&self.kernel), fixed(&fresh.kernel), "incremental is fresh");
        let problems = |programmer: &Programmer| programmer.problems().cloned().collect::<BTreeSet<_>>();
        assert_eq!(self.programmer.problems().count(), problems(&self.programmer).len(), "no problem twice");
        for packet in packets {
            let verdicts = self.verdicts(packet);
            reference.agrees(packet, &verdicts).unwrap_or_else(|error| panic!("{error} in {:#?}", snapshot.services));
            let mut kinds = kinds(packet, &verdicts, reference);
            if self.stays(packet, &verdicts, reference) {
                kinds.push("remembered");
            }
            for kind in kinds {
                *self.compared.entry(kind).or_default() += 1;
            }
        }
    }

    /// A client of a Service with affinity is led to where it was led before, whatever is drawn.
    fn stays(&self, packet: &Packet, verdicts: &BTreeSet<Verdict>, reference: &Reference<'_>) -> bool {
        let asked = reference.asked(packet, &[0; 16]);
        if asked.is_none_or(|(.., seconds)| seconds.is_none()) || !verdicts.iter().all(|one| backend(one).is_some()) {
            return false;
        }
        let mut memory = Memory::default();
        let first = self.rules.remembering(&self.kernel, packet, &mut |bound| bound - 1, &mut memory);
        let second = self.rules.remembering(&self.kernel, packet, &mut |_| 0, &mut memory);
        assert_eq!(first, second, "{packet:?}");
        assert!(verdicts.contains(&second), "{packet:?}");
        true
    }
}

/// What is special about a packet, in words of the cluster and not of the rules.
fn kinds(packet: &Packet, verdicts: &BTreeSet<Verdict>, reference: &Reference<'_>) -> Vec<&'static str> {
    let mut kinds = vec!["all"];
    kinds.push(match packet.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    });
    kinds.push(if packet.destination.is_ipv4() { "IPv4" } else { "IPv6" });
    kinds.push(match verdicts.first() {
        Some(Verdict::Pass) | None => "passed",
        Some(Verdict::Refuse) => "refused",
        Some(Verdict::Drop) => "dropped",
        Some(Verdict::Translate { .. }) => "translated",
    });
    let hidden = |one: &Verdict| matches!(one, Verdict::Translate { masquerade: true, .. });
    let itself = |one: &Verdict| hidden(one) && backend(one).is_some_and(|backend| backend.address == packet.source);
    let asked = reference.asked(packet, &[0; 16]);
    let hints = reference.hints(packet);
    let also = [
        ("masqueraded", verdicts.iter().any(hidden)),
        ("hairpin", verdicts.iter().any(itself) && !verdicts.iter().all(hidden)),
        ("from this host", packet.source_is_host),
        ("policy Local", asked.is_some_and(|(local, ..)| local)),
        ("policy Cluster", asked.is_some_and(|(local, ..)| !local)),
        ("outside of source ranges", !reference.admitted(packet)),
        ("with affinity", asked.is_some_and(|(.., seconds)| seconds.is_some())),
        ("zone hints", hints.0),
        ("node hints", hints.1),
    ];
    kinds.extend(also.into_iter().filter(|(_, is)| *is).map(|(kind, _)| kind));
    kinds
}

/// Endpoints to which a packet may go on the way from one state to another: those that the Service ports it meets, in
/// either, have in either.
fn usable(packet: &Packet, before: &State, after: &State) -> BTreeSet<Backend> {
    let ids: BTreeSet<ServiceId> = [before, after].iter().filter_map(|state| met(packet, state)).collect();
    let all = [before, after].into_iter().flat_map(|state| {
        let slots = state.get(&SetName::Slots).into_iter().flatten();
        let own = slots.filter(|(head, _)| ids.contains(&service_of(head)));
        own.filter_map(move |(_, word)| endpoint(state, word))
    });
    all.collect()
}

/// The Service port whose frontend a packet meets.
fn met(packet: &Packet, state: &State) -> Option<ServiceId> {
    let protocol = match packet.protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    };
    let transport = [&[protocol, 0, 0, 0][..], &packet.port.to_be_bytes(), &[0, 0]].concat();
    let (front, node_port, octets) = match packet.destination {
        IpAddr::V4(address) => (SetName::Front4, SetName::Nodeport4, address.octets().to_vec()),
        IpAddr::V6(address) => (SetName::Front6, SetName::Nodeport6, address.octets().to_vec()),
    };
    let at_node = config().node_port_addresses.contains(&packet.destination);
    let by_address = state.get(&front).and_then(|fronts| fronts.get(&*[octets, transport.clone()].concat()));
    let by_port = state.get(&node_port).and_then(|ports| ports.get(&*transport)).filter(|_| at_node);
    by_address.or(by_port).map(|word| service_of(word))
}

/// The endpoint that E names.
fn endpoint(state: &State, word: &[u8]) -> Option<Backend> {
    let value = [SetName::Ep4, SetName::Ep6].into_iter().find_map(|set| state.get(&set)?.get(word))?;
    let (address, port) = value.split_at(value.len() - 4);
    let address = match <[u8; 4]>::try_from(address) {
        Ok(address) => IpAddr::from(address),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(address).expect("four or sixteen bytes")),
    };
    Some(Backend { address, port: u16::from_be_bytes([port[0], port[1]]) })
}

fn is_range(set: SetName) -> bool {
    compile::nft::rules::describe(set).interval
}

fn backend(verdict: &Verdict) -> Option<Backend> {
    if let Verdict::Translate { backend, .. } = verdict { Some(*backend) } else { None }
}

fn fixed(state: &State) -> State {
    let services = |set: &SetName| *set > SetName::DnsAddrs6;
    state.iter().filter(|(set, _)| !services(set)).map(|(set, elements)| (*set, elements.clone())).collect()
}

/// Flows that had to end: those with UDP endpoints that were in the kernel and no longer are.
fn check_flush(before: &State, after: &State, batches: &[Batch]) {
    let marks = |state: &State| -> BTreeMap<u32, ServiceId> {
        let all = state.get(&SetName::CtIds).into_iter().flatten();
        all.map(|(key, mark)| (word(mark), service_of(key))).collect()
    };
    let (old, new, protocols) = (marks(before), marks(after), protocols(before));
    let flushed: Vec<u32> =
        batches.iter().flat_map(|batch| &batch.flush).flat_map(|flush| flush.left.iter().copied()).collect();
    assert_eq!(flushed.iter().collect::<BTreeSet<_>>().len(), flushed.len(), "no flow twice");
    for mark in &flushed {
        assert!(old.contains_key(mark) && !new.contains_key(mark), "{mark:x} is still served");
        assert!(protocols.get(&old[mark]).is_none_or(|protocol| *protocol == 17), "{mark:x} is not UDP");
    }
    for (mark, id) in old.iter().filter(|(mark, _)| !new.contains_key(*mark)) {
        assert!(protocols.get(id) != Some(&17) || flushed.contains(mark), "{mark:x} left and keeps its flows");
    }
}

/// One round of a history: changes that come together, and how they are brought to the kernel.
#[derive(Clone, Debug)]
struct Round {
    changes: Vec<Vec<u8>>,
    /// Which limit of a batch.
    limit: usize,
    /// The process dies after this many batches, if there are as many, and starts again.
    dies_after: Option<usize>,
    packets: Vec<u8>,
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let changes = prop::collection::vec(prop::collection::vec(any::<u8>(), 64), 1..9);
    let packets = prop::collection::vec(any::<u8>(), 1100);
    let round = (changes, 0..6usize, prop::option::weighted(0.25, 0..12usize), packets);
    let round = round.prop_map(|(changes, limit, dies_after, packets)| Round { changes, limit, dies_after, packets });
    prop::collection::vec(round, 1..14)
}

fn run(rounds: &[Round]) -> Compared {
    let config = config();
    let (mut world, mut node) = (World::default(), node());
    world.begin();
    let mut had_tables = false;
    for round in rounds {
        round.changes.iter().for_each(|change| world.change(change));
        let (snapshot, changes) = world.builder.publish(world.revision);
        let reference = Reference { snapshot: &snapshot, config: &config };
        let mut draw = Draw(&round.packets);
        let watched = served_packets(&snapshot, &mut draw);
        let packets: Vec<Packet> = (0..150).map(|_| packet(&mut draw)).chain(watched.iter().copied()).collect();
        let limit = [usize::MAX, 1, 90, 400, usize::MAX, 2000][round.limit];
        // A table has thousands of slots: not a moment after each.
        let mut services = snapshot.services.values();
        let tables = services.any(|service| matches!(service.balance.algorithm, Algorithm::ConsistentHash(_)));
        let limit = if tables || had_tables { limit.max(50_000) } else { limit };
        had_tables = tables;
        let before = node.kernel.clone();
        let plan = node.plan(&snapshot, &changes, limit);
        let dies = round.dies_after.filter(|batches| *batches <= plan.batches.len());
        let done = &plan.batches[..dies.unwrap_or(plan.batches.len())];
        let target = node.programmer.state();
        node.apply(done, &watched, (&target, &reference));
        if dies.is_some() {
            restart(&mut node, &snapshot, limit, &watched, &reference);
        } else {
            check_flush(&before, &node.kernel, &plan.batches);
        }
        node.check(&snapshot, &packets, &reference);
        check_endpoints(&node.kernel, &watched, &reference);
    }
    node.compared
}

/// A new process takes over what the kernel holds; with nothing changed, the one after it has nothing to do.
fn restart(node: &mut Node, snapshot: &Snapshot, limit: usize, watched: &[Packet], reference: &Reference<'_>) {
    let before = node.kernel.clone();
    node.programmer = Programmer::new(config());
    node.programmer.adopt(before.clone());
    let plan = node.plan(snapshot, &Changes::default(), limit);
    let target = node.programmer.state();
    node.apply(&plan.batches, watched, (&target, reference));
    check_flush(&before, &node.kernel, &plan.batches);
    node.programmer = Programmer::new(config());
    node.programmer.adopt(node.kernel.clone());
    let plan = node.plan(snapshot, &Changes::default(), limit);
    assert!(plan.batches.is_empty(), "nothing changed: {:#?}", plan.batches);
}

/// Endpoints that serve are known to the kernel even when nobody is sent to them: their flows carry an identity.
fn check_endpoints(kernel: &State, packets: &[Packet], reference: &Reference<'_>) {
    for packet in packets {
        let (Some(id), Some(serving)) = (met(packet, kernel), reference.serving(packet)) else { continue };
        let words = kernel.get(&SetName::CtIds).into_iter().flatten().map(|(word, _)| word);
        let own = words.filter(|word| service_of(word) == id);
        let known: BTreeSet<Backend> = own.filter_map(|word| endpoint(kernel, word)).collect();
        let unknown = serving.iter().find(|backend| !known.contains(backend));
        assert_eq!(unknown, None, "serves {packet:?}");
    }
}

#[test]
fn random_histories() {
    let compared = std::cell::RefCell::new(Compared::default());
    let mut runner = proptest::test_runner::TestRunner::new_with_rng(
        ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let result = runner.run(&rounds(), |rounds| {
        for (kind, count) in run(&rounds) {
            *compared.borrow_mut().entry(kind).or_default() += count;
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let compared = compared.into_inner();
    println!("{compared:?}");
    for (kind, least) in COMPARED {
        let count = compared.get(kind).copied().unwrap_or_default();
        assert!(count >= least, "{kind}: {count} of {least}");
    }
}
