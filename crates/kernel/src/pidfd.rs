//! A process that may be somebody else's child: its pidfd in, how it ended out.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct pidfd_info` of Linux 6.13, which every later kernel understands.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    /// Process ids, user and group ids.
    ids: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_INFO_EXIT`, since Linux 6.15.
const EXIT: u64 = 1 << 3;
/// `PIDFD_GET_INFO`: `_IOWR(0xff, 11, struct pidfd_info)`.
const GET_INFO: u64 = (3 << 30) | ((size_of::<Info>() as u64) << 16) | (0xff << 8) | 11;

/// How a process ended that its parent has reaped meanwhile: its exit code, or 128 + the number of the signal. None while it
/// runs or waits for its parent, and where the kernel does not tell (before Linux 6.15).
pub fn exit_code(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = Info { mask: EXIT, ..Info::default() };
    // SAFETY: a live descriptor and a live structure of the size that the request number names; the kernel writes no more.
    let done = unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO as _, &raw mut info) };
    (done == 0 && info.mask & EXIT != 0).then(|| code(info.exit_code))
}

/// How a process ended that still waits for its parent (a zombie); none if it is no zombie of that start time.
pub fn zombie_code(pid: i32, start_time: u64) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let same = fields.first() == Some(&"Z") && number(19) == Some(start_time);
    let status = if same { number(49)? } else { return None };
    Some(code(i32::try_from(status).ok()?))
}

/// A wait status as shells write it.
fn code(status: i32) -> i32 {
    let signal = status & 0x7f;
    if signal == 0 { (status >> 8) & 0xff } else { 128 + signal }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::Command;

    use super::*;
    use crate::process;

    #[test]
    fn the_end_of_a_process_is_known_before_and_after_it_is_reaped() {
        for (script, expected) in [("exit 7", 7), ("kill -TERM $$", 128 + 15), ("exit 0", 0)] {
            let mut child = Command::new("sh");
            let child = child.args(["-c", &format!("read line; {script}")]);
            let mut child = child.stdin(std::process::Stdio::piped()).spawn().unwrap();
            let pid = i32::try_from(child.id()).unwrap();
            let pidfd = process::open(pid).unwrap();
            let start = process::start_time(pid).unwrap();
            assert_eq!((exit_code(pidfd.as_fd()), zombie_code(pid, start)), (None, None), "it runs");
            drop(child.stdin.take());
            assert!(process::wait_end(pidfd.as_fd(), 60_000).unwrap());
            assert_eq!(zombie_code(pid, start), Some(expected), "it waits for its parent");
            assert_eq!(zombie_code(pid, start + 1), None, "another process of that id");
            child.wait().unwrap();
            assert_eq!(exit_code(pidfd.as_fd()), Some(expected), "it is gone");
        }
    }
}
