//! Random histories against the real kernel: changes of the cluster, faults in the socket, and another program in the table.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

use compile::nft::interpret::Interpreter;
use compile::nft::state::{Batch, State};
use compile::snapshot::{Changes, Snapshot};
use dataplane::keeper::Keeper;
use dataplane::nft::Nft;
use dataplane::{Dataplane, Result};
use kernel::nl::nftables::monitor::Foreign;
use kernel::nl::socket::{Fault, Seam};

use super::judge::{Allowed, Random, packets, verdicts};
use super::node::{PATIENCE, found, nft};
use super::reference::Reference;
use super::topology::Netns;
use super::world::{World, config};

const STEPS: usize = 600;
/// Small, so that most changes take several batches.
const BATCH_BYTES: usize = 1_500;

const EBUSY: i32 = 16;
const ENFILE: i32 = 23;
const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const EMSGSIZE: i32 = 90;

/// What goes wrong, by name.
const KINDS: [(&str, Option<Fault>); 10] = [
    ("ENOBUFS", Some(Fault::AnswerLost)),
    ("EINTR while sending", Some(Fault::Signal)),
    ("EINTR while reading", Some(Fault::Torn)),
    ("EBUSY", Some(Fault::Refused(EBUSY))),
    ("EMSGSIZE", Some(Fault::Refused(EMSGSIZE))),
    ("a failed batch in the middle", Some(Fault::Spoiled)),
    ("ENFILE", Some(Fault::Refused(ENFILE))),
    ("ENOSPC", Some(Fault::Refused(ENOSPC))),
    ("killed", Some(Fault::Refused(EIO))),
    ("nft flush ruleset", None),
];

/// What the socket obeys.
#[derive(Debug, Default)]
struct Plan {
    next: Option<(&'static str, Fault, usize)>,
    fired: BTreeMap<&'static str, usize>,
    dead: bool,
}

#[derive(Debug, Clone, Default)]
struct Script(Arc<Mutex<Plan>>);

impl Seam for Script {
    fn fault(&mut self, what: &str) -> Option<Fault> {
        let mut plan = self.0.lock().unwrap();
        if plan.dead {
            return Some(Fault::Refused(EIO));
        }
        let (name, fault, after) = plan.next?;
        // Each fault meets what it can happen to: batches, dumps, or both.
        let batch = !["read", "list", "open"].iter().any(|word| what.starts_with(word));
        let fits = match fault {
            Fault::Torn => what.starts_with("list") || what.contains("elements"),
            Fault::Spoiled | Fault::Refused(_) => batch,
            Fault::Signal | Fault::AnswerLost => true,
        };
        if !fits {
            return None;
        }
        if after > 0 {
            plan.next = Some((name, fault, after - 1));
            return None;
        }
        plan.next = None;
        plan.dead = name == "killed";
        *plan.fired.entry(name).or_default() += 1;
        Some(fault)
    }
}

/// A dataplane whose batches are small.
struct Small(Nft);

impl Dataplane for Small {
    fn observe(&mut self) -> Result<Option<State>> {
        self.0.observe()
    }
    fn install(&mut self) -> Result<()> {
        self.0.install()
    }
    fn prepare(&mut self) -> Result<State> {
        self.0.prepare()
    }
    fn switch(&mut self) -> Result<()> {
        self.0.switch()
    }
    fn disturbed(&mut self) -> bool {
        self.0.disturbed()
    }
    fn apply(&mut self, batch: &Batch) -> Result<()> {
        self.0.apply(batch)
    }
    fn batch_bytes_max(&self) -> usize {
        BATCH_BYTES
    }
}

fn start(netns: &Netns, script: &Script) -> (Keeper, Receiver<Foreign>) {
    let (send, receive) = std::sync::mpsc::channel();
    let plane = netns.run(|| {
        let mut nft = Nft::open().unwrap();
        let mut monitor = nft.monitor().unwrap();
        nft.set_seam(Box::new(script.clone()));
        std::thread::spawn(move || {
            while let Ok(foreign) = monitor.wait() {
                if send.send(foreign).is_err() {
                    return;
                }
            }
        });
        nft
    });
    (Keeper::new(config(), Box::new(Small(plane))), receive)
}

/// Again until it works, by another process if this one died.
fn drive(
    netns: &Netns,
    script: &Script,
    keeper: &mut (Keeper, Receiver<Foreign>),
    now: &Arc<Snapshot>,
    changes: &Changes,
) {
    for _ in 0..8 {
        if std::mem::take(&mut script.0.lock().unwrap().dead) {
            *keeper = start(netns, script);
        }
        if keeper.0.program(now, changes).is_ok() {
            return;
        }
    }
    panic!("one fault, and eight tries did not help");
}

#[test]
fn the_kernel_is_what_was_compiled_whatever_fails() {
    let (netns, script, rules) = (Netns::new(), Script::default(), Interpreter::default());
    let mut random = Random(0x5eed);
    let mut world = World::default();
    world.begin();
    let config = config();
    let mut keeper = start(&netns, &script);
    let (mut judged, mut flushed) = (0, 0);
    for step in 0..STEPS {
        for _ in 0..1 + random.below(3) {
            let bytes = random.bytes(64);
            world.change(&bytes);
        }
        let (snapshot, changes) = world.builder.publish(world.revision);
        let (name, fault) = random.one(&KINDS);
        match fault {
            Some(fault) => {
                // Much is read only by who does not know what is there.
                if fault == Fault::Torn {
                    keeper.0.doubt();
                }
                script.0.lock().unwrap().next = Some((name, fault, random.below(4)));
            }
            None if step > 0 => {
                while keeper.1.try_recv().is_ok() {}
                nft(&netns, &["flush", "ruleset"]);
                let foreign = keeper.1.recv_timeout(PATIENCE).expect("what others do is heard");
                assert!(foreign.to_string().contains("deleted the table"), "{foreign}");
                flushed += 1;
                keeper.0.doubt();
            }
            None => {}
        }
        drive(&netns, &script, &mut keeper, &snapshot, &changes);
        script.0.lock().unwrap().next = None;
        let state = found(&netns).unwrap().unwrap_or_else(|| panic!("step {step}, {name}: no table of ours"));
        assert_eq!(state, keeper.0.wanted(), "step {step}, {name}");
        let reference = Reference { snapshot: &snapshot, config: &config };
        for packet in packets(&snapshot, &mut random) {
            let allowed = Allowed::by(&snapshot, &config, packet);
            allowed.holds(&rules, &state).unwrap();
            reference
                .agrees(&packet, &verdicts(&rules, &state, &packet))
                .unwrap_or_else(|error| panic!("step {step}, {name}: {error}"));
            judged += 1;
        }
    }
    let mut fired = script.0.lock().unwrap().fired.clone();
    fired.insert("nft flush ruleset", flushed);
    println!("{STEPS} steps, {judged} packets judged, faults: {fired:?}");
    for (name, _) in KINDS {
        assert!(fired.get(name).is_some_and(|count| *count >= 5), "{name} hardly ever happened: {fired:?}");
    }
}
