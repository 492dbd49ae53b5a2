//! Throw-away directories: a purpose in, a new private directory with a short path out.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// How many names are tried before the directory counts as littered.
const NAMES: u32 = 100;

/// A new directory for `purpose`, readable by us alone. Its path is short: socket paths must fit in 108 bytes.
pub(crate) fn directory(purpose: &str) -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let base = std::env::temp_dir();
    let stem = format!("mainstay-{purpose}-{}", std::process::id());
    for attempt in 0..NAMES {
        let path = base.join(format!("{stem}-{attempt}"));
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot create {}.\nSet TMPDIR to a writable directory", path.display()));
            }
        }
    }
    anyhow::bail!("{NAMES} directories named {stem}-* exist in {}.\nRemove them", base.display())
}
