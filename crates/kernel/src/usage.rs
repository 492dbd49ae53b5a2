//! A process in, what it and everything that it started use out: proportional memory and processor time.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

/// What one process uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Process id.
    pub pid: u32,
    /// What the process calls itself.
    pub name: String,
    /// Its proportional set size in KiB: pages shared by n processes count as an nth.
    pub pss_kib: u64,
    /// Processor time since its start, in user and kernel mode.
    pub cpu: Duration,
}

/// Parent of every process.
pub fn parents() -> io::Result<BTreeMap<u32, u32>> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end while it is looked at.
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        if let Some(parent) = field(&status, "PPid:").and_then(|parent| u32::try_from(parent).ok()) {
            parents.insert(pid, parent);
        }
    }
    Ok(parents)
}

/// The process `root` and all of its descendants, parents first.
pub fn family(root: u32) -> io::Result<Vec<u32>> {
    let parents = parents()?;
    let mut family = vec![root];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    Ok(family)
}

/// What one process uses now. Fails if it is gone, or (with `PermissionDenied`) if it is somebody else's.
pub fn of(pid: u32) -> io::Result<Usage> {
    let lacks = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid} has no {what}"));
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let pss_kib = field(&rollup, "Pss:").ok_or_else(|| lacks("Pss"))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm"))?.trim().to_owned();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let cpu = cpu(&stat).ok_or_else(|| lacks("processor time"))?;
    Ok(Usage { pid, name, pss_kib, cpu })
}

/// Processor time of this process since its start, in ticks of the kernel (10 ms).
pub fn own_cpu() -> io::Result<Duration> {
    let lacks = || io::Error::new(io::ErrorKind::InvalidData, "/proc/self/stat has no processor time");
    cpu(&fs::read_to_string("/proc/self/stat")?).ok_or_else(lacks)
}

/// Fields 14 and 15 of /proc/PID/stat (proc(5)), in ticks.
fn cpu(stat: &str) -> Option<Duration> {
    // The name in parentheses may contain anything.
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split(' ').collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let total = ticks(11)? + ticks(12)?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Duration::from_secs_f64(total as f64 / per_second as f64))
}

/// The number after a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_numbers_after_their_names() {
        let text = "Name:\tx\nPPid:\t12\nPss_Dirty:  1 kB\nPss:     4321 kB\n";
        assert_eq!((field(text, "PPid:"), field(text, "Pss:"), field(text, "Rss:")), (Some(12), Some(4_321), None));
    }

    #[test]
    fn processor_time_stands_after_a_name_that_may_hold_anything() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 5 6 7";
        let ticks = rustix::param::clock_ticks_per_second();
        assert_eq!(cpu(stat), Some(Duration::from_secs_f64(200.0 / ticks as f64)));
        assert_eq!(cpu("7 nonsense"), None);
    }

    #[test]
    fn a_family_is_a_process_and_what_it_started() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let own = family(std::process::id()).unwrap();
        assert_eq!(own.first(), Some(&std::process::id()));
        assert!(own.contains(&child.id()), "{own:?}");
        assert!(of(std::process::id()).unwrap().pss_kib > 0);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(of(child.id()).is_err());
    }
}
