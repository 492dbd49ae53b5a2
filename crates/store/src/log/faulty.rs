//! A disk that fails on purpose: keeps what was synced apart from what was only written, and turns a moment of failure
//! into the bytes that the next start finds.
//!
//! The model is a disk cache at its worst. Until a sync returns, each write (or change of length) may or may not reach
//! the disk, in any combination, and one may reach it only in part, torn at a sector. A failed sync keeps an arbitrary part
//! and forgets the rest for ever, as Linux does: later syncs succeed without it.

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
}

/// Bytes that a disk writes as a whole.
const SECTOR: usize = 512;

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
#[derive(Default)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number smaller than `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
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
        } else if is_sync || *fault != Fault::SyncFails {
            self.fired = Some(*fault);
            self.armed = None;
            return self.fired;
        }
        None
    }

    /// Lets an arbitrary part of the un-synced changes reach the platters, one of them possibly torn.
    fn settle(&mut self) {
        let unsynced = std::mem::take(&mut self.unsynced);
        // From all to none: each survives with a chance that is drawn once, so that both ends are common.
        let chance = self.random.below(5);
        let torn = self.random.below(unsynced.len() * 2);
        for (index, mut change) in unsynced.into_iter().enumerate() {
            if self.random.below(4) >= chance {
                continue;
            }
            if let (true, Change::Write(_, data)) = (index == torn, &mut change) {
                data.truncate(self.random.below(data.len() / SECTOR + 1) * SECTOR);
            }
            change.apply(&mut self.durable);
        }
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        self.alive()?;
        if self.strikes(false) == Some(Fault::PowerCut) {
            // The write was on its way: it may have arrived.
            self.unsynced.push(change);
            return Err(power_cut());
        }
        if self.fired == Some(Fault::Full) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on the faulty disk"));
        }
        change.apply(&mut self.cached);
        self.unsynced.push(change);
        Ok(())
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
        Self(Arc::new(Mutex::new(State { random: Random(seed), ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a fault strike after so many more operations (writes, changes of length, syncs). `SyncFails` strikes at the
    /// next sync from then on.
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

    /// The process started again on a machine that kept running: the cache is still there, faults are repaired.
    pub fn restart(&self) {
        let mut state = self.state();
        (state.armed, state.fired) = (None, None);
    }

    /// The disk's file as the engine's storage.
    pub fn backend(&self) -> impl StorageBackend {
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
            Some(Fault::Full) | None => {}
        }
        for change in std::mem::take(&mut state.unsynced) {
            change.apply(&mut state.durable);
        }
        state.syncs += 1;
        Ok(())
    }
}
