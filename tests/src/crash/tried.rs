//! What writers tried, by revision, across all lives of one disk: a store that was just opened in, a verdict out.

use std::collections::{BTreeMap, BTreeSet};

use api::object::ObjectKey;
use bytes::Bytes;
use store::log::faulty::Random;
use store::{Event, Store, Txn};

const TABLES: [&str; 3] = ["pods", "secrets", "services"];

type Snapshot = BTreeMap<(String, ObjectKey), Bytes>;

/// Everything tried, and what of it was acknowledged.
#[derive(Debug, Default)]
pub struct Tried {
    changes: BTreeMap<u64, (&'static str, ObjectKey, Option<Bytes>)>,
    /// Last revisions of transactions.
    whole: BTreeSet<u64>,
    acknowledged: u64,
    /// Newest revision that a watcher was shown.
    watched: u64,
}

impl Tried {
    /// One transaction of one to four changes; writes down what it is about to do.
    pub(super) fn transact(&mut self, txn: &mut Txn<'_>, random: &mut Random) {
        // What has the numbers that come now was forgotten by the store.
        let next = txn.next_revision().0;
        self.changes.split_off(&next);
        self.whole.split_off(&next);
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
                    self.changes.insert(revision, (table, key, None));
                }
            } else {
                txn.put(table, key.clone(), body.clone());
                self.changes.insert(revision, (table, key, Some(body)));
            }
        }
        self.whole.insert(txn.next_revision().0 - 1);
    }

    /// A write was answered.
    pub(super) fn acknowledge(&mut self, revision: u64) {
        self.acknowledged = self.acknowledged.max(revision);
    }

    /// Whether something is tried that nobody was told the end of.
    pub(super) fn unacknowledged(&self) -> bool {
        self.whole.last().is_some_and(|last| *last > self.acknowledged)
    }

    /// A watcher at `seen` was shown events: the next ones without a hole, as they were tried.
    pub(super) fn show(&mut self, seen: u64, events: &[Event]) -> Result<(), String> {
        for (event, expected) in events.iter().zip(seen + 1..) {
            if event.revision.0 != expected {
                return Err(format!("a watcher at {} was shown {} next", expected - 1, event.revision));
            }
            let Some((table, key, body)) = self.changes.get(&expected) else {
                return Err(format!("a watcher was shown {expected}, which nobody wrote"));
            };
            let body_is_right = body.as_ref().is_none_or(|body| *body == event.new.body.bytes());
            if (event.table, &event.new.key, event.deleted) != (*table, key, body.is_none()) || !body_is_right {
                return Err(format!("a watcher was shown something else than was written at {expected}"));
            }
            self.watched = self.watched.max(expected);
        }
        Ok(())
    }

    fn state_at(&self, revision: u64) -> Snapshot {
        let mut state = Snapshot::new();
        for (table, key, body) in self.changes.range(..=revision).map(|(_, change)| change) {
            let id = ((*table).to_owned(), key.clone());
            match body {
                Some(body) => state.insert(id, body.clone()),
                None => state.remove(&id),
            };
        }
        state
    }

    /// Compares a store that was just opened with what was tried before, and forgets what it does not have.
    pub fn check(&mut self, store: &Store) -> Result<(), String> {
        let revision = store.revision().0;
        if revision < self.acknowledged {
            return Err(format!("at {revision}, but {} was acknowledged", self.acknowledged));
        }
        if revision < self.watched {
            return Err(format!("at {revision}, but a watcher was shown {}", self.watched));
        }
        if revision > 0 && !self.whole.contains(&revision) {
            return Err(format!("at {revision}, in the middle of a transaction"));
        }
        let (_, tables) = store.all();
        let mut found = Snapshot::new();
        for (table, records) in tables {
            for record in records {
                let created = self.changes.get(&record.created.0).is_some_and(|(_, key, _)| *key == record.key);
                let changed = self.changes.get(&record.revision.0).is_some_and(|(_, key, _)| *key == record.key);
                if !created || !changed {
                    return Err(format!("{table} {} has revisions that it never had", record.key));
                }
                found.insert((table.clone(), record.key.clone()), record.body.bytes());
            }
        }
        if found != self.state_at(revision) {
            return Err(format!("at {revision}, but not as it was written"));
        }
        if let Some(older) = revision.checked_sub(1)
            && store.watch(&[], api::object::Revision(older)).is_ok()
        {
            return Err(format!("a watch from {older} is taken, though its changes are not kept"));
        }
        self.changes.split_off(&(revision + 1));
        self.whole.split_off(&(revision + 1));
        Ok(())
    }
}
