//! The format of a data directory: what an earlier start left in, a directory that this program may use or a refusal out.
//!
//! The file `format` says which format the directory has and which version wrote it. A release that only adds files and
//! fields keeps the number, so that the release before it can still be started on the same directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::config::DataDir;

/// Format that this program writes, and the newest it reads. Format 0 is a directory without the file, as the first
/// releases left it.
pub(crate) const FORMAT: u64 = 1;

/// Name of the file.
const FILE: &str = "format";

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
struct Format {
    format: u64,
    /// Version of the program that wrote last.
    version: String,
}

/// Takes a directory of one format to the next.
struct Step {
    from: u64,
    run: fn(&Path) -> Result<()>,
}

/// Every step there ever was. From 0 to 1 only the file `format` is new.
const STEPS: &[Step] = &[Step { from: 0, run: |_| Ok(()) }];

/// Makes sure that this program may use the directory; upgrades an older one after making a copy of its store.
pub(crate) fn admit(data_dir: &DataDir) -> Result<()> {
    let upgraded = admit_with(data_dir.path(), FORMAT, STEPS)?;
    if let Some(copy) = upgraded {
        eprintln!(
            "            upgraded     the data directory to format {FORMAT}; the old store is in {}",
            copy.display()
        );
    }
    Ok(())
}

/// Refuses a directory of a newer format; changes nothing.
pub(crate) fn check(data_dir: &DataDir) -> Result<()> {
    refuse_newer(data_dir.path(), FORMAT).map(|_| ())
}

fn admit_with(directory: &Path, newest: u64, steps: &[Step]) -> Result<Option<PathBuf>> {
    let (found, written_by) = refuse_newer(directory, newest)?;
    let mut copy = None;
    let store = directory.join("store");
    if found < newest && store.is_dir() {
        copy = Some(keep_copy(directory, &store, found)?);
        for step in steps.iter().filter(|step| (found..newest).contains(&step.from)) {
            (step.run)(directory).with_context(|| {
                format!(
                    "cannot upgrade {} from format {} to {}.\nIts old store is whole in {}; start the version that wrote \
                     it on that",
                    directory.display(),
                    step.from,
                    step.from + 1,
                    copy.as_deref().unwrap_or(directory).display()
                )
            })?;
        }
    }
    if found < newest || written_by != VERSION {
        write(directory, &Format { format: newest, version: VERSION.to_owned() })
            .with_context(|| format!("cannot write {}", directory.join(FILE).display()))?;
    }
    Ok(copy)
}

/// Format of the directory, and who wrote it.
fn refuse_newer(directory: &Path, newest: u64) -> Result<(u64, String)> {
    let path = directory.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, String::new())),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let Format { format, version } = serde_json::from_slice(&text).with_context(|| {
        format!(
            "{} is damaged.\nIf this is a data directory of mainstay {VERSION}, write it anew: echo \
             '{{\"format\":{newest},\"version\":\"{VERSION}\"}}' > {}",
            path.display(),
            path.display()
        )
    })?;
    if format > newest {
        bail!(
            "{} was made by mainstay {version} in format {format}; this is mainstay {VERSION}, which reads formats up to \
             {newest}.\nInstall mainstay {version} or later, or restore a save into another directory: mainstay store \
             restore FILE --data-dir DIR",
            directory.display()
        );
    }
    Ok((format, version))
}

/// Copies the store beside itself, durably.
fn keep_copy(directory: &Path, store: &Path, found: u64) -> Result<PathBuf> {
    let copy = directory.join(format!("store.format-{found}"));
    let copied = || -> io::Result<()> {
        if copy.exists() {
            // An upgrade was interrupted: what it copied was the same store, perhaps not all of it.
            fs::remove_dir_all(&copy)?;
        }
        fs::create_dir(&copy)?;
        for entry in fs::read_dir(store)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let to = copy.join(entry.file_name());
                fs::copy(entry.path(), &to)?;
                fs::File::open(&to)?.sync_all()?;
            }
        }
        fs::set_permissions(&copy, fs::metadata(store)?.permissions())?;
        fs::File::open(&copy)?.sync_all()
    };
    copied().with_context(|| {
        format!(
            "cannot copy {} to {} before an upgrade.\nFree space on its disk, then start again",
            store.display(),
            copy.display()
        )
    })?;
    Ok(copy)
}

fn write(directory: &Path, format: &Format) -> io::Result<()> {
    let new = directory.join("format.new");
    fs::write(&new, serde_json::to_vec(format)?)?;
    fs::File::open(&new)?.sync_all()?;
    fs::rename(&new, directory.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(directory: &Path) -> Format {
        serde_json::from_slice(&fs::read(directory.join(FILE)).unwrap()).unwrap()
    }

    /// A directory as the first releases left it: a store, no file `format`.
    fn old() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("store")).unwrap();
        fs::write(directory.path().join("store/store.redb"), "objects").unwrap();
        directory
    }

    #[test]
    fn a_new_directory_gets_the_file_and_no_copy() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(admit_with(directory.path(), FORMAT, STEPS).unwrap(), None);
        assert_eq!(read(directory.path()), Format { format: FORMAT, version: VERSION.to_owned() });
        assert_eq!(admit_with(directory.path(), FORMAT, STEPS).unwrap(), None);
    }

    #[test]
    fn an_older_one_is_upgraded_once_step_by_step_with_a_copy_of_the_old() {
        let directory = old();
        let steps = [
            Step { from: 0, run: |at| Ok(fs::write(at.join("store/store.redb"), "objects, new form")?) },
            Step {
                from: 1,
                run: |at| {
                    let text = fs::read_to_string(at.join("store/store.redb"))?;
                    Ok(fs::write(at.join("store/store.redb"), text + ", newer form")?)
                },
            },
        ];
        let copy = admit_with(directory.path(), 2, &steps).unwrap().unwrap();
        assert_eq!(fs::read_to_string(copy.join("store.redb")).unwrap(), "objects");
        let now = fs::read_to_string(directory.path().join("store/store.redb")).unwrap();
        assert_eq!(now, "objects, new form, newer form");
        assert_eq!(read(directory.path()).format, 2);
        assert_eq!(admit_with(directory.path(), 2, &steps).unwrap(), None);
    }

    #[test]
    fn a_failed_upgrade_says_where_the_old_store_is_and_is_tried_again() {
        let directory = old();
        let failing = [Step { from: 0, run: |_| bail!("no space left") }];
        let error = format!("{:#}", admit_with(directory.path(), 1, &failing).unwrap_err());
        assert!(error.contains("from format 0 to 1") && error.contains("store.format-0"), "{error}");
        assert!(!directory.path().join(FILE).exists());
        assert!(admit_with(directory.path(), FORMAT, STEPS).unwrap().is_some());
    }

    #[test]
    fn a_newer_one_is_refused_with_both_versions_and_the_way_out() {
        let directory = old();
        fs::write(directory.path().join(FILE), r#"{"format":7,"version":"9.2.0","more":true}"#).unwrap();
        let error = admit_with(directory.path(), FORMAT, STEPS).unwrap_err().to_string();
        assert!(error.contains("made by mainstay 9.2.0 in format 7; this is mainstay"), "{error}");
        assert!(error.contains("Install mainstay 9.2.0") && error.contains("store restore"), "{error}");
        assert_eq!(fs::read_to_string(directory.path().join("store/store.redb")).unwrap(), "objects");
    }

    #[test]
    fn a_release_that_keeps_the_number_can_be_taken_back() {
        let directory = old();
        fs::write(directory.path().join(FILE), format!(r#"{{"format":{FORMAT},"version":"99.0.0"}}"#)).unwrap();
        assert_eq!(admit_with(directory.path(), FORMAT, STEPS).unwrap(), None);
        assert_eq!(read(directory.path()).version, VERSION, "it says who wrote last");
    }

    #[test]
    fn a_damaged_file_is_named() {
        let directory = old();
        fs::write(directory.path().join(FILE), "seven").unwrap();
        let error = admit_with(directory.path(), FORMAT, STEPS).unwrap_err().to_string();
        assert!(error.contains("format is damaged") && error.contains("echo"), "{error}");
    }
}
