//! Random histories in memory, as strict as the kernel: changes of the cluster, and at random calls everything that can go
//! wrong. The interpreter judges after every batch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use compile::nft::interpret::Interpreter;
use compile::nft::state::{Batch, SetName, State};
use compile::snapshot::{Changes, Snapshot};
use dataplane::keeper::Keeper;
use dataplane::memory::Memory;
use dataplane::{Dataplane, Error, Result};

use super::judge::{Allowed, Clients, Random, packets, verdicts};
use super::kernel_data::meaning;
use super::reference::Reference;
use super::world::{World, config};

/// How many histories; each is a cluster, some rounds of changes, and a fault in most of them.
const HISTORIES: u64 = 500;
const ROUNDS: usize = 5;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// ENOBUFS: it was done, the answer is lost.
    AnswerLost,
    /// EINTR: a read was torn, or a call was interrupted and given up.
    Interrupted,
    /// EBUSY.
    Busy,
    /// EMSGSIZE: one send carries less than it said.
    TooLarge,
    /// The kernel refuses a request in the middle of a batch, and with it the whole batch.
    Refused,
    /// ENFILE: a set is full.
    Full,
    /// The process dies between two batches; another one starts.
    Killed,
    /// Somebody else flushes the ruleset.
    Flushed,
    /// Somebody else deletes and adds elements.
    Damaged,
}

const KINDS: [Kind; 9] = [
    Kind::AnswerLost,
    Kind::Interrupted,
    Kind::Busy,
    Kind::TooLarge,
    Kind::Refused,
    Kind::Full,
    Kind::Killed,
    Kind::Flushed,
    Kind::Damaged,
];

/// What the plane obeys and whom it asks after every batch.
#[derive(Default)]
struct Script {
    /// What goes wrong after so many calls.
    next: Option<(Kind, usize)>,
    fired: BTreeMap<Kind, usize>,
    dead: bool,
    /// Every packet that is watched; empty while somebody else's damage is not repaired.
    watched: Vec<Allowed>,
    wrong: Option<String>,
    judged: usize,
}

/// A dataplane in memory in which things go wrong.
struct Plane {
    memory: Memory,
    script: Arc<Mutex<Script>>,
    rules: Arc<Interpreter>,
}

fn lock(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap()
}

impl Plane {
    /// Whether this call fails, and whether it is done nevertheless.
    fn call(&mut self) -> std::result::Result<(), (Error, bool)> {
        let mut script = lock(&self.script);
        if script.dead {
            return Err((Error::Injected("the process is dead"), false));
        }
        let Some((kind, calls)) = script.next else { return Ok(()) };
        if calls > 0 {
            script.next = Some((kind, calls - 1));
            return Ok(());
        }
        let failure = match kind {
            Kind::AnswerLost => (Error::Injected("ENOBUFS"), true),
            Kind::Interrupted => (Error::Injected("EINTR"), false),
            Kind::Busy => (Error::Injected("EBUSY"), false),
            Kind::TooLarge => (Error::TooLarge { bytes: 2, max: 1 }, false),
            Kind::Refused => (Error::Diverged("a request in the middle".into()), false),
            Kind::Full => (Error::Injected("ENFILE"), false),
            Kind::Killed => {
                script.dead = true;
                (Error::Injected("killed"), false)
            }
            // Those of others come from outside.
            Kind::Flushed | Kind::Damaged => return Ok(()),
        };
        script.next = None;
        *script.fired.entry(kind).or_default() += 1;
        Err(failure)
    }

    fn judge(&self) {
        let mut script = lock(&self.script);
        let Some(state) = self.memory.state() else { return };
        script.judged += script.watched.len();
        let wrong = script.watched.iter().find_map(|allowed| allowed.holds(&self.rules, &state).err());
        if let Some(wrong) = wrong {
            script.wrong.get_or_insert(format!("{wrong}\nin {}", compile::nft::text::state(&state)));
        }
    }

    fn faulty<T>(&mut self, work: impl Fn(&mut Memory) -> Result<T>) -> Result<T> {
        match self.call() {
            Ok(()) => work(&mut self.memory),
            Err((error, done)) => {
                if done {
                    work(&mut self.memory)?;
                }
                Err(error)
            }
        }
    }
}

impl Dataplane for Plane {
    fn observe(&mut self) -> Result<Option<State>> {
        self.faulty(Memory::observe)
    }

    fn install(&mut self) -> Result<()> {
        self.faulty(Memory::install)
    }

    fn apply(&mut self, batch: &Batch) -> Result<()> {
        let done = self.faulty(|memory| memory.apply(batch));
        self.judge();
        done
    }

    fn batch_bytes_max(&self) -> usize {
        self.memory.batch_bytes_max()
    }
}

/// What came of some histories.
#[derive(Debug, Default)]
struct Sum {
    fired: BTreeMap<Kind, usize>,
    kept: usize,
    judged: usize,
    confirmed: usize,
}

struct History {
    random: Random,
    world: World,
    memory: Memory,
    script: Arc<Mutex<Script>>,
    rules: Arc<Interpreter>,
    keeper: Keeper,
    clients: Clients,
    /// The last snapshot that was confirmed.
    confirmed: Option<Arc<Snapshot>>,
    sum: Sum,
    kind: Option<Kind>,
    last: String,
}

fn keeper(memory: &Memory, script: &Arc<Mutex<Script>>, rules: &Arc<Interpreter>) -> Keeper {
    let plane = Plane { memory: memory.clone(), script: script.clone(), rules: rules.clone() };
    Keeper::new(config(), Box::new(plane))
}

impl History {
    fn new(seed: u64, rules: Arc<Interpreter>) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let memory = Memory::with_batch_bytes_max(random.one(&[1_000, 3_000, 1 << 20]));
        let script = Arc::<Mutex<Script>>::default();
        let keeper = keeper(&memory, &script, &rules);
        let mut world = World::default();
        world.begin();
        let (clients, sum) = (Clients::default(), Sum::default());
        Self {
            random,
            world,
            memory,
            script,
            rules,
            keeper,
            clients,
            confirmed: None,
            sum,
            kind: None,
            last: String::new(),
        }
    }

    /// Somebody else's doing; the kernel tells of it.
    fn others(&mut self, kind: Kind) {
        let random = &mut self.random;
        self.memory.damage(|state| match (kind, state) {
            (Kind::Flushed, state) => *state = None,
            (_, Some(state)) => {
                for _ in 0..1 + random.below(4) {
                    let sets: Vec<SetName> = state.keys().copied().collect();
                    let Some(elements) =
                        (!sets.is_empty()).then(|| random.one(&sets)).and_then(|set| state.get_mut(&set))
                    else {
                        continue;
                    };
                    let keys: Vec<_> = elements.keys().cloned().collect();
                    if keys.is_empty() {
                        continue;
                    }
                    let key = random.one(&keys);
                    if random.below(3) > 0 {
                        elements.remove(&key);
                    } else if let Some(other) = elements.values().next().cloned() {
                        elements.insert(key, other);
                    }
                }
                state.retain(|_, elements| !elements.is_empty());
            }
            (_, None) => {}
        });
        *lock(&self.script).fired.entry(kind).or_default() += 1;
        self.keeper.doubt();
        self.clients.forget();
    }

    fn round(&mut self) {
        for _ in 0..1 + self.random.below(4) {
            let bytes = self.random.bytes(64);
            self.world.change(&bytes);
        }
        let (snapshot, changes) = self.world.builder.publish(self.world.revision);
        let config = config();
        let mut stayed: Vec<Allowed> = packets(&snapshot, &mut self.random)
            .into_iter()
            .map(|packet| Allowed::by(&snapshot, &config, packet))
            .collect();
        if let Some(before) = &self.confirmed {
            stayed.iter_mut().for_each(|allowed| allowed.between(before, &snapshot, &config));
        }
        let kind = self.random.one(&KINDS);
        self.kind = Some(kind);
        if matches!(kind, Kind::Flushed | Kind::Damaged) && self.confirmed.is_some() {
            self.others(kind);
        } else {
            let after = self.random.below(4);
            let mut script = lock(&self.script);
            script.next = Some((kind, after));
            // What is not repaired yet, or was never loaded, cannot serve.
            script.watched = if self.confirmed.is_some() { stayed.clone() } else { Vec::new() };
        }
        self.drive(&snapshot, &changes);
        {
            let mut script = lock(&self.script);
            script.watched.clear();
            script.next = None;
            assert_eq!(script.wrong.take(), None, "{kind:?}");
        }
        self.confirm(&snapshot, &stayed);
        self.confirmed = Some(snapshot);
    }

    /// As the driver does: again until it works, by another process if this one died. That one looks at everything.
    fn drive(&mut self, snapshot: &Snapshot, changes: &Changes) {
        for _ in 0..8 {
            if lock(&self.script).dead {
                lock(&self.script).dead = false;
                self.keeper = keeper(&self.memory, &self.script, &self.rules);
            }
            if self.keeper.program(snapshot, changes).is_ok() {
                return;
            }
        }
        panic!("one fault, and eight tries did not help");
    }

    /// The revision is confirmed: what is held is what was meant, and packets meet what the snapshot says.
    fn confirm(&mut self, snapshot: &Snapshot, stayed: &[Allowed]) {
        let state = self.memory.state().expect("a confirmed revision has a table");
        assert_eq!(state, self.keeper.wanted(), "what is held is what was meant");
        let config = config();
        let reference = Reference { snapshot, config: &config };
        for Allowed { packet, .. } in stayed {
            reference.agrees(packet, &verdicts(&self.rules, &state, packet)).unwrap_or_else(|error| panic!("{error}"));
            self.sum.judged += 1;
        }
        let come = self.clients.come(&self.rules, &state, stayed, &mut self.random);
        if let Err(error) = come {
            panic!(
                "{error}\n--- before {:?}\n{}\n--- after\n{}",
                self.kind,
                self.last,
                compile::nft::text::state(&state)
            );
        }
        self.last = compile::nft::text::state(&state);
        self.sum.confirmed += 1;
    }

    /// In the end the state is that of a fresh start.
    fn end(mut self) -> Sum {
        let snapshot = self.confirmed.clone().unwrap();
        let fresh = Memory::default();
        Keeper::new(config(), Box::new(fresh.clone())).program(&snapshot, &Changes::default()).unwrap();
        assert_eq!(meaning(&self.memory.state().unwrap()), meaning(&fresh.state().unwrap()));
        let script = lock(&self.script);
        self.sum.fired.clone_from(&script.fired);
        self.sum.judged += script.judged;
        self.sum.kept = self.clients.kept;
        self.sum
    }
}

fn history(seed: u64, rules: &Arc<Interpreter>) -> Sum {
    let mut history = History::new(seed, rules.clone());
    for _ in 0..ROUNDS {
        history.round();
    }
    history.end()
}

fn some(seeds: impl Iterator<Item = u64>) -> Sum {
    let rules = Arc::new(Interpreter::default());
    let mut all = Sum::default();
    for seed in seeds {
        let one = std::panic::catch_unwind(|| history(seed, &rules));
        let one = one.unwrap_or_else(|_| panic!("history {seed} went wrong, see above"));
        one.fired.iter().for_each(|(kind, count)| *all.fired.entry(*kind).or_default() += count);
        all.kept += one.kept;
        all.judged += one.judged;
        all.confirmed += one.confirmed;
    }
    all
}

/// One history again: `MAINSTAY_SEED=678`.
fn asked() -> Option<u64> {
    std::env::var("MAINSTAY_SEED").ok()?.parse().ok()
}

#[test]
fn whatever_fails_nobody_is_sent_to_the_dead_and_in_the_end_all_is_as_compiled() {
    if let Some(seed) = asked() {
        println!("{:?}", some([seed].into_iter()));
        return;
    }
    let halves = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| scope.spawn(move || some((0..HISTORIES).filter(|seed| seed % 2 == half))));
        halves.map(|half| half.join().unwrap())
    });
    let mut fired: BTreeMap<Kind, usize> = BTreeMap::new();
    halves.iter().flat_map(|half| &half.fired).for_each(|(kind, count)| *fired.entry(*kind).or_default() += count);
    let sum = |what: fn(&Sum) -> usize| halves.iter().map(what).sum::<usize>();
    println!(
        "{HISTORIES} histories, {} revisions confirmed, {} packets judged, {} clients kept, faults: {fired:?}",
        sum(|half| half.confirmed),
        sum(|half| half.judged),
        sum(|half| half.kept),
    );
    for kind in KINDS {
        assert!(fired.get(&kind).is_some_and(|count| *count >= 100), "{kind:?} hardly ever happened: {fired:?}");
    }
    assert!(sum(|half| half.kept) > 1_000, "clients were hardly ever remembered");
    assert!(sum(|half| half.judged) > 100_000);
}
