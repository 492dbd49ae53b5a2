//! A container's file that cannot be read: whatever still names its processes in, their end out.
//!
//! Nobody could tell such a container's end, take its output or remove it, and its pod would be started a second time beside
//! it. So it is ended; the kubelet starts its pod anew.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use kernel::process;

use super::kept::{self, Found, Process};
use crate::{cgroup, limits};

/// A file that cannot be read.
pub(super) struct Unread {
    pub(super) path: PathBuf,
    pub(super) why: io::Error,
}

impl Unread {
    /// Ends the processes that it is about and forgets it; how many were found. Where nothing says which ones those are, it
    /// stays, and the error says what to do.
    pub(super) fn end(self, directory: &Path) -> io::Result<usize> {
        let found = match self.process() {
            Some(process) => match process.find() {
                Found::Live(child) => kept::end(child.pidfd.as_fd()).map(|()| 1)?,
                Found::Ended(_) => 0,
            },
            None => self.group(directory)?,
        };
        note!("holder: {} cannot be read ({}): {found} processes of its container were ended", self.name(), self.why);
        fs::remove_file(&self.path)?;
        Ok(found)
    }

    fn name(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// The first process, if a release that writes the rest in another way wrote this.
    fn process(&self) -> Option<Process> {
        serde_json::from_slice(&fs::read(&self.path).ok()?).ok()
    }

    /// Ends the processes in the control groups of the container that gave the file its name.
    fn group(&self, directory: &Path) -> io::Result<usize> {
        let stem = self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let members = || stem.split_once('_').and_then(|(pod, name)| cgroup::members(directory, pod, name));
        let mut ended = 0;
        for _ in 0..limits::GROUP_ROUNDS {
            let pids = members().ok_or_else(|| self.refused("there are no control groups to find its processes by"))?;
            if pids.is_empty() {
                return Ok(ended);
            }
            for pid in pids {
                let Ok(pidfd) = process::open(pid) else { continue };
                // Opened first: if it still is in the group, the descriptor means the one that was there.
                if members().is_some_and(|pids| pids.contains(&pid)) {
                    kept::end(pidfd.as_fd())?;
                    ended += 1;
                }
            }
        }
        Err(self.refused("its processes do not end"))
    }

    fn refused(&self, why: &str) -> io::Error {
        let (path, reason) = (self.name(), &self.why);
        io::Error::other(format!(
            "{path} cannot be read ({reason}), and {why}: its container may still run, unknown to everybody.\nFind it by its \
             root (ps -eo pid,args) and end it, then: rm {path}"
        ))
    }
}
