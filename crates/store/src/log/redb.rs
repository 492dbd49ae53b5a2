//! The embedded log: turns each batch into one durable redb transaction, and a file back into the newest state.
//!
//! Every page is verified before anything is read from a file: damage is an error, not an object that changed by itself.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use api::object::Revision;
use redb::{Database, Durability, StorageBackend};

use self::mark::Mark;
use self::place::{At, Backend, Directory, Place, engine, guarded};
use self::tables::{META, OBJECTS};
use crate::body::Packer;
use crate::{Loaded, Log, LogEntry, OpenError, Record};

mod mark;
mod medium;
mod overlay;
mod place;
mod tables;
#[cfg(test)]
mod tests;

pub use self::mark::FILE as MARK_FILE;
pub use self::place::FILE;
pub use self::tables::FORMAT;

/// A log in a redb database.
#[derive(Debug)]
pub struct RedbLog {
    /// None only while it is being opened again, and for good when that failed.
    database: Option<Database>,
    place: Box<dyn Place>,
    mark: Mark,
}

/// What a log holds, found without changing it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Revision of the last change.
    pub revision: Revision,
    /// Rows whose numbers are possible.
    pub rows: usize,
    /// What is wrong, one line each.
    pub wrong: Vec<String>,
}

impl RedbLog {
    /// Opens the log in a directory; creates both when they are missing.
    pub fn open_dir(directory: &Path) -> Result<Self, OpenError> {
        place::make_directory(directory)?;
        let place = Directory(directory.to_path_buf());
        let mark = Mark::open(directory).map_err(|error| At(&place.path()).io("opening the mark beside it", error))?;
        Self::start(Box::new(place), mark)
    }

    /// A log over any storage, for tests with disks that fail. `storage` gives the same one each time; `acknowledged`
    /// keeps what was acknowledged, as the file beside a real log does.
    pub fn on<B: StorageBackend>(
        storage: impl Fn() -> B + Send + 'static,
        acknowledged: Arc<AtomicU64>,
    ) -> Result<Self, OpenError> {
        Self::start(Box::new(Backend(storage)), Mark::Memory(acknowledged))
    }

    fn start(place: Box<dyn Place>, mark: Mark) -> Result<Self, OpenError> {
        let database = open(place.as_ref(), &mark)?;
        Ok(Self { database: Some(database), place, mark })
    }

    /// Looks at the log in a directory that no process has open, without changing it.
    pub fn inspect(directory: &Path, mut row: impl FnMut(&str, Record)) -> Result<Findings, OpenError> {
        let place = Directory(directory.to_path_buf());
        let path = place.path();
        let at = At(&path);
        let acknowledged = Self::acknowledged(directory);
        let looked = guarded(&at, || {
            let database = place.look()?;
            let format = tables::format(&database).map_err(|error| at.io("reading its format version", error))?;
            check_format(format, &at)?;
            Ok(examine(database, acknowledged, |found| {
                let tables::Row { table, key, revision, created, body } = found;
                row(&table, Record { key, revision, created, body: body.into() });
            }))
        });
        let mut findings = match looked {
            // Damage is what one looks for.
            Err(OpenError::Log { step, source, .. }) if source.kind() == io::ErrorKind::InvalidData => {
                Findings { wrong: vec![format!("{step}: {source}")], ..Findings::default() }
            }
            other => other?,
        };
        findings.wrong.iter_mut().for_each(|wrong| wrong.insert_str(0, &format!("{}: ", path.display())));
        Ok(findings)
    }

    /// The highest revision that a log in a directory is known to have acknowledged; zero if none is known.
    pub fn acknowledged(directory: &Path) -> Revision {
        if directory.join(MARK_FILE).exists() {
            Mark::open(directory).map_or(Revision(0), |mark| mark.read())
        } else {
            Revision(0)
        }
    }

    /// Makes a log in a directory that has none, with these objects, at this revision; durable when it returns.
    pub fn import(directory: &Path, revision: Revision, objects: &[(String, Record)]) -> Result<(), OpenError> {
        let log = Self::open_dir(directory)?;
        let path = log.place.path();
        let fill = || {
            let database = log.database()?;
            if tables::revision(database)? > Revision(0) {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it holds objects already"));
            }
            tables::fill(database, revision, objects)
        };
        fill().map_err(|error| At(&path).io("filling it", error))?;
        log.mark.write(revision);
        Ok(())
    }

    /// Gives the disk back what the file holds without need. Returns its length before and after, in bytes.
    pub fn compact(&mut self) -> io::Result<(u64, u64)> {
        let path = self.place.path();
        let length = || std::fs::metadata(&path).map(|found| found.len());
        let before = length()?;
        self.database.as_mut().ok_or_else(closed)?.compact().map_err(engine)?;
        Ok((before, length()?))
    }

    fn database(&self) -> io::Result<&Database> {
        self.database.as_ref().ok_or_else(closed)
    }
}

fn closed() -> io::Error {
    io::Error::other("the log was closed after a failure")
}

/// Opens a log that is as it was acknowledged.
fn open(place: &dyn Place, mark: &Mark) -> Result<Database, OpenError> {
    let path = place.path();
    guarded(&At(&path), || place.open(&|| verify(place, mark.read())))
}

/// Refuses a damaged log, before the engine may repair it into something older.
fn verify(place: &dyn Place, acknowledged: Revision) -> Result<(), OpenError> {
    let path = place.path();
    let at = At(&path);
    let database = place.look()?;
    let format = tables::format(&database).map_err(|error| at.io("reading its format version", error))?;
    if format.is_none() && acknowledged == Revision(0) {
        return Ok(());
    }
    check_format(format, &at)?;
    let findings = examine(database, acknowledged, drop);
    match findings.wrong.first() {
        None => Ok(()),
        Some(wrong) => Err(at.io("verifying it", io::Error::new(io::ErrorKind::InvalidData, wrong.clone()))),
    }
}

/// Nothing of a newer format is touched.
fn check_format(found: Option<u64>, at: &At<'_>) -> Result<(), OpenError> {
    match found {
        Some(FORMAT) => Ok(()),
        Some(found) if found > FORMAT => Err(OpenError::NewerFormat { path: at.path(), found, known: FORMAT }),
        _ => {
            let error = io::Error::new(io::ErrorKind::InvalidData, "the format version is none that ever was");
            Err(at.io("reading its format version", error))
        }
    }
}

/// Verifies every page and row of a database that is only looked at.
fn examine(mut database: Database, acknowledged: Revision, mut give: impl FnMut(tables::Row)) -> Findings {
    let mut findings = Findings::default();
    match database.check_integrity() {
        Ok(true) => {}
        Ok(false) => findings.wrong.push("a page of the file is damaged".to_owned()),
        Err(error) => findings.wrong.push(format!("the file is damaged: {error}")),
    }
    match tables::revision(&database) {
        Ok(revision) => findings.revision = revision,
        Err(error) => findings.wrong.push(format!("its revision cannot be read: {error}")),
    }
    if findings.revision < acknowledged {
        let at = findings.revision;
        findings.wrong.push(format!("it ends at revision {at}, but revision {acknowledged} was acknowledged"));
    }
    let read = tables::rows(&database, |row| {
        match row.fault(findings.revision) {
            Some(fault) => findings.wrong.push(fault),
            None => {
                findings.rows += 1;
                give(row);
            }
        }
        Ok(())
    });
    if let Err(error) = read {
        findings.wrong.push(format!("its rows cannot be read: {error}"));
    }
    findings
}

impl Log for RedbLog {
    fn load(&mut self, packer: &Packer) -> io::Result<Loaded> {
        let database = self.database()?;
        let revision = tables::revision(database)?;
        let mut loaded = Loaded { revision, ..Loaded::default() };
        tables::rows(database, |row| {
            if let Some(fault) = row.fault(revision) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
            }
            let body = packer.pack(&row.table, row.body);
            let record = Record { key: row.key, revision: row.revision, created: row.created, body };
            loaded.tables.entry(row.table).or_default().push(record);
            Ok(())
        })?;
        Ok(loaded)
    }

    fn append(&mut self, batch: &[LogEntry]) -> io::Result<()> {
        let Some(last) = batch.last() else { return Ok(()) };
        let mut write = self.database()?.begin_write().map_err(engine)?;
        write.set_durability(Durability::Immediate).map_err(engine)?;
        let mut objects = write.open_table(OBJECTS).map_err(engine)?;
        for LogEntry { table, record, deleted } in batch {
            let key = (*table, &*record.key.namespace, &*record.key.name);
            if *deleted {
                objects.remove(key).map_err(engine)?;
            } else {
                objects.insert(key, (record.revision.0, record.created.0, &*record.body.bytes())).map_err(engine)?;
            }
        }
        drop(objects);
        write.open_table(META).map_err(engine)?.insert("revision", last.record.revision.0).map_err(engine)?;
        write.commit().map_err(engine)?;
        self.mark.write(last.record.revision);
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<Revision> {
        self.database = None;
        let database = open(self.place.as_ref(), &self.mark).map_err(io::Error::other)?;
        let revision = tables::revision(&database)?;
        self.database = Some(database);
        self.mark.write(revision);
        Ok(revision)
    }

    fn examine(&mut self) -> io::Result<Findings> {
        let (known, path) = (self.mark.read(), self.place.path());
        guarded(&At(&path), || Ok(examine(self.place.look()?, known, drop))).map_err(io::Error::other)
    }
}
