//! The running instance as other subcommands find it: flags in, its directory and facts out.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use pods::sandbox::Mode;
use serde::{Deserialize, Serialize};

use crate::cli::InstanceFlags;
use crate::cli::client::Client;
use crate::config::DataDir;

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

    /// Reads the facts, if a server ever ran in the directory.
    pub(crate) fn read(data_dir: &DataDir) -> Result<Option<Self>> {
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
    /// The directory of the instance: given, or the one in which the given kubeconfig lies, or the default.
    pub(crate) fn data_dir(&self) -> Result<DataDir> {
        if self.data_dir.is_some() {
            return DataDir::choose(self.data_dir.as_deref());
        }
        let Some(kubeconfig) = &self.kubeconfig else { return DataDir::choose(None) };
        match directory_named_in(kubeconfig)? {
            Some(directory) => DataDir::choose(Some(&directory)),
            None => bail!(
                "{} does not say which instance it belongs to (no clusters[0].cluster.extensions entry `mainstay`).\n\
                 Give the directory instead: --data-dir DIR",
                kubeconfig.display()
            ),
        }
    }

    /// A client of the instance's API.
    pub(crate) fn client(&self) -> Result<Client> {
        match &self.kubeconfig {
            Some(path) => Client::from_kubeconfig(path),
            None => Client::from_kubeconfig(&self.data_dir()?.kubeconfig()),
        }
    }
}

/// Kubeconfigs that we write carry their instance's directory in a cluster extension, which kubectl ignores.
fn directory_named_in(kubeconfig: &Path) -> Result<Option<PathBuf>> {
    let text = std::fs::read_to_string(kubeconfig)
        .with_context(|| format!("cannot read --kubeconfig {}", kubeconfig.display()))?;
    let config: serde_json::Value =
        serde_saphyr::from_str(&text).with_context(|| format!("{} is not YAML", kubeconfig.display()))?;
    let extensions = config["clusters"][0]["cluster"]["extensions"].as_array();
    let ours = extensions.into_iter().flatten().find(|extension| extension["name"] == "mainstay");
    Ok(ours.and_then(|extension| extension["extension"]["dataDir"].as_str()).map(PathBuf::from))
}
