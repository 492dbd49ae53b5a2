//! Processes: a program and its flags in, a child with its pidfd out; signals, waiting, and the last steps before exec.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A child process and a descriptor that cannot be confused with a later process of the same id.
pub struct Child {
    /// Process id in the caller's pid namespace.
    pub pid: i32,
    /// Its pidfd; polls readable when the process has ended.
    pub pidfd: OwnedFd,
}

/// What a fork returns.
pub enum Fork {
    /// In the caller.
    Parent(Child),
    /// In the new process.
    Child,
}

/// A child that waits for its go byte before it executes its program; it ends if the byte never comes.
pub struct Gated {
    /// The waiting child.
    pub child: Child,
    gate: OwnedFd,
}

impl Gated {
    /// Lets the child execute its program.
    pub fn go(self) -> io::Result<Child> {
        rustix::io::write(&self.gate, b"g")?;
        Ok(self.child)
    }
}

/// Forks with the given `CLONE_NEW*` flags. Refused unless the calling process has exactly one thread: only then may
/// the child run ordinary code.
pub fn fork(flags: i32) -> io::Result<Fork> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("fork needs a process of one thread"));
    }
    // SAFETY: the process has one thread, so no lock can be held by a thread that the child lacks.
    match unsafe { clone(flags) }? {
        None => Ok(Fork::Child),
        Some(child) => Ok(Fork::Parent(child)),
    }
}

/// Clones a child with the given `CLONE_NEW*` flags that waits for [`Gated::go`], then executes `program` with
/// `arguments`, keeping only `keep` (in addition to standard output and error, which go to `log`) across the exec.
/// Works from a threaded process: everything is allocated before the clone.
pub fn spawn_gated(
    program: &str,
    arguments: &[String],
    flags: i32,
    keep: BorrowedFd<'_>,
    log: BorrowedFd<'_>,
) -> io::Result<Gated> {
    let program = CString::new(program)?;
    let arguments = arguments.iter().map(|text| CString::new(text.as_str())).collect::<Result<Vec<_>, _>>()?;
    let mut pointers: Vec<_> = arguments.iter().map(|text| text.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: the child calls only async-signal-safe functions on memory that was allocated before the clone.
    match unsafe { clone(flags) }? {
        Some(child) => Ok(Gated { child, gate: write }),
        // SAFETY: as above; every pointer outlives the exec, and the process ends if a call fails.
        None => unsafe {
            libc::close(write.as_raw_fd());
            // Executing before the uid map is written would make the program lose every capability.
            let mut byte = 0u8;
            if libc::read(read.as_raw_fd(), (&raw mut byte).cast(), 1) != 1 {
                libc::_exit(3);
            }
            libc::fcntl(keep.as_raw_fd(), libc::F_SETFD, 0);
            libc::dup2(log.as_raw_fd(), 1);
            libc::dup2(log.as_raw_fd(), 2);
            libc::execv(program.as_ptr(), pointers.as_ptr());
            libc::_exit(126)
        },
    }
}

/// A fork-like clone; none in the child.
///
/// # Safety
/// In a process of several threads the child may only call async-signal-safe functions.
unsafe fn clone(flags: i32) -> io::Result<Option<Child>> {
    let mut pidfd: i32 = -1;
    let flags = flags as u64 | libc::CLONE_PIDFD as u64;
    // SAFETY: all-zero clone_args are valid ("no such option").
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = flags;
    arguments.pidfd = (&raw mut pidfd) as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: the arguments are a live clone_args of the size given; without a stack the child gets a copy of ours.
    let mut pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    if pid < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS) {
        // Docker's seccomp filter answers ENOSYS to clone3, which it cannot inspect. The first three arguments of
        // clone(2) have the same order on x86-64 and arm64.
        // SAFETY: as above.
        pid = unsafe {
            libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD as u64, 0usize, &raw mut pidfd, 0usize, 0usize)
        };
    }
    match pid {
        ..0 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        // SAFETY: with CLONE_PIDFD the kernel stored a new descriptor that nobody else owns.
        pid => Ok(Some(Child { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })),
    }
}

/// Ends the calling process at once, without destructors or exit handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` only ends the process.
    unsafe { libc::_exit(code) }
}

/// Moves `fd` to descriptor 3 and closes every descriptor above it: the start of a process that inherited unknown ones.
pub fn keep_only_as_three(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: called before this process has opened anything, so nobody owns the descriptors that are closed, and
    // descriptor 3 is owned by the value returned.
    unsafe {
        if fd != 3 && libc::dup2(fd, 3) < 0 {
            return Err(io::Error::last_os_error());
        }
        if libc::fcntl(3, libc::F_SETFD, libc::FD_CLOEXEC) < 0 {
            return Err(io::Error::last_os_error());
        }
        libc::syscall(libc::SYS_close_range, 4u32, u32::MAX, 0u32);
        Ok(OwnedFd::from_raw_fd(3))
    }
}

/// Makes the given descriptors standard input, output and error of this process.
pub fn set_stdio(fds: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    for (number, fd) in fds.iter().enumerate() {
        // SAFETY: descriptors 0 to 2 are the standard streams, which nobody owns exclusively.
        if unsafe { libc::dup2(fd.as_raw_fd(), number as i32) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Blocks SIGCHLD and returns a non-blocking descriptor that is readable when a child has changed state.
pub fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before use; signalfd returns a new descriptor or -1.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) < 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            ..0 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Unblocks every signal, as a program expects at its start.
pub fn unblock_signals() {
    // SAFETY: the set is initialised by sigemptyset before use.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Sends a signal to a process; a process that has already ended is not an error.
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: pidfd_send_signal reads no memory of ours when the info pointer is null.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, 0usize, 0) };
    match (sent, io::Error::last_os_error()) {
        (0, _) => Ok(()),
        (_, error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        (_, error) => Err(error),
    }
}

/// Waits for a process to end, at most `milliseconds` after the last signal that was handled meanwhile; whether it has.
pub fn wait_end(pidfd: BorrowedFd<'_>, milliseconds: i32) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    loop {
        // SAFETY: one live pollfd.
        let count = unsafe { libc::poll(&raw mut poll, 1, milliseconds) };
        let error = io::Error::last_os_error();
        match count {
            // poll(2) is never restarted by the kernel.
            ..0 if error.kind() == io::ErrorKind::Interrupted => {}
            ..0 => return Err(error),
            count => return Ok(count > 0),
        }
    }
}

/// A descriptor of a process, which cannot come to mean a later one of the same id.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or_else(|| io::Error::other("no process id"))?;
    Ok(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?)
}

/// Lets the kernel forget a process that has ended, if it is a child of this one.
pub fn forget(pidfd: BorrowedFd<'_>) {
    let flags = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOHANG;
    // Somebody else's child is reaped by its own parent.
    let _ = rustix::process::waitid(rustix::process::WaitId::PidFd(pidfd), flags);
}

/// Identity of this boot of the machine: process ids and start times mean something within it only.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Start time of a process in clock ticks since boot (field 22 of `/proc/PID/stat`); none for a zombie or no process.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = stat.get(stat.rfind(')')? + 2..)?;
    let mut fields = fields.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}
