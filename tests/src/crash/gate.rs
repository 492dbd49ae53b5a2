//! A log in, the same log out behind a gate: what is appended while the gate is shut waits before it.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};

use api::object::Revision;
use store::log::redb::RedbLog;
use store::{Findings, Loaded, Log, LogEntry, Packer};

use super::{Arc, lock};

/// Shut or open. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<(Mutex<bool>, Condvar)>);

/// Opens the gate when dropped.
pub(super) struct Shut<'a>(&'a Gate);

impl Gate {
    pub(super) fn shut(&self) -> Shut<'_> {
        *lock(&self.0.0) = true;
        Shut(self)
    }

    pub(super) fn open(&self) {
        *lock(&self.0.0) = false;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let _open = self.0.1.wait_while(lock(&self.0.0), |shut| *shut).unwrap_or_else(PoisonError::into_inner);
    }
}

impl Drop for Shut<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// A log behind a gate.
pub(super) struct Gated(pub(super) RedbLog, pub(super) Gate);

impl Log for Gated {
    fn load(&mut self, packer: &Packer) -> io::Result<Loaded> {
        self.0.load(packer)
    }

    fn append(&mut self, batch: &[LogEntry]) -> io::Result<()> {
        self.1.pass();
        self.0.append(batch)
    }

    fn reopen(&mut self) -> io::Result<Revision> {
        self.0.reopen()
    }

    fn examine(&mut self) -> io::Result<Findings> {
        self.0.examine()
    }
}
