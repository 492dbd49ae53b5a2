//! A purpose in, a sandbox in a directory of its own out; both are gone when it is dropped.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use pods::sandbox::{Mode, Sandbox};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// A sandbox that does not outlive this value.
pub(super) struct ThrowAway {
    directory: PathBuf,
    /// The sandbox. None only while starting.
    sandbox: Option<Arc<Sandbox>>,
}

impl ThrowAway {
    /// Starts it. The process must still have a single thread.
    pub(super) fn start() -> Result<Self> {
        let directory = crate::cli::throw_away::directory("bench")?;
        let mut throw_away = Self { directory, sandbox: None };
        throw_away.sandbox =
            Some(Arc::new(Sandbox::start_or_adopt(&throw_away.directory, &crate::guest::APPLETS, Mode::Sandbox)?));
        Ok(throw_away)
    }

    /// Its directory.
    pub(super) fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// The sandbox.
    pub(super) fn sandbox(&self) -> Result<Arc<Sandbox>> {
        self.sandbox.clone().context("the sandbox never started")
    }
}

impl Drop for ThrowAway {
    fn drop(&mut self) {
        if let Err(error) = Sandbox::kill(&self.directory) {
            eprintln!("mainstay: the sandbox of the benchmark is left: {error}");
        }
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            eprintln!("mainstay: cannot remove {}: {error}", self.directory.display());
        }
    }
}

/// Runs a measurement to its end, or until Ctrl-C or SIGTERM.
pub(super) fn until_interrupted<T>(runtime: Runtime, work: impl Future<Output = Result<T>>) -> Result<T> {
    let result = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            result = work => result,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}
