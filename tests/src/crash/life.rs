//! One life of a store: writers and a watcher at work until all is written or the log failed for good.

use std::sync::{Arc, Mutex};

use api::object::Revision;
use store::log::faulty::{Disk, Random};
use store::{Store, WriteError};

use super::{Tried, lock};

/// Writers at once.
const WRITERS: u64 = 4;

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
}

pub(super) async fn live(
    store: &Store,
    disk: &Disk,
    tried: &Arc<Mutex<Tried>>,
    seed: u64,
    share: usize,
) -> Result<Lived, String> {
    let from = store.revision();
    let (ending, ended) = tokio::sync::watch::channel(None);
    let watcher = tokio::spawn(watch(store.clone(), tried.clone(), from, ended));
    let heals = Random::new(seed).below(2) == 0;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let random = Random::new(seed.wrapping_mul(WRITERS).wrapping_add(writer));
            tokio::spawn(write(store.clone(), disk.clone(), tried.clone(), random, share, heals))
        })
        .collect();
    let mut lived = Lived::default();
    for writer in writers {
        let own = writer.await.map_err(|error| error.to_string())??;
        lived.acknowledged += own.acknowledged;
        lived.refused += own.refused;
        lived.healed += own.healed;
    }
    ending.send_replace(Some(store.revision()));
    lived.watched = watcher.await.map_err(|error| error.to_string())??;
    Ok(lived)
}

/// A writer: goes on after an error only when the disk was full and has space again.
async fn write(
    store: Store,
    disk: Disk,
    tried: Arc<Mutex<Tried>>,
    mut random: Random,
    share: usize,
    heals: bool,
) -> Result<Lived, String> {
    let mut lived = Lived::default();
    for _ in 0..share {
        let written = store.write(|txn| -> Result<(), ()> {
            lock(&tried).transact(txn, &mut random);
            Ok(())
        });
        match written.await {
            Ok(((), revision)) => {
                lived.acknowledged += 1;
                lock(&tried).acknowledge(revision.0);
                if store.revision() < revision {
                    return Err(format!("{revision} was acknowledged before it was published"));
                }
            }
            Err(WriteError::Log(_)) => {
                lived.refused += 1;
                if !(heals && store.failure_passes()) {
                    if store.failure().is_none() {
                        continue;
                    }
                    break;
                }
                disk.repair();
                lived.healed += 1;
            }
            Err(WriteError::Refused(())) => return Err("a writer was refused by itself".to_owned()),
        }
    }
    Ok(lived)
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
