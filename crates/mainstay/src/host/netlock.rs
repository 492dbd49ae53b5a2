//! One instance per network namespace: a name that only one process in it can hold, and a file that says whose changes
//! are in place while no process runs.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::ledger::{Change, Ledger};

/// In the abstract namespace of Unix sockets, which every network namespace has its own of.
const NAME: &str = "mainstay-host";
/// Where the files are.
const CLAIMS: &str = "/run/mainstay";
/// A dying server, or its child between clone and exec, may hold the name a little longer.
const WAIT: Duration = Duration::from_millis(500);
/// How long the holder of the name gets to say who it is.
const ANSWER: Duration = Duration::from_millis(500);

/// What `mainstay node` says in the place of a data directory.
pub(crate) const NODE_ROLE: &str = "(mainstay node)";

/// The name, held.
pub(crate) struct NetLock(UnixListener);

fn address() -> std::io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(NAME)
}

/// Takes the name, or says who has it.
pub(crate) fn take() -> Result<NetLock> {
    let address = address()?;
    let began = Instant::now();
    loop {
        match UnixListener::bind_addr(&address) {
            Ok(listener) => return Ok(NetLock(listener)),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                if began.elapsed() > WAIT {
                    return Err(taken(who(&address)));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error).context("cannot take the name @mainstay-host of this network namespace"),
        }
    }
}

impl NetLock {
    /// Answers those who ask, from a thread of its own, until the process ends.
    pub(crate) fn serve(self, data_dir: &Path) -> Result<()> {
        let text = format!("{}\n{}\n", std::process::id(), data_dir.display());
        std::thread::Builder::new().name("host-lock".into()).spawn(move || {
            for stream in self.0.incoming() {
                match stream {
                    // One that asks and leaves is its own business.
                    Ok(mut stream) => _ = stream.write_all(text.as_bytes()),
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
            }
        })?;
        Ok(())
    }
}

/// Process id and data directory of whoever holds the name, if it answers.
fn who(address: &SocketAddr) -> Option<(String, String)> {
    let mut stream = UnixStream::connect_addr(address).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    let mut text = String::new();
    Read::by_ref(&mut stream).take(4096).read_to_string(&mut text).ok()?;
    let (pid, directory) = text.trim_end().split_once('\n')?;
    // Anybody may hold the name: what he says must not move the reader's cursor.
    let plain = |text: &str| text.chars().filter(|letter| !letter.is_control()).collect::<String>();
    Some((plain(pid), plain(directory)))
}

fn taken(who: Option<(String, String)>) -> anyhow::Error {
    match who {
        Some((pid, role)) if role == NODE_ROLE => anyhow::anyhow!(
            "`mainstay node` programs Services in this network namespace: process {pid}.\nEnd it first: kill {pid}"
        ),
        Some((pid, directory)) => anyhow::anyhow!(
            "another instance runs in host mode in this network namespace: process {pid} on {directory}.\nEnd it first: \
             mainstay down --data-dir {directory}; or start a sandbox beside it: mainstay up --sandbox"
        ),
        None => anyhow::anyhow!(
            "a process that does not say who it is holds the name @mainstay-host, so no instance in host mode can start.\n\
             Find it: ss -xlp | grep mainstay-host"
        ),
    }
}

/// The file of this network namespace.
fn claim_path() -> Result<PathBuf> {
    let net = std::fs::metadata("/proc/thread-self/ns/net").context("cannot see the own network namespace")?.ino();
    Ok(Path::new(CLAIMS).join(format!("host-{net}")))
}

/// Refuses if the changes of another data directory are still in place here, with or without a process.
pub(crate) fn refuse_other(data_dir: &Path) -> Result<()> {
    let Ok(text) = std::fs::read_to_string(claim_path()?) else { return Ok(()) };
    let other = Path::new(text.trim());
    // A directory that is gone has taken its ledger along: what it left is taken over.
    if other == data_dir || !Ledger::exists(other) {
        return Ok(());
    }
    let other = other.display();
    bail!(
        "the instance of {other} has its pods and rules in this network namespace, although its server does not run.\nEnd it \
         first: mainstay down --data-dir {other}; or go on with it: mainstay up --host --data-dir {other}"
    )
}

/// What [`claim`] changes.
pub(crate) fn changes(data_dir: &Path) -> Result<[Change; 2]> {
    let after = format!("{}\n", data_dir.display());
    Ok([Change::Directory { path: CLAIMS.into() }, Change::File { path: claim_path()?, before: None, after }])
}

/// Writes whose changes these are.
pub(crate) fn claim(ledger: &Ledger, data_dir: &Path) -> Result<()> {
    let [directory, file] = changes(data_dir)?;
    let make = || std::fs::create_dir_all(CLAIMS).with_context(|| format!("cannot make {CLAIMS}"));
    ledger.make(directory, make)?;
    let (path, text) = (claim_path()?, format!("{}\n", data_dir.display()));
    if std::fs::read_to_string(&path).is_ok_and(|now| now == text) {
        return Ok(());
    }
    ledger.make(file, || {
        let mut written = std::fs::write(&path, &text);
        if written.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            // Somebody who found the directory empty has removed it.
            make()?;
            written = std::fs::write(&path, &text);
        }
        written.with_context(|| format!("cannot write {}", path.display()))
    })
}
