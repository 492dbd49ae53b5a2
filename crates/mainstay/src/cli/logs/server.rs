//! The log files of a detached server in, the lines that were asked for out, and the new ones as they come.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Flags;
use crate::cli::detach;
use crate::exit::Exit;
use crate::out;

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Prints the log of the instance's server.
pub(super) async fn run(flags: &Flags) -> Result<()> {
    let data_dir = flags.instance.data_dir()?;
    let path = detach::file(data_dir.path());
    let mut file = File::open(&path).map_err(|error| {
        let text = format!(
            "there is no log of a server in {}.\nA server logs there when it runs in the background: mainstay up --detach; otherwise \
             to its terminal",
            data_dir.path().display()
        );
        let exit = if data_dir.path().exists() { Exit::Error } else { Exit::Unreachable };
        exit.because(error, text)
    })?;
    let mut text = String::new();
    for old in detach::files(data_dir.path()).iter().filter(|old| **old != path) {
        // Not every number exists.
        if let Ok(mut old) = File::open(old) {
            text.push_str(&read(&mut old)?);
        }
    }
    text.push_str(&read(&mut file).with_context(|| format!("cannot read {}", path.display()))?);
    let after =
        flags.since.map(|since| jiff::Timestamp::now() - jiff::SignedDuration::try_from(since).unwrap_or_default());
    let shown = choose(&text, flags.tail, after);
    if !out::write(shown.as_bytes()) || !flags.follow {
        return Ok(());
    }
    follow(&path, file).await
}

fn read(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines, and only those not before a time. A line without a time belongs to the one above it.
fn choose(text: &str, tail: Option<u64>, after: Option<jiff::Timestamp>) -> String {
    let mut young = after.is_none();
    let mut lines = Vec::new();
    for line in text.split_inclusive('\n') {
        if let (Some(after), Some(time)) = (after, time(line)) {
            young = time >= after;
        }
        if young {
            lines.push(line);
        }
    }
    let tail = tail.map_or(usize::MAX, |tail| usize::try_from(tail).unwrap_or(usize::MAX));
    lines[lines.len().saturating_sub(tail)..].concat()
}

/// The time at which a line begins, in either format of the log.
fn time(line: &str) -> Option<jiff::Timestamp> {
    let plain: String = line.strip_prefix("{\"timestamp\":\"").unwrap_or(line).chars().take(40).collect();
    plain.split([' ', '"']).next()?.parse().ok()
}

/// Prints what is added, also when the log is rotated meanwhile.
async fn follow(path: &Path, file: File) -> Result<()> {
    let mut reader = BufReader::new(file);
    loop {
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            if !out::write(&line) {
                return Ok(());
            }
            line.clear();
        }
        tokio::time::sleep(LOOK).await;
        let ours = reader.get_ref().metadata()?.ino();
        if std::fs::metadata(path).is_ok_and(|now| now.ino() != ours) {
            // What was written between the last look and the rotation.
            while reader.read_until(b'\n', &mut line)? > 0 {
                out::write(&line);
                line.clear();
            }
            reader = BufReader::new(File::open(path)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_chosen_by_number_and_time() {
        let text = "  0.1 ms  sandbox\n2026-01-01T00:00:00.5Z WARN a\n  more\n{\"timestamp\":\"2026-01-01T00:00:02Z\",\"level\":\"WARN\"}\nend";
        assert_eq!(choose(text, None, None), text);
        assert_eq!(choose(text, Some(1), None), "end");
        assert_eq!(choose(text, Some(0), None), "");
        let after = "2026-01-01T00:00:00Z".parse().ok();
        assert!(choose(text, None, after).starts_with("2026-01-01T00:00:00.5Z WARN a\n  more\n{"));
        let after = "2026-01-01T00:00:01Z".parse().ok();
        assert!(choose(text, None, after).starts_with("{\"timestamp\""));
        assert_eq!(choose(text, None, "2027-01-01T00:00:00Z".parse().ok()), "");
    }
}
