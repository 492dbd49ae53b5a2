//! The directories that were made, on disk: written down before they are made, taken away when nothing lives in them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::limits::CGROUP_END;

/// File in the data directory with one directory per line.
const FILE: &str = "cgroups";
/// How often a directory whose last process is ending is tried again.
const PAUSE: Duration = Duration::from_millis(2);

/// Writes down that directories are about to be made.
pub(super) fn write(data: &Path, directories: &[&Path]) -> io::Result<()> {
    let mut all = read(data);
    all.extend(directories.iter().map(|at| (*at).to_owned()));
    all.sort();
    all.dedup();
    let text: String = all.iter().map(|at| format!("{}\n", at.display())).collect();
    let new = data.join("cgroups.new");
    fs::write(&new, text)?;
    fs::rename(new, data.join(FILE))
}

/// The directories of the instance that were written down.
pub(super) fn read(data: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(data.join(FILE)).unwrap_or_default();
    // Only what this program names so is ever taken away.
    let ours = |at: &PathBuf| at.is_absolute() && at.parent().is_some_and(|above| above.ends_with("mainstay"));
    text.lines().map(PathBuf::from).filter(ours).collect()
}

/// Takes away every control group that was made for a data directory, waiting a moment for the last processes to end;
/// those that stay are returned.
pub fn remove_recorded(data: &Path) -> Vec<PathBuf> {
    let begun = Instant::now();
    let mut left = read(data);
    loop {
        left.retain(|at| !(remove_tree(at) && remove_shared(at)));
        if left.is_empty() {
            let _absent = fs::remove_file(data.join(FILE));
            return left;
        }
        if begun.elapsed() > CGROUP_END {
            return left;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Takes away what an earlier holder left that is not in use.
pub(super) fn remove_empty(data: &Path) {
    for at in read(data) {
        remove_tree(&at);
    }
}

/// Removes a group with all groups below it; true once it is gone. Groups with processes stay.
pub(super) fn remove_tree(at: &Path) -> bool {
    for entry in fs::read_dir(at).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    match fs::remove_dir(at) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Removes the directory that instances share, if this was the last one.
fn remove_shared(at: &Path) -> bool {
    if let Some(shared) = at.parent() {
        let _others = fs::remove_dir(shared);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_down_is_taken_away_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let ours = home.path().join("mainstay/abc");
        fs::create_dir_all(ours.join("podu/c")).unwrap();
        let other = home.path().join("other/abc");
        fs::create_dir_all(&other).unwrap();
        write(home.path(), &[&ours, &other]).unwrap();
        assert!(remove_recorded(home.path()).is_empty());
        assert!(!home.path().join("mainstay").exists() && other.exists());
        assert!(remove_recorded(home.path()).is_empty(), "nothing to do is no failure");
    }
}
