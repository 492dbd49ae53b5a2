//! A process on its way to its program: a fork in; that its program runs, why it does not, or that it takes too long out.
//!
//! On that way it meets file systems that may never answer and, once it is among a container's processes, the signals of
//! the container's root. So nobody waits for it: its report is looked at when there is something to read.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use kernel::process::{self, Child};
use rustix::process::Signal;

use super::ends::Ends;
use super::kept::Kept;
use super::message::{ContainerRecord, Spawn};
use super::spawn::Begun;
use crate::limits;

/// What becomes of the process once its program runs.
pub(super) enum Goal {
    /// A container.
    Container(Box<New>),
    /// A command; with the connection on which it sends its terminal.
    Session(Option<OwnedFd>),
}

/// A container that does not run yet.
pub(super) struct New {
    pub(super) record: ContainerRecord,
    pub(super) spawn: Box<Spawn>,
    pub(super) ends: Ends,
    pub(super) kept: Option<Kept>,
}

/// A process on its way.
pub(super) struct Starting {
    pub(super) child: Child,
    /// Closes by itself when the program starts or the process ends.
    pub(super) report: OwnedFd,
    pub(super) goal: Goal,
    /// Connections that wait for the answer; none any more once it was given up.
    pub(super) waiting: Vec<u64>,
    said: Vec<u8>,
    begun: Instant,
    longest: Duration,
    killed: bool,
}

impl Starting {
    /// One that a connection asked for.
    pub(super) fn new(begun: Begun, goal: Goal, connection: u64) -> Self {
        let longest = match &goal {
            Goal::Container(_) => limits::CONTAINER_START,
            Goal::Session(_) => limits::COMMAND_START,
        };
        let Begun { child, report } = begun;
        let (waiting, said) = (vec![connection], Vec::new());
        Self { child, report, goal, waiting, said, begun: Instant::now(), longest, killed: false }
    }

    /// Whether it becomes this container.
    pub(super) fn is(&self, pod: &str, container: &str) -> bool {
        matches!(&self.goal, Goal::Container(new) if new.record.pod == pod && new.record.container == container)
    }

    /// The pod of the container that it becomes.
    pub(super) fn pod(&self) -> Option<&String> {
        match &self.goal {
            Goal::Container(new) => Some(&new.record.pod),
            Goal::Session(_) => None,
        }
    }

    /// When it is given up; not again once it was.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.killed).then(|| self.begun + self.longest)
    }

    /// Whether it was killed, and has not come to its end yet.
    pub(super) fn killed(&self) -> bool {
        self.killed
    }

    /// Whether its program runs, or why not; none as long as it is on its way.
    pub(super) fn look(&mut self) -> Option<io::Result<()>> {
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(&self.report, &mut buffer) {
                Ok(0) if self.said.is_empty() => return Some(Ok(())),
                Ok(0) => return Some(Err(io::Error::other(String::from_utf8_lossy(&self.said).into_owned()))),
                Ok(count) if self.said.len() < limits::MESSAGE_BYTES / 2 => {
                    self.said.extend_from_slice(&buffer[..count])
                }
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return None,
                Err(error) => return Some(Err(error.into())),
            }
        }
    }

    /// Kills it, stopped or not.
    pub(super) fn kill(&mut self) {
        let _ = process::signal(self.child.pidfd.as_fd(), Signal::KILL.as_raw());
        self.killed = true;
    }

    /// Kills it because it takes too long; what is told.
    pub(super) fn give_up(&mut self) -> io::Error {
        self.kill();
        let seconds = self.longest.as_secs();
        io::Error::new(
            io::ErrorKind::TimedOut,
            match &self.goal {
                Goal::Container(new) => {
                    let volumes = new.spawn.root.volumes.iter();
                    let paths =
                        volumes.map(|volume| volume.source.display().to_string()).collect::<Vec<_>>().join(", ");
                    format!(
                        "start the container: it did not come to its program within {seconds} s and was killed: a file \
                         system does not answer, or a volume with an fsGroup has too many files ({paths}).\nLook at them \
                         on the node: ls -ld PATH"
                    )
                }
                Goal::Session(_) => format!(
                    "start the command: it did not come to its program within {seconds} s and was killed: a process of the \
                     container stops others (SIGSTOP), or a file system does not answer.\nLook at what it does: kubectl \
                     logs POD; start it anew: kubectl delete pod POD"
                ),
            },
        )
    }
}
