//! The files of a log in, its lines in order out, while they grow and are rotated.
//!
//! A file is known by its inode: whatever it is called by now, what follows it in time is the next file to be read.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::log_files;

/// A place in a log.
pub(super) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    inode: u64,
}

/// A file that is there: its inode and its name of this moment.
fn files(path: &Path) -> Vec<(u64, PathBuf)> {
    let inode = |file: PathBuf| Some((fs::metadata(&file).ok()?.ino(), file));
    log_files::all(path).filter_map(inode).collect()
}

impl Reader {
    /// At the beginning of what is kept, or where the last `tail` lines begin.
    pub(super) fn open(path: &Path, tail: Option<u64>) -> io::Result<(Self, u64)> {
        let (mut start, mut lines) = (0, 0);
        let there = files(path);
        if let Some(tail) = tail {
            for (index, (_, file)) in there.iter().enumerate().rev() {
                start = index;
                // A file that was rotated away meanwhile is older than what is asked for, or is found again below.
                lines += File::open(file).and_then(count).unwrap_or(0);
                if lines >= tail {
                    break;
                }
            }
        }
        let skip = tail.map_or(0, |tail| lines.saturating_sub(tail));
        // The name may belong to another file by now: look for the inode.
        let inode = there.get(start).map(|(inode, _)| *inode);
        let file = open_inode(path, inode).map_or_else(|| File::open(path), Ok)?;
        Ok((Self::of(path, file)?, skip))
    }

    fn of(path: &Path, file: File) -> io::Result<Self> {
        let inode = file.metadata()?.ino();
        Ok(Self { path: path.to_owned(), file: BufReader::new(file), inode })
    }

    /// The file after this one, if this is not the newest. Nothing is added to this one any more when there is one.
    fn next(&self) -> Option<File> {
        let there = files(&self.path);
        let after = match there.iter().position(|(inode, _)| *inode == self.inode) {
            Some(at) => there.get(at + 1),
            // Dropped while it was read: the oldest is the next.
            None => there.first(),
        };
        open_inode(&self.path, Some(after?.0))
    }

    /// Gives every complete line that is there by now, newest file included; `rest` keeps a line that is still being
    /// written. False when `give` wants no more.
    pub(super) fn lines(&mut self, rest: &mut Vec<u8>, mut give: impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
        loop {
            // Looked for before reading: this file is then complete when it has been read to its end.
            let next = self.next();
            while self.file.read_until(b'\n', rest)? > 0 && rest.ends_with(b"\n") {
                rest.pop();
                let more = give(rest);
                rest.clear();
                if !more {
                    return Ok(false);
                }
            }
            match next {
                Some(file) => *self = Self::of(&self.path, file)?,
                None => return Ok(true),
            }
        }
    }
}

/// Opens the file of a log that has this inode, whatever its name is.
fn open_inode(path: &Path, inode: Option<u64>) -> Option<File> {
    let inode = inode?;
    // Each rotation moves it by one name; more of them than files and it is gone.
    for _ in 0..crate::limits::LOG_FILES {
        for file in log_files::all(path) {
            if let Ok(file) = File::open(file)
                && file.metadata().is_ok_and(|found| found.ino() == inode)
            {
                return Some(file);
            }
        }
    }
    None
}

fn count(file: File) -> io::Result<u64> {
    let (mut file, mut line, mut lines) = (BufReader::new(file), Vec::new(), 0);
    while file.read_until(b'\n', &mut line)? > 0 {
        lines += u64::from(line.ends_with(b"\n"));
        line.clear();
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holder::log::Log;

    fn texts(reader: &mut Reader, rest: &mut Vec<u8>) -> Vec<String> {
        let mut texts = Vec::new();
        let give = |line: &[u8]| {
            let text = String::from_utf8_lossy(line);
            texts.push(text.splitn(4, ' ').nth(3).unwrap_or_default().to_owned());
            true
        };
        assert!(reader.lines(rest, give).unwrap());
        texts
    }

    #[test]
    fn following_over_rotations_loses_and_repeats_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        let mut log = Log::open_limited(path.clone(), 400).unwrap();
        let (mut seen, mut rest, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        let (mut reader, skip) = Reader::open(&path, None).unwrap();
        assert_eq!(skip, 0);
        // Between two looks: nothing, a line, a rotation, several rotations.
        for (round, lines) in [0, 1, 5, 20, 2, 30, 0, 7, 28].into_iter().enumerate() {
            for line in 0..lines {
                let text = format!("{round}.{line}");
                log.line("stdout", 'F', text.as_bytes());
                wanted.push(text);
            }
            seen.extend(texts(&mut reader, &mut rest));
        }
        assert_eq!(seen, wanted);
    }

    #[test]
    fn a_tail_goes_over_files_and_a_reader_that_is_too_slow_goes_on_with_the_oldest() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        let mut log = Log::open_limited(path.clone(), 400).unwrap();
        for line in 0..30 {
            log.line("stdout", 'F', line.to_string().as_bytes());
        }
        for tail in [0, 1, 7, 15, 25] {
            let (mut reader, skip) = Reader::open(&path, Some(tail)).unwrap();
            let lines = texts(&mut reader, &mut Vec::new());
            let expected: Vec<String> = (30 - tail..30).map(|line| line.to_string()).collect();
            assert_eq!(lines[usize::try_from(skip).unwrap()..], expected, "--tail {tail}");
        }
        let (mut slow, _) = Reader::open(&path, None).unwrap();
        let before = texts(&mut slow, &mut Vec::new()).len();
        for line in 30..1000 {
            log.line("stdout", 'F', line.to_string().as_bytes());
        }
        let after = texts(&mut slow, &mut Vec::new());
        assert!(before > 0 && after.last().unwrap() == "999");
        let numbers: Vec<u32> = after.iter().map(|text| text.parse().unwrap()).collect();
        // Where files were dropped that it had not come to, and nowhere else.
        assert_eq!(numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).count(), 1, "{numbers:?}");
    }

    #[test]
    fn the_one_old_file_of_releases_before_is_read_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        fs::write(directory.path().join("0.log.old"), "t stdout F old\n").unwrap();
        fs::write(&path, "t stdout F new\nt stdout F half").unwrap();
        let (mut reader, _) = Reader::open(&path, None).unwrap();
        let mut rest = Vec::new();
        assert_eq!(texts(&mut reader, &mut rest), ["old", "new"]);
        assert_eq!(rest, b"t stdout F half");
    }
}
