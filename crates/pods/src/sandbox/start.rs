//! The holder's process: a data directory in, a connection to a live holder (found or new) out; its end.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kernel::process::{self, Child, Gated};
use kernel::{namespace, unix_socket};
use rustix::fs::FlockOperation;

use super::error::{Error, io_of};
use super::record::Record;
use super::{Mode, probe};
use crate::holder::message::SOCKET;
use crate::{holder, limits};

/// File that says that the pods of a data directory are to end.
const ENDING: &str = "ending";

/// Makes the data directory's folders.
pub(super) fn prepare(directory: &Path) -> Result<PathBuf, Error> {
    for name in ["", "run", "node", "pods", holder::RECORDS] {
        let path = directory.join(name);
        fs::create_dir_all(&path).map_err(io_of(format!("create {}", path.display())))?;
    }
    // The socket cannot tell its owner from others by uid (both may appear as 65534), so the directory keeps them out.
    let private = fs::Permissions::from_mode(0o700);
    fs::set_permissions(directory, private).map_err(io_of("make the data directory private"))?;
    fs::canonicalize(directory).map_err(io_of("resolve the data directory"))
}

/// Takes the lock of a data directory, which a supervisor holds for its life and whoever changes a stopped instance's files
/// for as long as that takes. A holder that is being cloned by a killed supervisor has copies of its descriptors until it
/// executes, so a held lock is waited for a little.
pub fn lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join("lock");
    let mut options = File::options();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(&path).map_err(io_of("open the lock"))?;
    let start = Instant::now();
    while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if start.elapsed() > limits::LOCK_WAIT {
            return Err(Error::Locked(directory.to_owned()));
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    Ok(file)
}

/// Connects to whoever listens as the holder.
pub(super) fn connect(directory: &Path) -> io::Result<OwnedFd> {
    unix_socket::connect(directory, SOCKET, limits::HOLDER_ANSWER)
}

/// Connects to a holder that lives. One that is recorded and alive but does not answer is given a moment, then killed.
pub(super) fn adopt(directory: &Path) -> Result<Option<OwnedFd>, Error> {
    if let Ok(socket) = connect(directory) {
        return Ok(Some(socket));
    }
    let Some(holder) = Record::read(directory).and_then(|record| record.live()) else { return Ok(None) };
    let start = Instant::now();
    while start.elapsed() < limits::HOLDER_MUTE {
        if let Ok(socket) = connect(directory) {
            return Ok(Some(socket));
        }
        if process::wait_end(holder.as_fd(), 1).map_err(io_of("watch the recorded holder"))? {
            return Ok(None);
        }
    }
    kill_holder(directory)?;
    Ok(None)
}

/// Starts a holder and waits until it answers.
pub(super) fn start(directory: &Path, applets: &[String], mode: Mode) -> Result<OwnedFd, Error> {
    let _ = fs::remove_file(directory.join(SOCKET));
    let log_path = directory.join("holder.log");
    let socket = unix_socket::bind(directory, SOCKET).map_err(io_of("bind the holder's socket"))?;
    let log = File::options().create(true).append(true).open(&log_path).map_err(io_of("open holder.log"))?;
    let mut arguments = vec!["mainstay".to_owned(), holder::ROLE.to_owned(), directory.display().to_string()];
    arguments.push(std::os::fd::AsRawFd::as_raw_fd(&socket).to_string());
    arguments.push(mode.name().to_owned());
    arguments.extend(applets.iter().cloned());
    let spawn = |flags| process::spawn_gated("/proc/self/exe", &arguments, flags, socket.as_fd(), log.as_fd());
    let (gated, mapped) = spawn_for(mode, spawn)?;
    // The record is durable before the go byte: a supervisor that dies earlier leaves a child that reads the end of its
    // pipe and exits, one that dies later leaves a recorded holder.
    Record::of(gated.child.pid).and_then(|record| record.write(directory)).map_err(io_of("record the holder"))?;
    if mapped {
        namespace::map_own_ids(gated.child.pid).map_err(|error| probe::refused("uid_map", &error))?;
    }
    let child = gated.go().map_err(io_of("release the holder"))?;
    drop(socket);
    await_answer(directory, &child, &log_path)
}

/// Clones the holder in the namespaces of its mode; whether it got a user namespace, which still needs its map.
fn spawn_for(mode: Mode, spawn: impl Fn(i32) -> io::Result<Gated>) -> Result<(Gated, bool), Error> {
    let all = mode.namespaces();
    match (spawn(all), mode) {
        (Ok(gated), _) => Ok((gated, false)),
        (Err(error), Mode::Host) => Err(Error::NotRoot(error)),
        // Uid 0 does not mean root's powers (containers), so whether a user namespace is needed is decided by trial.
        (Err(_), Mode::Sandbox) => {
            spawn(all | namespace::USER).map(|gated| (gated, true)).map_err(|error| probe::refused("clone", &error))
        }
    }
}

fn await_answer(directory: &Path, child: &Child, log: &Path) -> Result<OwnedFd, Error> {
    loop {
        if let Ok(socket) = connect(directory) {
            return Ok(socket);
        }
        if process::wait_end(child.pidfd.as_fd(), 1).map_err(io_of("watch the holder"))? {
            process::forget(child.pidfd.as_fd());
            let text = fs::read_to_string(log).unwrap_or_default();
            let last = text.lines().last().unwrap_or("it said nothing").to_owned();
            if last.contains("Operation not permitted") || last.contains("Permission denied") {
                let step = last.trim_start_matches("holder: ").split(": Operation not").next().unwrap_or("mount");
                return Err(probe::refused(step, &io::Error::from_raw_os_error(libc::EPERM)));
            }
            return Err(Error::Died(last, log.to_owned()));
        }
    }
}

/// Joins the holder's user namespace, and only that: threads stay in the host's network and mounts.
pub(super) fn join_user(pid: i32, holder: &OwnedFd) -> Result<(), Error> {
    let own = namespace::identity("/proc/self/ns/user").map_err(io_of("look at the own user namespace"))?;
    let theirs = namespace::identity(&format!("/proc/{pid}/ns/user"));
    if own == theirs.map_err(io_of("look at the holder's user namespace"))? {
        return Ok(());
    }
    namespace::enter_user_of(holder.as_fd()).map_err(io_of(
        "join the holder's user namespace (refused with EINVAL when the program already runs several threads)",
    ))
}

/// From now on no supervisor replaces the holder of a directory, whichever process ends it.
pub(super) fn begin_end(directory: &Path) -> Result<(), Error> {
    fs::write(directory.join(ENDING), "").map_err(io_of("note that the pods end"))
}

/// The pods of a directory are wanted again.
pub(super) fn end_of_end(directory: &Path) {
    let _ = fs::remove_file(directory.join(ENDING));
}

/// Whether somebody ends the pods of a directory, or has ended them.
pub(super) fn ending(directory: &Path) -> bool {
    directory.join(ENDING).exists()
}

/// Ends the holder of `directory`; whether there was one.
pub(super) fn kill_holder(directory: &Path) -> Result<bool, Error> {
    let connected = connect(directory).ok();
    let holder = match &connected {
        Some(socket) => unix_socket::peer_pid(socket.as_fd()).and_then(process::open).ok(),
        None => Record::read(directory).and_then(|record| record.live()),
    };
    let Some(holder) = holder else { return Ok(false) };
    process::signal(holder.as_fd(), rustix::process::Signal::KILL.as_raw()).map_err(io_of("kill the holder"))?;
    let wait = i32::try_from(limits::HOLDER_END.as_millis()).unwrap_or(i32::MAX);
    if !process::wait_end(holder.as_fd(), wait).map_err(io_of("wait for the holder"))? {
        let text = "it was killed but something outside keeps a process of it alive.\nFind it (a stopped nsenter?) and end it: ps -eo \
                    pid,stat,args | grep -w T"
            .to_owned();
        return Err(Error::Refused(text));
    }
    process::forget(holder.as_fd());
    let _ = fs::remove_file(directory.join(SOCKET));
    Record::remove(directory);
    Ok(true)
}
