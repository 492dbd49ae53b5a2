//! Kernel settings below /proc/sys: names in, values out and in.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Change, Ledger};

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

impl Ledger {
    /// Makes a planned change of a setting.
    pub(crate) fn apply_sysctl(&self, change: Change) -> Result<()> {
        let Change::Sysctl { name, after, .. } = &change else { return Ok(()) };
        let (name, after) = (name.clone(), after.clone());
        self.make(change, || {
            write(&name, &after).with_context(|| {
                format!(
                    "cannot set {name} to {after}.\nIn a container /proc/sys may be read-only: set it on the host, \
                     sysctl -w {}={after}, then start again",
                    name.replace('/', ".")
                )
            })
        })
    }
}
