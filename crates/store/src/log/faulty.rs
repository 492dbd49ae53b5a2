//! A disk that fails on purpose: keeps what was synced apart from what was only written, and turns a moment of failure
//! into the bytes that the next start finds.
//!
//! The model is a disk cache at its worst. Until a sync returns, each sector of each write (and each change of length) may
//! or may not reach the disk, in any combination. A failed sync keeps an arbitrary part and forgets the rest for ever, as
//! Linux does: the pages stay in memory and count as clean, and later syncs succeed without them.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The machine stops: this operation and all later ones fail, un-synced bytes are lost.
    PowerCut,
    /// One sync fails; the process goes on.
    SyncFails,
    /// No write succeeds from now on; the process goes on.
    Full,
    /// One write arrives only in part and is an error; the process goes on.
    ShortWrite,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::PowerCut, Self::SyncFails, Self::Full, Self::ShortWrite];
}

/// Bytes that a disk writes as a whole: old disks, new disks.
const SECTORS: [usize; 2] = [512, 4096];

/// A disk with one file. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// On the platters.
    durable: Vec<u8>,
    /// What a reader in this life sees.
    cached: Vec<u8>,
    /// Since the last sync, in order.
    unsynced: Vec<Change>,
    /// A fault and the number of operations before it.
    armed: Option<(Fault, u64)>,
    fired: Option<Fault>,
    syncs: u64,
    lies: bool,
    random: Random,
}

// Hand-written: the engine prints its backend in debug logs, and bytes of a disk help nobody there.
impl std::fmt::Debug for State {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("State").field("fired", &self.fired).field("syncs", &self.syncs).finish_non_exhaustive()
    }
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Write(offset, data) => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
        }
    }
}

/// SplitMix64: small, seeded, the same everywhere.
#[derive(Clone, Debug, Default)]
pub struct Random(u64);

impl Random {
    /// The numbers that follow from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number smaller than `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

impl State {
    /// Counts an operation; tells whether the fault strikes at it.
    fn strikes(&mut self, is_sync: bool) -> Option<Fault> {
        let (fault, left) = self.armed.as_mut()?;
        if *left > 0 {
            *left -= 1;
        } else if is_sync == (*fault == Fault::SyncFails) || *fault == Fault::PowerCut {
            self.fired = Some(*fault);
            self.armed = None;
            return self.fired;
        }
        None
    }

    /// Lets an arbitrary part of the un-synced changes reach the platters, sector by sector.
    fn settle(&mut self) {
        let sector = SECTORS[self.random.below(SECTORS.len())];
        // From all to none: a sector survives with a chance that is drawn once, so that both ends are common.
        let chance = self.random.below(5);
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Length(_) => {
                    if self.random.below(4) < chance {
                        change.apply(&mut self.durable);
                    }
                }
                Change::Write(offset, data) => {
                    let mut start = 0;
                    while start < data.len() {
                        let end = ((offset + start) / sector * sector + sector - offset).min(data.len());
                        if self.random.below(4) < chance {
                            Change::Write(offset + start, data[start..end].to_vec()).apply(&mut self.durable);
                        }
                        start = end;
                    }
                }
            }
        }
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        self.alive()?;
        match (self.strikes(false), change) {
            (Some(Fault::PowerCut), change) => {
                // The write was on its way: it may have arrived.
                self.unsynced.push(change);
                Err(power_cut())
            }
            (Some(Fault::ShortWrite), Change::Write(offset, mut data)) => {
                data.truncate(self.random.below(data.len()));
                self.arrive(Change::Write(offset, data));
                Err(io::Error::other("a write to the faulty disk arrived in part"))
            }
            (Some(Fault::ShortWrite), Change::Length(_)) => {
                Err(io::Error::other("the length of the faulty disk's file cannot be changed"))
            }
            (_, change) => self.arrive_unless_full(change),
        }
    }

    fn arrive_unless_full(&mut self, change: Change) -> io::Result<()> {
        if self.fired == Some(Fault::Full) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on the faulty disk"));
        }
        self.arrive(change);
        Ok(())
    }

    /// A change is in the cache from now on.
    fn arrive(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.unsynced.push(change);
    }

    fn alive(&self) -> io::Result<()> {
        if self.fired == Some(Fault::PowerCut) { Err(power_cut()) } else { Ok(()) }
    }
}

fn power_cut() -> io::Error {
    io::Error::other("the power of the faulty disk is cut")
}

impl Disk {
    /// An empty disk whose accidents follow a seed.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State { random: Random::new(seed), ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A disk that says it has synced and has not.
    pub fn lying(seed: u64) -> Self {
        let disk = Self::new(seed);
        disk.state().lies = true;
        disk
    }

    /// Lets a fault strike after so many more operations (writes, changes of length, syncs): a power cut at once, the
    /// others at the next operation that they can befall.
    pub fn arm(&self, fault: Fault, operations: u64) {
        self.state().armed = Some((fault, operations));
    }

    /// The fault that struck in this life.
    pub fn fired(&self) -> Option<Fault> {
        self.state().fired
    }

    /// Syncs that succeeded: what a durable commit costs.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// The same machine started again after its power was cut: un-synced changes survived in part or not at all.
    pub fn power_cycle(&self) {
        let mut state = self.state();
        state.settle();
        state.cached = state.durable.clone();
        (state.armed, state.fired) = (None, None);
    }

    /// The process started again on a machine that kept running, faults repaired: what was not synced yet is synced, and
    /// clean pages are read from the platters again, as the log asks the kernel to when it opens a file.
    pub fn restart(&self) {
        let mut state = self.state();
        for change in std::mem::take(&mut state.unsynced) {
            change.apply(&mut state.durable);
        }
        state.cached = state.durable.clone();
        (state.armed, state.fired) = (None, None);
    }

    /// The same for a log that trusts the cache: what a failed sync forgot is still read, and gone with the power.
    pub fn restart_trusting_the_cache(&self) {
        let mut state = self.state();
        (state.armed, state.fired) = (None, None);
    }

    /// The disk has space again, or its cable is back; nothing else changes.
    pub fn repair(&self) {
        let mut state = self.state();
        (state.armed, state.fired) = (None, None);
    }

    /// Flips one bit somewhere on the platters; tells where.
    pub fn rot(&self) -> usize {
        let mut state = self.state();
        let length = state.durable.len().max(1);
        let (at, bit) = (state.random.below(length), state.random.below(8));
        if let Some(byte) = state.durable.get_mut(at) {
            *byte ^= 1 << bit;
        }
        state.cached = state.durable.clone();
        at
    }

    /// Length of the file.
    pub fn length(&self) -> usize {
        self.state().cached.len()
    }

    /// The disk's file as the engine's storage.
    pub fn backend(&self) -> impl StorageBackend + use<> {
        Backend(self.clone())
    }
}

#[derive(Debug)]
struct Backend(Disk);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        let state = self.0.state();
        state.alive()?;
        Ok(state.cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.state();
        state.alive()?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = state.cached.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.state().change(Change::Length(usize::try_from(len).map_err(io::Error::other)?))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.0.state().change(Change::Write(offset, data.to_vec()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.state();
        state.alive()?;
        match state.strikes(true) {
            Some(Fault::PowerCut) => return Err(power_cut()),
            Some(Fault::SyncFails) => {
                state.settle();
                return Err(io::Error::other("a sync of the faulty disk failed"));
            }
            Some(Fault::Full | Fault::ShortWrite) | None => {}
        }
        if !state.lies {
            for change in std::mem::take(&mut state.unsynced) {
                change.apply(&mut state.durable);
            }
        }
        state.syncs += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The model of the disk itself: synced bytes always survive, un-synced ones sometimes, and not always.
    #[test]
    fn only_what_was_not_synced_is_lost() {
        let mut survived = BTreeSet::new();
        for seed in 0..300 {
            let disk = Disk::new(seed);
            let storage = disk.backend();
            storage.write(0, &[1; 8192]).unwrap();
            storage.sync_data().unwrap();
            storage.write(0, &[2; 8192]).unwrap();
            disk.power_cycle();
            let mut bytes = [0; 8192];
            storage.read(0, &mut bytes).unwrap();
            assert!(bytes.iter().all(|byte| [1, 2].contains(byte)));
            survived.insert(bytes.iter().filter(|byte| **byte == 2).count());
        }
        assert!(survived.iter().all(|count| count % 512 == 0));
        assert!([0, 4096, 8192].iter().all(|count| survived.contains(count)) && survived.len() > 5, "{survived:?}");
    }

    #[test]
    fn a_failed_sync_is_forgotten_by_the_kernel_but_not_by_its_cache() {
        let lost = (0..50).filter(|seed| {
            let disk = Disk::new(*seed);
            let storage = disk.backend();
            storage.write(0, &[1; 512]).unwrap();
            storage.sync_data().unwrap();
            storage.write(0, &[2; 512]).unwrap();
            disk.arm(Fault::SyncFails, 0);
            storage.sync_data().unwrap_err();
            storage.sync_data().unwrap();
            let read = || {
                let mut bytes = [0; 512];
                storage.read(0, &mut bytes).unwrap();
                bytes[0]
            };
            assert_eq!(read(), 2, "the cache has it");
            disk.restart();
            read() == 1
        });
        assert!(lost.count() > 5);
    }
}
