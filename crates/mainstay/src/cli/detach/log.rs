//! What a detached server says in, a log file that is rotated by size out.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

/// Size at which the log is rotated.
const BYTES_MAX: u64 = 10 << 20;
/// Rotated logs that are kept: `server.log.1` is the youngest.
const KEPT: u32 = 4;

/// Where a detached server of a data directory logs.
pub(crate) fn file(directory: &Path) -> PathBuf {
    directory.join("server.log")
}

/// Every log file that may exist, oldest first.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let rotated = (1..=KEPT).rev().map(|number| rotated(&file(directory), number));
    rotated.chain([file(directory)]).collect()
}

fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Standard error, counted, and made a new file when the old one is full.
#[derive(Clone)]
pub(crate) struct Log(Arc<Mutex<State>>);

struct State {
    path: PathBuf,
    written: u64,
    limit: u64,
    /// Makes the new file the one that everything printed goes to.
    switch: fn(&File) -> io::Result<()>,
}

impl Log {
    /// The log of a process whose standard error is the log file of `directory`.
    pub(crate) fn of_stderr(directory: &Path) -> Self {
        let path = file(directory);
        let written = std::fs::metadata(&path).map_or(0, |found| found.len());
        Self(Arc::new(Mutex::new(State { path, written, limit: BYTES_MAX, switch: to_stderr })))
    }

    fn count(&self, bytes: usize) {
        let mut state = self.0.lock().unwrap_or_else(|poison| poison.into_inner());
        state.written += bytes as u64;
        if state.written > state.limit {
            // A log that cannot be rotated grows: losing lines would be worse. The next try is a full file later.
            let _ = state.rotate();
            state.written = 0;
        }
    }
}

impl State {
    fn rotate(&self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            // Not every number exists yet.
            let _ = std::fs::rename(rotated(&self.path, number), rotated(&self.path, number + 1));
        }
        std::fs::rename(&self.path, rotated(&self.path, 1))?;
        (self.switch)(&File::options().create(true).append(true).open(&self.path)?)
    }
}

/// Standard output follows standard error, unless it still is the pipe to the parent.
fn to_stderr(new: &File) -> io::Result<()> {
    let (stdout, stderr) = (rustix::fs::fstat(io::stdout())?, rustix::fs::fstat(io::stderr())?);
    let same = (stdout.st_dev, stdout.st_ino) == (stderr.st_dev, stderr.st_ino);
    let (stdin, stdout) = (io::stdin(), io::stdout());
    kernel::process::set_stdio([stdin.as_fd(), if same { new.as_fd() } else { stdout.as_fd() }, new.as_fd()])
}

/// One line's way to standard error.
pub(crate) struct Writer(Log);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = io::stderr().write(bytes)?;
        self.0.count(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Writer;

    fn make_writer(&'a self) -> Writer {
        Writer(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_rotated_and_the_oldest_goes() {
        let home = tempfile::tempdir().unwrap();
        let path = file(home.path());
        let state = State { path: path.clone(), written: 0, limit: 10, switch: |_| Ok(()) };
        let log = Log(Arc::new(Mutex::new(state)));
        for round in 0..7 {
            File::options()
                .create(true)
                .append(true)
                .open(&path)
                .unwrap()
                .write_all(round.to_string().as_bytes())
                .unwrap();
            log.count(11);
        }
        let texts = files(home.path()).into_iter().map(|path| std::fs::read_to_string(path).unwrap());
        assert_eq!(texts.collect::<Vec<_>>(), ["3", "4", "5", "6", ""]);
        log.count(5);
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 5, "not full: not rotated");
    }
}
