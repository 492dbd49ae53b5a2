//! Where a log lies: a directory or a test's disk in, an open database (or one that is only looked at) out.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageBackend};

use super::medium::{Medium, settle};
use super::overlay::Overlay;
use super::{RedbLog, tables};
use crate::limits::LOG_CACHE_BYTES;
use crate::quiet::caught;
use crate::{OpenError, durable};

/// The store's file in its directory.
pub const FILE: &str = "store.redb";

/// The same file while it is being created; it gets its name once it is whole.
pub(super) const UNBORN: &str = "store.redb.new";

/// Opens the same storage as often as it is asked to.
pub(super) trait Place: fmt::Debug + Send {
    /// For reading and writing; one at a time. `check` runs once nobody else can write, before the engine touches it.
    fn open(&self, check: &dyn Fn() -> Result<(), OpenError>) -> Result<Database, OpenError>;

    /// For looking: whatever the engine repairs stays in memory. Nobody may write meanwhile.
    fn look(&self) -> Result<Database, OpenError>;

    /// Its name in errors.
    fn path(&self) -> PathBuf;
}

/// Builds an `OpenError` for a path.
pub(super) struct At<'a>(pub(super) &'a Path);

impl At<'_> {
    pub(super) fn path(&self) -> PathBuf {
        self.0.to_path_buf()
    }

    pub(super) fn io(&self, step: &'static str, source: io::Error) -> OpenError {
        let next = match source.kind() {
            io::ErrorKind::PermissionDenied => "make it writable for this user, or choose another --data-dir",
            io::ErrorKind::StorageFull => "free space on its disk, then start again",
            io::ErrorKind::InvalidData => {
                "restore a save (`mainstay store restore FILE`), or choose another --data-dir"
            }
            _ => "check the disk, or choose another --data-dir",
        };
        OpenError::Log { path: self.path(), step, source, next }
    }

    pub(super) fn database(&self, error: DatabaseError) -> OpenError {
        match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: self.path() },
            error => self.io("reading the file", engine(error)),
        }
    }
}

/// The I/O error in an engine error, so that a full disk is seen as one; anything else means damaged data.
pub(super) fn engine(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

/// Runs something that works on a file that may be damaged.
pub(super) fn guarded<T>(at: &At<'_>, work: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    caught(work).unwrap_or_else(|| {
        let error = io::Error::new(io::ErrorKind::InvalidData, "it is damaged: the storage engine gave up on it");
        Err(at.io("reading the file", error))
    })
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(LOG_CACHE_BYTES);
    builder
}

/// Makes a log's directory. Secrets lie in it: only the owner may read.
pub(super) fn make_directory(directory: &Path) -> Result<(), OpenError> {
    durable::make_directory(directory, 0o700)
        .map_err(|error| At(&directory.join(FILE)).io("creating its directory", error))
}

/// A directory of the file system.
#[derive(Debug)]
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    fn file(&self) -> PathBuf {
        self.0.join(FILE)
    }

    /// Makes an empty log. It gets its name only when it is whole, so a crash during the very first start leaves nothing
    /// that cannot be opened.
    fn create(&self, at: &At<'_>, check: &dyn Fn() -> Result<(), OpenError>) -> Result<Database, OpenError> {
        let unborn = self.0.join(UNBORN);
        let file = private_file(&unborn).map_err(|error| at.io("creating the file", error))?;
        lock(&file, at)?;
        // Another process may have finished the same work before we had the lock.
        if self.file().try_exists().map_err(|error| at.io("looking for the file", error))? {
            drop(file);
            return self.open(check);
        }
        self.refuse_lost(at)?;
        file.set_len(0).map_err(|error| at.io("creating the file", error))?;
        let database = on_file(file, at)?;
        tables::create(&database).map_err(|error| at.io("writing its format version", error))?;
        durable::rename(&unborn, &self.file()).map_err(|error| at.io("naming the new file", error))?;
        // Whoever made the directory may have died before its own name was durable.
        durable::sync_parent(&self.0).map_err(|error| at.io("syncing its directory", error))?;
        Ok(database)
    }

    /// Refuses to put an empty log where one was that had acknowledged writes.
    fn refuse_lost(&self, at: &At<'_>) -> Result<(), OpenError> {
        let acknowledged = RedbLog::acknowledged(&self.0);
        if acknowledged.0 == 0 {
            return Ok(());
        }
        let gone = format!("it is gone, but revision {acknowledged} was acknowledged");
        Err(OpenError::Log {
            path: at.path(),
            step: "looking for the file",
            source: io::Error::new(io::ErrorKind::InvalidData, gone),
            next: "restore a save (`mainstay store restore FILE`), or remove the directory that it was in to begin anew with \
                   nothing",
        })
    }
}

impl Place for Directory {
    /// Creates the file when it is missing. The lock is on the open file and ends with the process, however that ends.
    fn open(&self, check: &dyn Fn() -> Result<(), OpenError>) -> Result<Database, OpenError> {
        let path = self.file();
        let at = At(&path);
        if !path.try_exists().map_err(|error| at.io("looking for the file", error))? {
            return self.create(&at, check);
        }
        let file = private_file(&path).map_err(|error| at.io("opening the file", error))?;
        lock(&file, &at)?;
        // It gets its name only when it is whole, so an empty one has lost everything.
        if file.metadata().map_err(|error| at.io("opening the file", error))?.len() == 0 {
            return Err(at.io("reading the file", io::Error::new(io::ErrorKind::InvalidData, "it is empty")));
        }
        settle(&file).map_err(|error| at.io("syncing what an earlier process left", error))?;
        check()?;
        on_file(file, &at)
    }

    fn look(&self) -> Result<Database, OpenError> {
        let path = self.file();
        let at = At(&path);
        let file = File::open(&path).map_err(|error| at.io("opening the file", error))?;
        over(FileBackend::new(file).map_err(|error| at.database(error))?, &at)
    }

    fn path(&self) -> PathBuf {
        self.file()
    }
}

/// A test's disk, or anything else that the engine can lie on.
pub(super) struct Backend<F>(pub(super) F);

impl<F> fmt::Debug for Backend<F> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Backend")
    }
}

impl<B: StorageBackend, F: Fn() -> B + Send> Place for Backend<F> {
    fn open(&self, check: &dyn Fn() -> Result<(), OpenError>) -> Result<Database, OpenError> {
        let path = self.path();
        let at = At(&path);
        check()?;
        let database = builder().create_with_backend(Medium((self.0)())).map_err(|error| at.database(error))?;
        let format = tables::format(&database).map_err(|error| at.io("reading its format version", error))?;
        if format.is_none() {
            tables::create(&database).map_err(|error| at.io("writing its format version", error))?;
        }
        Ok(database)
    }

    fn look(&self) -> Result<Database, OpenError> {
        let path = self.path();
        over((self.0)(), &At(&path))
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("(backend)")
    }
}

fn on_file(file: File, at: &At<'_>) -> Result<Database, OpenError> {
    let backend = FileBackend::new(file).map_err(|error| at.database(error))?;
    builder().create_with_backend(Medium(backend)).map_err(|error| at.database(error))
}

fn over(backend: impl StorageBackend, at: &At<'_>) -> Result<Database, OpenError> {
    let overlay = Overlay::new(backend).map_err(|error| at.io("reading the file", error))?;
    builder().create_with_backend(overlay).map_err(|error| at.database(error))
}

fn lock(file: &File, at: &At<'_>) -> Result<(), OpenError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: at.path() }),
        Err(TryLockError::Error(error)) => Err(at.io("locking the file", error)),
    }
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}
