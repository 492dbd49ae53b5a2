//! Kernel settings below /proc/sys: names in, values out and in.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Change, Ledger};

const LINKS6: &str = "net/ipv6/conf";

fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

/// The value of a setting; None if this kernel has no such setting (or the link is gone).
pub(crate) fn read(name: &str) -> Option<String> {
    std::fs::read_to_string(path(name)).ok().map(|text| text.trim().to_owned())
}

/// Writes a setting and notes nothing: for what is noted already, or goes with its link.
pub(in crate::host) fn write(name: &str, value: &str) -> std::io::Result<()> {
    std::fs::write(path(name), value)
}

/// The settings that change along with IPv6 forwarding of all links, as they are now: the noted ones, and those of links
/// that came since.
pub(super) fn now(noted: &[(String, String)]) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(path(LINKS6)).into_iter().flatten().flatten();
    let links = entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|link| link != "all");
    let mut names: Vec<String> = links.map(|link| format!("{LINKS6}/{link}/forwarding")).collect();
    names.extend(noted.iter().map(|(name, _)| name.clone()).filter(|name| !names.contains(name)).collect::<Vec<_>>());
    names.into_iter().filter_map(|name| read(&name).map(|value| (name, value))).collect()
}

fn set(name: &str, value: &str) -> Result<()> {
    write(name, value).with_context(|| {
        format!(
            "cannot set {name} to {value}.\nIn a container /proc/sys may be read-only: set it on the host, sysctl -w \
             {}={value}, then start again",
            name.replace('/', ".")
        )
    })
}

impl Ledger {
    /// Makes a planned change of a setting.
    pub(crate) fn apply_sysctl(&self, change: Change) -> Result<()> {
        let Change::Sysctl { name, after, along, .. } = &change else { return Ok(()) };
        if !along.is_empty() {
            return self.apply_alone(&change);
        }
        let (name, after) = (name.clone(), after.clone());
        self.make(change, || set(&name, &after))
    }

    /// Goes on with changes that a kill left half made.
    pub(crate) fn finish_sysctls(&self) -> Result<()> {
        for mut change in self.changes() {
            let Change::Sysctl { name, after, along, only_if, .. } = &mut change else { continue };
            if along.is_empty() || !only_if.is_empty() || read(name).as_ref() != Some(after) {
                continue;
            }
            only_if.extend(along.iter().find(|(name, _)| name.ends_with("/default/forwarding")).cloned());
            self.apply_alone(&change)?;
        }
        Ok(())
    }

    /// Makes a change of a setting that moves others along, and puts those back. What the others say of whoever relies on
    /// the setting counts only from then on: a kill in between would look like somebody else's doing.
    fn apply_alone(&self, change: &Change) -> Result<()> {
        let Change::Sysctl { name, after, along, .. } = change else { return Ok(()) };
        let mut begun = change.clone();
        if let Change::Sysctl { only_if, .. } = &mut begun {
            only_if.clear();
        }
        self.make(begun.clone(), || {
            // A link that forwards forgets the routes that routers told it of, unless it hears them all the same.
            let hears = |(name, value): &&(String, String)| {
                name.ends_with("/accept_ra") && value == "1" && read(name).is_some()
            };
            for (name, _) in along.iter().filter(hears) {
                set(name, "2")?;
            }
            set(name, after)?;
            for (name, before) in along.iter().filter(|(name, before)| read(name).is_some_and(|now| now != *before)) {
                set(name, before)?;
            }
            self.replace(&begun, change)
        })
    }
}
