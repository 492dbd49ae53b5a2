//! Output that is on its way from a pod to its log: bytes moved from a FIFO in, the same bytes again after a kill out.
//!
//! Between a `read` and the `write` of the log a killed holder would lose bytes, and the other way round double them. So
//! bytes leave the FIFO in the same system call that puts them into a file, the spool; and a mark of a few bytes says how
//! much of the spool is in the log, and how long the log was then. The next holder cuts the log there and goes on.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::pipe::SpliceFlags;

use crate::limits;

/// The bytes of one stream that were taken from its FIFO.
pub(super) struct Spool {
    file: File,
    length: u64,
    done: u64,
}

impl Spool {
    /// Opens (or makes) the spool at `path`, of which `done` bytes are in the log; and the bytes that are not.
    pub(super) fn open(path: &Path, done: u64) -> io::Result<(Self, Vec<u8>)> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        let length = file.metadata()?.len();
        // Shorter than what is done: it was emptied, and the mark was not moved any more.
        let done = if done > length { 0 } else { done };
        let mut rest = vec![0; usize::try_from(length - done).unwrap_or(0)];
        file.read_exact_at(&mut rest, done)?;
        Ok((Self { file, length, done }, rest))
    }

    /// Moves bytes from the FIFO; how many, and none at its end. They are in `buffer`, too.
    pub(super) fn take(&mut self, fifo: &OwnedFd, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        let (flags, mut offset) = (SpliceFlags::NONBLOCK, self.length);
        let count = rustix::pipe::splice(fifo, None, self.file.as_fd(), Some(&mut offset), buffer.len(), flags)?;
        let taken = self.file.read_exact_at(&mut buffer[..count], self.length);
        self.length += count as u64;
        taken.map(|()| count).map_err(|_| rustix::io::Errno::IO)
    }

    /// Notes that `count` more bytes are in the log; how many are in all.
    pub(super) fn note(&mut self, count: usize) -> u64 {
        self.done += count as u64;
        self.done
    }

    /// Empties a long spool that is in the log as a whole; whether it did. A mark beyond its end means the same.
    pub(super) fn shrink(&mut self) -> bool {
        let shrinks = self.done == self.length && self.long() && self.file.set_len(0).is_ok();
        if shrinks {
            (self.length, self.done) = (0, 0);
        }
        shrinks
    }

    /// Whether it has grown so long that half a line goes into the log, too.
    pub(super) fn long(&self) -> bool {
        self.length > limits::SPOOL_BYTES
    }

    /// Empties it for good: the disk has no room.
    pub(super) fn give_up(&self) {
        let _ = self.file.set_len(0);
    }
}

/// How far the log of a container is.
pub(super) struct Mark {
    file: File,
    /// Bytes of the log, then bytes of each stream's spool that are in it.
    at: [u64; 3],
}

impl Mark {
    /// Opens (or makes) the mark at `path`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut bytes = [0; 24];
        let mut at = [0; 3];
        if file.read_exact_at(&mut bytes, 0).is_ok() {
            for (value, bytes) in at.iter_mut().zip(bytes.chunks_exact(8)) {
                *value = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
            }
        }
        Ok(Self { file, at })
    }

    /// Length of the log.
    pub(super) fn log(&self) -> u64 {
        self.at[0]
    }

    /// Bytes of a stream's spool that are in the log.
    pub(super) fn done(&self, stream: &str) -> u64 {
        self.at[index(stream)]
    }

    /// Moves the mark, in one write.
    pub(super) fn set(&mut self, log: u64, stream: &str, done: u64) {
        self.at[0] = log;
        self.at[index(stream)] = done;
        let bytes: Vec<u8> = self.at.iter().flat_map(|value| value.to_le_bytes()).collect();
        // A full disk does not matter: the file has its length since the first write.
        let _ = self.file.write_all_at(&bytes, 0);
    }
}

fn index(stream: &str) -> usize {
    if stream == "stdout" { 1 } else { 2 }
}

/// The files beside a log that carry its container's output on a host.
pub(super) struct Files {
    log: PathBuf,
}

impl Files {
    /// The files beside a log.
    pub(super) fn beside(log: &Path) -> Self {
        Self { log: log.to_owned() }
    }

    /// The FIFO of `stdin`, `stdout` or `stderr`.
    pub(super) fn fifo(&self, stream: &str) -> PathBuf {
        self.log.with_extension(stream)
    }

    /// The spool of `stdout` or `stderr`.
    pub(super) fn spool(&self, stream: &str) -> PathBuf {
        self.log.with_extension(format!("{stream}.spool"))
    }

    /// The mark.
    pub(super) fn mark(&self) -> PathBuf {
        self.log.with_extension("mark")
    }

    /// Removes all of them, before a run and after it.
    pub(super) fn remove(&self) {
        for stream in ["stdin", "stdout", "stderr"] {
            let _ = fs::remove_file(self.fifo(stream));
            let _ = fs::remove_file(self.spool(stream));
        }
        let _ = fs::remove_file(self.mark());
    }
}
