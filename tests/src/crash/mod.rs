//! The crash harness: random concurrent writes on the real redb log over a disk that fails, again and again, into a count
//! of what was met, or the first thing that was lost, invented or torn.
//!
//! A round is one life of a store: opened (perhaps with a failure during that), compared with all that was tried before,
//! written to by several writers on two threads until a fault strikes or they are done, and left. What comes back must be
//! exactly the changes up to some revision, whole transactions only, none of the acknowledged missing. What is tried and
//! what strikes follows the seed; who comes first where threads meet does not.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::log::faulty::{Disk, Fault, Random};
use store::log::redb::RedbLog;
use store::{Limits, Store};

mod gate;
mod life;
mod tried;

use self::gate::{Gate, Gated};
pub use self::tried::Tried;

/// Rounds that one disk lives for.
const ROUNDS_OF_A_DISK: usize = 9;

/// What is wrong with the log, for the checks of the harness itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing: the log as it is.
    None,
    /// It trusts the kernel's cache after a failed sync.
    TrustsTheCache,
    /// It acknowledges without syncing.
    DoesNotSync,
}

/// What a run has met.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Rounds played.
    pub rounds: usize,
    /// How often each thing happened.
    pub counts: BTreeMap<String, u64>,
}

impl Report {
    /// How often a thing happened.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    fn add(&mut self, name: impl Into<String>, times: u64) {
        *self.counts.entry(name.into()).or_default() += times;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:>8}  rounds", self.rounds)?;
        self.counts.iter().try_for_each(|(name, times)| writeln!(out, "{times:>8}  {name}"))
    }
}

/// One disk with all that was ever tried on it.
struct Bench {
    disk: Disk,
    /// What the log noted as acknowledged beside its file.
    mark: Arc<AtomicU64>,
    tried: Arc<Mutex<Tried>>,
    random: Random,
    flaw: Flaw,
    gate: Gate,
}

/// Plays `rounds` rounds; the error names the round and what was wrong.
pub fn run(rounds: usize, seed: u64, flaw: Flaw) -> Result<Report, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    let mut report = Report::default();
    let mut disks = 0;
    while report.rounds < rounds {
        let of_disk = seed.wrapping_mul(1_000_003).wrapping_add(disks);
        let mut bench = Bench::new(of_disk, flaw);
        // A log is made under another name and renamed when it is whole, so no fault meets a half-made one.
        drop(bench.open()?);
        bench.disk.restart();
        for round in 0..ROUNDS_OF_A_DISK.min(rounds - report.rounds) {
            let played = runtime.block_on(bench.round(&mut report));
            played.map_err(|why| format!("seed {seed}, disk {disks}, round {round}: {why}"))?;
            report.rounds += 1;
        }
        let ended = bench.rot(&mut report);
        ended.map_err(|why| format!("seed {seed}, disk {disks}, bit rot: {why}"))?;
        disks += 1;
    }
    report.add("disks", disks);
    Ok(report)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bench {
    fn new(seed: u64, flaw: Flaw) -> Self {
        let disk = if flaw == Flaw::DoesNotSync { Disk::lying(seed) } else { Disk::new(seed) };
        let (mark, tried) = (Arc::default(), Arc::default());
        Self { disk, mark, tried, random: Random::new(seed ^ 0x5eed), flaw, gate: Gate::default() }
    }

    fn open(&self) -> Result<Store, String> {
        let disk = self.disk.clone();
        let log = RedbLog::on(move || disk.backend(), self.mark.clone()).map_err(|error| error.to_string())?;
        let limits = Limits { retry_after: std::time::Duration::ZERO, ..Limits::default() };
        Store::open(Box::new(Gated(log, self.gate.clone())), limits).map_err(|error| error.to_string())
    }

    /// Opens, with failures on the way now and then: those must only cost another try.
    fn open_through_faults(&mut self, report: &mut Report) -> Result<Store, String> {
        loop {
            let armed = self.random.below(3) == 0;
            if armed {
                let fault = Fault::ALL[self.random.below(Fault::ALL.len())];
                self.disk.arm(fault, self.random.below(10) as u64);
            }
            let opened = self.open();
            let fired = self.disk.fired();
            match (opened, fired) {
                (Ok(store), None) => {
                    self.disk.repair();
                    return Ok(store);
                }
                // It struck, but opening did not need what failed (the last step of a repair).
                (Ok(store), Some(fault)) => {
                    report.add(format!("while opening: {fault:?}, opened nevertheless"), 1);
                    drop(store);
                    self.leave(report);
                }
                (Err(_), Some(fault)) => {
                    report.add(format!("while opening: {fault:?}"), 1);
                    self.leave(report);
                }
                (Err(why), None) => return Err(format!("it does not open: {why}")),
            }
        }
    }

    async fn round(&mut self, report: &mut Report) -> Result<(), String> {
        let store = self.open_through_faults(report)?;
        lock(&self.tried).check(&store)?;
        let fault = Fault::ALL[self.random.below(Fault::ALL.len())];
        self.disk.arm(fault, self.random.below(60) as u64);
        let (share, seed) = (1 + self.random.below(8), self.random.below(usize::MAX) as u64);
        let lived = life::live(&store, &self.disk, &self.gate, &self.tried, seed, share).await?;
        drop(store);
        report.add("transactions acknowledged", lived.acknowledged);
        report.add("transactions answered with an error", lived.refused);
        report.add("events watched", lived.watched);
        report.add("full disks healed while running", lived.healed);
        report.add("closures that a heal overtook", lived.overtaken);
        match (lived.healed, self.disk.fired()) {
            (0, Some(fault)) => report.add(format!("while writing: {fault:?}"), 1),
            (0, None) => report.add("closed in peace", 1),
            _ => {}
        }
        let tried = lock(&self.tried);
        if tried.unacknowledged() {
            report.add("rounds that ended with writes under way", 1);
        }
        drop(tried);
        self.leave(report);
        Ok(())
    }

    /// What comes after a life: the machine goes on, or the power is cut.
    fn leave(&mut self, report: &mut Report) {
        if self.disk.fired() != Some(Fault::PowerCut) && self.random.below(2) == 0 {
            report.add("then: the process started again", 1);
            match self.flaw {
                Flaw::TrustsTheCache => self.disk.restart_trusting_the_cache(),
                Flaw::None | Flaw::DoesNotSync => self.disk.restart(),
            }
        } else {
            report.add("then: power cut", 1);
            self.disk.power_cycle();
        }
    }

    /// The end of a disk: bits flip. What is opened then is right, or it is not opened.
    fn rot(&mut self, report: &mut Report) -> Result<(), String> {
        let store = self.open()?;
        lock(&self.tried).check(&store)?;
        let in_peace = self.random.below(2) == 0;
        if !in_peace {
            self.disk.arm(Fault::PowerCut, 0);
        }
        drop(store);
        self.disk.power_cycle();
        let bits = 1 + self.random.below(8);
        for _ in 0..bits {
            self.disk.rot();
        }
        report.add("bits flipped", bits as u64);
        match self.open() {
            Err(_) => report.add("bit rot: refused", 1),
            Ok(store) => {
                lock(&self.tried).check(&store)?;
                report.add("bit rot: where nothing was, all right", 1);
            }
        }
        Ok(())
    }
}
