//! A store in, a save out: one file at one revision, written beside its name and renamed when it is whole and durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use api::object::Revision;
use serde::{Deserialize, Serialize};
use store::log::redb::{FILE, RedbLog};
use store::save::{Header, SAVE_FORMAT, Writer};
use store::{Record, Store, durable};

use crate::config::DataDir;

/// What was saved.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Saved {
    /// Revision of the store.
    pub(crate) revision: u64,
    /// Objects in it.
    pub(crate) objects: usize,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// Whether keys are in it.
    pub(crate) keys: bool,
}

/// Saves the store of a stopped instance.
pub(crate) fn offline(data_dir: &DataDir, file: &Path, keys: bool) -> Result<Saved> {
    super::format::check(data_dir)?;
    if !data_dir.store().join(FILE).exists() {
        bail!(
            "there is no store in {}: nothing to save.\nName the instance's directory: --data-dir DIR",
            data_dir.path().display()
        );
    }
    let _held = super::Held::to("save the store", data_dir)?;
    let mut objects = Vec::new();
    let findings = RedbLog::inspect(&data_dir.store(), |table, record| objects.push((table.to_owned(), record)))?;
    if let Some(wrong) = findings.wrong.first() {
        bail!("the store is damaged: {wrong}.\nSee all of it with: mainstay store check; restore an earlier save");
    }
    let objects = objects.iter().map(|(table, record)| (table.as_str(), record));
    write(data_dir, file, keys, findings.revision, objects)
}

/// Saves the store of this process, as it is at one revision; writers go on meanwhile.
pub(super) fn online(store: &Store, data_dir: &DataDir, file: &Path, keys: bool) -> Result<Saved> {
    let (revision, tables) = store.all();
    let objects = tables.iter().flat_map(|(table, records)| records.iter().map(move |one| (table.as_str(), &**one)));
    write(data_dir, file, keys, revision, objects)
}

fn write<'a>(
    data_dir: &DataDir,
    file: &Path,
    keys: bool,
    revision: Revision,
    objects: impl Iterator<Item = (&'a str, &'a Record)>,
) -> Result<Saved> {
    let header = Header {
        mainstay_save: SAVE_FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: revision.0,
        time: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        keys,
    };
    let mut new = file.as_os_str().to_owned();
    new.push(".part");
    let new = Path::new(&new);
    let work = || -> io::Result<(usize, u64)> {
        let out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(new)?;
        let mut writer = Writer::new(BufWriter::new(out), &header)?;
        let mut count = 0;
        for (table, record) in objects {
            writer.object(table, record)?;
            count += 1;
        }
        if keys {
            for (path, bytes) in key_files(data_dir)? {
                writer.file(&path, &bytes)?;
            }
        }
        let mut out = writer.finish()?;
        out.flush()?;
        let out = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        out.sync_all()?;
        let bytes = out.metadata()?.len();
        durable::rename(new, file)?;
        Ok((count, bytes))
    };
    match work() {
        Ok((objects, bytes)) => Ok(Saved { revision: revision.0, objects, bytes, keys }),
        Err(error) => {
            let _ = fs::remove_file(new);
            Err(error).with_context(|| {
                format!("cannot write the save {}.\nChoose a place that you may write, with space", file.display())
            })
        }
    }
}

/// Where a save may be put: a new file or an old one, behind links, but nothing else that has a name.
pub(crate) fn place(file: &Path) -> Result<PathBuf> {
    let refused = |what: &str| {
        anyhow::anyhow!(
            "a save cannot be put into {}: it is {what}.\nName a file: mainstay store save ./mainstay.save",
            file.display()
        )
    };
    if file.as_os_str() == "-" {
        return Err(refused("standard output, which may be a terminal or cut off"));
    }
    match fs::canonicalize(file) {
        Ok(real) if real.is_file() => Ok(real),
        Ok(real) if real.is_dir() => Err(refused("a directory")),
        Ok(_) => Err(refused("a device, a pipe or a socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(file.to_owned()),
        Err(error) => Err(error).with_context(|| {
            format!("cannot write the save {}.\nChoose a place that you may write, with space", file.display())
        }),
    }
}

/// Certificates and keys, by their path in the data directory.
fn key_files(data_dir: &DataDir) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(data_dir.pki())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_file() && (name.ends_with(".crt") || name.ends_with(".key")) {
            files.push((format!("pki/{name}"), fs::read(entry.path())?));
        }
    }
    files.sort();
    Ok(files)
}

/// What a save says of itself.
pub(crate) fn describe(file: &Path) -> Result<Header> {
    let opened = File::open(file).map_err(store::save::SaveError::from);
    let header = opened.and_then(|file| store::save::header(&mut BufReader::new(file)));
    header.map_err(|error| unreadable(file, &error))
}

/// Why a save is not used, with what to do.
pub(super) fn unreadable(file: &Path, error: &store::save::SaveError) -> anyhow::Error {
    let next = match error {
        store::save::SaveError::Newer { version, .. } => format!("Install mainstay {version} or later"),
        store::save::SaveError::Io(_) => "Give a file that you may read: mainstay store restore FILE".to_owned(),
        _ => "Use another save; make them with: mainstay store save FILE".to_owned(),
    };
    anyhow::anyhow!("cannot use the save {}: {error}.\n{next}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_save_replaces_files_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("old"), "").unwrap();
        std::os::unix::fs::symlink(path("old"), path("link")).unwrap();
        assert_eq!(place(&path("new")).unwrap(), path("new"));
        assert_eq!(place(&path("link")).unwrap(), fs::canonicalize(path("old")).unwrap());
        for wrong in [Path::new("/dev/null"), Path::new("-"), directory.path()] {
            let refused = place(wrong).unwrap_err().to_string();
            assert!(refused.contains("mainstay store save ./"), "{refused}");
        }
    }
}
