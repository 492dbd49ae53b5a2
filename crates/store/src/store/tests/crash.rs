//! The crash harness: random concurrent writes on the real redb path over a disk that fails, then a restart. What comes
//! back must be exactly the changes up to some revision, whole transactions only, none of the acknowledged missing.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::log::faulty::{Disk, Fault, Random};
use crate::log::redb::RedbLog;

const TABLES: [&str; 3] = ["pods", "secrets", "services"];

type Snapshot = BTreeMap<(&'static str, ObjectKey), Bytes>;

/// What writers tried, by revision, across all lives of one disk.
#[derive(Default)]
struct Tried {
    changes: BTreeMap<u64, (&'static str, ObjectKey, Option<Bytes>)>,
    /// Last revisions of transactions.
    whole: BTreeSet<u64>,
    acknowledged: u64,
}

impl Tried {
    fn state_at(&self, revision: u64) -> Snapshot {
        let mut state = Snapshot::new();
        for (table, key, body) in self.changes.range(..=revision).map(|(_, change)| change) {
            match body {
                Some(body) => state.insert((*table, key.clone()), body.clone()),
                None => state.remove(&(*table, key.clone())),
            };
        }
        state
    }
}

/// One transaction of one to four changes; writes down what it is about to do.
fn transact(txn: &mut Txn<'_>, random: &mut Random, tried: &Mutex<Tried>) -> Result<(), ()> {
    let mut tried = tried.lock().unwrap();
    for _ in 0..=random.below(4) {
        let table = TABLES[random.below(3)];
        let key = ObjectKey::new(["", "perf", "qa"][random.below(3)], format!("o{}", random.below(12)));
        let revision = txn.next_revision().0;
        let size = [3, 60, 700, 20_000][random.below(4)];
        let text = format!("{revision}:{} ", random.below(usize::MAX));
        let body = Bytes::from(text.repeat(size / text.len() + 1)).slice(..size);
        if random.below(4) == 0 {
            txn.delete(table, &key, body);
            if txn.next_revision().0 > revision {
                tried.changes.insert(revision, (table, key, None));
            }
        } else {
            txn.put(table, key.clone(), body.clone());
            tried.changes.insert(revision, (table, key, Some(body)));
        }
    }
    tried.whole.insert(txn.next_revision().0 - 1);
    Ok(())
}

/// Writers until each has done its share or the log fails; dropped writes stay un-acknowledged.
async fn life(store: &Store, tried: &Arc<Mutex<Tried>>, seed: u64, share: usize) {
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (store, tried) = (store.clone(), tried.clone());
            let mut random = Random(seed * 4 + writer);
            tokio::spawn(async move {
                for _ in 0..share {
                    let wrote = store.write(|txn| transact(txn, &mut random, &tried)).await;
                    let Ok(((), revision)) = wrote else { break };
                    let mut tried = tried.lock().unwrap();
                    tried.acknowledged = tried.acknowledged.max(revision.0);
                    assert!(store.revision() >= revision, "acknowledged before it was published");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

fn open_disk(disk: &Disk) -> Store {
    Store::open(Box::new(RedbLog::with_backend(disk.backend()).unwrap()), Limits::default()).unwrap()
}

/// Compares a store that was just opened with what was tried before.
fn check(store: &Store, tried: &mut Tried) -> Result<(), String> {
    let revision = store.revision().0;
    if revision < tried.acknowledged {
        return Err(format!("at {revision}, but {} was acknowledged", tried.acknowledged));
    }
    if revision > 0 && !tried.whole.contains(&revision) {
        return Err(format!("{revision} is inside a transaction"));
    }
    let mut found = Snapshot::new();
    for table in TABLES {
        for record in store.list(table, &Range::default(), None).unwrap().records {
            found.insert((table, record.key.clone()), record.body.clone());
        }
    }
    if found != tried.state_at(revision) {
        return Err(format!("the objects are not those of revision {revision}"));
    }
    // What did not come back never happened; its revisions are free, as nobody was ever told of them.
    tried.changes.split_off(&(revision + 1));
    tried.whole.split_off(&(revision + 1));
    tried.acknowledged = revision;
    Ok(())
}

#[test]
fn no_acknowledged_write_is_lost_and_no_other_is_half_there() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut struck, mut unacknowledged) = (BTreeMap::new(), 0);
    for seed in 0..40 {
        let disk = Disk::new(seed);
        let mut random = Random(seed);
        let tried = Arc::new(Mutex::new(Tried::default()));
        for round in 0..9 {
            let store = open_disk(&disk);
            check(&store, &mut tried.lock().unwrap()).unwrap_or_else(|why| panic!("seed {seed} round {round}: {why}"));
            let fault = [Fault::PowerCut, Fault::PowerCut, Fault::SyncFails, Fault::Full][random.below(4)];
            disk.arm(fault, random.below(60) as u64);
            runtime.block_on(life(&store, &tried, seed * 100 + round, 1 + random.below(8)));
            drop(store);
            *struck.entry(format!("{:?}", disk.fired())).or_insert(0) += 1;
            let tried = tried.lock().unwrap();
            unacknowledged += u64::from(tried.whole.last().is_some_and(|last| *last > tried.acknowledged));
            // A full disk leaves the machine running; anything may end in a power cut.
            if disk.fired() == Some(Fault::Full) && random.below(2) == 0 {
                disk.restart();
            } else {
                disk.power_cycle();
            }
        }
    }
    // The harness must have met what it is for.
    for outcome in ["Some(PowerCut)", "Some(SyncFails)", "Some(Full)"] {
        assert!(struck.get(outcome).is_some_and(|times| *times > 20), "{struck:?}");
    }
    assert!(unacknowledged > 100, "only {unacknowledged} rounds ended with writes under way");
}

/// The same check must fail when the log acknowledges before it syncs; otherwise it proves nothing.
#[test]
fn the_harness_catches_a_log_that_does_not_sync() {
    struct Lies(MemoryLog, Disk);
    impl Log for Lies {
        fn load(&mut self) -> std::io::Result<crate::Loaded> {
            RedbLog::with_backend(self.1.backend()).map_err(std::io::Error::other)?.load()
        }
        fn append(&mut self, batch: &[LogEntry]) -> std::io::Result<()> {
            self.0.append(batch)
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let disk = Disk::new(1);
    let tried = Arc::new(Mutex::new(Tried::default()));
    let store = Store::open(Box::new(Lies(MemoryLog::default(), disk.clone())), Limits::default()).unwrap();
    runtime.block_on(life(&store, &tried, 1, 5));
    drop(store);
    disk.power_cycle();
    let lost = check(&open_disk(&disk), &mut tried.lock().unwrap()).unwrap_err();
    assert!(lost.starts_with("at 0, but"), "{lost}");
}

/// The model of the disk itself: synced bytes always survive, un-synced ones sometimes, and not always.
#[test]
fn the_faulty_disk_loses_only_what_was_not_synced() {
    let mut survived = BTreeSet::new();
    for seed in 0..200 {
        let disk = Disk::new(seed);
        let storage = disk.backend();
        redb::StorageBackend::write(&storage, 0, &[1; 2048]).unwrap();
        redb::StorageBackend::sync_data(&storage).unwrap();
        redb::StorageBackend::write(&storage, 0, &[2; 2048]).unwrap();
        disk.power_cycle();
        let mut bytes = [0; 2048];
        redb::StorageBackend::read(&storage, 0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| [1, 2].contains(byte)));
        survived.insert(bytes.iter().filter(|byte| **byte == 2).count());
    }
    assert_eq!(survived.into_iter().collect::<Vec<_>>(), [0, 512, 1024, 1536, 2048]);
}
