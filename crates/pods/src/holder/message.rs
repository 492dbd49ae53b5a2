//! What supervisor and holder say to each other: one JSON value per SEQPACKET message, descriptors beside it.
//!
//! JSON because the two may come from different releases (an upgraded supervisor adopts an old holder): unknown fields
//! are skipped, missing ones have defaults. Messages are few (several per pod), so their cost does not matter.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use kernel::unix_socket::{self, Wait};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::security::Security;
use crate::cgroup::Limits;
use crate::limits;
use crate::sandbox::Mode;

/// Version of this protocol; a supervisor refuses a holder of another one.
pub const VERSION: u32 = match option_env!("MAINSTAY_HOLDER_PROTOCOL") {
    // For tests of an upgrade over a change of the protocol: the same program built as another release.
    Some(_) => 2,
    None => 1,
};
/// Name of the holder's socket in the data directory.
pub const SOCKET: &str = "holder.sock";

/// What the holder is asked to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Who are you? Answer: [`Reply::Hello`] with the sandbox's network namespace.
    Hello,
    /// Send [`Reply::Changed`] on this connection whenever a container ends.
    Subscribe,
    /// Make the network namespace of a pod, or find it. Answer: [`Reply::Done`] with the namespace.
    PodNetns {
        /// Uid of the pod.
        pod: String,
    },
    /// Start a container. Answer: [`Reply::Done`], or an error if its program could not be started.
    Spawn(Box<Spawn>),
    /// Send a signal to the first process of a container.
    Signal {
        /// Uid of the pod.
        pod: String,
        /// Name of the container.
        container: String,
        /// Signal number.
        signal: i32,
    },
    /// Run a command beside a container or on the node, with three descriptors (or one terminal). Answers:
    /// [`Reply::Done`] (with the terminal, if it is one of the pod's), later [`Reply::Exited`]. The command is killed when
    /// the connection ends.
    Exec(Box<Exec>),
    /// Join a container's streams, with two descriptors for its outputs. Answer: [`Reply::Done`], with the container's
    /// input or terminal if there is one.
    Attach {
        /// Uid of the pod.
        pod: String,
        /// Name of the container.
        container: String,
        /// Whether the input is wanted.
        stdin: bool,
    },
    /// Containers after the given one (pod, container), in order.
    Containers {
        /// The last one already known; empty names for the start.
        after: (String, String),
    },
    /// Pods that have a network namespace or a container, also one that has ended.
    Pods {
        /// The last one already known; empty for the start.
        after: String,
    },
    /// Kill what is left of a pod and forget it.
    RemovePod {
        /// Uid of the pod.
        pod: String,
    },
}

/// What the holder answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Who it is; the sandbox's network namespace comes along.
    Hello {
        /// Version of the protocol it speaks.
        version: u32,
        /// Version of the program it runs.
        program: String,
        /// Where its pods live.
        #[serde(default)]
        mode: Mode,
        /// What it can give to pods.
        #[serde(default)]
        abilities: Abilities,
    },
    /// Done.
    Done,
    /// Not done, and why.
    Error(String),
    /// Some containers.
    Containers(Vec<ContainerRecord>),
    /// Some pods.
    Pods(Vec<String>),
    /// The command of this connection ended with this code (128 + number for a signal).
    Exited(i32),
    /// Something ended; ask for [`Request::Containers`].
    Changed,
}

/// What a holder can give to pods; what it cannot is told to whoever asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Abilities {
    /// Each pod has users of its own.
    pub users: bool,
    /// A container's users and groups are real ones; without, it runs as one user, whatever number that has inside.
    pub groups: bool,
    /// Limits of processor and memory hold: which control groups they are held by.
    pub limits: Option<String>,
    /// Why limits do not hold, and what to do about it.
    pub no_limits: String,
    /// Lowest port of the node's network that needs no right over it.
    pub first_port: u16,
}

impl Abilities {
    /// Whether and how limits hold, for people.
    pub fn limits_text(&self) -> String {
        match &self.limits {
            Some(how) => format!("held by {how}"),
            None if self.no_limits.is_empty() => "not held: the sandbox was started by an earlier release".to_owned(),
            None => format!("not held: {}", self.no_limits),
        }
    }

    /// Whose the processes of pods are outside, for people.
    pub fn users_text(&self) -> &'static str {
        match (self.users, self.groups) {
            (true, _) => "each pod has its own",
            (false, true) => "those of this host: user namespaces are not allowed here",
            (false, false) => "every pod runs as the user who started this",
        }
    }
}

/// A container to start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Spawn {
    /// Uid of its pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
    /// How many times it was started before.
    pub attempt: u32,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub cwd: String,
    /// Host name.
    pub hostname: String,
    /// Uses the node's network instead of the pod's own.
    pub host_network: bool,
    /// Has an input that clients can attach to.
    #[serde(default)]
    pub stdin: bool,
    /// Its input ends with the first client's.
    #[serde(default)]
    pub stdin_once: bool,
    /// Runs on a terminal.
    #[serde(default)]
    pub tty: bool,
    /// File that gets its output.
    pub log: PathBuf,
    /// What its file system looks like.
    pub root: Root,
    /// What it may do.
    #[serde(default)]
    pub security: Security,
    /// How much it may use.
    #[serde(default)]
    pub limits: Limits,
}

/// What a container's file system adds to (and hides from) the read-only view of the host's.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Root {
    /// Files shown under another name: (path inside, file outside).
    pub files: Vec<(PathBuf, PathBuf)>,
    /// Directories of the host that the pod must not see.
    pub hide: Vec<PathBuf>,
    /// Volumes.
    pub volumes: Vec<Volume>,
}

/// A directory (or file) of the pod's volumes inside a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Path outside. Empty if only a part is shown: a holder of an earlier release, which knows nothing of `part`, must not
    /// show everything.
    pub source: PathBuf,
    /// Path inside.
    pub target: PathBuf,
    /// May not be written.
    pub read_only: bool,
    /// Made for the pod, whose users get it. What is the host's own (`hostPath`) stays whose it is.
    #[serde(default)]
    pub owned: bool,
    /// The part that is shown, instead of `source`.
    #[serde(default)]
    pub part: Option<Part>,
}

/// A part of a volume (`subPath`). The two are not joined here: links on the way are the pod's own and must not lead out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The volume outside.
    pub volume: PathBuf,
    /// The way to the part inside the volume.
    pub path: PathBuf,
}

/// A command to run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Exec {
    /// Pod uid and container beside which it runs; none for the node itself.
    pub container: Option<(String, String)>,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment; on the node added to the holder's own.
    pub env: Vec<(String, String)>,
    /// Working directory; empty for `/`.
    pub cwd: String,
    /// The one descriptor sent is a terminal.
    pub tty: bool,
}

/// What the holder knows of a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Uid of its pod.
    pub pod: String,
    /// Name.
    pub container: String,
    /// How many times it was started before.
    pub attempt: u32,
    /// When it was started, Unix milliseconds.
    pub started_ms: i64,
    /// How it ended, if it has.
    pub ended: Option<Ended>,
}

/// The end of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Exit code; 128 + number for a signal.
    pub code: i32,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// Nobody saw how: the code only stands for that.
    #[serde(default)]
    pub unknown: bool,
    /// The kernel killed a process of it because its memory limit was reached.
    #[serde(default)]
    pub oom: bool,
}

/// Sends one message.
pub fn send(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
    wait: Wait,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > limits::MESSAGE_BYTES {
        let text = format!("message of {} bytes is longer than {}", bytes.len(), limits::MESSAGE_BYTES);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    unix_socket::send(socket, &bytes, descriptors, wait)
}

/// Receives one message; none at the end of the connection.
pub fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; limits::MESSAGE_BYTES];
    let (length, descriptors) = unix_socket::receive(socket, &mut buffer)?;
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&buffer[..length])?, descriptors)))
}
