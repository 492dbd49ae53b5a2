//! A container's log: lines with time and stream in, a bounded number of bounded files out: the newest keeps its name, older
//! ones are numbered.
//!
//! The holder writes it itself, so that pods keep writing while the supervisor is away.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use super::spool::Mark;
use crate::limits::{LOG_BYTES, LOG_FILES};
use crate::log_files;

/// A log file, rotated by size.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
    limit: u64,
    /// What the next holder needs to go on.
    mark: Option<Mark>,
}

impl Log {
    /// Opens (or continues) a log.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path, file, bytes, limit: LOG_BYTES, mark: None })
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
        if self.bytes > self.limit {
            self.rotate();
            let done = self.done("stdout");
            self.move_mark("stdout", done);
        }
    }

    /// Begins a new file. Readers hold the old one open and find the next by what follows it.
    fn rotate(&mut self) {
        for number in (1..LOG_FILES).rev() {
            // What is not there yet cannot be renamed, and the oldest is replaced.
            let _ = fs::rename(log_files::rotated(&self.path, number - 1), log_files::rotated(&self.path, number));
        }
        match OpenOptions::new().create(true).append(true).open(&self.path) {
            Ok(file) => {
                self.file = file;
                self.bytes = 0;
            }
            // No file to go on in (no inodes left): the lines go on in the one that has just been renamed, and the next
            // line tries again.
            Err(_) => {
                let _ = fs::rename(log_files::rotated(&self.path, 1), &self.path);
            }
        }
    }
}

#[cfg(test)]
impl Log {
    /// The same with files of another size.
    pub(crate) fn open_limited(path: PathBuf, limit: u64) -> io::Result<Self> {
        Ok(Self { limit, ..Self::open(path)? })
    }

    /// Adds one line, as a stream does.
    pub(crate) fn line(&mut self, stream: &str, part: char, text: &[u8]) {
        let mut out = Vec::new();
        line(&mut out, stream, part, text);
        self.append(&out);
        self.rotate_if_large();
    }
}

/// Adds one line to `out`, as the log has it.
pub(super) fn line(out: &mut Vec<u8>, stream: &str, part: char, text: &[u8]) {
    out.extend_from_slice(format!("{:.9} {stream} {part} ", jiff::Timestamp::now()).as_bytes());
    out.extend_from_slice(text);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_bounded_in_length_and_number_and_hold_whole_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        let mut log = Log::open_limited(path.clone(), 1000).unwrap();
        for number in 0..500 {
            log.line("stdout", 'F', format!("line {number}").as_bytes());
        }
        let files: Vec<PathBuf> = log_files::all(&path).filter(|file| file.exists()).collect();
        assert_eq!(files.len(), LOG_FILES);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), LOG_FILES);
        let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        assert!(files.iter().all(|file| fs::metadata(file).unwrap().len() < 1100));
        let numbers: Vec<usize> = text.lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(*numbers.last().unwrap(), 499);
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "the newest lines, in order, none missing");
        drop(log);
        let mut again = Log::open_limited(path, 1000).unwrap();
        again.line("stderr", 'P', b"line 500");
        assert!(again.bytes < 1100);
    }
}
