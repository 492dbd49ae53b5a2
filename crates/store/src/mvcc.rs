//! Pure multi-version state: turns staged changes into what each revision looked like and what happened since.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use api::object::{ObjectKey, Revision};

use crate::limits::{EVENT_BYTES, Limits};
use crate::{Event, Loaded, Page, Range, ReadError, Record};

#[cfg(test)]
mod tests;

/// All versions of all objects that can still be asked for.
#[derive(Debug, Default)]
pub(crate) struct Mvcc {
    tables: BTreeMap<Box<str>, BTreeMap<ObjectKey, Versions>>,
    /// Changes after `oldest`, without holes: the one at index i has revision `oldest` + 1 + i.
    ring: VecDeque<Event>,
    /// Bytes held by the ring alone, see `cost`.
    ring_bytes: usize,
    /// Oldest revision that can be read, and watched from.
    oldest: Revision,
    /// Newest durable revision.
    published: Revision,
}

/// The versions of one key. Nearly every object has exactly one, so the newest lives in place.
#[derive(Debug)]
struct Versions {
    newest: Version,
    /// Oldest first.
    older: VecDeque<Version>,
}

#[derive(Debug)]
struct Version {
    record: Arc<Record>,
    deleted: bool,
}

impl Version {
    fn live(&self) -> Option<&Arc<Record>> {
        (!self.deleted).then_some(&self.record)
    }
}

impl Versions {
    /// The object as it was at a revision.
    fn at(&self, at: Revision) -> Option<&Arc<Record>> {
        std::iter::once(&self.newest)
            .chain(self.older.iter().rev())
            .find(|version| version.record.revision <= at)
            .and_then(Version::live)
    }
}

/// What a kept change holds that nothing else does: the version it replaced and, for a deletion, the last state. The new
/// version of a put is either live or the `old` of a later change, so each body counts once.
fn cost(event: &Event) -> usize {
    let old = event.old.as_ref().map_or(0, |record| record.body.held());
    EVENT_BYTES + old + if event.deleted { event.new.body.held() } else { 0 }
}

impl Mvcc {
    /// State as loaded; nothing before it can be asked for.
    pub(crate) fn new(loaded: Loaded) -> Self {
        let tables = loaded.tables.into_iter().map(|(table, records)| {
            let objects = records.into_iter().map(|record| {
                let newest = Version { record: Arc::new(record), deleted: false };
                (newest.record.key.clone(), Versions { newest, older: VecDeque::new() })
            });
            (table.into_boxed_str(), objects.collect())
        });
        Self { tables: tables.collect(), oldest: loaded.revision, published: loaded.revision, ..Self::default() }
    }

    /// Newest durable revision.
    pub(crate) fn published(&self) -> Revision {
        self.published
    }

    /// Newest revision of all, durable or not.
    pub(crate) fn head(&self) -> Revision {
        Revision(self.oldest.0 + self.ring.len() as u64)
    }

    /// Which revision a reader gets, or why none.
    pub(crate) fn readable(&self, asked: Option<Revision>) -> Result<Revision, ReadError> {
        match asked {
            None => Ok(self.published),
            Some(asked) if asked > self.published => Err(ReadError::Future { asked, current: self.published }),
            Some(asked) if asked < self.oldest => Err(ReadError::Compacted { asked, oldest: self.oldest }),
            Some(asked) => Ok(asked),
        }
    }

    /// One object at a revision.
    pub(crate) fn get(&self, table: &str, key: &ObjectKey, at: Revision) -> Option<&Arc<Record>> {
        self.tables.get(table)?.get(key)?.at(at)
    }

    /// Objects of a table at a revision, in key order, of one namespace if given, after a key if given.
    pub(crate) fn scan<'a>(
        &'a self,
        table: &str,
        namespace: Option<&'a str>,
        after: Option<&ObjectKey>,
        at: Revision,
    ) -> impl Iterator<Item = &'a Arc<Record>> {
        let first = namespace.map(|namespace| ObjectKey::new(namespace, ""));
        let start = match (first.as_ref(), after) {
            (Some(first), Some(after)) if first > after => Bound::Included(first),
            (_, Some(after)) => Bound::Excluded(after),
            (Some(first), None) => Bound::Included(first),
            (None, None) => Bound::Unbounded,
        };
        let objects = self.tables.get(table).map(|objects| objects.range::<ObjectKey, _>((start, Bound::Unbounded)));
        objects
            .into_iter()
            .flatten()
            .take_while(move |(key, _)| namespace.is_none_or(|namespace| *key.namespace == *namespace))
            .filter_map(move |(_, versions)| versions.at(at))
    }

    /// One chunk of a table at a readable revision.
    pub(crate) fn page(&self, table: &str, range: &Range, revision: Revision) -> Page {
        let mut rest = self.scan(table, range.namespace.as_deref(), range.after.as_ref(), revision);
        let records = rest.by_ref().take(range.limit.unwrap_or(usize::MAX)).cloned().collect();
        Page { revision, records, remaining: rest.count() }
    }

    /// Adds a change at the head; it stays invisible to readers until published.
    pub(crate) fn stage(&mut self, event: Event) {
        debug_assert_eq!(event.revision.0, self.head().0 + 1, "revisions have no holes");
        if !self.tables.contains_key(event.table) {
            self.tables.insert(event.table.into(), BTreeMap::new());
        }
        if let Some(objects) = self.tables.get_mut(event.table) {
            let newest = Version { record: event.new.clone(), deleted: event.deleted };
            match objects.get_mut(&event.new.key) {
                Some(versions) => versions.older.push_back(std::mem::replace(&mut versions.newest, newest)),
                None => {
                    objects.insert(event.new.key.clone(), Versions { newest, older: VecDeque::new() });
                }
            }
        }
        self.ring_bytes += cost(&event);
        self.ring.push_back(event);
    }

    /// Makes everything up to a revision visible and forgets what no longer fits the history.
    pub(crate) fn publish(&mut self, upto: Revision, limits: &Limits) {
        self.published = self.published.max(upto);
        while self.ring.len() > limits.history_events || self.ring_bytes > limits.history_bytes {
            let Some(event) = self.ring.pop_front_if(|event| event.revision <= self.published) else { break };
            self.ring_bytes -= cost(&event);
            self.oldest = event.revision;
            self.forget(&event);
        }
    }

    /// Forgets the changes after a revision: they were never published, and the log does not have them.
    pub(crate) fn retract(&mut self, to: Revision) {
        while let Some(event) = self.ring.pop_back_if(|event| event.revision > to) {
            self.ring_bytes -= cost(&event);
            let Some(objects) = self.tables.get_mut(event.table) else { continue };
            let Some(versions) = objects.get_mut(&event.new.key) else { continue };
            match versions.older.pop_back() {
                Some(before) => versions.newest = before,
                None => {
                    objects.remove(&event.new.key);
                    if objects.is_empty() {
                        self.tables.remove(event.table);
                    }
                }
            }
        }
    }

    /// The tables that hold or held something.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(|table| &**table)
    }

    /// Drops the versions that only revisions before this change could see; for a deletion that is the object itself.
    fn forget(&mut self, event: &Event) {
        let Some(objects) = self.tables.get_mut(event.table) else { return };
        let Some(versions) = objects.get_mut(&event.new.key) else { return };
        let stays = |version: &Version| {
            version.record.revision > event.revision || (version.record.revision == event.revision && !version.deleted)
        };
        while versions.older.pop_front_if(|version| !stays(version)).is_some() {}
        if versions.older.is_empty() && !stays(&versions.newest) {
            objects.remove(&event.new.key);
            if objects.is_empty() {
                self.tables.remove(event.table);
            }
        }
    }

    /// Published changes of `tables` (all when empty) after `from`, at most `limit`, with the revision up to which
    /// everything was looked at.
    pub(crate) fn changes(
        &self,
        tables: &[&'static str],
        from: Revision,
        limit: usize,
    ) -> Result<(Vec<Event>, Revision), ReadError> {
        self.readable(Some(from))?;
        let skip = (from.0 - self.oldest.0) as usize;
        let take = (self.published.0 - from.0) as usize;
        let (mut events, mut seen) = (Vec::new(), from);
        for event in self.ring.range(skip..skip + take) {
            if tables.is_empty() || tables.contains(&event.table) {
                if events.len() == limit {
                    break;
                }
                events.push(event.clone());
            }
            seen = event.revision;
        }
        Ok((events, seen))
    }
}
