//! A save in, a data directory that holds what it held out; what was there before is kept beside it.
//!
//! Clients remember resourceVersions of the time after the save. So the restored store begins well above every number
//! that is known to have been given out: a watch from before is answered 410, and the client lists again.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use api::object::Revision;
use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use store::log::redb::{FILE, RedbLog};
use store::save::{Entry, Header};
use store::{OpenError, Record};

use super::save::unreadable;
use crate::config::DataDir;

/// How far above the highest known revision a restored store begins: more changes than an instance makes between two
/// saves.
const GAP: u64 = 1_000_000;

/// What was restored.
#[derive(Clone, Debug)]
pub(crate) struct Restored {
    /// What the save says of itself.
    pub(crate) header: Header,
    /// Objects in it.
    pub(crate) objects: usize,
    /// Revision at which the store begins.
    pub(crate) revision: u64,
    /// Where the old store is.
    pub(crate) kept: Option<PathBuf>,
}

struct Contents {
    header: Header,
    objects: Vec<(String, Record)>,
    files: Vec<(String, Bytes)>,
}

/// Restores into the directory of an instance that does not run.
pub(crate) fn restore(data_dir: &DataDir, file: &Path, force: bool) -> Result<Restored> {
    super::format::check(data_dir)?;
    let Contents { header, objects, files } = read(file)?;
    let store = data_dir.store();
    let there = store.join(FILE).exists();
    if there && !force {
        bail!(
            "{} holds a store already; restoring would replace it.\nTo do so (the old one is kept beside it): mainstay \
             store restore {} --force --data-dir {}",
            data_dir.path().display(),
            file.display(),
            data_dir.path().display()
        );
    }
    let known = if there { revision_of(&store)? } else { Revision(0) };
    let revision = Revision(known.0.max(header.revision) + GAP);

    let failed = || format!("cannot restore into {}.\nFree space, or choose --data-dir DIR", data_dir.path().display());
    data_dir.create()?;
    super::format::admit(data_dir)?;
    let new = data_dir.path().join("store.new");
    if new.exists() {
        // A restore that was interrupted before it put its store in place.
        fs::remove_dir_all(&new).with_context(failed)?;
    }
    RedbLog::import(&new, revision, &objects)?;
    let kept = put_in_place(data_dir.path(), &new, &store).with_context(failed)?;
    put_files(data_dir, &files).with_context(failed)?;
    Ok(Restored { header, objects: objects.len(), revision: revision.0, kept })
}

fn read(file: &Path) -> Result<Contents> {
    let (mut objects, mut files) = (Vec::new(), Vec::new());
    let mut open = || {
        let mut input = BufReader::new(File::open(file)?);
        store::save::read(&mut input, |entry| match entry {
            Entry::Object(table, record) => objects.push((table, record)),
            Entry::File(path, bytes) => files.push((path, bytes)),
        })
    };
    let header = open().map_err(|error| unreadable(file, &error))?;
    // A save comes from somewhere else: it may only write the files that saves are made of.
    let ours = |path: &str| {
        let name = path.strip_prefix("pki/").and_then(|name| name.strip_suffix(".crt").or(name.strip_suffix(".key")));
        name.is_some_and(|name| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
    };
    if let Some((path, _)) = files.iter().find(|(path, _)| !ours(path)) {
        bail!("cannot use the save {}: it wants to write {path:?}.\nUse another save", file.display());
    }
    Ok(Contents { header, objects, files })
}

/// The highest revision that an old store is known to have given out. Fails when a process has it open.
fn revision_of(store: &Path) -> Result<Revision> {
    match RedbLog::open_dir(store) {
        Ok(_) => {}
        Err(error @ OpenError::InUse { .. }) => return Err(error.into()),
        // Damage is what one restores for; what can be read of it counts.
        Err(_) => {}
    }
    let found = RedbLog::inspect(store, |_, _| {}).map_or(Revision(0), |findings| findings.revision);
    Ok(found.max(RedbLog::acknowledged(store)))
}

/// Exchanges the new store for the old one in one step; returns where the old one is then.
fn put_in_place(directory: &Path, new: &Path, store: &Path) -> io::Result<Option<PathBuf>> {
    let mut kept = None;
    if store.exists() {
        renameat_with(CWD, new, CWD, store, RenameFlags::EXCHANGE)?;
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let free = (0..).map(|number: u32| match number {
            0 => directory.join(format!("store.before-{time}")),
            number => directory.join(format!("store.before-{time}-{number}")),
        });
        for place in free.take(1000) {
            if !place.exists() {
                fs::rename(new, &place)?;
                kept = Some(place);
                break;
            }
        }
    } else {
        fs::rename(new, store)?;
    }
    File::open(directory)?.sync_all()?;
    Ok(kept)
}

/// Writes keys and certificates; an old one is kept beside as `NAME.before`.
fn put_files(data_dir: &DataDir, files: &[(String, Bytes)]) -> io::Result<()> {
    for (path, bytes) in files {
        let path = data_dir.path().join(path);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        if fs::read(&path).is_ok_and(|old| old != **bytes) {
            let mut before = path.as_os_str().to_owned();
            before.push(".before");
            fs::rename(&path, before)?;
        }
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        fs::rename(&new, &path)?;
    }
    Ok(())
}
