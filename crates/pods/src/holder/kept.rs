//! What a host's holder leaves for the next one: a container in, a file that finds its process again out.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use kernel::{namespace, pidfd, process};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::RECORDS;
use super::message::{ContainerRecord, Spawn};
use super::unread::Unread;
use crate::limits;

/// A container as its file tells it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Who it is, and how it ended.
    pub(super) record: ContainerRecord,
    /// What it was started from.
    pub(super) spawn: Box<Spawn>,
    /// Its first process.
    #[serde(flatten)]
    process: Process,
    /// Its program runs; without this it may still be on the way there.
    pub(super) started: bool,
    /// Its own copy of our side of its terminal, as a descriptor of its first process.
    pub(super) terminal: Option<i32>,
}

/// A process, told from any later one with the same id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Process {
    pid: i32,
    start_time: u64,
    boot: String,
    pid_namespace: u64,
}

/// What became of a container while no holder looked.
pub(super) enum Found {
    /// It runs: its process.
    Live(process::Child),
    /// It ended: its exit code, if that can still be known.
    Ended(Option<i32>),
}

impl Kept {
    /// A container whose process waits for its go.
    pub(super) fn of(record: &ContainerRecord, spawn: &Spawn, pid: i32) -> io::Result<Self> {
        let start_time = process::start_time(pid).ok_or_else(|| io::Error::other("the process is gone"))?;
        let (boot, pid_namespace) = (process::boot_id()?, namespace::identity(&format!("/proc/{pid}/ns/pid"))?);
        let process = Process { pid, start_time, boot, pid_namespace };
        Ok(Self { record: record.clone(), spawn: Box::new(spawn.clone()), process, started: false, terminal: None })
    }

    /// Writes it so that a reader sees all of it or the one before.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let path = path(directory, &self.record);
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(new, path)
    }

    /// Forgets it.
    pub(super) fn remove(&self, directory: &Path) {
        remove(directory, &self.record);
    }

    /// Looks for its process.
    pub(super) fn find(&self) -> Found {
        self.process.find()
    }

    /// How its process ended, as far as the kernel tells one that is not its parent.
    pub(super) fn code(&self, pidfd: &OwnedFd) -> Option<i32> {
        self.process.code(pidfd)
    }

    /// The network namespace of its process, while that surely is the same one.
    pub(super) fn network(&self, child: &process::Child) -> io::Result<OwnedFd> {
        let network = fs::File::open(format!("/proc/{}/ns/net", child.pid))?;
        if process::wait_end(child.pidfd.as_fd(), 0)? {
            return Err(io::Error::other("the process has ended"));
        }
        Ok(network.into())
    }
}

impl Process {
    /// Looks for it. Opened first and compared then: afterwards the descriptor cannot come to mean another one.
    pub(super) fn find(&self) -> Found {
        if process::boot_id().ok().as_ref() != Some(&self.boot) {
            return Found::Ended(None);
        }
        let Ok(pidfd) = process::open(self.pid) else { return Found::Ended(None) };
        let same = process::start_time(self.pid) == Some(self.start_time)
            && namespace::identity(&format!("/proc/{}/ns/pid", self.pid)).ok() == Some(self.pid_namespace);
        if same {
            return Found::Live(process::Child { pid: self.pid, pidfd });
        }
        Found::Ended(self.code(&pidfd))
    }

    fn code(&self, pidfd: &OwnedFd) -> Option<i32> {
        // Its parent may reap it between the two looks, so the first one is repeated.
        let reaped = || pidfd::exit_code(pidfd.as_fd());
        let zombie = || pidfd::zombie_code(self.pid, self.start_time);
        reaped().or_else(zombie).or_else(reaped)
    }
}

/// What was left in a data directory.
#[derive(Default)]
pub(super) struct Left {
    /// The containers.
    pub(super) kept: Vec<Kept>,
    /// Files that cannot be read.
    pub(super) unread: Vec<Unread>,
}

/// Reads what was left in a data directory.
pub(super) fn left(directory: &Path) -> Left {
    let mut left = Left::default();
    let entries = fs::read_dir(directory.join(RECORDS)).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "json")) {
        match fs::read(&path).and_then(|text| Ok(serde_json::from_slice(&text)?)) {
            Ok(kept) => left.kept.push(kept),
            Err(why) => left.unread.push(Unread { path, why }),
        }
    }
    left
}

/// Ends every container that the holders of a data directory left running; how many there were.
pub(crate) fn end_all(directory: &Path) -> io::Result<usize> {
    let Left { kept, unread } = left(directory);
    let mut ended = 0;
    for kept in kept {
        if let Found::Live(child) = kept.find() {
            end(child.pidfd.as_fd())?;
            ended += 1;
        }
        kept.remove(directory);
    }
    let mut failed = None;
    for unread in unread {
        match unread.end(directory) {
            Ok(count) => ended += count,
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(ended), Err)
}

/// Kills a process and waits for its end.
pub(super) fn end(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    process::signal(pidfd, Signal::KILL.as_raw())?;
    let wait = i32::try_from(limits::HOLDER_END.as_millis()).unwrap_or(i32::MAX);
    process::wait_end(pidfd, wait).map(drop)
}

/// Forgets a container.
pub(super) fn remove(directory: &Path, record: &ContainerRecord) {
    let _ = fs::remove_file(path(directory, record));
}

fn path(directory: &Path, record: &ContainerRecord) -> PathBuf {
    // Neither uids nor names of containers contain an underscore or a slash; whatever does cannot leave the folder.
    let name = format!("{}_{}.json", record.pod, record.container).replace('/', "_");
    directory.join(RECORDS).join(name)
}
