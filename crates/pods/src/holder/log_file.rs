//! Lines of a container in, a bounded number of bounded files out: the newest keeps its name, older ones are numbered.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use crate::limits::{LOG_BYTES, LOG_FILES};
use crate::log_files;

/// A log, rotated by size.
pub struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
    limit: u64,
}

impl Log {
    /// Opens (or continues) a log.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        Self::open_limited(path, LOG_BYTES)
    }

    /// The same with files of another size.
    pub(crate) fn open_limited(path: PathBuf, limit: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path, file, bytes, limit })
    }

    /// Adds a line of a stream: `F` for a whole one, `P` for a part.
    pub(crate) fn line(&mut self, stream: &str, part: char, text: &[u8]) {
        let mut line = format!("{:.9} {stream} {part} ", jiff::Timestamp::now()).into_bytes();
        line.extend_from_slice(text);
        line.push(b'\n');
        // A full disk loses log lines, not the container, and never half of a line.
        match self.file.write_all(&line) {
            Ok(()) => self.bytes += line.len() as u64,
            Err(_) => {
                let _ = self.file.set_len(self.bytes);
            }
        }
        if self.bytes > self.limit {
            self.rotate();
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
