//! What the holder keeps: network namespaces of pods, containers with their ends, exec sessions; a request in, a reply out.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use kernel::process::{self, Child};
use kernel::{mount, namespace, unix_socket};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal};

use super::log::{Log, Stream};
use super::message::{ContainerRecord, Ended, Exec, Reply, Request, Spawn, VERSION};
use super::spawn::{self, Given, Places};
use super::watcher::Watcher;
use crate::limits;
use crate::sandbox::Mode;

/// Everything the holder holds.
pub(super) struct State {
    directory: PathBuf,
    mode: Mode,
    own_net: OwnedFd,
    own_pid: OwnedFd,
    pods: BTreeMap<String, OwnedFd>,
    containers: BTreeMap<(String, String), Container>,
    sessions: BTreeMap<i32, Session>,
    /// Clients of containers that have ended, until they have read everything.
    lingering: Vec<Watcher>,
}

struct Container {
    record: ContainerRecord,
    child: Child,
    log: Log,
    streams: Vec<Stream>,
    /// Where its input comes from, or its terminal.
    input: Option<OwnedFd>,
    stdin_once: bool,
    tty: bool,
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
    /// An empty state; `directory` is the data directory with the holder's private `run` inside.
    pub(super) fn new(directory: &Path, mode: Mode) -> io::Result<Self> {
        Ok(Self {
            directory: directory.to_owned(),
            mode,
            own_net: namespace::current_net()?,
            own_pid: namespace::current_pid()?,
            pods: BTreeMap::new(),
            containers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            lingering: Vec::new(),
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
                Ok((Reply::Hello { version: VERSION, program, mode: self.mode }, vec![self.own_net.try_clone()?]))
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
                let pods = self.pods.keys().filter(|pod| **pod > after).take(limits::CONTAINERS_PER_ANSWER);
                Ok((Reply::Pods(pods.cloned().collect()), Vec::new()))
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
            let alive = |container: &&mut Container| container.child.pid == pid && container.record.ended.is_none();
            if let Some(container) = self.containers.values_mut().find(alive) {
                for mut stream in std::mem::take(&mut container.streams) {
                    stream.drain(&mut container.log);
                    self.lingering.extend(stream.watchers.into_iter().filter(Watcher::waits));
                }
                container.input = None;
                container.record.ended = Some(Ended { code, at_ms: jiff::Timestamp::now().as_millisecond() });
                reaped.containers = true;
            }
        }
        reaped
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
        if self.containers.get(&key).is_some_and(|running| running.record.ended.is_none()) {
            return Ok(());
        }
        let netns = match self.pods.get(&spawn.pod) {
            _ if spawn.host_network => None,
            Some(netns) => Some(netns.as_fd()),
            None => return Err(io::Error::other("the pod has no network namespace yet")),
        };
        let log = Log::open(spawn.log.clone())?;
        let (streams, input, given) = if spawn.tty {
            let (ours, theirs) = unix_socket::pair()?;
            (Vec::new(), Some(ours), Given::Terminal(theirs))
        } else {
            let (out_read, out) = output_pipe()?;
            let (err_read, err) = output_pipe()?;
            let (read, write) = if spawn.stdin {
                rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map(|(r, w)| (Some(r), Some(w)))?
            } else {
                (None, None)
            };
            let streams = vec![Stream::new(out_read, "stdout"), Stream::new(err_read, "stderr")];
            (streams, write, Given::Pipes { input: read, output: [out, err] })
        };
        let child = spawn::container(spawn, netns, given, &places(&self.directory).borrow())?;
        let record = ContainerRecord {
            pod: spawn.pod.clone(),
            container: spawn.container.clone(),
            attempt: spawn.attempt,
            started_ms: jiff::Timestamp::now().as_millisecond(),
            ended: None,
        };
        let (stdin_once, tty) = (spawn.stdin_once, spawn.tty);
        let mut container = Container { record, child, log, streams, input, stdin_once, tty };
        if tty {
            container.take_terminal()?;
        }
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
                let child = spawn::beside(exec, found.child.pidfd.as_fd(), descriptors, theirs, self.own_pid.as_fd())?;
                if exec.tty {
                    given.push(spawn::terminal_from(ours.as_fd())?);
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
        let later = self.containers.iter().filter(|(key, _)| *key > after);
        later.take(limits::CONTAINERS_PER_ANSWER).map(|(_, container)| container.record.clone()).collect()
    }

    fn remove(&mut self, pod: &str) {
        self.containers.retain(|(of, _), container| {
            if of == pod && container.record.ended.is_none() {
                let _ = process::signal(container.child.pidfd.as_fd(), Signal::KILL.as_raw());
            }
            of != pod
        });
        self.pods.remove(pod);
    }
}

impl Container {
    /// Takes over the terminal that the container made, in place of the connection on which it was sent.
    fn take_terminal(&mut self) -> io::Result<()> {
        let Some(connection) = self.input.take() else { return Ok(()) };
        let terminal = spawn::terminal_from(connection.as_fd())?;
        rustix::io::ioctl_fionbio(&terminal, true)?;
        self.input = Some(terminal.try_clone()?);
        self.streams.push(Stream::new(terminal, "stdout"));
        Ok(())
    }
}

/// Paths inside the holder's private `run` directory, owned.
pub(super) struct OwnedPlaces {
    root: PathBuf,
    programs: PathBuf,
    node_resolv: PathBuf,
}

impl OwnedPlaces {
    fn borrow(&self) -> Places<'_> {
        Places { root: &self.root, programs: &self.programs, node_resolv: &self.node_resolv }
    }
}

/// Where things are below the data directory.
pub(super) fn places(directory: &Path) -> OwnedPlaces {
    OwnedPlaces {
        root: directory.join("run/root"),
        programs: directory.join("run/bin"),
        node_resolv: directory.join("node/resolv.conf"),
    }
}

/// Prepares the new network namespace of the calling thread: any port may be bound, ping needs no raw socket.
fn prepare_netns() -> io::Result<OwnedFd> {
    for (name, value) in [
        ("ipv4/ip_unprivileged_port_start", "0"),
        ("ipv4/ping_group_range", "0 0"),
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/all/accept_ra", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
    ] {
        // Read-only in some containers; pods then lack low ports, which they report themselves.
        let _ = std::fs::write(format!("/proc/sys/net/{name}"), value);
    }
    namespace::current_net()
}

/// A pipe for a container's output: our end never blocks.
fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}

/// Makes the directory of built-in programs: this executable and links to it, pinned by a mount so that pods still
/// start after the file was replaced by an upgrade.
pub(super) fn install_programs(directory: &Path, applets: &[&str]) -> io::Result<()> {
    let programs = directory.join("run/bin");
    std::fs::create_dir_all(&programs)?;
    std::fs::create_dir_all(directory.join("run/root"))?;
    let program = programs.join(PROGRAM);
    std::fs::write(&program, "")?;
    // The link itself leads through the mounts of the supervisor's namespace, which cannot be bound here; its text names
    // the same file. A file that is already replaced is copied.
    if std::fs::read_link("/proc/self/exe").and_then(|path| mount::bind(&path, &program)).is_err() {
        std::fs::copy("/proc/self/exe", &program)?;
    }
    for applet in applets {
        std::os::unix::fs::symlink(PROGRAM, programs.join(applet))?;
    }
    Ok(())
}

/// Name of this executable inside pods.
pub const PROGRAM: &str = "mainstay";
