//! A running instance in, everything of it that could leak out: memory, descriptors, namespaces, mounts, links, nft data.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use kernel::usage;
use serde_json::{Value, json};

/// What was counted at rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// Since the start.
    pub(super) seconds: u64,
    /// Changes made until then.
    pub(super) changes: u64,
    /// Proportional memory of server and holder.
    pub(super) pss_kib: u64,
    /// Bytes of the data directory on disk.
    pub(super) disk_bytes: u64,
    /// Counts that must come back to what they were, by name.
    pub(super) counts: Vec<(&'static str, u64)>,
}

/// Columns of the table, and the keys of [`Sample::counts`].
pub(super) const COUNTS: [&str; 7] = ["server_fds", "holder_fds", "threads", "netns", "mounts", "links", "nft_words"];

impl Sample {
    /// Looks at the instance whose server is process `server`.
    pub(super) fn take(binary: &Path, directory: &Path, server: u32) -> Result<Self> {
        let holder = holder_of(server)?;
        let fds = |pid| Ok::<_, anyhow::Error>(links(&format!("/proc/{pid}/fd"))?.len() as u64);
        let nets = links(&format!("/proc/{holder}/fd"))?.iter().filter(|link| link.starts_with("net:")).count();
        let lines = |path: String| Ok::<_, anyhow::Error>(fs::read_to_string(&path).context(path)?.lines().count());
        let values = [
            fds(server)?,
            fds(holder)?,
            links_count(&format!("/proc/{server}/task"))?,
            nets as u64,
            lines(format!("/proc/{holder}/mountinfo"))? as u64,
            lines(format!("/proc/{holder}/net/dev"))? as u64,
            nft_words(binary, directory)?,
        ];
        let pss = usage::of(server)?.pss_kib + usage::of(holder)?.pss_kib;
        let counts = COUNTS.into_iter().zip(values).collect();
        Ok(Self { pss_kib: pss, disk_bytes: bytes_below(directory), counts, ..Self::default() })
    }

    /// One line of the table.
    pub(super) fn row(&self) -> String {
        let counts: Vec<String> = self.counts.iter().map(|(_, value)| format!("{value:>11}")).collect();
        let (mib, disk) = (self.pss_kib as f64 / 1024.0, self.disk_bytes as f64 / f64::from(1 << 20));
        format!("{:>7} {:>9} {mib:>8.1} {disk:>8.1} {}", self.seconds, self.changes, counts.join(" "))
    }

    /// The names above [`Sample::row`]s.
    pub(super) fn header() -> String {
        let counts: Vec<String> = COUNTS.iter().map(|name| format!("{name:>11}")).collect();
        format!("{:>7} {:>9} {:>8} {:>8} {}", "seconds", "changes", "pss_mib", "disk_mib", counts.join(" "))
    }

    /// For machines.
    pub(super) fn json(&self) -> Value {
        let mut object = json!({
            "seconds": self.seconds, "changes": self.changes, "pss_kib": self.pss_kib, "disk_bytes": self.disk_bytes,
        });
        for (name, value) in &self.counts {
            object[*name] = (*value).into();
        }
        object
    }
}

/// The server's child that calls itself the holder.
fn holder_of(server: u32) -> Result<u32> {
    for (pid, parent) in usage::parents()? {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if parent == server && name.trim() == "mainstay-holder" {
            return Ok(pid);
        }
    }
    bail!("the server {server} has no child named mainstay-holder")
}

/// Where the links in a directory of /proc lead.
fn links(directory: &str) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list {directory}"))?;
    let link = |entry: fs::DirEntry| fs::read_link(entry.path()).map(|path| path.display().to_string());
    Ok(entries.flatten().filter_map(|entry| link(entry).ok()).collect())
}

fn links_count(directory: &str) -> Result<u64> {
    Ok(fs::read_dir(directory).with_context(|| format!("cannot list {directory}"))?.count() as u64)
}

/// Words of the kernel's rules and data: every element has some.
fn nft_words(binary: &Path, directory: &Path) -> Result<u64> {
    let output = Command::new(binary).args(["dump", "nft", "--data-dir"]).arg(directory).output()?;
    if !output.status.success() {
        bail!("mainstay dump nft: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().count() as u64)
}

fn bytes_below(directory: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.path().symlink_metadata() else { continue };
        bytes += if metadata.is_dir() { bytes_below(&entry.path()) } else { metadata.len() };
    }
    bytes
}
