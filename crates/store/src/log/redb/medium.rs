//! What lies under the engine: a file or a test's disk in, the same with errors that tell which step failed out.
//!
//! A write that finds no space has changed nothing that was durable, so the log may go on once there is space. A sync
//! that fails is another matter: the kernel then takes the pages for clean and later syncs succeed without them. So an
//! error of a sync never looks like a full disk, whatever its number.

use std::fs::File;
use std::io;
use std::ops::Bound;

use redb::{BackendError, StorageBackend};

/// The engine's storage, with errors told apart.
#[derive(Debug)]
pub(super) struct Medium<B>(pub(super) B);

impl<B: StorageBackend> StorageBackend for Medium<B> {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data().map_err(|error| io::Error::other(format!("a sync of the disk failed: {error}")))
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.query_lock_range(start, end)
    }
}

/// Makes a file's cache and its disk agree before anything is read from it.
///
/// Pages that an earlier process wrote and did not sync become durable; pages that a failed sync left in memory without
/// having them on the disk are dropped, so what is read next is what a power cut would leave.
pub(super) fn settle(file: &File) -> io::Result<()> {
    file.sync_data()?;
    match rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed) {
        // Not a file with a cache (a RAM disk, a network): nothing to drop.
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::SPIPE | rustix::io::Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
