//! One output stream of a container: bytes from its pipe in, lines for its log and bytes for attached clients out.

use std::os::fd::OwnedFd;

use super::log::{self, Log};
use super::spool::Spool;
use super::watcher::Watcher;
use crate::limits;

/// One output stream of a container on its way to the log, and to the clients that are attached.
pub(super) struct Stream {
    /// Non-blocking end of the container's pipe.
    pub(super) pipe: OwnedFd,
    /// `stdout` or `stderr`.
    pub(super) name: &'static str,
    /// The clients that are attached.
    pub(super) watchers: Vec<Watcher>,
    rest: Vec<u8>,
    /// Where bytes are on the way, if the next holder is to find them.
    spool: Option<Spool>,
}

impl Stream {
    /// A stream called `stdout` or `stderr`, which ends with this holder.
    pub(super) fn new(pipe: OwnedFd, name: &'static str) -> Self {
        Self { pipe, name, watchers: Vec::new(), rest: Vec::new(), spool: None }
    }

    /// A stream that the next holder goes on with, or the last one began; `rest` is what that one left in the spool.
    pub(super) fn spooled(pipe: OwnedFd, name: &'static str, spool: Spool, rest: &[u8], log: &mut Log) -> Self {
        let mut stream = Self { spool: Some(spool), ..Self::new(pipe, name) };
        stream.take(rest, log);
        stream
    }

    /// Whether some client has to read before the container may go on.
    pub(super) fn stalled(&self) -> bool {
        self.watchers.iter().any(Watcher::waits)
    }

    /// Moves what is there to `log`; whether the stream goes on.
    pub(super) fn pump(&mut self, log: &mut Log) -> bool {
        let mut buffer = [0u8; 16 << 10];
        let mut taken = 0;
        while taken < limits::LOG_TURN_BYTES {
            match self.next(&mut buffer, log) {
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

    fn next(&mut self, buffer: &mut [u8], log: &mut Log) -> rustix::io::Result<usize> {
        use rustix::io::Errno;
        let Some(spool) = &mut self.spool else { return rustix::io::read(&self.pipe, buffer) };
        match spool.take(&self.pipe, buffer) {
            Err(Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::INVAL | Errno::FBIG) => {
                // Without room for the spool the pod goes on, and a line may be lost when the holder is killed.
                spool.give_up();
                self.spool = None;
                log.move_mark(self.name, 0);
                rustix::io::read(&self.pipe, buffer)
            }
            done => done,
        }
    }

    /// Moves everything that is there, at the end of the container.
    pub(super) fn drain(&mut self, log: &mut Log) {
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
        let (mut from, mut text) = (0, Vec::new());
        while let Some(end) = self.rest[from..].iter().position(|byte| *byte == b'\n') {
            log::line(&mut text, self.name, 'F', &self.rest[from..from + end]);
            from += end + 1;
        }
        while self.rest.len() - from > limits::LOG_LINE_BYTES {
            log::line(&mut text, self.name, 'P', &self.rest[from..from + limits::LOG_LINE_BYTES]);
            from += limits::LOG_LINE_BYTES;
        }
        if from < self.rest.len() && self.spool.as_ref().is_some_and(Spool::long) {
            log::line(&mut text, self.name, 'P', &self.rest[from..]);
            from = self.rest.len();
        }
        self.write(&text, from, log);
    }

    fn flush(&mut self, log: &mut Log) {
        if !self.rest.is_empty() {
            let mut text = Vec::new();
            log::line(&mut text, self.name, 'P', &self.rest);
            self.write(&text, self.rest.len(), log);
        }
    }

    /// Puts the first `count` bytes of the rest into the log, as `text`.
    fn write(&mut self, text: &[u8], count: usize, log: &mut Log) {
        if count == 0 {
            return;
        }
        self.rest.drain(..count);
        log.append(text);
        if let Some(spool) = &mut self.spool {
            log.move_mark(self.name, spool.note(count));
            if spool.shrink() {
                log.move_mark(self.name, 0);
            }
        }
        log.rotate_if_large();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;
    use std::path::Path;

    use rustix::fs::{CWD, FileType, Mode, OFlags};

    use super::super::spool::{Files, Mark};
    use super::*;

    /// The container's end of its FIFO.
    fn container(directory: &Path) -> File {
        let path = Files::beside(&directory.join("0.log")).fifo("stdout");
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        File::options().read(true).write(true).open(path).unwrap()
    }

    /// What each holder opens anew.
    fn holder(directory: &Path) -> (Stream, Log) {
        let path = directory.join("0.log");
        let files = Files::beside(&path);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let pipe = rustix::fs::open(files.fifo("stdout"), flags, Mode::empty()).unwrap();
        let mut log = Log::marked(path, Mark::open(&files.mark()).unwrap()).unwrap();
        let (spool, rest) = Spool::open(&files.spool("stdout"), log.done("stdout")).unwrap();
        (Stream::spooled(pipe, "stdout", spool, &rest, &mut log), log)
    }

    fn texts(directory: &Path) -> Vec<String> {
        let log = fs::read_to_string(directory.join("0.log")).unwrap();
        log.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap().to_owned()).collect()
    }

    #[test]
    fn half_a_line_waits_for_its_end_also_over_a_new_holder() {
        let home = tempfile::tempdir().unwrap();
        let mut container = container(home.path());
        let (mut stream, mut log) = holder(home.path());
        container.write_all(b"one\ntwo\nha").unwrap();
        assert!(stream.pump(&mut log));
        assert_eq!(texts(home.path()), ["one", "two"]);
        drop((stream, log));
        container.write_all(b"lf\nthree\n").unwrap();
        let (mut stream, mut log) = holder(home.path());
        assert!(stream.pump(&mut log));
        assert_eq!(texts(home.path()), ["one", "two", "half", "three"]);
    }

    #[test]
    fn a_kill_between_any_two_steps_neither_loses_nor_doubles_a_line() {
        let home = tempfile::tempdir().unwrap();
        let mut container = container(home.path());
        let files = Files::beside(&home.path().join("0.log"));
        let (mut stream, mut log) = holder(home.path());
        container.write_all(b"one\n").unwrap();
        stream.pump(&mut log);
        let mark = fs::read(files.mark()).unwrap();
        container.write_all(b"two\n").unwrap();
        stream.pump(&mut log);
        drop((stream, log));
        // Killed after the log was written and before the mark was moved: the log is cut, and written again.
        fs::write(files.mark(), &mark).unwrap();
        drop(holder(home.path()));
        assert_eq!(texts(home.path()), ["one", "two"]);
        // Killed after bytes had left the FIFO and before the log was written.
        fs::write(files.mark(), &mark).unwrap();
        let length = u64::from_le_bytes(mark[..8].try_into().unwrap());
        File::options().write(true).open(home.path().join("0.log")).unwrap().set_len(length).unwrap();
        drop(holder(home.path()));
        assert_eq!(texts(home.path()), ["one", "two"]);
        // Killed after the spool was emptied and before the mark said so.
        File::options().write(true).open(files.spool("stdout")).unwrap().set_len(0).unwrap();
        let (mut stream, mut log) = holder(home.path());
        container.write_all(b"three\n").unwrap();
        stream.pump(&mut log);
        drop((stream, log));
        drop(holder(home.path()));
        assert_eq!(texts(home.path()), ["one", "two", "three"]);
    }

    #[test]
    fn a_long_spool_is_emptied_and_lines_go_on() {
        let home = tempfile::tempdir().unwrap();
        let mut container = container(home.path());
        let files = Files::beside(&home.path().join("0.log"));
        let (mut stream, mut log) = holder(home.path());
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        let lines = usize::try_from(limits::SPOOL_BYTES).unwrap() / line.len() + 20;
        for _ in 0..lines {
            container.write_all(&line).unwrap();
            stream.pump(&mut log);
        }
        assert!(fs::metadata(files.spool("stdout")).unwrap().len() < 64 << 10);
        drop((stream, log));
        drop(holder(home.path()));
        assert_eq!(texts(home.path()).len(), lines);
    }
}
