//! Namespaces: which ones to make, how to enter one, and the maps of a user namespace.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType, UnshareFlags};

/// New user namespace.
pub const USER: i32 = libc::CLONE_NEWUSER;
/// New network namespace.
pub const NET: i32 = libc::CLONE_NEWNET;
/// New pid namespace.
pub const PID: i32 = libc::CLONE_NEWPID;
/// New mount namespace.
pub const MOUNT: i32 = libc::CLONE_NEWNS;
/// New host name.
pub const UTS: i32 = libc::CLONE_NEWUTS;
/// New System V IPC and POSIX queues.
pub const IPC: i32 = libc::CLONE_NEWIPC;

/// The network namespace of the calling thread.
pub fn current_net() -> io::Result<OwnedFd> {
    Ok(fs::File::open("/proc/thread-self/ns/net")?.into())
}

/// The pid namespace of the calling process.
pub fn current_pid() -> io::Result<OwnedFd> {
    Ok(fs::File::open("/proc/self/ns/pid")?.into())
}

/// Gives the calling thread a new network namespace.
pub fn new_net() -> io::Result<()> {
    // SAFETY: only CLONE_FILES endangers memory or descriptor safety; a new network namespace does not.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.map_err(Into::into)
}

/// Gives the calling process a new mount namespace; the process must have one thread (or share nothing by CLONE_FS).
pub fn new_mount() -> io::Result<()> {
    // SAFETY: as above.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.map_err(Into::into)
}

/// Moves the calling thread into a network namespace.
pub fn enter_net(namespace: BorrowedFd<'_>) -> io::Result<()> {
    rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network)).map_err(Into::into)
}

/// Makes children of the calling thread start in a pid namespace (the caller's own, or a descendant).
pub fn enter_pid_for_children(namespace: BorrowedFd<'_>) -> io::Result<()> {
    rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::ProcessID)).map_err(Into::into)
}

/// Joins the user namespace of a process; the caller must have one thread and be in another user namespace.
pub fn enter_user_of(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    rustix::thread::move_into_thread_name_spaces(pidfd, ThreadNameSpaceType::USER).map_err(Into::into)
}

/// Moves the calling process, which must have one thread, into a user namespace; it has every capability there.
pub fn enter_user(namespace: BorrowedFd<'_>) -> io::Result<()> {
    rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::User)).map_err(Into::into)
}

/// One line of a user namespace's map: first id inside, first id outside, how many.
pub type Extent = (u32, u32, u32);

/// A new user namespace with the given maps of users and groups, held by the descriptor alone. With `deny_groups` nobody
/// inside may set supplementary groups, which the kernel asks of those who map without privileges.
pub fn new_user(users: &[Extent], groups: &[Extent], deny_groups: bool) -> io::Result<OwnedFd> {
    let (wait, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let child = match crate::process::fork(USER)? {
        crate::process::Fork::Child => {
            drop(go);
            let _end = rustix::io::read(&wait, &mut [0u8; 1]);
            crate::process::exit_now(0)
        }
        crate::process::Fork::Parent(child) => child,
    };
    let mapped = map(child.pidfd.as_fd(), users, groups, deny_groups);
    drop(go);
    // It ends by itself at the end of its pipe; it must not be left for a reaper that knows nothing of it.
    if let Some(pid) = rustix::process::Pid::from_raw(child.pid) {
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())?;
    }
    mapped
}

/// Writes the maps of a process and opens its user namespace.
fn map(process: BorrowedFd<'_>, users: &[Extent], groups: &[Extent], deny_groups: bool) -> io::Result<OwnedFd> {
    let at = PathBuf::from(format!("/proc/{}", pid_in_proc(process)?));
    let lines = |extents: &[Extent]| -> String {
        extents.iter().map(|(inside, outside, count)| format!("{inside} {outside} {count}\n")).collect()
    };
    if deny_groups {
        fs::write(at.join("setgroups"), "deny")?;
    }
    fs::write(at.join("uid_map"), lines(users))?;
    fs::write(at.join("gid_map"), lines(groups))?;
    Ok(fs::File::open(at.join("ns/user"))?.into())
}

/// The number of a process under `/proc`, which may be of another pid namespace than the caller's.
fn pid_in_proc(process: BorrowedFd<'_>) -> io::Result<i32> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd()))?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    pid.filter(|pid| *pid > 0).ok_or_else(|| io::Error::other("/proc does not show the process"))
}

/// The extents of a map file such as `/proc/self/uid_map`.
pub fn extents(path: &str) -> io::Result<Vec<Extent>> {
    let text = fs::read_to_string(path)?;
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map_while(|number| number.parse().ok());
        Some((numbers.next()?, numbers.next()?, numbers.next()?))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// Joins the mount, network, host-name and IPC namespaces of a process, and its pid namespace for children.
pub fn enter_container_of(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    let namespaces = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION;
    rustix::thread::move_into_thread_name_spaces(pidfd, namespaces).map_err(Into::into)
}

/// Runs `work` on a new thread inside a network namespace and returns what it returned: sockets opened in `work` belong
/// to that namespace for ever, and the calling thread stays where it is.
pub fn within_net<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let namespace = namespace.as_fd();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter_net(namespace)?;
            work()
        });
        thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread inside a network namespace panicked")))
    })
}

/// Identity of a namespace: the inode of its link such as `/proc/self/ns/user`.
pub fn identity(link: &str) -> io::Result<u64> {
    Ok(fs::metadata(link)?.ino())
}

/// Maps user and group 0 of a new user namespace to the caller's own effective ids, the only map an ordinary user may
/// write without help.
pub fn map_own_ids(pid: i32) -> io::Result<()> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
    fs::write(format!("/proc/{pid}/uid_map"), format!("0 {user} 1"))?;
    fs::write(format!("/proc/{pid}/gid_map"), format!("0 {group} 1"))
}
