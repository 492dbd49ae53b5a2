//! One container as the holder has it: its process and its streams in, what the next holder needs kept.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use kernel::process::{self, Child};
use rustix::process::Signal;

use super::ends::Ends;
use super::kept::Kept;
use super::log::Log;
use super::message::{ContainerRecord, Ended, Spawn};
use super::security::Security;
use super::spawn;
use super::spool::Files;
use super::stream::Stream;
use super::watcher::Watcher;

/// A container that this holder watches.
pub(super) struct Container {
    pub(super) record: ContainerRecord,
    pub(super) child: Child,
    /// Started by an earlier holder: another process is told of its end.
    pub(super) foreign: bool,
    /// What the next holder finds it by, on a host.
    pub(super) kept: Option<Kept>,
    pub(super) log: Log,
    pub(super) streams: Vec<Stream>,
    /// Where its input comes from, or its terminal.
    pub(super) input: Option<OwnedFd>,
    pub(super) stdin: bool,
    pub(super) stdin_once: bool,
    pub(super) tty: bool,
    pub(super) security: Security,
}

impl Container {
    /// One that this holder started.
    pub(super) fn new(record: ContainerRecord, child: Child, spawn: &Spawn, ends: Ends, kept: Option<Kept>) -> Self {
        let Ends { log, streams, input } = ends;
        let (stdin, stdin_once, tty) = (spawn.stdin, spawn.stdin_once, spawn.tty);
        let security = spawn.security.clone();
        Self { record, child, foreign: false, kept, log, streams, input, stdin, stdin_once, tty, security }
    }

    /// One that an earlier holder started.
    pub(super) fn adopted(kept: Kept, child: Child, ends: Ends) -> Self {
        let (record, spawn) = (kept.record.clone(), kept.spawn.clone());
        Self { foreign: true, ..Self::new(record, child, &spawn, ends, Some(kept)) }
    }

    /// Takes over the terminal that the container made, in place of the connection on which it was sent.
    pub(super) fn take_terminal(&mut self) -> io::Result<()> {
        let Some(connection) = self.input.take_if(|_| self.tty) else { return Ok(()) };
        let (terminal, copy) = spawn::terminal_from(connection.as_fd())?;
        rustix::io::ioctl_fionbio(&terminal, true)?;
        self.input = Some(terminal.try_clone()?);
        self.streams.push(Stream::new(terminal, "stdout"));
        if let Some(kept) = &mut self.kept {
            kept.terminal = copy;
        }
        Ok(())
    }

    /// Ends one that could not be taken into account.
    pub(super) fn abandon(&self, directory: &Path) {
        let _ = process::signal(self.child.pidfd.as_fd(), Signal::KILL.as_raw());
        self.kept.iter().for_each(|kept| kept.remove(directory));
    }

    /// Keeps for the next holder that the program runs.
    pub(super) fn note_start(&mut self, directory: &Path) -> io::Result<()> {
        let Some(kept) = &mut self.kept else { return Ok(()) };
        (kept.started, kept.record) = (true, self.record.clone());
        kept.write(directory)
    }

    /// Notes its end; the clients that have not read everything yet.
    pub(super) fn end(&mut self, ended: Ended, directory: &Path) -> Vec<Watcher> {
        let mut lingering = Vec::new();
        for mut stream in std::mem::take(&mut self.streams) {
            stream.drain(&mut self.log);
            lingering.extend(stream.watchers.into_iter().filter(Watcher::waits));
        }
        self.input = None;
        self.record.ended = Some(ended);
        if let Some(kept) = &mut self.kept {
            kept.record = self.record.clone();
            if let Err(error) = kept.write(directory) {
                let (pod, name) = (&self.record.pod, &self.record.container);
                note!("holder: the end of {pod}/{name} is not kept: {error}");
            }
            Files::beside(&kept.spawn.log).remove();
        }
        lingering
    }
}
