//! A connection that survives its holder: a broken one in, on a host a new holder and a connection to it out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use kernel::{process, unix_socket};

use super::{Mode, start};
use crate::limits;

/// The connection to a holder, and what it takes to replace that.
pub(super) struct Link {
    directory: PathBuf,
    now: Mutex<Now>,
    /// Names of the applets; none where a holder is not replaced.
    applets: Option<Vec<String>>,
    replaced: AtomicU64,
}

struct Now {
    socket: OwnedFd,
    /// The holder's process, where it is to be replaced.
    holder: Option<OwnedFd>,
}

impl Link {
    /// A link over a connection; with applets and the holder's process one that replaces the holder.
    pub(super) fn new(directory: &Path, socket: OwnedFd, keep: Option<(Vec<String>, OwnedFd)>) -> Self {
        let (applets, holder) = keep.unzip();
        let now = Mutex::new(Now { socket, holder });
        Self { directory: directory.to_owned(), now, applets, replaced: AtomicU64::new(0) }
    }

    /// Uses the connection; when the holder has ended, a second time with the next one.
    pub(super) fn with<T>(&self, mut use_it: impl FnMut(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
        let mut now = self.lock();
        for _ in 0..limits::HOLDER_STARTS {
            match use_it(now.socket.as_fd()) {
                Err(error) if broken(&error) && self.keeps() => {}
                done => return done,
            }
            // One that is ended while it starts leaves the connection broken, so that the next round tries again.
            if let Err(error) = self.replace(&mut now) {
                tracing::warn!(%error, "the holder of the pods could not be replaced yet");
            }
        }
        use_it(now.socket.as_fd())
    }

    /// Whether a holder that ends is replaced: on a host, unless somebody is ending the pods.
    pub(super) fn keeps(&self) -> bool {
        self.applets.is_some() && !start::ending(&self.directory)
    }

    /// How many holders were replaced.
    pub(super) fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Acquire)
    }

    /// Connects to the holder if it lives, else starts the next one. The data directory's lock is ours.
    fn replace(&self, now: &mut Now) -> io::Result<()> {
        let Some(applets) = &self.applets else { return Ok(()) };
        if let Some(socket) = start::adopt(&self.directory).map_err(io::Error::other)? {
            now.socket = socket;
            return Ok(());
        }
        if let Some(holder) = now.holder.take() {
            process::forget(holder.as_fd());
        }
        now.socket = start::start(&self.directory, applets, Mode::Host).map_err(io::Error::other)?;
        let pid = unix_socket::peer_pid(now.socket.as_fd())?;
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
