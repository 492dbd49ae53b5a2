//! A write in progress: turns puts and deletes into staged changes, each with its own revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::object::{ObjectKey, Revision};
use bytes::Bytes;

use crate::store::Shared;
use crate::{Event, Record};

/// A write in progress. Sees every earlier write, acknowledged or not, and its own changes so far.
///
/// Only one runs at a time, so the head it started from does not move under it.
pub struct Txn<'a> {
    shared: &'a Shared,
    head: Revision,
    life: u64,
    changes: Vec<Event>,
    /// Where the newest change of a key is in `changes`.
    own: BTreeMap<&'static str, BTreeMap<ObjectKey, usize>>,
}

impl<'a> Txn<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        let state = shared.read();
        Self { shared, head: state.mvcc.head(), life: state.life, changes: Vec::new(), own: BTreeMap::new() }
    }

    /// The changes, in revision order.
    pub(crate) fn into_changes(self) -> Vec<Event> {
        self.changes
    }

    /// The revision that the next put or delete of this transaction gets.
    pub fn next_revision(&self) -> Revision {
        Revision(self.head.0 + self.changes.len() as u64 + 1)
    }

    /// A number that is another one after writes were forgotten that had run their closures (a full disk): what was
    /// derived from them must be derived again.
    pub fn life(&self) -> u64 {
        self.life
    }

    /// One object.
    pub fn get(&self, table: &str, key: &ObjectKey) -> Option<Arc<Record>> {
        match self.own.get(table).and_then(|objects| objects.get(key)) {
            Some(&index) => self.live(index),
            None => self.shared.read().mvcc.get(table, key, self.head).cloned(),
        }
    }

    /// All objects of a table (of one namespace, if given), in key order.
    pub fn scan(&self, table: &str, namespace: Option<&str>) -> Vec<Arc<Record>> {
        let stored: Vec<_> = self.shared.read().mvcc.scan(table, namespace, None, self.head).cloned().collect();
        let Some(own) = self.own.get(table) else { return stored };
        let mut objects: BTreeMap<ObjectKey, Arc<Record>> =
            stored.into_iter().map(|record| (record.key.clone(), record)).collect();
        for (key, &index) in own.iter().filter(|(key, _)| namespace.is_none_or(|wanted| *key.namespace == *wanted)) {
            match self.live(index) {
                Some(record) => objects.insert(key.clone(), record),
                None => objects.remove(key),
            };
        }
        objects.into_values().collect()
    }

    /// Creates or replaces; `body` must already carry `next_revision()` as its resourceVersion.
    pub fn put(&mut self, table: &'static str, key: ObjectKey, body: Bytes) {
        let old = self.get(table, &key);
        let revision = self.next_revision();
        let created = old.as_ref().map_or(revision, |record| record.created);
        let body = self.shared.packer.pack(table, body);
        self.change(table, old, Record { key, revision, created, body }, false);
    }

    /// Deletes; `last` is the final state watchers are shown (carrying `next_revision()`). Deleting what does not exist
    /// changes nothing and uses no revision.
    pub fn delete(&mut self, table: &'static str, key: &ObjectKey, last: Bytes) {
        if let Some(old) = self.get(table, key) {
            let body = self.shared.packer.pack(table, last);
            let record = Record { key: key.clone(), revision: self.next_revision(), created: old.created, body };
            self.change(table, Some(old), record, true);
        }
    }

    fn change(&mut self, table: &'static str, old: Option<Arc<Record>>, new: Record, deleted: bool) {
        self.own.entry(table).or_default().insert(new.key.clone(), self.changes.len());
        self.changes.push(Event { revision: new.revision, table, old, new: Arc::new(new), deleted });
    }

    fn live(&self, index: usize) -> Option<Arc<Record>> {
        self.changes.get(index).filter(|change| !change.deleted).map(|change| change.new.clone())
    }
}
