//! Snapshots as they are published in, and those that the kernel has taken out: what waits, since when, and why it changed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use api::object::ObjectKey;
use compile::snapshot::{Changes, Snapshot};
use jiff::Timestamp;

use super::Behind;

/// Snapshots that may wait; a kernel that takes none for so long has them counted together.
const WAITING: usize = 4_096;

/// A snapshot with changes.
#[derive(Debug)]
pub(super) struct Entry {
    /// When it was published.
    pub(super) at: Instant,
    /// When what changed in slices began, as the slices say.
    pub(super) triggers: Vec<Timestamp>,
    number: u64,
    services: u64,
    endpoints: u64,
}

/// What was noted of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noted {
    /// Services that changed.
    pub(super) services: u64,
    /// Services whose endpoints changed.
    pub(super) endpoints: u64,
}

pub(super) struct Ledger {
    waiting: VecDeque<Entry>,
    /// The last one: what changed is seen by comparing, and unchanged parts are shared.
    before: Arc<Snapshot>,
    began: Timestamp,
    updated: Option<Timestamp>,
}

impl Ledger {
    pub(super) fn new(began: Timestamp) -> Self {
        Self { waiting: VecDeque::new(), before: Arc::default(), began, updated: None }
    }

    pub(super) fn publish(&mut self, snapshot: &Arc<Snapshot>, changes: &Changes, at: Instant) -> Noted {
        let mut entry = Entry { at, triggers: Vec::new(), number: snapshot.number, services: 0, endpoints: 0 };
        for key in &changes.services {
            let same = match (self.before.services.get(key), snapshot.services.get(key)) {
                (Some(before), Some(now)) => Arc::ptr_eq(before, now),
                (before, now) => before.is_none() && now.is_none(),
            };
            entry.services += u64::from(!same);
            entry.endpoints += u64::from(self.slices(snapshot, key, &mut entry.triggers));
        }
        let noted = Noted { services: entry.services, endpoints: entry.endpoints };
        self.before = snapshot.clone();
        if changes.is_empty() {
            return noted;
        }
        let full = self.waiting.len() >= WAITING;
        match self.waiting.back_mut().filter(|_| full) {
            Some(last) => {
                last.number = entry.number;
                last.services += entry.services;
                last.endpoints += entry.endpoints;
            }
            None => self.waiting.push_back(entry),
        }
        noted
    }

    /// Whether the slices of a Service changed; when what they newly say began is added to `triggers`. What began before
    /// this process did is left out: it would measure how long nobody was there.
    fn slices(&self, snapshot: &Snapshot, service: &ObjectKey, triggers: &mut Vec<Timestamp>) -> bool {
        let none: Arc<[ObjectKey]> = Arc::new([]);
        let of = |snapshot: &Snapshot| snapshot.slices_of.get(service).cloned().unwrap_or_else(|| none.clone());
        let (before, now) = (of(&self.before), of(snapshot));
        let mut moved = before != now;
        for key in now.iter() {
            let (old, new) = (self.before.slices.get(key), snapshot.slices.get(key));
            let Some(new) = new.filter(|new| !old.is_some_and(|old| Arc::ptr_eq(old, new))) else { continue };
            moved = true;
            let fresh =
                new.trigger_time.as_ref().filter(|time| old.and_then(|old| old.trigger_time.as_ref()) != Some(time));
            let time = fresh.and_then(|time| time.parse::<Timestamp>().ok());
            triggers.extend(time.filter(|time| *time >= self.began));
        }
        moved
    }

    /// Takes out what the kernel has with snapshot `number`.
    pub(super) fn settle(&mut self, number: u64, now: Timestamp) -> Vec<Entry> {
        let upto = self.waiting.partition_point(|entry| entry.number <= number);
        if self.waiting.len() == upto {
            self.updated = Some(now);
        }
        self.waiting.drain(..upto).collect()
    }

    /// Changes of Services and of endpoints that wait.
    pub(super) fn waiting(&self) -> (u64, u64) {
        self.waiting.iter().fold((0, 0), |sum, entry| (sum.0 + entry.services, sum.1 + entry.endpoints))
    }

    pub(super) fn behind(&self) -> Behind {
        Behind { since: self.waiting.front().map(|entry| entry.at), updated: self.updated }
    }
}

#[cfg(test)]
mod tests {
    use api::object::Revision;

    use super::*;

    #[test]
    fn a_kernel_that_takes_nothing_costs_no_memory() {
        let mut ledger = Ledger::new(Timestamp::UNIX_EPOCH);
        let changes = Changes { services: [ObjectKey::new("ns", "a")].into(), ..Changes::default() };
        let start = Instant::now();
        let last = WAITING as u64 + 100;
        for number in 1..=last {
            let snapshot = Arc::new(Snapshot { number, revision: Revision(7), ..Snapshot::default() });
            ledger.publish(&snapshot, &changes, start);
        }
        assert_eq!(ledger.waiting.len(), WAITING);
        assert_eq!(ledger.settle(WAITING as u64, Timestamp::UNIX_EPOCH).len(), WAITING - 1);
        assert!(ledger.behind().since.is_some() && ledger.behind().updated.is_none());
        assert_eq!(ledger.settle(last, Timestamp::UNIX_EPOCH).len(), 1);
        assert!(ledger.behind().since.is_none() && ledger.behind().updated.is_some());
    }

    #[test]
    fn a_service_that_changes_alone_moves_no_endpoints() {
        let mut ledger = Ledger::new(Timestamp::UNIX_EPOCH);
        let key = ObjectKey::new("ns", "a");
        let changes = Changes { services: [key.clone()].into(), ..Changes::default() };
        let mut snapshot = Snapshot { number: 1, ..Snapshot::default() };
        snapshot.services.insert_mut(key, Arc::default());
        let noted = ledger.publish(&Arc::new(snapshot.clone()), &changes, Instant::now());
        assert_eq!(noted, Noted { services: 1, endpoints: 0 });
        let again = ledger.publish(&Arc::new(snapshot), &changes, Instant::now());
        assert_eq!(again, Noted { services: 0, endpoints: 0 });
    }
}
