//! Who runs the binary: this process' own user, or an ordinary one with a copy of the program it may read.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Uid and gid of an ordinary user.
const ORDINARY: u32 = 65534;

/// A way to run the binary.
pub(crate) enum Account {
    /// As the user that runs the tests (root in CI).
    Own,
    /// As an ordinary user without any capability, with the directory that holds its copy of the program.
    Ordinary(TempDir),
}

/// The built binary.
pub(crate) fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_mainstay").into()
}

/// A directory with a path short enough for sockets.
pub(crate) fn directory() -> TempDir {
    tempfile::Builder::new().prefix("ms-").tempdir_in("/tmp").expect("a temporary directory in /tmp")
}

impl Account {
    /// An ordinary user. The build directory may be closed to it, so it gets a copy of the program.
    pub(crate) fn ordinary() -> Self {
        let directory = directory();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).expect("a readable directory");
        std::fs::copy(program(), directory.path().join("mainstay")).expect("the binary can be copied");
        Self::Ordinary(directory)
    }

    /// Path of the program for this user.
    pub(crate) fn program(&self) -> PathBuf {
        match self {
            Self::Own => program(),
            Self::Ordinary(directory) => directory.path().join("mainstay"),
        }
    }

    /// The program, to be run as this user.
    pub(crate) fn command(&self) -> Command {
        match self {
            Self::Own => Command::new(program()),
            Self::Ordinary(_) => {
                let mut command = Command::new("setpriv");
                let (uid, gid) = (format!("--reuid={ORDINARY}"), format!("--regid={ORDINARY}"));
                command.args([&uid, &gid, "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--"]);
                command.arg(self.program()).env("HOME", "/nonexistent");
                command
            }
        }
    }

    /// Gives a directory to this user.
    pub(crate) fn own(&self, directory: &Path) {
        if matches!(self, Self::Ordinary(_)) {
            std::os::unix::fs::chown(directory, Some(ORDINARY), Some(ORDINARY))
                .expect("root can give directories away");
        }
    }
}
