//! Who the holder is: a process in, a file that a later start can check in out.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use kernel::process;
use serde::{Deserialize, Serialize};

const FILE: &str = "holder.json";

/// Enough to tell the holder from any later process with the same id.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    pid: i32,
    start_time: u64,
    boot: String,
}

impl Record {
    /// The record of a live process.
    pub(super) fn of(pid: i32) -> io::Result<Self> {
        let start_time = process::start_time(pid).ok_or_else(|| io::Error::other("the process is gone"))?;
        Ok(Self { pid, start_time, boot: process::boot_id()? })
    }

    /// Writes it so that a reader sees all of it or the one before.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let new = directory.join("holder.json.new");
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(new, directory.join(FILE))
    }

    /// The record of a directory, if there is one.
    pub(super) fn read(directory: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(directory.join(FILE)).ok()?).ok()
    }

    /// Forgets it.
    pub(super) fn remove(directory: &Path) {
        let _ = fs::remove_file(directory.join(FILE));
    }

    /// The process, if it still is the recorded one. Opened first and compared then: afterwards the descriptor cannot
    /// come to mean another process.
    pub(super) fn live(&self) -> Option<OwnedFd> {
        let holder = process::open(self.pid).ok()?;
        let same = process::start_time(self.pid) == Some(self.start_time) && process::boot_id().ok()? == self.boot;
        same.then_some(holder)
    }
}
