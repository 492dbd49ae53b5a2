//! The steps between clone and exec: namespaces entered, root changed, capabilities dropped, program executed.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use kernel::process::{self, Child, Fork};
use kernel::unix_socket::{self, Wait};
use kernel::{mount, namespace};
use rustix::fs::OFlags;
use rustix::pty::OpenptFlags;

use super::message::{Exec, Spawn};
use super::root::{self, Owners};
use super::security::{self, Security};
use super::user::{Ids, Plan};
use crate::cgroup::Door;

/// Where things are in the holder's own file system.
pub(super) struct Places<'a> {
    /// Empty directory over which each container's root is built.
    pub root: &'a Path,
    /// Built-in programs.
    pub programs: &'a Path,
    /// The resolver file of the node network, if written.
    pub node_resolv: &'a Path,
}

/// What a container is given as standard input, output and error.
pub(super) enum Given {
    /// Ends of pipes; without an input it reads nothing.
    Pipes { input: Option<OwnedFd>, output: [OwnedFd; 2] },
    /// A terminal of its own, whose other side it sends on this connection; on a host it keeps a copy of that, for the
    /// next holder.
    Terminal { connection: OwnedFd, keep: bool },
}

/// What a container's processes are confined by.
pub(super) struct Bounds<'a> {
    /// The ids that the holder has to give.
    pub ids: &'a Ids,
    /// The way into the container's control groups.
    pub door: Door,
}

/// A process on its way to its program.
pub(super) struct Begun {
    /// The process.
    pub child: Child,
    /// Our end of the pipe on which it says why it does not come to its program; it closes by itself when it does, and never
    /// blocks.
    pub report: OwnedFd,
}

/// Starts a container. It goes nowhere before `note` has taken notice of its process, so that there is none of which nobody
/// knows.
pub(super) fn container(
    spawn: &Spawn,
    netns: Option<BorrowedFd<'_>>,
    given: Given,
    places: &Places<'_>,
    bounds: &Bounds<'_>,
    note: impl FnOnce(&Child) -> io::Result<()>,
) -> io::Result<Begun> {
    let security = &spawn.security;
    let plan = bounds.ids.plan(&spawn.pod, security);
    let users = plan.namespace()?;
    let ipc = if security.host_ipc { 0 } else { namespace::IPC };
    start(namespace::MOUNT | namespace::UTS | namespace::PID | ipc, None, note, || {
        bounds.door.enter()?;
        // What is mounted on a host from now on is not the pod's: it would come without what makes the rest read-only.
        mount::make_private()?;
        if let Some(netns) = netns {
            namespace::enter_net(netns)?;
        }
        rustix::system::sethostname(spawn.hostname.as_bytes())?;
        security::set_sysctls(&security.sysctls)?;
        let fs_group = security.fs_group.map(|group| plan.outside(security.uid, group).1);
        let owners = Owners { root: plan.outside(0, 0), fs_group };
        root::enter(&spawn.root, security, &owners, places.root, places.programs)?;
        rustix::process::setsid()?;
        let owner = plan.outside(security.uid, security.gid);
        match given {
            Given::Pipes { input, output: [out, err] } => {
                let input = input.map_or_else(|| File::open("/dev/null").map(Into::into), Ok)?;
                process::set_stdio([input.as_fd(), out.as_fd(), err.as_fd()])?;
            }
            Given::Terminal { connection, keep } => terminal(connection.as_fd(), owner, keep)?,
        }
        give_pipes(owner);
        if let Some(users) = &users {
            namespace::enter_user(users.as_fd())?;
        }
        security::confine(security)?;
        Ok(command(&spawn.argv, &spawn.env, &spawn.cwd, true))
    })
}

/// Starts a command beside a container, in its namespaces and with its rights. One that is to have a terminal sends its
/// other side on `connection`.
pub(super) fn beside(
    exec: &Exec,
    (container, security): (BorrowedFd<'_>, &Security),
    stdio: &[OwnedFd],
    connection: OwnedFd,
    own_pid: BorrowedFd<'_>,
    bounds: &Bounds<'_>,
) -> io::Result<Begun> {
    let pod = exec.container.as_ref().map_or("", |(pod, _)| pod);
    let plan = bounds.ids.plan(pod, security);
    start(
        0,
        Some((container, own_pid)),
        |_| Ok(()),
        || {
            bounds.door.enter()?;
            namespace::enter_container_of(container)?;
            let owner = plan.outside(security.uid, security.gid);
            if exec.tty {
                rustix::process::setsid()?;
                terminal(connection.as_fd(), owner, false)?;
            } else {
                session(stdio, false)?;
                give_pipes(owner);
            }
            if plan != Plan::Own {
                match namespace::enter_user_of(container) {
                    // Started by an earlier release without users of its own: it is in ours.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                    done => done?,
                }
            }
            security::confine(security)?;
            Ok(command(&exec.argv, &exec.env, &exec.cwd, true))
        },
    )
}

/// Lets a user open its standard streams again by name (`/dev/stdout`), which pipes allow to their owner alone. What is
/// not a pipe belongs to somebody else.
fn give_pipes((user, group): (u32, u32)) {
    let (user, group) = (rustix::process::Uid::from_raw(user), rustix::process::Gid::from_raw(group));
    let streams = (io::stdin(), io::stdout(), io::stderr());
    for stream in [streams.0.as_fd(), streams.1.as_fd(), streams.2.as_fd()] {
        let pipe = rustix::fs::fstat(stream)
            .is_ok_and(|found| rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::Fifo);
        if pipe {
            // Without the right to, nothing but the second opening is lost.
            let _ = rustix::fs::fchown(stream, Some(user), Some(group));
        }
    }
}

/// Starts a command in the node's own network, with the cluster's resolver.
pub(super) fn on_node(exec: &Exec, stdio: &[OwnedFd], places: &Places<'_>) -> io::Result<Begun> {
    start(
        namespace::MOUNT,
        None,
        |_| Ok(()),
        || {
            let resolv = Path::new("/etc/resolv.conf");
            // A host without a plain resolv.conf keeps its own names; the command itself still runs.
            if places.node_resolv.exists() && resolv.exists() {
                mount::bind(places.node_resolv, resolv)?;
            }
            session(stdio, exec.tty)?;
            // The host's own programs come first here; the built-in ones fill the gaps.
            let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
            let mut env = vec![("PATH".to_owned(), format!("{path}:{}", places.programs.display()))];
            env.extend(exec.env.iter().cloned());
            Ok(command(&exec.argv, &env, &exec.cwd, false))
        },
    )
}

/// Makes a terminal in the pod's own `/dev/pts`, which is what its programs find it by; the calling process, a session's
/// leader, is controlled by it. The other side goes out on `connection`; with `keep` this process has it, too, and says as
/// which descriptor.
fn terminal(connection: BorrowedFd<'_>, (user, group): (u32, u32), keep: bool) -> io::Result<()> {
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("make a terminal in /dev/pts: {error}"));
    let make = || -> io::Result<(OwnedFd, OwnedFd)> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let ours = rustix::fs::open("/dev/pts/ptmx", flags, rustix::fs::Mode::empty())?;
        rustix::pty::unlockpt(&ours)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let theirs = rustix::pty::ioctl_tiocgptpeer(&ours, flags)?;
        Ok((ours, theirs))
    };
    let (ours, theirs) = make().map_err(failed)?;
    let (user, group) = (rustix::process::Uid::from_raw(user), rustix::process::Gid::from_raw(group));
    // A user who may not open it by name still has it as standard streams.
    let _ = rustix::fs::fchown(&theirs, Some(user), Some(group));
    rustix::process::ioctl_tiocsctty(&theirs)?;
    process::set_stdio([theirs.as_fd(), theirs.as_fd(), theirs.as_fd()])?;
    // The program inherits a copy made without CLOEXEC.
    let copy = if keep { rustix::io::dup(&ours)?.into_raw_fd() } else { -1 };
    unix_socket::send(connection, &copy.to_le_bytes(), &[ours.as_fd()], Wait::Never)
}

/// The terminal that a process sent before it executed its program, and its own copy's number if it keeps one.
pub(super) fn terminal_from(connection: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<i32>)> {
    let mut word = [0; 4];
    let (_, mut descriptors) = unix_socket::receive(connection, &mut word)?;
    let terminal = descriptors.pop().ok_or_else(|| io::Error::other("the process sent no terminal"))?;
    let copy = i32::from_le_bytes(word);
    Ok((terminal, (copy >= 0).then_some(copy)))
}

fn session(stdio: &[OwnedFd], tty: bool) -> io::Result<()> {
    rustix::process::setsid()?;
    match (tty, stdio) {
        (true, [terminal, ..]) => {
            rustix::process::ioctl_tiocsctty(terminal)?;
            process::set_stdio([terminal.as_fd(), terminal.as_fd(), terminal.as_fd()])
        }
        (false, [input, output, error]) => process::set_stdio([input.as_fd(), output.as_fd(), error.as_fd()]),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "a command needs three descriptors or a terminal")),
    }
}

fn command(argv: &[String], env: &[(String, String)], cwd: &str, clear: bool) -> Command {
    let mut command = Command::new(argv.first().map_or("", String::as_str));
    command.args(argv.iter().skip(1)).current_dir(if cwd.is_empty() { "/" } else { cwd });
    if clear {
        command.env_clear();
    }
    command.envs(env.iter().map(|(name, value)| (name, value)));
    command
}

/// Forks, runs `prepare` in the child and executes the command that it returns. This is not waited for: what the child does
/// there may never end. The child waits until `note` is done, and ends if this process does before.
fn start(
    flags: i32,
    pid_of: Option<(BorrowedFd<'_>, BorrowedFd<'_>)>,
    note: impl FnOnce(&Child) -> io::Result<()>,
    prepare: impl FnOnce() -> io::Result<Command>,
) -> io::Result<Begun> {
    let (report, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&report, true)?;
    let (gate, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    if let Some((container, _)) = pid_of {
        let processes = rustix::thread::ThreadNameSpaceType::PROCESS_ID;
        rustix::thread::move_into_thread_name_spaces(container, processes)?;
    }
    let forked = process::fork(flags);
    match forked {
        Ok(Fork::Child) => {
            drop(go);
            if !matches!(rustix::io::read(&gate, &mut [0; 1]), Ok(1)) {
                process::exit_now(127);
            }
            let failed = match prepare() {
                Ok(mut command) => {
                    process::unblock_signals();
                    // Our allocator wants no huge pages, and that choice would be inherited; a pod's program has its own.
                    let _unknown_to_old_kernels = rustix::thread::disable_transparent_huge_pages(false);
                    let program = command.get_program().to_string_lossy().into_owned();
                    let error = command.exec();
                    format!("exec: \"{program}\": {error}")
                }
                Err(error) => error.to_string(),
            };
            let _ = File::from(write).write_all(failed.as_bytes());
            process::exit_now(127)
        }
        forked => {
            drop(write);
            if let Some((_, own)) = pid_of {
                namespace::enter_pid_for_children(own)?;
            }
            let Fork::Parent(child) = forked? else { return Err(io::Error::other("fork returned twice")) };
            note(&child)?;
            rustix::io::write(&go, b"g")?;
            Ok(Begun { child, report })
        }
    }
}
