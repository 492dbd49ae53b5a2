//! What the holder keeps: network namespaces of pods, containers with their ends, exec sessions; a request in, a reply out.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use kernel::process::{self, Child};
use kernel::{namespace, unix_socket};
use rustix::process::{Pid, Signal};

use super::adopt::{self, Adopted};
use super::container::Container;
use super::ends;
use super::kept::{self, Kept};
use super::message::{Abilities, ContainerRecord, Exec, Reply, Request, Spawn};
use super::places::{places, prepare_netns};
use super::spawn::{self, Bounds};
use super::user::Ids;
use super::watcher::Watcher;
use crate::cgroup::Groups;
use crate::limits;
use crate::sandbox::Mode;

/// Everything the holder holds.
pub(super) struct State {
    directory: PathBuf,
    version: u32,
    mode: Mode,
    own_net: OwnedFd,
    own_pid: OwnedFd,
    pods: BTreeMap<String, OwnedFd>,
    containers: BTreeMap<(String, String), Container>,
    /// Containers that ended before this holder began.
    past: BTreeMap<(String, String), ContainerRecord>,
    sessions: BTreeMap<i32, Session>,
    /// Clients of containers that have ended, until they have read everything.
    lingering: Vec<Watcher>,
    ids: Ids,
    groups: Groups,
}

struct Session {
    connection: u64,
    _child: Child,
}

/// What changed when children were reaped.
#[derive(Default)]
pub(super) struct Reaped {
    /// Some container ended.
    pub containers: bool,
    /// Exec sessions that ended: connection and exit code.
    pub sessions: Vec<(u64, i32)>,
}

impl State {
    /// What is there at the start; `directory` is the data directory with the holder's private `run` inside.
    pub(super) fn new(directory: &Path, version: u32, mode: Mode) -> io::Result<Self> {
        let Adopted { pods, containers, past } = match mode {
            Mode::Sandbox => Adopted::default(),
            Mode::Host => adopt::all(directory),
        };
        Ok(Self {
            directory: directory.to_owned(),
            version,
            mode,
            own_net: namespace::current_net()?,
            own_pid: namespace::current_pid()?,
            pods,
            containers,
            past,
            sessions: BTreeMap::new(),
            lingering: Vec::new(),
            ids: Ids::of_this_process()?,
            groups: Groups::open(directory),
        })
    }

    /// Does what a request of connection `connection` asks.
    pub(super) fn handle(
        &mut self,
        connection: u64,
        request: Request,
        descriptors: &[OwnedFd],
    ) -> io::Result<(Reply, Vec<OwnedFd>)> {
        match request {
            Request::Hello => {
                let program = env!("CARGO_PKG_VERSION").to_owned();
                let (version, mode, abilities) = (self.version, self.mode, self.abilities());
                let hello = Reply::Hello { version, program, mode, abilities };
                Ok((hello, vec![self.own_net.try_clone()?]))
            }
            Request::Subscribe => Ok((Reply::Done, Vec::new())),
            Request::PodNetns { pod } => Ok((Reply::Done, vec![self.pod_netns(pod)?])),
            Request::Spawn(spawn) => self.spawn(&spawn).map(|()| (Reply::Done, Vec::new())),
            Request::Signal { pod, container, signal } => {
                if let Some(found) = self.containers.get(&(pod, container)) {
                    process::signal(found.child.pidfd.as_fd(), signal)?;
                }
                Ok((Reply::Done, Vec::new()))
            }
            Request::Exec(exec) => Ok((Reply::Done, self.exec(connection, &exec, descriptors)?)),
            Request::Attach { pod, container, stdin } => {
                Ok((Reply::Done, self.attach((pod, container), stdin, descriptors)?))
            }
            Request::Containers { after } => Ok((Reply::Containers(self.list(&after)), Vec::new())),
            Request::Pods { after } => {
                let of_containers = self.containers.keys().chain(self.past.keys()).map(|(pod, _)| pod);
                let pods: BTreeSet<_> = self.pods.keys().chain(of_containers).filter(|pod| **pod > after).collect();
                let some = pods.into_iter().take(limits::CONTAINERS_PER_ANSWER);
                Ok((Reply::Pods(some.cloned().collect()), Vec::new()))
            }
            Request::RemovePod { pod } => {
                self.remove(&pod);
                Ok((Reply::Done, Vec::new()))
            }
        }
    }

    /// The output pipes that wait for data: pod, container and index of the stream, with the pipe.
    pub(super) fn pipes(&self) -> impl Iterator<Item = ((&String, &String), usize, &OwnedFd)> {
        self.containers.iter().flat_map(|((pod, name), container)| {
            let streams = container.streams.iter().enumerate().filter(|(_, stream)| !stream.stalled());
            streams.map(move |(index, stream)| ((pod, name), index, &stream.pipe))
        })
    }

    /// The clients that are attached.
    pub(super) fn watchers(&self) -> impl Iterator<Item = &Watcher> {
        let streams = self.containers.values().flat_map(|container| &container.streams);
        streams.flat_map(|stream| &stream.watchers).chain(&self.lingering)
    }

    /// Gives the clients what they have room for and forgets those that have left.
    pub(super) fn flush(&mut self) {
        for stream in self.containers.values_mut().flat_map(|container| &mut container.streams) {
            stream.watchers.retain_mut(|watcher| watcher.flush() && !watcher.left());
        }
        self.lingering.retain_mut(|watcher| watcher.flush() && watcher.waits() && !watcher.left());
    }

    /// Moves output of one stream to its log.
    pub(super) fn pump(&mut self, key: &(String, String), index: usize) {
        let Some(container) = self.containers.get_mut(key) else { return };
        let Some(stream) = container.streams.get_mut(index) else { return };
        if !stream.pump(&mut container.log) {
            container.streams.remove(index);
        }
    }

    /// Collects every child that has ended.
    pub(super) fn reap(&mut self) -> Reaped {
        let mut reaped = Reaped::default();
        while let Ok(Some((pid, status))) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            let code = status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(255);
            if let Some(session) = self.sessions.remove(&pid) {
                reaped.sessions.push((session.connection, code));
                continue;
            }
            let own = |container: &Container| container.child.pid == pid && !container.foreign;
            let found =
                self.containers.iter().find(|(_, container)| own(container) && container.record.ended.is_none());
            if let Some(key) = found.map(|(key, _)| key.clone()) {
                self.note_end(&key, Some(code));
                reaped.containers = true;
            }
        }
        self.groups.sweep();
        reaped
    }

    /// Processes of running containers that an earlier holder started: a readable one has ended.
    pub(super) fn foreign(&self) -> impl Iterator<Item = (&(String, String), &OwnedFd)> {
        let running = self.containers.iter().filter(|(_, container)| container.record.ended.is_none());
        running.filter(|(_, container)| container.foreign).map(|(key, container)| (key, &container.child.pidfd))
    }

    /// Notes the end of a container that an earlier holder started.
    pub(super) fn foreign_end(&mut self, key: &(String, String)) {
        let code = self.containers.get(key).and_then(|container| container.kept.as_ref()?.code(&container.child.pidfd));
        self.note_end(key, code);
    }

    fn note_end(&mut self, key: &(String, String), code: Option<i32>) {
        let Some(container) = self.containers.get_mut(key) else { return };
        let oom = self.groups.out_of_memory(&key.0, &key.1);
        self.lingering.extend(container.end(adopt::ended(code, oom), &self.directory));
    }

    fn abilities(&self) -> Abilities {
        let limits = self.groups.kind();
        Abilities {
            users: self.ids.many(),
            groups: self.ids.several(),
            limits: limits.ok().map(str::to_owned),
            no_limits: limits.err().unwrap_or_default().to_owned(),
        }
    }

    /// Kills the exec sessions of a connection that has ended.
    pub(super) fn disconnected(&mut self, connection: u64) {
        for (pid, session) in &self.sessions {
            // The process is our unreaped child and leads its session, so the group id cannot mean another one.
            if session.connection == connection
                && let Some(group) = Pid::from_raw(*pid)
            {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
        }
    }

    fn pod_netns(&mut self, pod: String) -> io::Result<OwnedFd> {
        if let Some(found) = self.pods.get(&pod) {
            return found.try_clone();
        }
        namespace::new_net()?;
        let made = prepare_netns();
        // Whatever happened, this process must be back in the node's network before it does anything else.
        namespace::enter_net(self.own_net.as_fd())?;
        let made = made?;
        let given = made.try_clone()?;
        self.pods.insert(pod, made);
        Ok(given)
    }

    fn spawn(&mut self, spawn: &Spawn) -> io::Result<()> {
        let key = (spawn.pod.clone(), spawn.container.clone());
        let known = self.containers.get(&key).map(|container| &container.record).or_else(|| self.past.get(&key));
        // Asked again because the answer was lost with the last holder: a run that has ended already is none to repeat.
        let repeated = |record: &ContainerRecord| self.mode == Mode::Host && record.attempt == spawn.attempt;
        if known.is_some_and(|record| record.ended.is_none() || repeated(record)) {
            return Ok(());
        }
        let netns = match self.pods.get(&spawn.pod) {
            _ if spawn.host_network => None,
            Some(netns) => Some(netns.as_fd()),
            None => return Err(io::Error::other("the pod has no network namespace yet")),
        };
        let (ends, given) = ends::make(spawn, self.mode)?;
        let mut record = ContainerRecord {
            pod: spawn.pod.clone(),
            container: spawn.container.clone(),
            attempt: spawn.attempt,
            started_ms: jiff::Timestamp::now().as_millisecond(),
            ended: None,
        };
        let mut kept = None;
        let note = |child: &Child| {
            if self.mode == Mode::Host {
                let new = Kept::of(&record, spawn, child.pid)?;
                new.write(&self.directory)?;
                kept = Some(new);
            }
            Ok(())
        };
        let door = self.groups.make(&spawn.pod, &spawn.container, &spawn.limits)?;
        let bounds = Bounds { ids: &self.ids, door };
        let child = spawn::container(spawn, netns, given, &places(&self.directory).borrow(), &bounds, note);
        let child = child.inspect_err(|_| kept.iter().for_each(|kept| kept.remove(&self.directory)))?;
        record.started_ms = jiff::Timestamp::now().as_millisecond();
        let mut container = Container::new(record, child, spawn, ends, kept);
        if let Err(error) = container.take_terminal().and_then(|()| container.note_start(&self.directory)) {
            container.abandon(&self.directory);
            return Err(error);
        }
        self.past.remove(&key);
        self.containers.insert(key, container);
        Ok(())
    }

    fn exec(&mut self, connection: u64, exec: &Exec, descriptors: &[OwnedFd]) -> io::Result<Vec<OwnedFd>> {
        let mut given = Vec::new();
        let child = match &exec.container {
            None => spawn::on_node(exec, descriptors, &places(&self.directory).borrow())?,
            Some(key) => {
                let found = self.running(key)?;
                let (ours, theirs) = unix_socket::pair()?;
                let bounds = Bounds { ids: &self.ids, door: self.groups.door(&key.0, &key.1) };
                let container = (found.child.pidfd.as_fd(), &found.security);
                let child = spawn::beside(exec, container, descriptors, theirs, self.own_pid.as_fd(), &bounds)?;
                if exec.tty {
                    given.push(spawn::terminal_from(ours.as_fd())?.0);
                }
                child
            }
        };
        self.sessions.insert(child.pid, Session { connection, _child: child });
        Ok(given)
    }

    fn running(&self, key: &(String, String)) -> io::Result<&Container> {
        let found = self.containers.get(key).filter(|container| container.record.ended.is_none());
        found.ok_or_else(|| io::Error::other("the container is not running"))
    }

    /// Gives a container's output also to the two descriptors; its input, or its terminal.
    fn attach(&mut self, key: (String, String), stdin: bool, descriptors: &[OwnedFd]) -> io::Result<Vec<OwnedFd>> {
        self.running(&key)?;
        let [out, err] = descriptors else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "attaching needs two descriptors"));
        };
        let Some(container) = self.containers.get_mut(&key) else { return Ok(Vec::new()) };
        if container.streams.iter().any(|stream| stream.watchers.len() >= limits::ATTACHED) {
            let most = limits::ATTACHED;
            return Err(io::Error::other(format!("{most} clients are attached to the container already")));
        }
        if stdin && container.stdin && container.input.is_none() && !container.stdin_once {
            return Err(io::Error::other("the container's input ended with a holder that was killed; restart the pod"));
        }
        for stream in &mut container.streams {
            let pipe = if stream.name == "stdout" { out } else { err };
            stream.watchers.push(Watcher::new(pipe.try_clone()?)?);
        }
        Ok(match &container.input {
            Some(input) if container.tty || (stdin && !container.stdin_once) => vec![input.try_clone()?],
            Some(_) if stdin => container.input.take().into_iter().collect(),
            _ => Vec::new(),
        })
    }

    fn list(&self, after: &(String, String)) -> Vec<ContainerRecord> {
        let after = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let most = limits::CONTAINERS_PER_ANSWER;
        let now = self.containers.range::<(String, String), _>(after).take(most);
        let past = self.past.range::<(String, String), _>(after).take(most);
        let mut all: BTreeMap<_, _> = now.map(|(key, container)| (key, &container.record)).collect();
        past.for_each(|(key, record)| _ = all.entry(key).or_insert(record));
        all.into_values().take(most).cloned().collect()
    }

    fn remove(&mut self, pod: &str) {
        self.containers.retain(|(of, _), container| {
            if of == pod && container.record.ended.is_none() {
                let _ = process::signal(container.child.pidfd.as_fd(), Signal::KILL.as_raw());
            }
            if let Some(kept) = container.kept.as_ref().filter(|_| of == pod) {
                kept.remove(&self.directory);
            }
            of != pod
        });
        self.past.retain(|(of, _), record| {
            if of == pod {
                kept::remove(&self.directory, record);
            }
            of != pod
        });
        self.pods.remove(pod);
        self.groups.remove(pod);
    }
}
