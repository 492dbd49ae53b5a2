//! What a restore is to do in, the steps in which a data directory is changed out; and each of them done.
//!
//! Between any two steps the directory `store` is the old store or the new one, whole, and nothing that is ever removed has
//! the name of the old one.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use api::object::Revision;
use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use store::log::redb::RedbLog;
use store::{Record, durable};

/// Where the new store is made. Earlier releases used `store.new`, in which an interrupted restore of theirs may have left
/// the old store: that is never touched.
const UNBORN: &str = "store.restoring";

/// One change of the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Removes a new store that an interrupted restore left half made.
    Clear(PathBuf),
    /// Makes the new store.
    Import(PathBuf),
    /// Gives a directory another name.
    Rename(PathBuf, PathBuf),
    /// Lets two directories change their names, at once.
    Exchange(PathBuf, PathBuf),
    /// Writes a key or certificate; another one that was there is kept beside as `NAME.before`.
    Put(PathBuf, Bytes),
}

/// The steps of a restore; `kept` is the name that the old store gets, if there is one.
pub(super) fn steps(directory: &Path, kept: Option<&Path>, files: Vec<(String, Bytes)>) -> Vec<Step> {
    let (unborn, store) = (directory.join(UNBORN), directory.join("store"));
    let mut steps = vec![Step::Clear(unborn.clone()), Step::Import(unborn.clone())];
    match kept {
        // First the new store gets the old one's later name, so that the exchange is the last that either needs.
        Some(kept) => {
            steps.push(Step::Rename(unborn, kept.to_owned()));
            steps.push(Step::Exchange(kept.to_owned(), store));
        }
        None => steps.push(Step::Rename(unborn, store)),
    }
    steps.extend(files.into_iter().map(|(path, bytes)| Step::Put(directory.join(path), bytes)));
    steps
}

impl Step {
    /// Does it; when it returns, it lasts.
    pub(super) fn take(&self, revision: Revision, objects: &[(String, Record)]) -> Result<()> {
        match self {
            Self::Clear(unborn) => {
                if unborn.exists() {
                    fs::remove_dir_all(unborn)?;
                }
            }
            Self::Import(unborn) => RedbLog::import(unborn, revision, objects)?,
            Self::Rename(from, to) => durable::rename(from, to)?,
            Self::Exchange(one, other) => {
                renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?;
                durable::sync_parent(other)?;
            }
            Self::Put(path, bytes) => put(path, bytes)?,
        }
        Ok(())
    }
}

/// There is no moment without the file.
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        durable::make_directory(directory, 0o700)?;
    }
    if fs::read(path).is_ok_and(|old| old != *bytes) {
        let mut before = path.as_os_str().to_owned();
        before.push(".before");
        fs::copy(path, &before)?;
        fs::File::open(&before)?.sync_all()?;
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    out.write_all(bytes)?;
    out.sync_all()?;
    durable::rename(Path::new(&new), path)
}
