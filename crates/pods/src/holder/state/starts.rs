//! Requests that start a process: a container or a command in, a process on its way and (later) an answer out.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use kernel::process::{self, Child};
use kernel::unix_socket;
use rustix::process::Signal;

use super::{Session, State};
use crate::holder::container::Container;
use crate::holder::ends;
use crate::holder::kept::Kept;
use crate::holder::message::{ContainerRecord, Exec, Reply, Spawn};
use crate::holder::places::places;
use crate::holder::spawn::{self, Bounds};
use crate::holder::starting::{Goal, New, Starting};
use crate::sandbox::Mode;

/// A reply with its descriptors.
pub(in crate::holder) type Answer = (Reply, Vec<OwnedFd>);

/// An answer to requests that were taken earlier.
pub(in crate::holder) struct Late {
    /// Who waits for it.
    pub(in crate::holder) connections: Vec<u64>,
    /// What is answered.
    pub(in crate::holder) done: io::Result<Answer>,
}

impl State {
    /// Starts a container; answered now only if there is nothing to wait for.
    pub(super) fn spawn(&mut self, connection: u64, spawn: Box<Spawn>) -> io::Result<Option<Answer>> {
        let key = (spawn.pod.clone(), spawn.container.clone());
        let known = self.containers.get(&key).map(|container| &container.record).or_else(|| self.past.get(&key));
        // Asked again because the answer was lost with the last holder: a run that has ended already is none to repeat.
        let repeated = |record: &ContainerRecord| self.mode == Mode::Host && record.attempt == spawn.attempt;
        if known.is_some_and(|record| record.ended.is_none() || repeated(record)) {
            return Ok(Some((Reply::Done, Vec::new())));
        }
        if let Some(same) = self.starting.iter_mut().find(|starting| starting.is(&key.0, &key.1)) {
            if same.killed() {
                return Err(io::Error::other(
                    "start the container: the process of its last start was killed and has not ended: a file system does \
                     not answer.\nLook for it on the node: ps -eo pid,stat,args | grep -w D",
                ));
            }
            same.waiting.push(connection);
            return Ok(None);
        }
        let netns = match self.pods.get(&spawn.pod) {
            _ if spawn.host_network => None,
            Some(netns) => Some(netns.as_fd()),
            None => return Err(io::Error::other("the pod has no network namespace yet")),
        };
        let (ends, given) = ends::make(&spawn, self.mode)?;
        let record = ContainerRecord {
            pod: spawn.pod.clone(),
            container: spawn.container.clone(),
            attempt: spawn.attempt,
            started_ms: jiff::Timestamp::now().as_millisecond(),
            ended: None,
        };
        let mut kept = None;
        let note = |child: &Child| {
            if self.mode == Mode::Host {
                let new = Kept::of(&record, &spawn, child.pid)?;
                new.write(&self.directory)?;
                kept = Some(new);
            }
            Ok(())
        };
        let door = self.groups.make(&spawn.pod, &spawn.container, &spawn.limits)?;
        let bounds = Bounds { ids: &self.ids, door };
        let begun = spawn::container(&spawn, netns, given, &places(&self.directory).borrow(), &bounds, note);
        let begun = begun.inspect_err(|_| kept.iter().for_each(|kept| kept.remove(&self.directory)))?;
        let goal = Goal::Container(Box::new(New { record, spawn, ends, kept }));
        self.starting.push(Starting::new(begun, goal, connection));
        Ok(None)
    }

    /// Starts a command; its answer comes later.
    pub(super) fn exec(&mut self, connection: u64, exec: &Exec, descriptors: &[OwnedFd]) -> io::Result<()> {
        let (begun, terminal) = match &exec.container {
            None => (spawn::on_node(exec, descriptors, &places(&self.directory).borrow())?, None),
            Some(key) => {
                let found = self.running(key)?;
                let (ours, theirs) = unix_socket::pair()?;
                let bounds = Bounds { ids: &self.ids, door: self.groups.door(&key.0, &key.1) };
                let container = (found.child.pidfd.as_fd(), &found.security);
                let begun = spawn::beside(exec, container, descriptors, theirs, self.own_pid.as_fd(), &bounds)?;
                (begun, exec.tty.then_some(ours))
            }
        };
        self.starting.push(Starting::new(begun, Goal::Session(terminal), connection));
        Ok(())
    }

    /// The reports of processes on their way.
    pub(in crate::holder) fn reports(&self) -> impl Iterator<Item = &OwnedFd> {
        self.starting.iter().map(|starting| &starting.report)
    }

    /// Whether a connection waits for an answer. Its next request is not taken before.
    pub(in crate::holder) fn owes(&self, connection: u64) -> bool {
        self.starting.iter().any(|starting| starting.waiting.contains(&connection))
    }

    /// How long until some process on its way is given up.
    pub(in crate::holder) fn patience(&self) -> Option<Duration> {
        let first = self.starting.iter().filter_map(Starting::deadline).min()?;
        Some(first.saturating_duration_since(Instant::now()))
    }

    /// Looks at every process on its way: those that have come to their programs, or to an end, are answered for; so are
    /// those that take too long.
    pub(in crate::holder) fn settle(&mut self) {
        for mut starting in std::mem::take(&mut self.starting) {
            if let Some(done) = starting.look() {
                self.arrive(starting, done);
                continue;
            }
            if starting.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
                let done = Err(starting.give_up());
                self.late.push(Late { connections: std::mem::take(&mut starting.waiting), done });
            }
            // Also one that was killed, until it has ended: two of one container would be in each other's way.
            self.starting.push(starting);
        }
    }

    /// The answers that have become due.
    pub(in crate::holder) fn take_late(&mut self) -> Vec<Late> {
        std::mem::take(&mut self.late)
    }

    /// Gives up what a connection that has ended waited for, but for containers: those are their pods'.
    pub(super) fn forsake(&mut self, connection: u64) {
        for starting in &mut self.starting {
            let before = starting.waiting.len();
            starting.waiting.retain(|waiting| *waiting != connection);
            if before != starting.waiting.len() && matches!(starting.goal, Goal::Session(_)) {
                starting.kill();
            }
        }
    }

    /// Gives up the containers of a pod.
    pub(super) fn forsake_pod(&mut self, pod: &str) {
        for starting in self.starting.iter_mut().filter(|starting| starting.pod().is_some_and(|of| of == pod)) {
            starting.kill();
            let done = Err(io::Error::other("the pod was removed while its container was started"));
            self.late.push(Late { connections: std::mem::take(&mut starting.waiting), done });
        }
    }

    fn arrive(&mut self, starting: Starting, done: io::Result<()>) {
        let killed = starting.killed();
        let Starting { child, goal, waiting: connections, .. } = starting;
        let done = match goal {
            Goal::Container(new) if killed || done.is_err() => {
                new.kept.iter().for_each(|kept| kept.remove(&self.directory));
                done.map(|()| Vec::new())
            }
            Goal::Container(new) => self.started(child, *new).map(|()| Vec::new()),
            Goal::Session(terminal) => match (done, connections.first()) {
                (Ok(()), Some(connection)) => self.joined(child, *connection, terminal),
                (done, _) => done.map(|()| Vec::new()),
            },
        };
        self.late.push(Late { connections, done: done.map(|given| (Reply::Done, given)) });
    }

    fn started(&mut self, child: Child, new: New) -> io::Result<()> {
        let New { mut record, spawn, ends, kept } = new;
        record.started_ms = jiff::Timestamp::now().as_millisecond();
        let key = (spawn.pod.clone(), spawn.container.clone());
        let mut container = Container::new(record, child, &spawn, ends, kept);
        if let Err(error) = container.take_terminal().and_then(|()| container.note_start(&self.directory)) {
            container.abandon(&self.directory);
            return Err(error);
        }
        self.past.remove(&key);
        self.containers.insert(key, container);
        Ok(())
    }

    fn joined(&mut self, child: Child, connection: u64, terminal: Option<OwnedFd>) -> io::Result<Vec<OwnedFd>> {
        let given = match terminal.map(|terminal| spawn::terminal_from(terminal.as_fd())) {
            None => Vec::new(),
            Some(Ok((terminal, _))) => vec![terminal],
            Some(Err(error)) => {
                process::signal(child.pidfd.as_fd(), Signal::KILL.as_raw())?;
                return Err(error);
            }
        };
        self.sessions.insert(child.pid, Session { connection, _child: child });
        Ok(given)
    }
}
