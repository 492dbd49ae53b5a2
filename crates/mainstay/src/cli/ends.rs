//! Signals that ask this program to end in, a future that says which one came out.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, SIGTERM and (where it is asked for) the end of the terminal.
pub(crate) struct Ends {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Ends {
    /// Listens for Ctrl-C and SIGTERM from now on. Works before there is a runtime and starts no thread: what comes until
    /// somebody waits is kept.
    pub(crate) fn early() -> Result<Self> {
        // Handlers belong to the process. This runtime lends what they are made with; the one that waits hears them.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let _inside = runtime.enter();
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: None,
        })
    }

    /// Listens for the end of the terminal, too. Must be called in a runtime.
    pub(crate) fn with_terminal() -> Result<Self> {
        let (interrupt, terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        let hangup = if is_ignored(libc::SIGHUP) { None } else { Some(listen(SignalKind::hangup())?) };
        Ok(Self { interrupt, terminate, hangup })
    }

    /// Waits for the next one: its number.
    pub(crate) async fn next(&mut self) -> i32 {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => libc::SIGINT,
            _ = self.terminate.recv() => libc::SIGTERM,
            _ = hangup => libc::SIGHUP,
        }
    }
}

/// Whether who started this program made a signal mean nothing to it, as nohup does.
fn is_ignored(number: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (number - 1) & 1 == 1
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).context("cannot listen for signals")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_came_before_the_runtime_is_heard_in_it() {
        let mut ends = Ends::early().unwrap();
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::TERM).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        assert_eq!(runtime.block_on(ends.next()), libc::SIGTERM);
        assert!(is_ignored(libc::SIGPIPE) && !is_ignored(libc::SIGTERM), "as every Rust program begins");
    }
}
