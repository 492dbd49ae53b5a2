//! The holder: the first process of a sandbox, alone in one thread; requests in, namespaces, containers and exits out.
//!
//! It outlives the supervisor, so that pods and virtual addresses go on while that is restarted or upgraded. In a sandbox
//! its end is the end of everything; on a host pods outlive it, and the next one takes them over.

mod adopt;
mod container;
mod ends;
pub(crate) mod kept;
pub(crate) mod log;
mod mask;
pub mod message;
mod own;
mod places;
pub mod root;
mod seccomp;
pub mod security;
mod shown;
mod spawn;
mod spool;
mod starting;
mod state;
mod stream;
mod trial;
mod unread;
mod user;
mod watcher;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use kernel::unix_socket::{self, Wait};
use kernel::{mount, process};
use rustix::event::{PollFd, PollFlags};

use crate::limits;
use crate::sandbox::Mode;
use message::{Reply, Request};
pub use places::PROGRAM;
use state::{Answer, Late, State};

/// Folder of the data directory that says which containers of a host run.
pub(crate) const RECORDS: &str = "holder";
/// First argument of the re-executed binary that makes it the holder.
pub const ROLE: &str = "holder";

struct Connection {
    socket: OwnedFd,
    subscribed: bool,
}

/// Runs the holder: arguments are the data directory, the number of the bound socket, where pods live and the names of
/// the applets.
pub fn main(arguments: &[String]) -> ! {
    speak(message::VERSION, arguments)
}

/// Runs the holder as a release would that speaks this version of the protocol.
pub fn speak(version: u32, arguments: &[String]) -> ! {
    let done = match arguments {
        [directory, socket, mode, applets @ ..] => match (socket.parse(), Mode::parse(mode)) {
            (Ok(socket), Some(mode)) => run(Path::new(directory), socket, (version, mode), applets),
            (Err(_), _) => Err(io::Error::other("the socket is not a number")),
            (_, None) => Err(io::Error::other("the mode is neither sandbox nor host")),
        },
        _ => Err(io::Error::other("the holder is started by Mainstay itself")),
    };
    let code = match done {
        Ok(()) => 0,
        Err(error) => {
            note!("holder: {error}");
            1
        }
    };
    process::exit_now(code)
}

fn run(directory: &Path, socket: i32, (version, mode): (u32, Mode), applets: &[String]) -> io::Result<()> {
    let listener = process::keep_only_as_three(socket)?;
    prepare(directory, mode, applets)?;
    let signals = process::child_signals()?;
    let mut state = State::new(directory, version, mode)?;
    let mut connections: BTreeMap<u64, Connection> = BTreeMap::new();
    let (mut next, mut rested) = (0, false);
    // Listening comes last: a client that can connect finds everything ready.
    unix_socket::listen(listener.as_fd())?;
    loop {
        let ready = wait(&signals, &listener, &connections, &state, (!rested).then_some(limits::HOLDER_REST))?;
        rested = ready.nothing;
        if rested {
            // Only memory is at stake: the next look comes after the next work.
            let _released = kernel::text::release();
        }
        if ready.watchers {
            state.flush();
        }
        for (key, index) in ready.pipes {
            state.pump(&key, index);
        }
        for key in &ready.ended {
            state.foreign_end(key);
        }
        state.settle();
        if ready.signal || !ready.ended.is_empty() {
            collect(&signals, &mut state, &connections, !ready.ended.is_empty());
        }
        for id in ready.connections {
            if !serve(id, &mut connections, &mut state) {
                connections.remove(&id);
                state.disconnected(id);
            }
        }
        answer(&mut state, &connections);
        if ready.listener
            && let Ok(socket) = unix_socket::accept(listener.as_fd())
            && connections.len() < limits::CONNECTIONS
        {
            connections.insert(next, Connection { socket, subscribed: false });
            next += 1;
        }
    }
}

/// Makes this process fit for holding: mounts that nobody else sees and a private directory.
fn prepare(directory: &Path, mode: Mode, applets: &[String]) -> io::Result<()> {
    // The supervisor's session and terminal must not end the sandbox; fails harmlessly if this is a leader already.
    let _ = rustix::process::setsid();
    let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let stderr = io::stderr();
    process::set_stdio([null.as_fd(), null.as_fd(), stderr.as_fd()])?;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
    let _ = rustix::thread::set_name(c"mainstay-holder");
    match mode {
        Mode::Sandbox => mount::make_private()?,
        // What the host mounts and unmounts later happens here, too; nothing of ours goes back.
        Mode::Host => mount::make_slave()?,
    }
    let run = directory.join("run");
    mount::tmpfs(&run, "755", limits::HOLDER_TMPFS_BYTES)?;
    let names: Vec<_> = applets.iter().map(String::as_str).collect();
    places::install_programs(directory, &names)?;
    if mode == Mode::Sandbox {
        own_namespaces()?;
        trial::pods()?;
    }
    Ok(())
}

/// Makes the sandbox's namespaces fit for use. A host's settings are not the holder's to change.
fn own_namespaces() -> io::Result<()> {
    // Where this is refused, no pod can have a /proc of its own either.
    mount::proc(Path::new("/proc"))?;
    for (name, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv4/ip_unprivileged_port_start", "0"),
    ] {
        if let Err(error) = fs::write(format!("/proc/sys/net/{name}"), value) {
            note!("holder: sysctl net/{name}: {error}");
        }
    }
    user::allow_ping();
    Ok(())
}

#[derive(Default)]
struct Ready {
    /// The time was over.
    nothing: bool,
    signal: bool,
    listener: bool,
    watchers: bool,
    /// Containers of an earlier holder.
    ended: Vec<(String, String)>,
    connections: Vec<u64>,
    pipes: Vec<((String, String), usize)>,
}

fn wait(
    signals: &OwnedFd,
    listener: &OwnedFd,
    connections: &BTreeMap<u64, Connection>,
    state: &State,
    longest: Option<Duration>,
) -> io::Result<Ready> {
    fn input<'a>(fd: BorrowedFd<'a>) -> PollFd<'a> {
        PollFd::from_borrowed_fd(fd, PollFlags::IN)
    }
    let mut polled = vec![input(signals.as_fd()), input(listener.as_fd())];
    polled.extend(connections.iter().map(|(id, connection)| {
        // One that waits for its answer is only watched for its end: answers come in the order of the requests.
        let wanted = if state.owes(*id) { PollFlags::empty() } else { PollFlags::IN };
        PollFd::from_borrowed_fd(connection.socket.as_fd(), wanted)
    }));
    polled.extend(state.pipes().map(|(_, _, pipe)| input(pipe.as_fd())));
    let attached = polled.len();
    // Without a wish, only the loss of its reader wakes a pipe.
    let room = |waits| if waits { PollFlags::OUT } else { PollFlags::empty() };
    let watchers =
        state.watchers().map(|watcher| PollFd::from_borrowed_fd(watcher.pipe.as_fd(), room(watcher.waits())));
    polled.extend(watchers);
    let foreign = polled.len();
    polled.extend(state.foreign().map(|(_, pidfd)| input(pidfd.as_fd())));
    polled.extend(state.reports().map(|report| input(report.as_fd())));
    let patience = state.patience();
    let longest = patience.or(longest).and_then(|longest| longest.try_into().ok());
    match rustix::event::poll(&mut polled, longest.as_ref()) {
        Ok(0) => return Ok(Ready { nothing: patience.is_none(), ..Ready::default() }),
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok(Ready::default()),
        Err(error) => return Err(error.into()),
    }
    let hit = |index: usize| polled.get(index).is_some_and(|polled| !polled.revents().is_empty());
    let ids = connections.keys().enumerate().filter(|(index, _)| hit(2 + index)).map(|(_, id)| *id).collect();
    // Streams of one container are pumped from the last to the first, so that removing one keeps the others' indices.
    let first = 2 + connections.len();
    let mut pipes: Vec<_> = state
        .pipes()
        .enumerate()
        .filter(|(index, _)| hit(first + index))
        .map(|(_, ((pod, name), index, _))| ((pod.clone(), name.clone()), index))
        .collect();
    pipes.reverse();
    let watchers = (attached..foreign).any(hit);
    let ended = state.foreign().enumerate().filter(|(index, _)| hit(foreign + index)).map(|(_, (key, _))| key.clone());
    let ended = ended.collect();
    Ok(Ready { nothing: false, signal: hit(0), listener: hit(1), watchers, ended, connections: ids, pipes })
}

/// Takes one request of a connection and answers it; whether the connection goes on.
fn serve(id: u64, connections: &mut BTreeMap<u64, Connection>, state: &mut State) -> bool {
    let Some(connection) = connections.get_mut(&id) else { return false };
    let (request, descriptors) = match message::receive::<Request>(connection.socket.as_fd()) {
        Ok(Some(received)) => received,
        Ok(None) => return false,
        Err(error) if error.kind() == io::ErrorKind::InvalidData || error.get_ref().is_some() => {
            let refused = Reply::Error(format!("request not understood: {error}"));
            return message::send(connection.socket.as_fd(), &refused, &[], Wait::Never).is_ok();
        }
        Err(_) => return false,
    };
    connection.subscribed |= matches!(request, Request::Subscribe);
    match state.handle(id, request, &descriptors).transpose() {
        Some(done) => reply(connection, &done).is_ok(),
        None => true,
    }
}

fn reply(connection: &Connection, done: &io::Result<Answer>) -> io::Result<()> {
    let socket = connection.socket.as_fd();
    match done {
        Ok((reply, given)) => {
            let given: Vec<_> = given.iter().map(AsFd::as_fd).collect();
            message::send(socket, reply, &given, Wait::Never)
        }
        Err(error) => message::send(socket, &Reply::Error(error.to_string()), &[], Wait::Never),
    }
}

/// Gives the answers that were waited for. Who is gone is seen to be gone when its connection is.
fn answer(state: &mut State, connections: &BTreeMap<u64, Connection>) {
    for Late { connections: waiting, done } in state.take_late() {
        for connection in waiting.iter().filter_map(|id| connections.get(id)) {
            let _ = reply(connection, &done);
        }
    }
}

/// Reaps children and tells those who wait. A full socket loses nothing: the receiver has an unread wake-up already, and
/// ends are kept until asked for.
fn collect(signals: &OwnedFd, state: &mut State, connections: &BTreeMap<u64, Connection>, changed: bool) {
    let mut buffer = [0u8; 1024];
    while rustix::io::read(signals, &mut buffer).is_ok_and(|count| count > 0) {}
    let reaped = state.reap();
    // A command's start is told before its end.
    answer(state, connections);
    for (id, code) in reaped.sessions {
        if let Some(connection) = connections.get(&id) {
            let _ = message::send(connection.socket.as_fd(), &Reply::Exited(code), &[], Wait::Never);
        }
    }
    if changed || reaped.containers {
        for connection in connections.values().filter(|connection| connection.subscribed) {
            let _ = message::send(connection.socket.as_fd(), &Reply::Changed, &[], Wait::Never);
        }
    }
}
