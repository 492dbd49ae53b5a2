//! Namespaces: which ones to make, how to enter one, and the maps of a user namespace.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

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
