//! A container's log: lines with time and stream in, a bounded file out.
//!
//! The holder writes it itself, so that pods keep writing while the supervisor is away.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use super::spool::Mark;
use crate::limits;

/// A log file, rotated by size.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// What the next holder needs to go on.
    mark: Option<Mark>,
}

impl Log {
    /// Opens (or continues) a log.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path, file, bytes, mark: None })
    }

    /// Opens a log where `mark` says: what is behind that was written without being noted, and comes again.
    pub(super) fn marked(path: PathBuf, mark: Mark) -> io::Result<Self> {
        let mut log = Self::open(path)?;
        if log.bytes > mark.log() {
            log.file.set_len(mark.log())?;
            log.bytes = mark.log();
        }
        Ok(Self { mark: Some(mark), ..log })
    }

    /// How much of a stream's spool is in the log.
    pub(super) fn done(&self, stream: &str) -> u64 {
        self.mark.as_ref().map_or(0, |mark| mark.done(stream))
    }

    /// Appends whole lines.
    pub(super) fn append(&mut self, text: &[u8]) {
        if self.file.write_all(text).is_ok() {
            self.bytes += text.len() as u64;
        } else {
            // A full disk loses log lines, not the container; and no half line stays.
            let _ = self.file.set_len(self.bytes);
        }
    }

    /// Notes how much of a stream's spool is in the log.
    pub(super) fn move_mark(&mut self, stream: &str, done: u64) {
        if let Some(mark) = &mut self.mark {
            mark.set(self.bytes, stream, done);
        }
    }

    /// Starts a new file when this one is full; the one before is kept.
    pub(super) fn rotate_if_large(&mut self) {
        if self.bytes <= limits::LOG_BYTES {
            return;
        }
        let mut old = self.path.clone().into_os_string();
        old.push(".old");
        if std::fs::rename(&self.path, old).is_ok()
            && let Ok(file) = OpenOptions::new().create(true).append(true).open(&self.path)
        {
            self.file = file;
        }
        self.bytes = 0;
        let done = self.done("stdout");
        self.move_mark("stdout", done);
    }
}

/// Adds one line to `out`, as the log has it.
pub(super) fn line(out: &mut Vec<u8>, stream: &str, part: char, text: &[u8]) {
    out.extend_from_slice(format!("{:.9} {stream} {part} ", jiff::Timestamp::now()).as_bytes());
    out.extend_from_slice(text);
    out.push(b'\n');
}
