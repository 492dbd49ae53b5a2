//! The running instance as other subcommands find it: flags in, its directory and facts out.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use pods::sandbox::Mode;
use serde::{Deserialize, Serialize};

use crate::cli::InstanceFlags;
use crate::cli::client::Client;
use crate::config::DataDir;
use crate::instances::{self, State};
use crate::kubeconfig;

/// Facts that a running server leaves in its directory.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Instance {
    /// Process id of the server.
    pub(crate) pid: i32,
    /// Start time of that process (field 22 of /proc/PID/stat), so that a reused id is noticed.
    pub(crate) start_time: u64,
    /// URL of the API.
    pub(crate) server: String,
    /// Name of the node.
    pub(crate) node: String,
    /// Directory of the instance.
    pub(crate) data_dir: PathBuf,
    /// `sandbox` or `host`.
    #[serde(default = "sandbox")]
    pub(crate) mode: String,
}

/// The mode of an instance with namespaces of its own.
pub(crate) const SANDBOX: &str = "sandbox";

fn sandbox() -> String {
    SANDBOX.to_owned()
}

impl Instance {
    /// Facts about this process.
    pub(crate) fn of_this_process(server: String, node: String, data_dir: &DataDir, mode: Mode) -> Result<Self> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let start_time =
            start_time(pid).context("cannot read /proc/self/stat.\nIs /proc mounted? Try: mount | grep proc")?;
        Ok(Self { pid, start_time, server, node, data_dir: data_dir.path().to_owned(), mode: mode.name().to_owned() })
    }

    /// Writes the facts, atomically.
    pub(crate) fn write(&self, data_dir: &DataDir) -> Result<()> {
        let path = data_dir.instance();
        let new = path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", new.display()))?;
        std::fs::rename(&new, &path).with_context(|| format!("cannot rename to {}", path.display()))?;
        crate::instances::remember(data_dir);
        Ok(())
    }

    /// Reads the facts, if a server ever ran in the directory. Those in a copy of another directory are about the other one.
    pub(crate) fn read(data_dir: &DataDir) -> Result<Option<Self>> {
        Ok(Self::recorded(data_dir)?.filter(|instance| !instance.is_of_another(data_dir)))
    }

    /// Refuses a copy of a directory whose instance runs: what it says of processes and of this host is about the original.
    pub(crate) fn refuse_copy(data_dir: &DataDir) -> Result<()> {
        match Self::recorded(data_dir)? {
            Some(instance) if instance.is_of_another(data_dir) && instance.lives() => bail!(
                "{copy} is a copy of {original}, whose instance runs, so its files speak of that one's processes.\nStop the original: mainstay down --data-dir {original}; or copy it by: mainstay store save FILE \
                 --data-dir {original}, mainstay store restore FILE --data-dir NEW",
                copy = data_dir.path().display(),
                original = instance.data_dir.display(),
            ),
            _ => Ok(()),
        }
    }

    /// Whether the facts were written in another directory that still exists; a directory that was moved is the same one.
    fn is_of_another(&self, data_dir: &DataDir) -> bool {
        use std::os::unix::fs::MetadataExt;
        let file = |path: &Path| std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).ok();
        file(&self.data_dir).is_some_and(|there| Some(there) != file(data_dir.path()))
    }

    /// Whether its server or the keeper of its pods runs.
    fn lives(&self) -> bool {
        instances::look(&self.data_dir).is_some_and(|listed| listed.state != State::Stopped)
    }

    fn recorded(data_dir: &DataDir) -> Result<Option<Self>> {
        let path = data_dir.instance();
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).with_context(|| {
                format!(
                    "{} is damaged.\nRemove it and run: mainstay down --data-dir {}",
                    path.display(),
                    data_dir.path().display()
                )
            })?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(error).with_context(|| {
                format!("cannot read {}.\nIt belongs to another user: sudo mainstay ...", path.display())
            }),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Whether the recorded process still runs.
    pub(crate) fn alive(&self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }
}

/// Start time of a process that is not a zombie.
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = &stat[stat.rfind(')')? + 2..];
    if fields.starts_with('Z') {
        return None;
    }
    fields.split(' ').nth(19)?.parse().ok()
}

impl InstanceFlags {
    /// The directory of the instance: given, or that of the given kubeconfig; else what the environment says, by
    /// `MAINSTAY_DATA_DIR` or by a `KUBECONFIG` of ours; else the default.
    pub(crate) fn data_dir(&self) -> Result<DataDir> {
        let variable = || std::env::var_os("MAINSTAY_DATA_DIR").filter(|path| !path.is_empty()).map(PathBuf::from);
        let directory = match (&self.data_dir, &self.kubeconfig) {
            (Some(directory), _) => Some(directory.clone()),
            (None, Some(path)) => Some(directory_named_in(path)?),
            (None, None) => variable().or_else(kubeconfig::instance_of_environment),
        };
        DataDir::choose(directory.as_deref())
    }

    /// A client of the instance's API.
    pub(crate) fn client(&self) -> Result<Client> {
        match &self.kubeconfig {
            Some(path) => Client::from_kubeconfig(path),
            None => Client::from_kubeconfig(&self.data_dir()?.kubeconfig()),
        }
    }
}

/// The directory of the instance that a kubeconfig means.
fn directory_named_in(path: &Path) -> Result<PathBuf> {
    kubeconfig::instance_of(&kubeconfig::read(path)?).with_context(|| {
        format!(
            "{} does not say which instance it belongs to: its current context has no cluster extension named mainstay.\n\
             Give the directory instead: --data-dir DIR",
            path.display()
        )
    })
}
