//! A process in, the proportional memory of it and of everything that it started out.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// One process and its share of memory, pages shared by n processes counted as an nth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// What the process calls itself.
    pub(crate) name: String,
    /// Its proportional set size.
    pub(crate) kib: u64,
}

/// The process `root` and all of its descendants.
pub(crate) fn shares(root: u32) -> Result<Vec<Share>> {
    let parents = parents()?;
    let mut family = vec![root];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    family.into_iter().map(share).collect()
}

/// Parent of every process.
pub(crate) fn parents() -> Result<BTreeMap<u32, u32>> {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").context("cannot list /proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end while it is looked at.
        let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        if let Some(parent) = field(&status, "PPid:") {
            parents.insert(pid, u32::try_from(parent)?);
        }
    }
    Ok(parents)
}

pub(crate) fn share(pid: u32) -> Result<Share> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = std::fs::read_to_string(&path).with_context(|| {
        format!("cannot read {path}.\nMemory of processes in namespaces is shown to root: try sudo")
    })?;
    let kib = field(&rollup, "Pss:").with_context(|| format!("{path} has no Pss"))?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"))?.trim().to_owned();
    Ok(Share { name, kib })
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
    fn a_family_is_a_process_and_what_it_started() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let parents = parents().unwrap();
        assert_eq!(parents.get(&child.id()), Some(&std::process::id()));
        let own = share(std::process::id()).unwrap();
        assert!(own.kib > 0, "{own:?}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
