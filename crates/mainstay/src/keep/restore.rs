//! A save in, a data directory that holds what it held out; what was there before is kept beside it.
//!
//! Clients remember resourceVersions of the time after the save. So the restored store begins well above every number
//! that is known to have been given out: a watch from before is answered 410, and the client lists again.
//!
//! The directory is locked all the time, and changed in the steps of `steps`, between any two of which the power may fail.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use api::object::Revision;
use bytes::Bytes;
use store::log::redb::{FILE, RedbLog};
use store::save::{Entry, Header};
use store::{OpenError, Record};

use super::Held;
use super::save::unreadable;
use super::steps::{Step, steps};
use crate::config::DataDir;

/// How far above the highest known revision a restored store begins: more changes than an instance makes between two
/// saves, be they years apart.
const GAP: u64 = 1 << 32;

/// The highest revision at which a restored store begins: clients may read a resourceVersion as a signed number.
const HIGHEST: u64 = i64::MAX as u64;

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

/// A restore of which nothing is done yet.
struct Work {
    steps: Vec<Step>,
    revision: Revision,
    objects: Vec<(String, Record)>,
    header: Header,
    kept: Option<PathBuf>,
    /// No server starts meanwhile: what it would acknowledge would be in the old store.
    held: Held,
}

/// Restores into the directory of an instance that does not run.
pub(crate) fn restore(data_dir: &DataDir, file: &Path, force: bool) -> Result<Restored> {
    let Work { steps, revision, objects, header, kept, held: _held } = prepare(data_dir, file, force)?;
    for step in &steps {
        step.take(revision, &objects).with_context(|| {
            format!("cannot restore into {}.\nFree space, or choose --data-dir DIR", data_dir.path().display())
        })?;
    }
    Ok(Restored { header, objects: objects.len(), revision: revision.0, kept })
}

fn prepare(data_dir: &DataDir, file: &Path, force: bool) -> Result<Work> {
    super::format::check(data_dir)?;
    let Contents { header, objects, files } = read(file)?;
    data_dir.create()?;
    let held = Held::to("restore", data_dir)?;
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
    // A store that was lost may have left the mark of what it acknowledged.
    let known = if there { revision_of(&store)? } else { RedbLog::acknowledged(&store) };
    let revision = begin(known.max(Revision(header.revision)), file)?;
    super::format::admit(data_dir, &held)?;
    let kept = store.exists().then(|| free_name(data_dir.path())).transpose()?;
    let steps = steps(data_dir.path(), kept.as_deref(), files);
    Ok(Work { steps, revision, objects, header, kept, held })
}

/// The revision at which a restored store begins.
fn begin(known: Revision, file: &Path) -> Result<Revision> {
    match known.0.checked_add(GAP) {
        Some(revision) if revision <= HIGHEST => Ok(Revision(revision)),
        _ => bail!(
            "cannot use the save {}: revision {known} is one that no store comes to.\nUse another save; if it is the old store \
             that says so, restore into another directory: --data-dir DIR",
            file.display()
        ),
    }
}

/// A name beside the store that nothing has.
fn free_name(directory: &Path) -> Result<PathBuf> {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let names = (0..1000_u32).map(|number| match number {
        0 => directory.join(format!("store.before-{time}")),
        number => directory.join(format!("store.before-{time}-{number}")),
    });
    names.into_iter().find(|name| !name.exists()).with_context(|| {
        format!(
            "cannot keep the old store: every name {} has beside it is taken.\nRemove old ones, then try again",
            directory.join(format!("store.before-{time}")).display()
        )
    })
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

#[cfg(test)]
mod tests;
