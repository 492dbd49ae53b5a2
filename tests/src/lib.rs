//! What the tests beside this crate share: where the repository is and which files it tracks.

pub mod crash;

use std::path::{Path, PathBuf};
use std::process::Command;

/// Root of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Files of the repository (tracked, or new and not ignored), relative to its root.
///
/// # Panics
/// When git is missing or this is not a checkout: the tests that ask cannot say anything then.
pub fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git must be installed to list the repository's files");
    assert!(output.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter(|file| root().join(file).is_file()).map(str::to_owned).collect()
}

/// Text of a file of the repository.
///
/// # Panics
/// When it cannot be read.
pub fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("cannot read {file}: {error}"))
}
