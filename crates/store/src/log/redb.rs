//! The embedded log: turns each batch into one durable redb transaction, and a file back into the newest state.
//!
//! Table `objects` maps (table, namespace, name) to (revision, created, body); table `meta` holds the format version and
//! the last revision. The key is a tuple, so redb keeps it in our order and no name needs escaping.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use api::object::{ObjectKey, Revision};
use bytes::Bytes;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition,
};

use crate::limits::LOG_CACHE_BYTES;
use crate::{Loaded, Log, LogEntry, OpenError, Record};

#[cfg(test)]
mod tests;

/// Format that this program writes, and the newest it reads.
pub const FORMAT: u64 = 1;

/// The store's file in its directory.
pub const FILE: &str = "store.redb";

/// The same file while it is being created; it gets its name once it is whole.
const UNBORN: &str = "store.redb.new";

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const OBJECTS: TableDefinition<ObjectId<'static>, Stored<'static>> = TableDefinition::new("objects");

/// Table, namespace, name.
type ObjectId<'a> = (&'a str, &'a str, &'a str);

/// Revision, revision of creation, body.
type Stored<'a> = (u64, u64, &'a [u8]);

/// A log in a redb database.
#[derive(Debug)]
pub struct RedbLog {
    database: Database,
}

/// Builds an `OpenError` for a path.
struct At<'a>(&'a Path);

impl At<'_> {
    fn path(&self) -> PathBuf {
        self.0.to_path_buf()
    }

    fn io(&self, step: &'static str, source: io::Error) -> OpenError {
        let next = match source.kind() {
            io::ErrorKind::PermissionDenied => "make it writable for this user, or choose another --data-dir",
            io::ErrorKind::StorageFull => "free space on its disk, then start again",
            io::ErrorKind::InvalidData => "restore the data directory from a copy, or choose another --data-dir",
            _ => "check the disk, or choose another --data-dir",
        };
        OpenError::Log { path: self.path(), step, source, next }
    }

    fn database(&self, error: DatabaseError) -> OpenError {
        match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: self.path() },
            error => self.io("reading the file", engine(error)),
        }
    }
}

/// The I/O error in an engine error, so that a full disk is seen as one; anything else means damaged data.
fn engine(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

impl RedbLog {
    /// Opens the log in a directory; creates both when they are missing. Secrets lie in it: only the owner may read.
    ///
    /// A new file gets its name only when it is whole, so a crash during the very first start leaves nothing that
    /// cannot be opened. The lock is on the open file and ends with the process, however that ends.
    pub fn open_dir(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(FILE);
        let at = At(&path);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| at.io("creating its directory", error))?;
        if path.try_exists().map_err(|error| at.io("looking for the file", error))? {
            return Self::open_file(&path);
        }
        let unborn = directory.join(UNBORN);
        let file = private_file(&unborn).map_err(|error| at.io("creating the file", error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path }),
            Err(TryLockError::Error(error)) => return Err(at.io("locking the file", error)),
        }
        // Another process may have finished the same work before we had the lock.
        if path.try_exists().map_err(|error| at.io("looking for the file", error))? {
            drop(file);
            return Self::open_file(&path);
        }
        file.set_len(0).map_err(|error| at.io("creating the file", error))?;
        let database = builder().create_file(file).map_err(|error| at.database(error))?;
        let log = Self::prepare(database, &at)?;
        fs::rename(&unborn, &path).map_err(|error| at.io("naming the new file", error))?;
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| at.io("syncing its directory", error))?;
        Ok(log)
    }

    fn open_file(path: &Path) -> Result<Self, OpenError> {
        let at = At(path);
        let database = builder().open(path).map_err(|error| at.database(error))?;
        Self::prepare(database, &at)
    }

    /// A log over any storage, for tests with disks that fail.
    pub fn with_backend(backend: impl StorageBackend) -> Result<Self, OpenError> {
        let at = At(Path::new("(backend)"));
        let database = builder().create_with_backend(backend).map_err(|error| at.database(error))?;
        Self::prepare(database, &at)
    }

    /// Writes the format version into a new database, checks it in an old one. Nothing of a newer format is touched.
    fn prepare(database: Database, at: &At<'_>) -> Result<Self, OpenError> {
        let found = stored_format(&database).map_err(|error| at.io("reading its format version", error))?;
        match found {
            Some(FORMAT) => {}
            None => create_tables(&database).map_err(|error| at.io("writing its format version", error))?,
            Some(found) if found > FORMAT => {
                return Err(OpenError::NewerFormat { path: at.path(), found, known: FORMAT });
            }
            Some(_) => {
                let error = io::Error::new(io::ErrorKind::InvalidData, "the format version is none that ever was");
                return Err(at.io("reading its format version", error));
            }
        }
        Ok(Self { database })
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(LOG_CACHE_BYTES);
    builder
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// The format version; none in a database without tables.
fn stored_format(database: &Database) -> io::Result<Option<u64>> {
    let read = database.begin_read().map_err(engine)?;
    let meta = match read.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(engine(error)),
    };
    let format = meta.get("format").map_err(engine)?.map(|value| value.value());
    format.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it has no format version"))
}

fn create_tables(database: &Database) -> io::Result<()> {
    let write = database.begin_write().map_err(engine)?;
    write.open_table(OBJECTS).map_err(engine)?;
    let mut meta = write.open_table(META).map_err(engine)?;
    meta.insert("format", FORMAT).map_err(engine)?;
    meta.insert("revision", 0).map_err(engine)?;
    drop(meta);
    write.commit().map_err(engine)
}

impl Log for RedbLog {
    fn load(&mut self) -> io::Result<Loaded> {
        let read = self.database.begin_read().map_err(engine)?;
        let meta = read.open_table(META).map_err(engine)?;
        let revision = Revision(meta.get("revision").map_err(engine)?.map_or(0, |value| value.value()));
        let mut loaded = Loaded { revision, ..Loaded::default() };
        // Rows come in key order, so a table is complete when the next begins.
        let (mut table, mut records) = (String::new(), Vec::new());
        for row in read.open_table(OBJECTS).map_err(engine)?.iter().map_err(engine)? {
            let (key, value) = row.map_err(engine)?;
            let ((of_table, namespace, name), (changed, created, body)) = (key.value(), value.value());
            if changed > revision.0 || created > changed {
                let text = format!(
                    "{of_table} {namespace}/{name} has revision {changed}, created {created}, in a log at {revision}"
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            if of_table != table {
                if !records.is_empty() {
                    loaded.tables.insert(std::mem::take(&mut table), std::mem::take(&mut records));
                }
                of_table.clone_into(&mut table);
            }
            let key = ObjectKey::new(namespace, name);
            let body = Bytes::copy_from_slice(body);
            records.push(Record { key, revision: Revision(changed), created: Revision(created), body });
        }
        if !records.is_empty() {
            loaded.tables.insert(table, records);
        }
        Ok(loaded)
    }

    fn append(&mut self, batch: &[LogEntry]) -> io::Result<()> {
        let Some(last) = batch.last() else { return Ok(()) };
        let mut write = self.database.begin_write().map_err(engine)?;
        write.set_durability(Durability::Immediate).map_err(engine)?;
        let mut objects = write.open_table(OBJECTS).map_err(engine)?;
        for LogEntry { table, record, deleted } in batch {
            let key = (*table, &*record.key.namespace, &*record.key.name);
            if *deleted {
                objects.remove(key).map_err(engine)?;
            } else {
                objects.insert(key, (record.revision.0, record.created.0, &*record.body)).map_err(engine)?;
            }
        }
        drop(objects);
        write.open_table(META).map_err(engine)?.insert("revision", last.record.revision.0).map_err(engine)?;
        write.commit().map_err(engine)
    }
}
