//! Data directories in, small files that name them out, and back: how instances in unusual places are found again.
//!
//! The files lie in `$XDG_RUNTIME_DIR/mainstay` (`/run/mainstay` for root), else beside the default data directory. They
//! are hints: a directory that is gone is forgotten, and one of another user is never believed. Others keep files there,
//! too (host mode says whose a network namespace is): only files with names of this module are read or removed.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::config::{DataDir, state_home};

/// A file longer than this is none of ours.
const FILE_BYTES_MAX: u64 = 4096;

/// Leaves a file that names the directory, in the first place that takes it. An instance runs without one as well.
pub(crate) fn remember(data_dir: &DataDir) {
    let tried = places().into_iter().map(|place| write(&place, data_dir.path()).map_err(|error| (place, error)));
    for failed in tried.map_while(Result::err) {
        tracing::debug!(place = %failed.0.display(), error = %failed.1, "the instance could not be registered here");
    }
}

/// Removes the files of directories that are gone, and the places that hold none any more.
pub(crate) fn forget() {
    directories();
}

/// Directories that the files name. Files of directories that are gone are removed, and places that hold none any more.
pub(super) fn directories() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for place in places() {
        let Ok(files) = std::fs::read_dir(&place) else { continue };
        for file in files.flatten().map(|entry| entry.path()).filter(|path| is_own(path)) {
            match kind(&file) {
                Some(Kind::Listed) => match read(&file) {
                    Some(directory) if directory.is_dir() => _ = found.insert(directory),
                    _ => _ = std::fs::remove_file(&file),
                },
                // Its writer renames it at once, unless it was killed before.
                Some(Kind::Unfinished(pid)) if !Path::new("/proc").join(&pid).exists() => {
                    _ = std::fs::remove_file(&file);
                }
                _ => {}
            }
        }
        // Refused while it holds a file.
        let _removed = std::fs::remove_dir(&place);
    }
    found
}

/// Whether a path exists and is this user's own: nobody makes us act on what belongs to somebody else.
pub(super) fn is_own(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.uid() == rustix::process::geteuid().as_raw())
}

/// Where files may be, best place first.
fn places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    if rustix::process::geteuid().is_root() {
        places.push(PathBuf::from("/run/mainstay"));
    } else if let Some(path) = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()) {
        places.push(Path::new(&path).join("mainstay"));
    }
    places.extend(state_home().map(|state| state.join("mainstay-instances")));
    places
}

/// Files that this module writes.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// It names a directory.
    Listed,
    /// It is being written by a process.
    Unfinished(String),
}

/// What a file is by its name; none: somebody else's.
fn kind(file: &Path) -> Option<Kind> {
    let hash = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let name = file.file_name()?.to_str()?;
    if let Some((hidden, pid)) = name.strip_prefix('.').and_then(|rest| rest.split_once('.')) {
        let number = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
        return (hash(hidden) && number).then(|| Kind::Unfinished(pid.to_owned()));
    }
    name.strip_suffix(".json").is_some_and(hash).then_some(Kind::Listed)
}

/// Somebody who finds the place empty removes it: then it is made once more.
fn write(place: &Path, directory: &Path) -> io::Result<()> {
    match write_once(place, directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => write_once(place, directory),
        done => done,
    }
}

fn write_once(place: &Path, directory: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(place)?;
    if !is_own(place) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    let mut name = DefaultHasher::new();
    directory.hash(&mut name);
    let path = place.join(format!("{:016x}.json", name.finish()));
    let new = place.join(format!(".{:016x}.{}", name.finish(), std::process::id()));
    std::fs::write(&new, serde_json::json!({ "dataDir": directory.to_string_lossy() }).to_string())?;
    std::fs::rename(new, path)
}

fn read(file: &Path) -> Option<PathBuf> {
    if std::fs::metadata(file).ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    let value: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    value["dataDir"].as_str().map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_name_directories_and_nonsense_names_none() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let file = |text: &str| {
            let path = place.path().join("one.json");
            std::fs::write(&path, text).expect("the file can be written");
            read(&path)
        };
        assert_eq!(file("{\"dataDir\":\"/var/lib/x\"}"), Some(PathBuf::from("/var/lib/x")));
        for text in ["", "{}", "{\"dataDir\":7}", "{\"dataDir\":\"relative\"}", "\u{0}\u{1}", &"[".repeat(5000)] {
            assert_eq!(file(text), None, "{text:?}");
        }
        write(place.path(), Path::new("/some/where")).expect("the place takes it");
        write(place.path(), Path::new("/some/where")).expect("and takes it twice");
        let names: Vec<_> = std::fs::read_dir(place.path()).expect("it can be listed").flatten().collect();
        assert_eq!(names.len(), 2, "one file for one directory, beside the test's own: {names:?}");
        assert!(!is_own(Path::new("/nonexistent")));
    }

    #[test]
    fn only_names_of_its_own_are_touched() {
        let of = |name: &str| kind(&Path::new("/run/mainstay").join(name));
        assert_eq!(of("0123456789abcdef.json"), Some(Kind::Listed));
        assert_eq!(of(".0123456789abcdef.77"), Some(Kind::Unfinished("77".into())));
        for other in ["host-4026531840", "0123456789abcdef", "0123.json", "notes.json", ".0123456789abcdef.x", ".", ""]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
