//! What the holder keeps: network namespaces of pods, containers with their ends, exec sessions; a request in, a reply out.

mod starts;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use kernel::namespace;
use kernel::process::{self, Child};
use rustix::process::{Pid, Signal};

use super::adopt::{self, Adopted};
use super::container::Container;
use super::kept;
use super::message::{Abilities, ContainerRecord, Reply, Request};
use super::places::prepare_netns;
use super::starting::Starting;
use super::user::Ids;
use super::watcher::Watcher;
use crate::cgroup::Groups;
use crate::limits;
use crate::sandbox::Mode;
pub(super) use starts::{Answer, Late};

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
    /// Processes on their way to their programs.
    starting: Vec<Starting>,
    /// Answers to those who waited for them.
    late: Vec<Late>,
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
            starting: Vec::new(),
            late: Vec::new(),
            lingering: Vec::new(),
            ids: Ids::of_this_process()?,
            groups: Groups::open(directory),
        })
    }

    /// Does what a request of connection `connection` asks; without an answer where one comes later.
    pub(super) fn handle(
        &mut self,
        connection: u64,
        request: Request,
        descriptors: &[OwnedFd],
    ) -> io::Result<Option<Answer>> {
        let (reply, given) = match request {
            Request::Spawn(spawn) => return self.spawn(connection, spawn),
            Request::Exec(exec) => return self.exec(connection, &exec, descriptors).map(|()| None),
            Request::Hello => {
                let program = env!("CARGO_PKG_VERSION").to_owned();
                let (version, mode, abilities) = (self.version, self.mode, self.abilities());
                let hello = Reply::Hello { version, program, mode, abilities };
                (hello, vec![self.own_net.try_clone()?])
            }
            Request::Subscribe => (Reply::Done, Vec::new()),
            Request::PodNetns { pod } => (Reply::Done, vec![self.pod_netns(pod)?]),
            Request::Signal { pod, container, signal } => {
                if let Some(found) = self.containers.get(&(pod, container)) {
                    process::signal(found.child.pidfd.as_fd(), signal)?;
                }
                (Reply::Done, Vec::new())
            }
            Request::Attach { pod, container, stdin } => {
                (Reply::Done, self.attach((pod, container), stdin, descriptors)?)
            }
            Request::Containers { after } => (Reply::Containers(self.list(&after)), Vec::new()),
            Request::Pods { after } => {
                let of_containers = self.containers.keys().chain(self.past.keys()).map(|(pod, _)| pod);
                let of_starts = self.starting.iter().filter_map(Starting::pod);
                let all = self.pods.keys().chain(of_containers).chain(of_starts);
                let pods: BTreeSet<_> = all.filter(|pod| **pod > after).collect();
                let some = pods.into_iter().take(limits::CONTAINERS_PER_ANSWER);
                (Reply::Pods(some.cloned().collect()), Vec::new())
            }
            Request::RemovePod { pod } => {
                self.remove(&pod);
                (Reply::Done, Vec::new())
            }
        };
        Ok(Some((reply, given)))
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
            if self.starting.iter().any(|starting| starting.child.pid == pid) {
                // Its report is complete: its program has started and ended, or never will.
                self.settle();
            }
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
            first_port: first_port(),
        }
    }

    /// Kills the exec sessions of a connection that has ended.
    pub(super) fn disconnected(&mut self, connection: u64) {
        self.forsake(connection);
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
        self.forsake_pod(pod);
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

/// The lowest port of the node's network that every user may bind.
fn first_port() -> u16 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
}
