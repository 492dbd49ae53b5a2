//! The sandbox as the supervisor sees it: a data directory in, a live holder (adopted or new) and its network out.

mod client;
mod probe;
mod record;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kernel::unix_socket;
use kernel::{namespace, process};
use rustix::fs::FlockOperation;

pub use client::{Client, Session};
use record::Record;

use crate::holder::message::{Reply, Request, SOCKET, VERSION};
use crate::{holder, limits};

/// Why there is no sandbox: what failed, why, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another supervisor holds the data directory.
    #[error(
        "another mainstay runs on {0}: its lock is held.\nStop that one first: mainstay down --data-dir {0}\nOr choose another \
         directory: --data-dir DIR"
    )]
    Locked(PathBuf),
    /// The kernel refuses the namespaces.
    #[error("cannot start a sandbox: {0}")]
    Refused(String),
    /// The holder ended while starting.
    #[error(
        "the holder of the sandbox ended while starting: {0}.\nMore may be in {1}; then try again: mainstay up --sandbox"
    )]
    Died(String, PathBuf),
    /// The holder speaks another version.
    #[error(
        "the running holder speaks protocol {found}, this program {VERSION}.\nUse the release that started it, or stop and start \
         anew (pods restart): mainstay down, then mainstay up --sandbox"
    )]
    Version {
        /// What it speaks.
        found: u32,
    },
    /// A system call failed.
    #[error("sandbox: {what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// Attaches to an I/O result what was attempted.
fn io_of(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    |source| Error::Io { what, source }
}

/// A running sandbox. Dropping it leaves the holder and all pods running.
pub struct Sandbox {
    directory: PathBuf,
    client: Client,
    netns: OwnedFd,
    holder: OwnedFd,
    adopted: bool,
    /// Held for the life of the supervisor.
    _lock: File,
}

impl Sandbox {
    /// Adopts the live holder of `directory`, or starts one; joins its user namespace. Must be called before the process
    /// starts any thread. `applets` are names under which the executable is linked in every pod's PATH.
    pub fn start_or_adopt(directory: &Path, applets: &[&str]) -> Result<Self, Error> {
        prepare(directory)?;
        let directory = &fs::canonicalize(directory).map_err(io_of("resolve the data directory"))?;
        let lock = lock(directory)?;
        let (client, adopted) = match adopt(directory)? {
            Some(client) => (client, true),
            None => (start(directory, applets)?, false),
        };
        let peer = client.peer_pid().map_err(io_of("find the holder's process"))?;
        let holder = open_process(peer).map_err(io_of("open the holder's process"))?;
        let (reply, mut descriptors) = client.call(&Request::Hello, &[]).map_err(io_of("greet the holder"))?;
        let netns = match (reply, descriptors.pop()) {
            (Reply::Hello { version: VERSION, .. }, Some(netns)) => netns,
            (Reply::Hello { version, .. }, _) => return Err(Error::Version { found: version }),
            (other, _) => return Err(Error::Refused(format!("the holder answered {other:?} to a greeting"))),
        };
        join_user(peer, &holder)?;
        Ok(Self { directory: directory.clone(), client, netns, holder, adopted, _lock: lock })
    }

    /// Whether the holder was already running.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// The data directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The sandbox's network namespace.
    pub fn netns(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }

    /// Moves the calling thread into the sandbox's network: sockets it opens from now on belong there.
    pub fn enter(&self) -> io::Result<()> {
        namespace::enter_net(self.netns())
    }

    /// The connection to the holder.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A descriptor that becomes readable when the holder, and with it the sandbox, has ended.
    pub fn holder(&self) -> BorrowedFd<'_> {
        self.holder.as_fd()
    }

    /// Ends the sandbox of `directory` with everything in it; whether there was one.
    pub fn kill(directory: &Path) -> Result<bool, Error> {
        let connected = unix_socket::connect(directory, SOCKET).ok();
        let holder = match &connected {
            Some(socket) => unix_socket::peer_pid(socket.as_fd()).and_then(open_process).ok(),
            None => Record::read(directory).and_then(|record| record.live()),
        };
        let Some(holder) = holder else { return Ok(false) };
        process::signal(holder.as_fd(), rustix::process::Signal::KILL.as_raw()).map_err(io_of("kill the holder"))?;
        let wait = i32::try_from(limits::HOLDER_END.as_millis()).unwrap_or(i32::MAX);
        if !process::wait_end(holder.as_fd(), wait).map_err(io_of("wait for the holder"))? {
            let text =
                "it was killed but something outside keeps a process of it alive.\nFind it (a stopped nsenter?) and end it: ps -eo \
                 pid,stat,args | grep -w T"
                    .to_owned();
            return Err(Error::Refused(text));
        }
        let _ = fs::remove_file(directory.join(SOCKET));
        Record::remove(directory);
        Ok(true)
    }
}

fn prepare(directory: &Path) -> Result<(), Error> {
    for name in ["", "run", "node", "pods"] {
        let path = directory.join(name);
        fs::create_dir_all(&path).map_err(io_of(format!("create {}", path.display())))?;
    }
    // The socket cannot tell its owner from others by uid (both may appear as 65534), so the directory keeps them out.
    let private = fs::Permissions::from_mode(0o700);
    fs::set_permissions(directory, private).map_err(io_of("make the data directory private"))
}

/// Takes the lock. A holder that is being cloned by a killed supervisor has copies of its descriptors until it executes,
/// so a held lock is waited for a little.
fn lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io_of("open the lock"))?;
    let start = Instant::now();
    while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if start.elapsed() > limits::LOCK_WAIT {
            return Err(Error::Locked(directory.to_owned()));
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    Ok(file)
}

/// Connects to a holder that lives. One that is recorded and alive but does not answer is given a moment, then killed.
fn adopt(directory: &Path) -> Result<Option<Client>, Error> {
    if let Ok(client) = Client::connect(directory) {
        return Ok(Some(client));
    }
    let Some(holder) = Record::read(directory).and_then(|record| record.live()) else { return Ok(None) };
    let start = Instant::now();
    while start.elapsed() < limits::HOLDER_MUTE {
        if let Ok(client) = Client::connect(directory) {
            return Ok(Some(client));
        }
        if process::wait_end(holder.as_fd(), 1).map_err(io_of("watch the recorded holder"))? {
            return Ok(None);
        }
    }
    Sandbox::kill(directory)?;
    Ok(None)
}

/// Starts a holder and waits until it answers.
fn start(directory: &Path, applets: &[&str]) -> Result<Client, Error> {
    let _ = fs::remove_file(directory.join(SOCKET));
    let log_path = directory.join("holder.log");
    let socket = unix_socket::bind(directory, SOCKET).map_err(io_of("bind the holder's socket"))?;
    let log = File::options().create(true).append(true).open(&log_path).map_err(io_of("open holder.log"))?;
    let mut arguments = vec!["mainstay".to_owned(), holder::ROLE.to_owned(), directory.display().to_string()];
    arguments.push(std::os::fd::AsRawFd::as_raw_fd(&socket).to_string());
    arguments.extend(applets.iter().map(|&name| name.to_owned()));
    let all = namespace::MOUNT | namespace::NET | namespace::PID | namespace::UTS | namespace::IPC;
    let spawn = |flags| process::spawn_gated("/proc/self/exe", &arguments, flags, socket.as_fd(), log.as_fd());
    // Uid 0 does not mean root's powers (containers), so whether a user namespace is needed is decided by trial.
    let (gated, mapped) = match spawn(all) {
        Ok(gated) => (gated, false),
        Err(_) => (spawn(all | namespace::USER).map_err(|error| probe::refused("clone", &error))?, true),
    };
    // The record is durable before the go byte: a supervisor that dies earlier leaves a child that reads the end of its
    // pipe and exits, one that dies later leaves a recorded holder.
    Record::of(gated.child.pid).and_then(|record| record.write(directory)).map_err(io_of("record the holder"))?;
    if mapped {
        namespace::map_own_ids(gated.child.pid).map_err(|error| probe::refused("uid_map", &error))?;
    }
    let child = gated.go().map_err(io_of("release the holder"))?;
    drop(socket);
    loop {
        if let Ok(client) = Client::connect(directory) {
            return Ok(client);
        }
        if process::wait_end(child.pidfd.as_fd(), 1).map_err(io_of("watch the holder"))? {
            let text = fs::read_to_string(&log_path).unwrap_or_default();
            let last = text.lines().last().unwrap_or("it said nothing").to_owned();
            if last.contains("Operation not permitted") || last.contains("Permission denied") {
                return Err(probe::refused("mount", &io::Error::from_raw_os_error(libc::EPERM)));
            }
            return Err(Error::Died(last, log_path));
        }
    }
}

/// Joins the holder's user namespace, and only that: threads stay in the host's network and mounts.
fn join_user(pid: i32, holder: &OwnedFd) -> Result<(), Error> {
    let own = namespace::identity("/proc/self/ns/user").map_err(io_of("look at the own user namespace"))?;
    let theirs = namespace::identity(&format!("/proc/{pid}/ns/user"));
    if own == theirs.map_err(io_of("look at the holder's user namespace"))? {
        return Ok(());
    }
    namespace::enter_user_of(holder.as_fd()).map_err(io_of(
        "join the holder's user namespace (refused with EINVAL when the program already runs several threads)",
    ))
}

fn open_process(pid: i32) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or_else(|| io::Error::other("no process id"))?;
    Ok(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?)
}
