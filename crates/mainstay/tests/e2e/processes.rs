//! The processes and network namespaces of an instance: what belongs to it, and what of that is still there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What belonged to an instance when it was looked at.
#[derive(Debug)]
pub(crate) struct Ours {
    /// Process ids with start times, so that a reused id is no survivor.
    processes: BTreeSet<(u32, u64)>,
    /// Network namespaces, by inode.
    networks: BTreeSet<String>,
}

struct Process {
    start: u64,
    parent: u32,
    command: String,
    network: String,
}

fn all() -> BTreeMap<u32, Process> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| Some((pid, look(pid)?))).collect()
}

/// One process; nothing if it has ended, also as a zombie.
fn look(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat[stat.rfind(')')? + 2..].split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let network = fs::read_link(format!("/proc/{pid}/ns/net")).map(|link| link.display().to_string());
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    Some(Process { start, parent, command, network: network.unwrap_or_default() })
}

impl Ours {
    /// The processes whose command line names the data directory (server and holder) and all below them.
    pub(crate) fn of(directory: &Path) -> Self {
        let all = all();
        let named = directory.display().to_string();
        let myself = std::process::id();
        let mut found: BTreeSet<u32> = BTreeSet::new();
        found.extend(
            all.iter()
                .filter(|(pid, process)| **pid != myself && process.command.contains(&named))
                .map(|(pid, _)| *pid),
        );
        loop {
            let below = all.iter().filter(|(pid, process)| found.contains(&process.parent) && !found.contains(pid));
            let below: Vec<u32> = below.map(|(pid, _)| *pid).collect();
            if below.is_empty() {
                break;
            }
            found.extend(below);
        }
        let host = fs::read_link("/proc/self/ns/net").expect("the own network namespace").display().to_string();
        let networks = found.iter().map(|pid| all[pid].network.clone()).filter(|network| *network != host);
        let networks = networks.filter(|network| !network.is_empty()).collect();
        Self { networks, processes: found.iter().map(|pid| (*pid, all[pid].start)).collect() }
    }

    /// The same for an instance in the network namespace of another process, which is not its own.
    pub(crate) fn on_host(directory: &Path, host: u32) -> Self {
        let mut ours = Self::of(directory);
        let host = fs::read_link(format!("/proc/{host}/ns/net")).expect("the host's network namespace");
        ours.networks.remove(&host.display().to_string());
        ours
    }

    /// How many processes and network namespaces there were.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.processes.len(), self.networks.len())
    }

    /// Sends SIGKILL to those whose environment holds a variable; how many there were.
    pub(crate) fn kill_with(&self, variable: &str) -> usize {
        let has = |pid: u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|one| one == variable.as_bytes())
        };
        let pids = self.processes.iter().filter(|(pid, _)| has(*pid));
        let pids = pids.filter_map(|(pid, _)| rustix::process::Pid::from_raw(i32::try_from(*pid).ok()?));
        pids.filter(|pid| rustix::process::kill_process(*pid, rustix::process::Signal::KILL).is_ok()).count()
    }

    /// Sends SIGKILL to all of them; how many there were.
    pub(crate) fn kill(&self) -> usize {
        let pids =
            self.processes.iter().filter_map(|(pid, _)| rustix::process::Pid::from_raw(i32::try_from(*pid).ok()?));
        pids.filter(|pid| rustix::process::kill_process(*pid, rustix::process::Signal::KILL).is_ok()).count()
    }

    /// Which of them exist now, one line each.
    pub(crate) fn left(&self) -> Vec<String> {
        let line = |(pid, process): (u32, Process)| {
            let known = self.processes.contains(&(pid, process.start)) || self.networks.contains(&process.network);
            known.then(|| format!("{pid} in {}: {}", process.network, process.command))
        };
        all().into_iter().filter_map(line).collect()
    }
}
