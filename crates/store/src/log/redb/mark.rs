//! The highest revision that was acknowledged, beside the log: a number in, a refusal of anything older out.
//!
//! A damaged page in the last commit looks to the engine as if the power was cut while it was written, and the commit
//! before comes back. The mark knows better: it is written after each durable commit, so it never says more than the log
//! held. It is not synced: a power cut may leave an older one, which then refuses less, never too much.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::object::Revision;

/// The mark's file in the store's directory.
pub const FILE: &str = "acknowledged";

/// Where the mark is kept.
#[derive(Debug)]
pub(super) enum Mark {
    File(File),
    /// For tests: as if it was always written in time.
    Memory(Arc<AtomicU64>),
}

impl Mark {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        Ok(Self::File(file))
    }

    /// The newest acknowledged revision that is known; zero if none is.
    pub(super) fn read(&self) -> Revision {
        match self {
            Self::File(file) => read(file),
            Self::Memory(value) => Revision(value.load(Ordering::SeqCst)),
        }
    }

    /// Notes a revision. A mark that cannot be written only knows less.
    pub(super) fn write(&self, revision: Revision) {
        match self {
            Self::File(file) => {
                let bytes = [revision.0.to_le_bytes(), (!revision.0).to_le_bytes()].concat();
                if let Err(error) = file.write_all_at(&bytes, 0) {
                    tracing::debug!(%error, "the mark of acknowledged revisions cannot be written");
                }
            }
            Self::Memory(value) => value.store(revision.0, Ordering::SeqCst),
        }
    }
}

/// Both halves must agree; a torn or damaged mark is none.
fn read(file: &File) -> Revision {
    let (mut number, mut inverse) = ([0; 8], [0; 8]);
    let there = file.read_exact_at(&mut number, 0).and_then(|()| file.read_exact_at(&mut inverse, 8));
    let number = u64::from_le_bytes(number);
    let whole = there.is_ok() && number == !u64::from_le_bytes(inverse);
    Revision(if whole { number } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_and_a_damaged_one_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mark = Mark::open(directory.path()).unwrap();
        assert_eq!(mark.read(), Revision(0));
        mark.write(Revision(7));
        mark.write(Revision(300));
        assert_eq!(Mark::open(directory.path()).unwrap().read(), Revision(300));
        let path = directory.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[1] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(Mark::open(directory.path()).unwrap().read(), Revision(0));
    }
}
