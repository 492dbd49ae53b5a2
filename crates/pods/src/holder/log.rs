//! A container's output: bytes from its pipes in, lines with time and stream in a bounded file out.
//!
//! The holder does this itself, so that pods keep writing while the supervisor is away.

use std::os::fd::OwnedFd;

pub use super::log_file::Log;
use super::watcher::Watcher;
use crate::limits;

/// One output stream of a container on its way to the log, and to the clients that are attached.
pub struct Stream {
    /// Non-blocking end of the container's pipe.
    pub pipe: OwnedFd,
    /// `stdout` or `stderr`.
    pub name: &'static str,
    /// The clients that are attached.
    pub watchers: Vec<Watcher>,
    rest: Vec<u8>,
}

impl Stream {
    /// A stream called `stdout` or `stderr`.
    pub fn new(pipe: OwnedFd, name: &'static str) -> Self {
        Self { pipe, name, watchers: Vec::new(), rest: Vec::new() }
    }

    /// Whether some client has to read before the container may go on.
    pub fn stalled(&self) -> bool {
        self.watchers.iter().any(Watcher::waits)
    }

    /// Moves what is there to `log`; whether the stream goes on.
    pub fn pump(&mut self, log: &mut Log) -> bool {
        let mut buffer = [0u8; 16 << 10];
        let mut taken = 0;
        while taken < limits::LOG_TURN_BYTES {
            match rustix::io::read(&self.pipe, &mut buffer) {
                Ok(0) => {
                    self.flush(log);
                    return false;
                }
                Ok(count) => {
                    taken += count;
                    self.take(&buffer[..count], log);
                    self.watchers.retain_mut(|watcher| watcher.give(&buffer[..count]));
                    if self.stalled() {
                        return true;
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Moves everything that is there, at the end of the container.
    pub fn drain(&mut self, log: &mut Log) {
        // The processes are dead, so the pipe holds at most its capacity; the bound only guards against a leak of its
        // write end.
        for _ in 0..64 {
            if !self.pump(log) {
                return;
            }
        }
        self.flush(log);
    }

    fn take(&mut self, bytes: &[u8], log: &mut Log) {
        self.rest.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(end) = self.rest[from..].iter().position(|byte| *byte == b'\n') {
            log.line(self.name, 'F', &self.rest[from..from + end]);
            from += end + 1;
        }
        while self.rest.len() - from > limits::LOG_LINE_BYTES {
            log.line(self.name, 'P', &self.rest[from..from + limits::LOG_LINE_BYTES]);
            from += limits::LOG_LINE_BYTES;
        }
        self.rest.drain(..from);
    }

    fn flush(&mut self, log: &mut Log) {
        if !self.rest.is_empty() {
            log.line(self.name, 'P', &self.rest);
            self.rest.clear();
        }
    }
}
