//! One life of a store: writers and a watcher at work until all is written or the log failed for good.
//!
//! In lives that heal, one writer more works on a thread of its own. It holds up the log until it has its turn, and lets
//! its closure last until the writes before it are answered: so the log may fail, and another writer may heal it, while a
//! closure runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::object::Revision;
use store::log::faulty::{Disk, Random};
use store::{Store, WriteError};

use super::gate::Gate;
use super::{Tried, lock};

/// Writers at once.
const WRITERS: u64 = 4;
/// How long a slow closure waits when nobody heals the log. Nothing is wrong when it is reached.
const SLOW: Duration = Duration::from_millis(20);

/// What happened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lived {
    /// Transactions answered with success.
    pub(super) acknowledged: u64,
    /// Transactions answered with an error.
    pub(super) refused: u64,
    /// Events that the watcher was shown.
    pub(super) watched: u64,
    /// How often space was made on a full disk and writing went on.
    pub(super) healed: u64,
    /// Closures during which the log failed and was healed.
    pub(super) overtaken: u64,
}

/// What all writers of a life share.
#[derive(Clone)]
struct Desk {
    store: Store,
    disk: Disk,
    tried: Arc<Mutex<Tried>>,
    /// Whether a full disk gets space again.
    heals: bool,
    /// Writes whose closures ran and that are not answered yet.
    under_way: Arc<AtomicU64>,
    /// Writers that have not finished, the slow one left out.
    left: Arc<AtomicU64>,
    gate: Gate,
}

pub(super) async fn live(
    store: &Store,
    disk: &Disk,
    gate: &Gate,
    tried: &Arc<Mutex<Tried>>,
    seed: u64,
    share: usize,
) -> Result<Lived, String> {
    let from = store.revision();
    let (ending, ended) = tokio::sync::watch::channel(None);
    let watcher = tokio::spawn(watch(store.clone(), tried.clone(), from, ended));
    let heals = Random::new(seed).below(3) > 0;
    // Somebody must be there to heal, and to be overtaken.
    let share = if heals { share + 4 } else { share };
    let (disk, gate) = (disk.clone(), gate.clone());
    let (under_way, left) = (Arc::default(), Arc::new(AtomicU64::new(WRITERS)));
    let desk = Desk { store: store.clone(), disk, tried: tried.clone(), heals, under_way, left, gate };
    let random = |writer| Random::new(seed.wrapping_mul(WRITERS + 1).wrapping_add(writer));
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(desk.clone().write(random(writer), share))).collect();
    let slow = heals.then(|| {
        let work = desk.write_slowly(random(WRITERS), share);
        tokio::task::spawn_blocking(move || tokio::runtime::Handle::current().block_on(work))
    });
    let mut lived = Lived::default();
    for writer in writers.into_iter().chain(slow) {
        let own = writer.await.map_err(|error| error.to_string())??;
        lived.acknowledged += own.acknowledged;
        lived.refused += own.refused;
        lived.healed += own.healed;
        lived.overtaken += own.overtaken;
    }
    ending.send_replace(Some(store.revision()));
    lived.watched = watcher.await.map_err(|error| error.to_string())??;
    Ok(lived)
}

/// Says that a writer has finished, however it did.
struct Leaves<'a>(&'a AtomicU64);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Desk {
    /// A writer: goes on after an error only when the disk was full and has space again.
    async fn write(self, mut random: Random, share: usize) -> Result<Lived, String> {
        let _leaves = Leaves(&self.left);
        let mut lived = Lived::default();
        for _ in 0..share {
            if !self.write_once(&mut random, &mut lived, || ()).await? {
                break;
            }
        }
        Ok(lived)
    }

    /// A writer whose closures run while the log works on what the others wrote before.
    async fn write_slowly(self, mut random: Random, share: usize) -> Result<Lived, String> {
        let mut lived = Lived::default();
        for _ in 0..share {
            let (shut, mut overtaken) = (self.gate.shut(), false);
            while self.under_way.load(Ordering::SeqCst) == 0 && self.left.load(Ordering::SeqCst) > 0 {
                std::thread::yield_now();
            }
            let wait = || {
                self.gate.open();
                overtaken = self.is_overtaken();
            };
            let goes_on = self.write_once(&mut random, &mut lived, wait).await?;
            drop(shut);
            lived.overtaken += u64::from(overtaken);
            if !goes_on {
                break;
            }
        }
        Ok(lived)
    }

    /// One transaction, which does `first` before anything else; whether the writer goes on.
    async fn write_once(
        &self,
        random: &mut Random,
        lived: &mut Lived,
        first: impl FnOnce() + Send,
    ) -> Result<bool, String> {
        let mut ran = false;
        let written = self.store.write(|txn| -> Result<(), ()> {
            first();
            lock(&self.tried).transact(txn, random);
            self.under_way.fetch_add(1, Ordering::SeqCst);
            ran = true;
            Ok(())
        });
        let written = written.await;
        if ran {
            self.under_way.fetch_sub(1, Ordering::SeqCst);
        }
        match written {
            Ok(((), revision)) => {
                lived.acknowledged += 1;
                lock(&self.tried).acknowledge(revision.0);
                if self.store.revision() < revision {
                    return Err(format!("{revision} was acknowledged before it was published"));
                }
                Ok(true)
            }
            Err(WriteError::Log(_)) => {
                lived.refused += 1;
                if !(self.heals && self.store.failure_passes()) {
                    return Ok(self.store.failure().is_none());
                }
                self.disk.repair();
                lived.healed += 1;
                Ok(true)
            }
            Err(WriteError::Refused(())) => Err("a writer was refused by itself".to_owned()),
        }
    }

    /// Waits, as the only closure that runs, until the writes before it are answered, or until the log failed and somebody
    /// healed it; whether that happened.
    fn is_overtaken(&self) -> bool {
        let (began, mut failed) = (Instant::now(), false);
        while began.elapsed() < SLOW {
            match (failed, self.store.failure().is_some()) {
                (true, false) => return true,
                (false, true) if !self.store.failure_passes() => return false,
                (false, false) if self.under_way.load(Ordering::SeqCst) == 0 => return false,
                (_, failing) => failed |= failing,
            }
            std::thread::yield_now();
        }
        false
    }
}

/// A watcher: checks each event as it comes, until it has seen all that was published at the end.
async fn watch(
    store: Store,
    tried: Arc<Mutex<Tried>>,
    from: Revision,
    mut ended: tokio::sync::watch::Receiver<Option<Revision>>,
) -> Result<u64, String> {
    let mut watch = store.watch(&[], from).map_err(|error| error.to_string())?;
    let (mut seen, mut watched) = (from, 0);
    loop {
        let until = *ended.borrow_and_update();
        if until.is_some_and(|until| seen >= until) {
            return Ok(watched);
        }
        tokio::select! {
            next = watch.next() => {
                let (events, now) = next.map_err(|error| error.to_string())?;
                lock(&tried).show(seen.0, &events)?;
                watched += events.len() as u64;
                seen = now;
            }
            changed = ended.changed() => if changed.is_err() {
                return Err("the life ended without a word".to_owned());
            }
        }
    }
}
