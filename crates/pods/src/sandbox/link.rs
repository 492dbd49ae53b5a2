//! Connections that survive their holder: a broken one in, on a host a new holder and a connection to it out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use kernel::{process, unix_socket};

use super::{Mode, start};
use crate::limits;

/// The connections to a holder, and what it takes to replace that. A call has one to itself while it waits for its answer,
/// so that a slow one is not in the way of others.
pub(super) struct Link {
    directory: PathBuf,
    now: Mutex<Now>,
    /// Names of the applets; none where a holder is not replaced.
    applets: Option<Vec<String>>,
    replaced: AtomicU64,
}

struct Now {
    /// Connections on which nothing is asked.
    idle: Vec<OwnedFd>,
    /// How often they were replaced; one of an earlier round is not kept.
    round: u64,
    /// The holder's process, where it is to be replaced.
    holder: Option<OwnedFd>,
}

impl Link {
    /// A link over a connection; with applets and the holder's process one that replaces the holder.
    pub(super) fn new(directory: &Path, socket: OwnedFd, keep: Option<(Vec<String>, OwnedFd)>) -> Self {
        let (applets, holder) = keep.unzip();
        let now = Mutex::new(Now { idle: vec![socket], round: 0, holder });
        Self { directory: directory.to_owned(), now, applets, replaced: AtomicU64::new(0) }
    }

    /// Uses a connection; when the holder has ended, a second time with the next one.
    pub(super) fn with<T>(&self, mut use_it: impl FnMut(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
        for _ in 0..limits::HOLDER_STARTS {
            match self.once(&mut use_it) {
                (round, Err(error)) if broken(&error) && self.keeps() => {
                    // One that is ended while it starts leaves the connection broken, so that the next round tries again.
                    if let Err(error) = self.replace(round) {
                        tracing::warn!(%error, "the holder of the pods could not be replaced yet");
                    }
                }
                (_, done) => return done,
            }
        }
        self.once(&mut use_it).1
    }

    /// Uses a connection, an idle one if there is; the round that it was of.
    fn once<T>(&self, use_it: &mut impl FnMut(BorrowedFd<'_>) -> io::Result<T>) -> (u64, io::Result<T>) {
        let (round, idle) = {
            let mut now = self.lock();
            (now.round, now.idle.pop())
        };
        let socket = match idle.map_or_else(|| start::connect(&self.directory), Ok) {
            Ok(socket) => socket,
            Err(error) => {
                let text = format!("connect to the holder of the pods: {error}");
                return (round, Err(io::Error::new(error.kind(), text)));
            }
        };
        let done = use_it(socket.as_fd());
        // After any other error an answer may still be under way, which would be taken for the next one's.
        let whole = done.as_ref().map_or_else(|error| error.kind() == io::ErrorKind::Other, |_| true);
        let mut now = self.lock();
        if whole && now.round == round && now.idle.len() < limits::IDLE_CONNECTIONS {
            now.idle.push(socket);
        }
        (round, done)
    }

    /// Whether a holder that ends is replaced: on a host, unless somebody is ending the pods.
    pub(super) fn keeps(&self) -> bool {
        self.applets.is_some() && !start::ending(&self.directory)
    }

    /// How many holders were replaced.
    pub(super) fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Acquire)
    }

    /// Connects to the holder if it lives, else starts the next one, unless another call has done so since the given round.
    /// The data directory's lock is ours.
    fn replace(&self, round: u64) -> io::Result<()> {
        let Some(applets) = &self.applets else { return Ok(()) };
        let mut now = self.lock();
        if now.round != round {
            return Ok(());
        }
        if let Some(socket) = start::adopt(&self.directory).map_err(io::Error::other)? {
            (now.idle, now.round) = (vec![socket], round + 1);
            return Ok(());
        }
        if let Some(holder) = now.holder.take() {
            process::forget(holder.as_fd());
        }
        let socket = start::start(&self.directory, applets, Mode::Host).map_err(io::Error::other)?;
        let pid = unix_socket::peer_pid(socket.as_fd())?;
        (now.idle, now.round) = (vec![socket], round + 1);
        now.holder = process::open(pid).ok();
        self.replaced.fetch_add(1, Ordering::AcqRel);
        tracing::warn!(holder = pid, "the holder of the pods had ended: a new one has taken them over");
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

/// Whether a connection has ended under a request, or its holder before it was made (the next one's socket is not there
/// yet).
pub(super) fn broken(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected, NotFound};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionReset | ConnectionRefused | ConnectionAborted | NotConnected | NotFound
    )
}
