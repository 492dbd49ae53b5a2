//! A client attached to a container's output: bytes of the container in, the client's pipe filled as fast as it is read.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec};

/// The pipe of a client, with what did not fit into it yet.
pub(super) struct Watcher {
    /// Our end, which never blocks.
    pub(super) pipe: OwnedFd,
    pending: Vec<u8>,
}

impl Watcher {
    /// A client that is given everything from now on.
    pub(super) fn new(pipe: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        Ok(Self { pipe, pending: Vec::new() })
    }

    /// Gives it bytes; false when it has left. What does not fit is kept: the container is not read on meanwhile.
    pub(super) fn give(&mut self, bytes: &[u8]) -> bool {
        self.pending.extend_from_slice(bytes);
        self.flush()
    }

    /// Moves on what is kept; false when the client has left.
    pub(super) fn flush(&mut self) -> bool {
        while !self.pending.is_empty() {
            match rustix::io::write(&self.pipe, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Whether it has to read before the container may go on.
    pub(super) fn waits(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether its reader is gone, which a pipe shows without being written to.
    pub(super) fn left(&self) -> bool {
        let mut polled = [PollFd::new(&self.pipe, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut polled, Some(&now)).is_ok_and(|count| count > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_does_not_fit_is_kept_until_it_is_read_and_a_reader_that_leaves_is_noticed() {
        let (mut read, write) = std::io::pipe().unwrap();
        let mut watcher = Watcher::new(write.into()).unwrap();
        let bytes: Vec<u8> = (0..200_000u32).map(|index| index as u8).collect();
        assert!(watcher.give(&bytes) && watcher.waits() && !watcher.left());
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        while watcher.waits() {
            let count = read.read(&mut buffer).unwrap();
            seen.extend_from_slice(&buffer[..count]);
            assert!(watcher.flush());
        }
        drop(watcher);
        read.read_to_end(&mut seen).unwrap();
        assert_eq!(seen, bytes);
        let (read, write) = std::io::pipe().unwrap();
        let mut watcher = Watcher::new(write.into()).unwrap();
        drop(read);
        assert!(watcher.left() && !watcher.give(b"x"));
    }
}
