//! The process table in, the data directories of holders that run as this user out.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use pods::holder::ROLE;

/// Unit of times in /proc/PID/stat: the same on every architecture that we build for.
const TICKS_PER_SECOND: i64 = 100;

/// Directories of this user's holders, as their command lines name them.
pub(super) fn directories() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let own = rustix::process::geteuid().as_raw();
    pids.filter(|pid| user(*pid) == Some(own)).filter_map(|pid| directory(&command_line(pid)?)).collect()
}

/// The effective user of a process. Unlike the owner of its files, it stays when the process is not dumpable.
fn user(pid: i32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_whitespace().nth(1)?.parse().ok()
}

fn command_line(pid: i32) -> Option<Vec<String>> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

/// `mainstay holder DIRECTORY SOCKET APPLET...`.
fn directory(words: &[String]) -> Option<PathBuf> {
    match words {
        [program, role, directory, ..] if program == "mainstay" && role == ROLE && directory.starts_with('/') => {
            Some(PathBuf::from(directory))
        }
        _ => None,
    }
}

/// When a process began.
pub(super) fn began(pid: i32) -> Option<Timestamp> {
    let ticks = i64::try_from(kernel::process::start_time(pid)?).ok()?;
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: i64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let after = SignedDuration::from_millis(ticks.checked_mul(1000 / TICKS_PER_SECOND)?);
    Timestamp::from_second(boot).ok()?.checked_add(after).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_holder_names_a_directory() {
        let of = |text: &str| directory(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(of("mainstay holder /tmp/x 3 curl"), Some(PathBuf::from("/tmp/x")));
        for other in ["mainstay up --sandbox", "mainstay holder", "mainstay holder x 3", "sh holder /tmp/x", ""] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_process_began_before_now() {
        let me = i32::try_from(std::process::id()).expect("a process id");
        let age = Timestamp::now().duration_since(began(me).expect("this process runs"));
        // The kernel's clock and the boot time are rounded to ticks and seconds.
        assert!(age > SignedDuration::from_secs(-3), "{age:?}");
        assert_eq!(user(me), Some(rustix::process::geteuid().as_raw()));
        assert_eq!(began(-1), None);
    }
}
