//! A log in memory: keeps the newest state for as long as a clone of it lives. For tests, and for runs that must leave
//! nothing behind. It can be held (appends wait) and told to fail.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use api::object::{ObjectKey, Revision};

use crate::body::Packer;
use crate::{Loaded, Log, LogEntry, Record};

/// Clones share their content, so opening a store over a clone is a restart.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    shared: Arc<(Mutex<Content>, Condvar)>,
}

#[derive(Debug, Default)]
struct Content {
    revision: Revision,
    objects: BTreeMap<(&'static str, ObjectKey), Arc<Record>>,
    /// Sizes of the batches appended.
    batches: Vec<usize>,
    held: bool,
    /// An append has come and waits.
    waiting: bool,
    failing: bool,
    /// It fails for want of space.
    full: bool,
}

impl MemoryLog {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes appends wait until `release`: what is written meanwhile stays un-synced.
    pub fn hold(&self) {
        self.content().held = true;
    }

    /// Lets appends go on.
    pub fn release(&self) {
        self.content().held = false;
        self.shared.1.notify_all();
    }

    /// Waits until an append is being held.
    pub fn wait_for_append(&self) {
        let _waiting = self
            .shared
            .1
            .wait_while(self.content(), |content| !content.waiting)
            .unwrap_or_else(PoisonError::into_inner);
    }

    /// Makes every append from now on fail (a held one too), leaving the content as it is.
    pub fn fail(&self) {
        self.content().failing = true;
    }

    /// Makes every append from now on find the disk full, until there is `space` again.
    pub fn fill(&self) {
        let mut content = self.content();
        (content.failing, content.full) = (true, true);
    }

    /// Makes space on a full disk.
    pub fn space(&self) {
        let mut content = self.content();
        (content.failing, content.full) = (false, false);
    }

    /// How many changes each batch appended so far had: group commit made visible.
    pub fn batches(&self) -> Vec<usize> {
        self.content().batches.clone()
    }
}

impl Log for MemoryLog {
    fn load(&mut self, _packer: &Packer) -> io::Result<Loaded> {
        let content = self.content();
        let mut loaded = Loaded { revision: content.revision, ..Loaded::default() };
        for ((table, _), record) in &content.objects {
            loaded.tables.entry((*table).to_owned()).or_default().push(Record::clone(record));
        }
        Ok(loaded)
    }

    fn append(&mut self, batch: &[LogEntry]) -> io::Result<()> {
        let mut content = self.content();
        content.waiting = true;
        self.shared.1.notify_all();
        content = self.shared.1.wait_while(content, |content| content.held).unwrap_or_else(PoisonError::into_inner);
        content.waiting = false;
        if content.failing {
            let kind = if content.full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
            return Err(io::Error::new(kind, "told to fail"));
        }
        content.batches.push(batch.len());
        for entry in batch {
            let key = (entry.table, entry.record.key.clone());
            if entry.deleted {
                content.objects.remove(&key);
            } else {
                content.objects.insert(key, entry.record.clone());
            }
            content.revision = entry.record.revision;
        }
        Ok(())
    }
    fn reopen(&mut self) -> io::Result<Revision> {
        let content = self.content();
        if content.failing { Err(io::ErrorKind::StorageFull.into()) } else { Ok(content.revision) }
    }
}
