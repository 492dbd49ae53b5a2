//! A data directory in, the right to change what is in it out: the lock that a server holds for as long as it runs.

use std::fs::File;
use std::io;

use anyhow::{Context, Result, anyhow};
use pods::sandbox::{self, Error};

use crate::config::DataDir;
use crate::exit::tag;
use crate::messages::MS0103;

/// The right to change a data directory, until this is dropped: no server starts and no other command changes it.
#[derive(Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "it is held, not used")] Option<File>);

impl Held {
    /// For a command on a stopped instance that is to do `what`. A server that is starting has the lock already, though
    /// nothing else says so yet.
    pub(crate) fn to(what: &str, data_dir: &DataDir) -> Result<Self> {
        let directory = data_dir.path().display();
        match sandbox::lock(data_dir.path()) {
            Ok(lock) => Ok(Self(Some(lock))),
            // Nobody can write there, so nobody has to be kept from it.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(Self(None)),
            Err(Error::Locked(_)) => Err(tag(
                MS0103,
                anyhow!(
                    "cannot {what}: another mainstay starts or works on {directory}, its lock is held.\nStop a server first: \
                     mainstay down --data-dir {directory}\nWait for another `mainstay store` to end, then try again"
                ),
            )),
            Err(error) => Err(error).with_context(|| {
                format!(
                    "cannot {what}: the lock of {directory} cannot be had.\nBecome its owner, or choose another: --data-dir DIR"
                )
            }),
        }
    }
}

/// Before a server starts: makes sure that this program may use the directory, and takes away what an earlier one left
/// half done. The server takes the lock again for its life.
pub(crate) fn admit(data_dir: &DataDir) -> Result<()> {
    let held = Held(Some(sandbox::lock(data_dir.path())?));
    super::format::admit(data_dir, &held)?;
    super::online::sweep(data_dir);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_and_the_others_are_told_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = DataDir::choose(Some(directory.path())).unwrap();
        let server = sandbox::lock(directory.path()).unwrap();
        let error = Held::to("restore", &data_dir).unwrap_err();
        let text = crate::report(&error);
        assert!(text.contains("cannot restore: another mainstay starts or works on"), "{text}");
        assert!(text.contains("mainstay down --data-dir"), "{text}");
        assert_eq!(crate::messages::of(&error).map(|known| known.id), Some("MS0103"));
        assert!(admit(&data_dir).is_err());
        drop(server);
        let held = Held::to("restore", &data_dir).unwrap();
        assert!(matches!(sandbox::lock(directory.path()), Err(Error::Locked(_))));
        drop(held);
        admit(&data_dir).unwrap();
    }
}
