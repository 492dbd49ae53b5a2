//! The supervisor's end of the holder's socket: typed calls in, answers, wake-ups and sessions out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kernel::unix_socket::{self, Wait};

use super::link::{self, Link};
use super::start;
use crate::holder::message::{self, ContainerRecord, Exec, Reply, Request, Spawn};
use crate::limits;

/// Connections to the holder. Calls block for the few milliseconds that the holder takes, and never for ever; one that
/// takes its time (a start) keeps no other waiting. Clones share the connections.
#[derive(Clone)]
pub struct Client {
    directory: PathBuf,
    link: Arc<Link>,
}

/// A command that runs beside pods; dropping it kills the command.
pub struct Session {
    socket: Arc<OwnedFd>,
    terminal: Option<OwnedFd>,
}

impl Client {
    /// Connects to the holder of a data directory.
    pub fn connect(directory: &Path) -> io::Result<Self> {
        Ok(Self::of(directory, start::connect(directory)?, None))
    }

    /// Uses a connection. With the names of the applets and the holder's process, a holder that ends is replaced.
    pub(super) fn of(directory: &Path, socket: OwnedFd, keep: Option<(Vec<String>, OwnedFd)>) -> Self {
        Self { directory: directory.to_owned(), link: Arc::new(Link::new(directory, socket, keep)) }
    }

    /// How many holders this connection has seen end. Networks of pods without a process end with their holder.
    pub fn replaced(&self) -> u64 {
        self.link.replaced()
    }

    /// The holder's process id.
    pub fn peer_pid(&self) -> io::Result<i32> {
        self.link.with(unix_socket::peer_pid)
    }

    /// Asks and waits for the answer; an answer that says "not done" becomes an error. Every request may be sent twice:
    /// it is, when the holder ends before it answers and is replaced.
    pub fn call(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<(Reply, Vec<OwnedFd>)> {
        self.link.with(|socket| call(socket, request, descriptors))
    }

    /// The network namespace of a pod, made if needed.
    pub fn pod_netns(&self, pod: &str) -> io::Result<OwnedFd> {
        let (_, mut descriptors) = self.call(&Request::PodNetns { pod: pod.to_owned() }, &[])?;
        descriptors.pop().ok_or_else(|| io::Error::other("the holder sent no network namespace"))
    }

    /// Starts a container. The error is the reason why its program could not be started.
    pub fn spawn(&self, spawn: Spawn) -> io::Result<()> {
        self.call(&Request::Spawn(Box::new(spawn)), &[]).map(drop)
    }

    /// Sends a signal to a container; one that has ended is not an error.
    pub fn signal(&self, pod: &str, container: &str, signal: i32) -> io::Result<()> {
        let request = Request::Signal { pod: pod.to_owned(), container: container.to_owned(), signal };
        self.call(&request, &[]).map(drop)
    }

    /// Every container the holder knows, running or ended.
    pub fn containers(&self) -> io::Result<Vec<ContainerRecord>> {
        let mut all: Vec<ContainerRecord> = Vec::new();
        loop {
            let after = all.last().map(|last| (last.pod.clone(), last.container.clone())).unwrap_or_default();
            match self.call(&Request::Containers { after }, &[])?.0 {
                Reply::Containers(some) if some.is_empty() => return Ok(all),
                Reply::Containers(some) => all.extend(some),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Uids of all pods that have a network namespace or a container.
    pub fn pods(&self) -> io::Result<Vec<String>> {
        let mut all: Vec<String> = Vec::new();
        loop {
            let after = all.last().cloned().unwrap_or_default();
            match self.call(&Request::Pods { after }, &[])?.0 {
                Reply::Pods(some) if some.is_empty() => return Ok(all),
                Reply::Pods(some) => all.extend(some),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Kills what is left of a pod and forgets it.
    pub fn remove_pod(&self, pod: &str) -> io::Result<()> {
        self.call(&Request::RemovePod { pod: pod.to_owned() }, &[]).map(drop)
    }

    /// Whether some container of a pod runs.
    pub fn runs(&self, pod: &str) -> io::Result<bool> {
        let after = (pod.to_owned(), String::new());
        match self.call(&Request::Containers { after }, &[])?.0 {
            Reply::Containers(some) => Ok(some.iter().any(|record| record.pod == pod && record.ended.is_none())),
            other => Err(unexpected(&other)),
        }
    }

    /// Joins the streams of a container: its outputs go to the two descriptors from now on, until it ends or their other
    /// ends are closed. Returns where its input goes if `stdin` is asked for and there is one; on a terminal always.
    pub fn attach(
        &self,
        pod: &str,
        container: &str,
        stdin: bool,
        outputs: [BorrowedFd<'_>; 2],
    ) -> io::Result<Option<OwnedFd>> {
        let request = Request::Attach { pod: pod.to_owned(), container: container.to_owned(), stdin };
        match self.call(&request, &outputs) {
            Ok((_, mut given)) => Ok(given.pop()),
            Err(error) if error.to_string().starts_with("request not understood") => Err(io::Error::other(
                "the sandbox was started by an earlier release, which cannot attach; start it anew: mainstay down, mainstay up",
            )),
            Err(error) => Err(error),
        }
    }

    /// Runs a command with the given three descriptors (or one terminal) on a connection of its own.
    pub fn exec(&self, exec: Exec, descriptors: &[BorrowedFd<'_>]) -> io::Result<Session> {
        let socket = self.another()?;
        let (_, mut given) = call(socket.as_fd(), &Request::Exec(Box::new(exec)), descriptors)?;
        // Its end comes when it comes.
        unix_socket::set_patience(socket.as_fd(), None)?;
        Ok(Session { socket: Arc::new(socket), terminal: given.pop() })
    }

    /// Calls `wake` from a thread of its own whenever some container may have ended, until the holder is gone for good;
    /// then `lost`.
    pub fn subscribe(&self, wake: impl Fn() + Send + 'static, lost: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut socket = self.subscription()?;
        let client = self.clone();
        std::thread::Builder::new().name("holder-events".into()).spawn(move || {
            loop {
                while let Ok(Some((Reply::Changed, _))) = message::receive::<Reply>(socket.as_fd()) {
                    wake();
                }
                if !client.link.keeps() {
                    break;
                }
                match client.subscription() {
                    Ok(new) => socket = new,
                    Err(error) => {
                        tracing::error!(%error, "the holder has ended and cannot be replaced");
                        break;
                    }
                }
                wake();
            }
            lost();
        })?;
        Ok(())
    }

    /// Subscribes; with the next holder if this one ends meanwhile.
    fn subscription(&self) -> io::Result<OwnedFd> {
        let once = || {
            let socket = self.another()?;
            call(socket.as_fd(), &Request::Subscribe, &[])?;
            unix_socket::set_patience(socket.as_fd(), None)?;
            Ok(socket)
        };
        for _ in 0..limits::HOLDER_STARTS {
            match once() {
                Err(error) if link::broken(&error) && self.link.keeps() => {}
                done => return done,
            }
        }
        once()
    }

    /// A connection of its own, to a holder that answers.
    fn another(&self) -> io::Result<OwnedFd> {
        self.call(&Request::Hello, &[])?;
        start::connect(&self.directory)
    }
}

impl Session {
    /// Our side of the command's terminal, once; none if it has none of the pod's own.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Waits for the command's end: its exit code.
    pub fn wait(&self) -> io::Result<i32> {
        match message::receive::<Reply>(self.socket.as_fd())? {
            Some((Reply::Exited(code), _)) => Ok(code),
            Some((other, _)) => Err(unexpected(&other)),
            None => Err(io::Error::other("the holder of the pods ended, and with it the command's exit code")),
        }
    }

    /// A handle that can end the command from another thread.
    pub fn stopper(&self) -> impl Fn() + Send + Sync + 'static {
        let socket = self.socket.clone();
        move || unix_socket::shutdown(socket.as_fd())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        unix_socket::shutdown(self.socket.as_fd());
    }
}

/// Sends one request on a connection and waits for its answer.
pub(super) fn call(
    socket: BorrowedFd<'_>,
    request: &Request,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<(Reply, Vec<OwnedFd>)> {
    let longest = limits::HOLDER_ANSWER
        + match request {
            Request::Spawn(_) => limits::CONTAINER_START,
            Request::Exec(_) => limits::COMMAND_START,
            _ => Duration::ZERO,
        };
    ask(socket, request, descriptors, longest)
}

/// The same, waiting no longer than told.
fn ask(
    socket: BorrowedFd<'_>,
    request: &Request,
    descriptors: &[BorrowedFd<'_>],
    longest: Duration,
) -> io::Result<(Reply, Vec<OwnedFd>)> {
    unix_socket::set_patience(socket, Some(longest))?;
    let answer = message::send(socket, request, descriptors, Wait::Block).and_then(|()| message::receive(socket));
    match answer {
        Ok(Some((Reply::Error(why), _))) => Err(io::Error::other(why)),
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the holder of the pods is gone")),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(mute(longest)),
        Err(error) => Err(error),
    }
}

/// Nothing came of a request.
fn mute(longest: Duration) -> io::Error {
    let seconds = longest.as_secs();
    let text = format!(
        "the holder of the pods gave no answer within {seconds} s: it is stopped, or the kernel keeps it.\nLook at its state: \
         ps -eo pid,stat,wchan,comm | grep mainstay; if it stays so, start anew (pods restart): mainstay down"
    );
    io::Error::new(io::ErrorKind::TimedOut, text)
}

fn unexpected(reply: &Reply) -> io::Error {
    io::Error::other(format!("the holder answered {reply:?}, which is no answer to the request"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_never_comes_is_an_error_with_a_next_step() {
        let (ours, _theirs) = unix_socket::pair().unwrap();
        let error = ask(ours.as_fd(), &Request::Hello, &[], Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(
            error.to_string().contains("gave no answer") && error.to_string().ends_with("mainstay down"),
            "{error}"
        );
        assert!(!link::broken(&error), "a holder that is there is not replaced");
    }
}
