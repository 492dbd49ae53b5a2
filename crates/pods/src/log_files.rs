//! The files of one container's log: the name of the newest in, all of them in the order of time out.

use std::path::{Path, PathBuf};

use crate::limits::LOG_FILES;

/// The file that became the `number`th oldest when newer ones began; 0 is the one that is written.
pub(crate) fn rotated(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.into()
}

/// Every file that may be there, oldest first. Releases before had one old file, called `.old`.
pub(crate) fn all(path: &Path) -> impl Iterator<Item = PathBuf> {
    let mut before = path.as_os_str().to_owned();
    before.push(".old");
    let numbered: Vec<PathBuf> = (0..LOG_FILES).rev().map(|number| rotated(path, number)).collect();
    std::iter::once(PathBuf::from(before)).chain(numbered)
}
