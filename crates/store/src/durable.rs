//! Names that outlast a power cut: a directory to make or a file to rename in, the same on the disk out.
//!
//! Syncing a file keeps its bytes, not its name: a name is kept by a sync of the directory that it stands in.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes a directory and those above it, and syncs every directory in which a name is new.
pub fn make_directory(directory: &Path, mode: u32) -> io::Result<()> {
    let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let made: Vec<&Path> = directory.ancestors().take_while(missing).collect();
    DirBuilder::new().recursive(true).mode(mode).create(directory)?;
    made.into_iter().try_for_each(sync_parent)
}

/// Renames a file or directory; when it returns, the new name lasts.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent(to)
}

/// Makes the names in a directory last.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    let opened = match File::open(directory) {
        // Who may make names in a directory need not be able to read it; its names then last as its file system likes.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        opened => opened?,
    };
    match opened.sync_all() {
        // A file system that syncs no directories.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// Makes the name of a file or directory last.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_directory(Path::new(".")),
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn directories_are_made_with_their_mode_and_names_move() {
        let home = tempfile::tempdir().unwrap();
        let deep = home.path().join("a/b");
        make_directory(&deep, 0o700).unwrap();
        make_directory(&deep, 0o700).unwrap();
        assert_eq!(fs::metadata(&deep).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(deep.join("new"), "bytes").unwrap();
        rename(&deep.join("new"), &deep.join("name")).unwrap();
        assert_eq!(fs::read_to_string(deep.join("name")).unwrap(), "bytes");
        assert!(rename(&deep.join("new"), &deep.join("name")).is_err());
        fs::write(home.path().join("file"), "").unwrap();
        assert!(make_directory(&home.path().join("file"), 0o700).is_err());
    }
}
