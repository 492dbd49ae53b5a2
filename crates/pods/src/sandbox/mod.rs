//! The sandbox as the supervisor sees it: a data directory in, a live holder (adopted or new) and its network out.

mod client;
mod error;
mod link;
mod mode;
mod probe;
mod record;
mod start;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use kernel::{namespace, process, unix_socket};

pub use client::{Client, Session};
pub use error::Error;
use error::io_of;
pub use mode::Mode;
pub use start::lock;

use crate::cgroup;
use crate::holder::kept;
use crate::holder::message::{Abilities, Reply, Request, VERSION};

/// A running sandbox, or the pods of a host. Dropping it leaves the holder and all pods running.
pub struct Sandbox {
    directory: PathBuf,
    client: Client,
    netns: OwnedFd,
    mode: Mode,
    abilities: Abilities,
    adopted: bool,
    /// Held for the life of the supervisor.
    _lock: File,
}

/// What a holder says of itself.
struct Greeting {
    version: u32,
    mode: Mode,
    abilities: Abilities,
    netns: Option<OwnedFd>,
}

impl Sandbox {
    /// Starts (or adopts) the holder of `directory` and, in a sandbox, joins its user namespace. Must be called before
    /// the process has a second thread (the kernel refuses to move a threaded process into another user namespace).
    /// `applets` are the programs built into this executable; they are on every pod's PATH.
    pub fn start_or_adopt(directory: &Path, applets: &[&str], mode: Mode) -> Result<Self, Error> {
        let directory = start::prepare(directory)?;
        let lock = start::lock(&directory)?;
        start::end_of_end(&directory);
        let applets: Vec<String> = applets.iter().map(|&name| name.to_owned()).collect();
        let fresh = || start::start(&directory, &applets, mode);
        let (mut socket, mut adopted) = match start::adopt(&directory)? {
            Some(socket) => (socket, true),
            None => {
                if mode == Mode::Sandbox {
                    // Pods of a host that nobody holds any more are no part of a sandbox.
                    kept::end_all(&directory).map_err(io_of("end the pods of the host"))?;
                }
                (fresh()?, false)
            }
        };
        let mut greeting = greet(socket.as_fd())?;
        if greeting.mode != mode {
            return Err(Error::Mode { directory, found: greeting.mode, wanted: mode });
        }
        if greeting.version != VERSION && mode == Mode::Host {
            // Pods do not need this holder: one that we understand takes them over.
            start::kill_holder(&directory)?;
            (socket, adopted) = (fresh()?, true);
            greeting = greet(socket.as_fd())?;
        }
        let netns = match (greeting.version, greeting.netns) {
            (VERSION, Some(netns)) => netns,
            (VERSION, None) => return Err(Error::Refused("the holder sent no network namespace".to_owned())),
            (found, _) => return Err(Error::Version { found }),
        };
        let peer = unix_socket::peer_pid(socket.as_fd()).map_err(io_of("find the holder's process"))?;
        let holder = process::open(peer).map_err(io_of("open the holder's process"))?;
        start::join_user(peer, &holder)?;
        let client = Client::of(&directory, socket, (mode == Mode::Host).then_some((applets, holder)));
        let abilities = greeting.abilities;
        Ok(Self { directory, client, netns, mode, abilities, adopted, _lock: lock })
    }

    /// Whether the holder of an earlier supervisor was found, or (on a host) one that had to be replaced.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Where the pods live.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What the holder can give to pods.
    pub fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// The data directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The node's network namespace: the sandbox's or the host's.
    pub fn netns(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }

    /// Moves the calling thread into the node's network: sockets it opens from now on belong there.
    pub fn enter(&self) -> io::Result<()> {
        namespace::enter_net(self.netns())
    }

    /// The connection to the holder.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Ends the holder and the pods of `directory`; whether there were any.
    pub fn kill(directory: &Path) -> Result<bool, Error> {
        start::begin_end(directory)?;
        let holder = start::kill_holder(directory)?;
        let pods = kept::end_all(directory).map_err(io_of("end the pods of the host"))?;
        cgroup::remove_recorded(directory);
        Ok(holder || pods > 0)
    }
}

fn greet(socket: BorrowedFd<'_>) -> Result<Greeting, Error> {
    let (reply, mut descriptors) = client::call(socket, &Request::Hello, &[]).map_err(io_of("greet the holder"))?;
    match reply {
        Reply::Hello { version, mode, abilities, .. } => {
            Ok(Greeting { version, mode, abilities, netns: descriptors.pop() })
        }
        other => Err(Error::Refused(format!("the holder answered {other:?} to a greeting"))),
    }
}
