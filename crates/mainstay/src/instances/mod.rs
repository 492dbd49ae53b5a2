//! Small files that servers leave and holders that run now in, every instance of this user out.

mod holders;
mod registry;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use pods::sandbox::Client;
use serde::Serialize;

use crate::config::DataDir;
use crate::instance::Instance;

pub(crate) use registry::{forget, remember};

/// How long a holder may take to say which pods it has. One that is stopped never does.
const HOLDER_PATIENCE: Duration = Duration::from_secs(2);

/// How much of an instance runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// The server runs.
    Running,
    /// The server is gone; the holder keeps pods and addresses.
    PodsOnly,
    /// Only the data is there.
    Stopped,
}

impl State {
    /// As people read it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::PodsOnly => "pods only",
            Self::Stopped => "stopped",
        }
    }
}

/// The process that keeps an instance's pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Holder {
    /// Its process id.
    pub(crate) pid: i32,
    /// Version of the program it runs; empty if it does not answer.
    pub(crate) program: String,
    /// Version of the protocol it speaks; 0 if it does not answer.
    pub(crate) protocol: u32,
    /// How many pods it keeps; none if it does not answer.
    pub(crate) pods: Option<usize>,
    /// How many of their containers run.
    pub(crate) containers: Option<usize>,
}

/// One instance.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listed {
    /// Directory of the instance.
    pub(crate) data_dir: PathBuf,
    /// `sandbox` or `host`; none once it was stopped in order.
    pub(crate) mode: Option<String>,
    /// How much of it runs.
    pub(crate) state: State,
    /// URL of the API while the server runs.
    pub(crate) server: Option<String>,
    /// Process id of the server while it runs.
    pub(crate) pid: Option<i32>,
    /// The process that keeps the pods.
    pub(crate) holder: Option<Holder>,
    /// Since when it is in this state: when the server, else the holder, began.
    #[serde(serialize_with = "as_text")]
    pub(crate) since: Option<Timestamp>,
}

fn as_text<S: serde::Serializer>(moment: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match moment {
        Some(moment) => serializer.collect_str(&moment.strftime("%Y-%m-%dT%H:%M:%SZ")),
        None => serializer.serialize_none(),
    }
}

/// Every instance of this user, by directory.
pub(crate) fn list() -> Vec<Listed> {
    let mut directories: BTreeSet<PathBuf> = registry::directories();
    directories.extend(holders::directories());
    if let Ok(default) = DataDir::choose(None)
        && default.store().is_dir()
    {
        directories.insert(default.path().to_owned());
    }
    let mut seen = BTreeSet::new();
    let resolved = directories.into_iter().filter_map(|path| std::fs::canonicalize(path).ok());
    let new = resolved.filter(|path| seen.insert(path.clone()) && registry::is_own(path));
    new.filter_map(|path| look(&path)).collect()
}

/// What there is in a directory; none if it never was an instance's.
pub(crate) fn look(path: &Path) -> Option<Listed> {
    let data_dir = DataDir::choose(Some(path)).ok()?;
    // A damaged file is no server; the holder and the store still say that there is an instance.
    let instance = Instance::read(&data_dir).ok().flatten();
    let server = instance.clone().filter(Instance::alive);
    let holder = holder(path);
    let state = match (&server, &holder) {
        (Some(_), _) => State::Running,
        (None, Some(_)) => State::PodsOnly,
        (None, None) if data_dir.store().is_dir() => State::Stopped,
        (None, None) => return None,
    };
    let began = server.as_ref().map(|server| server.pid).or(holder.as_ref().map(|holder| holder.pid));
    Some(Listed {
        data_dir: path.to_owned(),
        mode: instance.map(|instance| instance.mode),
        state,
        pid: server.as_ref().map(|server| server.pid),
        server: server.map(|server| server.server),
        holder,
        since: began.and_then(holders::began),
    })
}

/// The live holder of a directory.
fn holder(path: &Path) -> Option<Holder> {
    let client = Client::connect(path).ok()?;
    let pid = client.peer_pid().ok()?;
    let (answer, wait) = std::sync::mpsc::channel();
    // A holder that is stopped takes the connection and never answers: its thread is left behind.
    std::thread::spawn(move || drop(answer.send(ask(&client))));
    let (program, protocol, pods, containers) = wait.recv_timeout(HOLDER_PATIENCE).unwrap_or_default();
    Some(Holder { pid, program, protocol, pods, containers })
}

/// Program, protocol, pods, and containers that run.
fn ask(client: &Client) -> (String, u32, Option<usize>, Option<usize>) {
    use pods::holder::message::{Reply, Request};
    let (program, protocol) = match client.call(&Request::Hello, &[]) {
        Ok((Reply::Hello { version, program, .. }, _)) => (program, version),
        _ => Default::default(),
    };
    let containers = client.containers().ok();
    let running = containers.map(|all| all.iter().filter(|container| container.ended.is_none()).count());
    (program, protocol, client.pods().ok().map(|pods| pods.len()), running)
}
