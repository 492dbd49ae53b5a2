//! A command beside a container: descriptors passed to the holder in, asynchronous streams and the exit code out.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use api::status::Status;
use contract::streams::{ExecOptions, ExecSession};
use k8s_openapi::api::core::v1::{Container, Pod};
use rustix::pipe::PipeFlags;
use rustix::pty::OpenptFlags;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

use crate::environment;
use crate::holder::message::Exec;
use crate::kubelet::Node;
use crate::sandbox::{Client, Session};
use crate::streams::pipe::Pipe;

/// Terminal sizes that wait to be set.
const RESIZES: usize = 8;

/// Our ends of the command's streams and the ends that it gets.
struct Ends {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    theirs: Vec<OwnedFd>,
}

/// Starts the command.
pub(super) async fn start(
    node: &Arc<Node>,
    pod: &Pod,
    container: &Container,
    options: &ExecOptions,
) -> Result<ExecSession, Status> {
    let failed = |error: io::Error| Status::internal(format!("error executing command in container: {error}"));
    let ends = if options.tty { terminal() } else { pipes(options) }.map_err(failed)?;
    let exec = Exec {
        container: Some((pod.metadata.uid.clone().unwrap_or_default(), container.name.clone())),
        argv: options.command.clone(),
        env: environment(node, pod, container).await,
        cwd: container.working_dir.clone().unwrap_or_default(),
        tty: options.tty,
    };
    run(node.client.clone(), exec, ends).await.map_err(failed)
}

/// Starts a command in the node's network on a terminal of its own, of the given columns and rows.
pub fn exec_on_terminal(client: &Client, exec: Exec, size: Option<(u16, u16)>) -> io::Result<ExecSession> {
    let mut ends = terminal()?;
    if let (Some(terminal), Some((columns, rows))) = (&ends.stdout, size) {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(terminal, size)?;
    }
    let theirs = std::mem::take(&mut ends.theirs);
    let theirs: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
    let session = client.exec(Exec { tty: true, ..exec }, &theirs)?;
    join(session, ends, true)
}

/// Asks the holder for a command and joins it.
async fn run(client: Client, exec: Exec, mut ends: Ends) -> io::Result<ExecSession> {
    let (tty, theirs) = (exec.tty, std::mem::take(&mut ends.theirs));
    let started = tokio::task::spawn_blocking(move || {
        let theirs: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        client.exec(exec, &theirs)
    });
    join(started.await.map_err(io::Error::other)??, ends, tty)
}

/// The streams of a command that runs.
fn join(mut session: Session, mut ends: Ends, tty: bool) -> io::Result<ExecSession> {
    if let Some(terminal) = session.take_terminal() {
        // The terminal that the command has is one of the pod's; ours was for a holder of an earlier release.
        ends.stdin = Some(terminal.try_clone()?);
        ends.stdout = Some(terminal);
    }
    let resize = match (&ends.stdout, tty) {
        (Some(terminal), true) => Some(resizer(terminal.try_clone()?)),
        _ => None,
    };
    let (mut done, exit) = oneshot::channel();
    let stop = session.stopper();
    let waiting = tokio::task::spawn_blocking(move || session.wait().map_err(|error| error.to_string()));
    tokio::spawn(async move {
        let mut waiting = waiting;
        tokio::select! {
            ended = &mut waiting => {
                let _ = done.send(ended.unwrap_or_else(|error| Err(error.to_string())));
            }
            // The session was dropped: the client is gone, so the command goes too.
            () = done.closed() => stop(),
        }
    });
    let read = |end: Option<OwnedFd>| -> io::Result<Option<Box<dyn AsyncRead + Send + Unpin>>> {
        Ok(match end {
            Some(end) => Some(Box::new(Pipe::new(end)?)),
            None => None,
        })
    };
    let stdin = match ends.stdin {
        Some(end) => Some(Box::new(Pipe::new(end)?) as Box<dyn AsyncWrite + Send + Unpin>),
        None => None,
    };
    let (stdout, stderr) = (read(ends.stdout)?, read(ends.stderr)?);
    Ok(ExecSession { stdin, stdout, stderr, resize, exit })
}

/// The container's own environment, or at least a search path when something it refers to is gone.
async fn environment(node: &Node, pod: &Pod, container: &Container) -> Vec<(String, String)> {
    let references = crate::references::References::load(node.access.as_ref(), pod).await;
    let ips = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
    let ips: Vec<_> = ips.filter_map(|ip| ip.ip.parse().ok()).collect();
    let all = environment::of(pod, container, &ips, &node.host_addresses(), &references);
    all.unwrap_or_else(|_| environment::default_path())
}

fn terminal() -> io::Result<Ends> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&ours)?;
    let theirs = rustix::pty::ioctl_tiocgptpeer(&ours, flags)?;
    Ok(Ends { stdin: Some(ours.try_clone()?), stdout: Some(ours), stderr: None, theirs: vec![theirs] })
}

fn pipes(options: &ExecOptions) -> io::Result<Ends> {
    let null = || io::Result::Ok(OwnedFd::from(std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?));
    let output = |wanted: bool| -> io::Result<(Option<OwnedFd>, OwnedFd)> {
        if !wanted {
            return Ok((None, null()?));
        }
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        Ok((Some(read), write))
    };
    let (stdin, input) = if options.stdin {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        (Some(write), read)
    } else {
        (None, null()?)
    };
    let (stdout, out) = output(options.stdout)?;
    let (stderr, err) = output(options.stderr)?;
    Ok(Ends { stdin, stdout, stderr, theirs: vec![input, out, err] })
}

pub(super) fn resizer(terminal: OwnedFd) -> mpsc::Sender<(u16, u16)> {
    let (sender, mut receiver) = mpsc::channel::<(u16, u16)>(RESIZES);
    tokio::spawn(async move {
        while let Some((columns, rows)) = receiver.recv().await {
            let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            // A terminal whose command has ended has no size to set.
            let _ = rustix::termios::tcsetwinsize(&terminal, size);
        }
    });
    sender
}
