//! The workspace and its git history in; version, commit and time of a release out.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// What every artefact of one release says about itself.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Version of the workspace.
    pub(crate) version: String,
    /// The commit; with `-dirty` when files differ from it.
    pub(crate) commit: String,
    /// Seconds since 1970: the commit's time, or SOURCE_DATE_EPOCH. No artefact holds another time.
    pub(crate) epoch: u64,
}

impl Facts {
    /// Asks cargo and git.
    pub(crate) fn gather() -> Result<Self> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let mut commit = git(&["rev-parse", "--short=12", "HEAD"])?;
        if !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
            commit.push_str("-dirty");
        }
        let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(given) => given,
            Err(_) => git(&["log", "-1", "--format=%ct"])?,
        };
        let epoch = epoch.parse().with_context(|| format!("SOURCE_DATE_EPOCH {epoch:?} is no number of seconds"))?;
        Ok(Self { version, commit, epoch })
    }
}

fn git(arguments: &[&str]) -> Result<String> {
    let output =
        Command::new("git").current_dir(super::root()?).args(arguments).output().context("cannot start git")?;
    if !output.status.success() {
        bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
