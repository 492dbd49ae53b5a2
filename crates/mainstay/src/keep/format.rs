//! The format of a data directory: what an earlier start left in, a directory that this program may use or a refusal out.
//!
//! The file `format` says which format the directory has and which version wrote it. A release that only adds files and
//! fields keeps the number, so that the release before it can still be started on the same directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use store::durable;

use super::Held;
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
    /// While an upgrade is under way: the whole copy of the store that it began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    copy: Option<String>,
}

/// Takes a directory of one format to the next. It may find its own work half done.
struct Step {
    from: u64,
    run: fn(&Path) -> Result<()>,
}

/// Every step there ever was. From 0 to 1 only the file `format` is new.
const STEPS: &[Step] = &[Step { from: 0, run: |_| Ok(()) }];

/// Makes sure that this program may use the directory; upgrades an older one after making a copy of its store, which no
/// server may write to meanwhile.
pub(crate) fn admit(data_dir: &DataDir, _held: &Held) -> Result<()> {
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
    refuse_newer(data_dir.path(), FORMAT).map(drop)
}

fn admit_with(directory: &Path, newest: u64, steps: &[Step]) -> Result<Option<PathBuf>> {
    let found = refuse_newer(directory, newest)?;
    let store = directory.join("store");
    let note = |format: u64, copy: Option<&str>| {
        let noted = Format { format, version: VERSION.to_owned(), copy: copy.map(str::to_owned) };
        write(directory, &noted).with_context(|| format!("cannot write {}", directory.join(FILE).display()))
    };
    let mut kept = None;
    if found.format < newest && store.is_dir() {
        // An upgrade that was interrupted goes on; its copy is whole, and the store is not what it was.
        let finished = found.copy.clone().filter(|name| directory.join(name).is_dir());
        let name = match finished {
            Some(name) => name,
            None => keep_copy(directory, &store, found.format)?,
        };
        let copy = directory.join(&name);
        note(found.format, Some(&name))?;
        for step in steps.iter().filter(|step| (found.format..newest).contains(&step.from)) {
            (step.run)(directory).with_context(|| {
                format!(
                    "cannot upgrade {} from format {} to {}.\nIts old store is whole in {}; start the version that wrote \
                     it on that",
                    directory.display(),
                    step.from,
                    step.from + 1,
                    copy.display()
                )
            })?;
            if step.from + 1 < newest {
                note(step.from + 1, Some(&name))?;
            }
        }
        kept = Some(copy);
    }
    if found.format < newest || found.version != VERSION {
        note(newest, None)?;
    }
    Ok(kept)
}

/// Format of the directory, who wrote it, and whether an upgrade was interrupted.
fn refuse_newer(directory: &Path, newest: u64) -> Result<Format> {
    let path = directory.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Format { format: 0, version: String::new(), copy: None });
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let found: Format = serde_json::from_slice(&text).with_context(|| {
        format!(
            "{} is damaged.\nIf this is a data directory of mainstay {VERSION}, write it anew: echo \
             '{{\"format\":{newest},\"version\":\"{VERSION}\"}}' > {}",
            path.display(),
            path.display()
        )
    })?;
    let Format { format, version, copy } = &found;
    if *format > newest {
        bail!(
            "{} was made by mainstay {version} in format {format}; this is mainstay {VERSION}, which reads formats up to \
             {newest}.\nInstall mainstay {version} or later, or restore a save into another directory: mainstay store \
             restore FILE --data-dir DIR",
            directory.display()
        );
    }
    if let (true, Some(copy)) = (*format == newest, copy) {
        bail!(
            "mainstay {version} was interrupted while it upgraded {} from format {format}; this is mainstay {VERSION}, which \
             does not know the newer one.\nStart mainstay {version} or later, or put the store back that it kept in {}",
            directory.display(),
            directory.join(copy).display()
        );
    }
    Ok(found)
}

/// Copies the store beside itself, durably; the name of the copy, which it has only when it is whole.
fn keep_copy(directory: &Path, store: &Path, found: u64) -> Result<String> {
    let part = directory.join("store.copying");
    let copied = || -> io::Result<String> {
        if part.exists() {
            fs::remove_dir_all(&part)?;
        }
        fs::create_dir(&part)?;
        for entry in fs::read_dir(store)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let to = part.join(entry.file_name());
                fs::copy(entry.path(), &to)?;
                fs::File::open(&to)?.sync_all()?;
            }
        }
        fs::set_permissions(&part, fs::metadata(store)?.permissions())?;
        durable::sync_directory(&part)?;
        let names = (0..1000_u32).map(|number| match number {
            0 => format!("store.format-{found}"),
            number => format!("store.format-{found}-{number}"),
        });
        let free = names.into_iter().find(|name| !directory.join(name).exists());
        let name = free.ok_or_else(|| io::Error::other("a thousand older copies are in the way"))?;
        durable::rename(&part, &directory.join(&name))?;
        Ok(name)
    };
    copied().with_context(|| {
        format!("cannot copy {} before an upgrade.\nFree space on its disk, then start again", store.display())
    })
}

fn write(directory: &Path, format: &Format) -> io::Result<()> {
    let new = directory.join("format.new");
    fs::write(&new, serde_json::to_vec(format)?)?;
    fs::File::open(&new)?.sync_all()?;
    durable::rename(&new, &directory.join(FILE))
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

    /// What a step of a test does to the store.
    fn add(directory: &Path, word: &str) -> Result<()> {
        let path = directory.join("store/store.redb");
        Ok(fs::write(&path, fs::read_to_string(&path)? + word)?)
    }

    #[test]
    fn a_new_directory_gets_the_file_and_no_copy() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(admit_with(directory.path(), FORMAT, STEPS).unwrap(), None);
        assert_eq!(read(directory.path()), Format { format: FORMAT, version: VERSION.to_owned(), copy: None });
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
        assert_eq!(read(directory.path()).format, 0);
        assert!(admit_with(directory.path(), FORMAT, STEPS).unwrap().is_some());
        assert!(!directory.path().join("store.format-0-1").exists(), "one copy is enough");
    }

    /// However an upgrade is interrupted, the next start goes on behind the last step that was done, and the copy is of
    /// the store as it was before the first.
    #[test]
    fn an_interrupted_upgrade_goes_on_and_its_copy_stays_the_old_store() {
        let directory = old();
        let at = directory.path();
        let text = |name: &str| fs::read_to_string(at.join(name).join("store.redb")).unwrap();
        fs::create_dir(at.join("store.copying")).unwrap();
        fs::write(at.join("store.copying/store.redb"), "obj").unwrap();
        let ends_in_the_second = [
            Step { from: 0, run: |at| add(at, ", one") },
            Step { from: 1, run: |at| add(at, ", tw").and(Err(anyhow::anyhow!("killed"))) },
        ];
        admit_with(at, 2, &ends_in_the_second).unwrap_err();
        assert_eq!(
            (read(at).format, text("store"), text("store.format-0")),
            (1, "objects, one, tw".into(), "objects".into())
        );
        assert!(!at.join("store.copying").exists());
        // A program that does not know where that upgrade went leaves the store alone.
        let refused = admit_with(at, 1, STEPS).unwrap_err().to_string();
        assert!(
            refused.contains("was interrupted while it upgraded") && refused.contains("store.format-0"),
            "{refused}"
        );

        let steps = [
            Step { from: 0, run: |_| bail!("this step is done") },
            Step { from: 1, run: |at| Ok(fs::write(at.join("store/store.redb"), "objects, one, two")?) },
        ];
        assert_eq!(admit_with(at, 2, &steps).unwrap(), Some(at.join("store.format-0")));
        assert_eq!((text("store"), text("store.format-0")), ("objects, one, two".into(), "objects".into()));
        assert_eq!(read(at), Format { format: 2, version: VERSION.to_owned(), copy: None });
        assert!(!at.join("store.format-1").exists());
    }

    #[test]
    fn a_copy_of_an_earlier_upgrade_is_kept_beside_the_new_one() {
        let directory = old();
        let at = directory.path();
        fs::create_dir(at.join("store.format-0")).unwrap();
        fs::write(at.join("store.format-0/store.redb"), "of last year").unwrap();
        assert_eq!(admit_with(at, FORMAT, STEPS).unwrap(), Some(at.join("store.format-0-1")));
        let text = |name: &str| fs::read_to_string(at.join(name).join("store.redb")).unwrap();
        assert_eq!((text("store.format-0").as_str(), text("store.format-0-1").as_str()), ("of last year", "objects"));
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
