//! `mainstay down`: ends an instance's server, then its holder and with it every pod, network and rule.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use pods::sandbox::Sandbox;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::InstanceFlags;
use crate::config::DataDir;
use crate::exit::Exit;
use crate::instance::Instance;
use crate::instances::State;

/// Flags of `mainstay down`.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    #[command(flatten)]
    instance: InstanceFlags,
    /// Every instance of this user, wherever it is (see mainstay ls)
    #[arg(long, conflicts_with_all = ["data_dir", "kubeconfig"])]
    all: bool,
    /// Also delete the data directory: every object, address and certificate
    #[arg(long)]
    delete_data: bool,
}

/// How long a server gets to stop in order before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// Runs the subcommand.
pub(crate) fn run(flags: &Flags) -> Result<Exit> {
    if flags.all {
        return all(flags.delete_data);
    }
    one(&flags.instance.data_dir()?, flags.delete_data)?;
    Ok(Exit::Fine)
}

/// Stops every instance of this user. One that cannot be stopped keeps none of the others.
fn all(delete_data: bool) -> Result<Exit> {
    let instances = crate::instances::list();
    let due = instances.iter().filter(|listed| delete_data || listed.state != State::Stopped);
    let mut failures = Vec::new();
    let mut count = 0;
    for listed in due {
        count += 1;
        let stopped = DataDir::choose(Some(&listed.data_dir)).and_then(|data_dir| one(&data_dir, delete_data));
        failures.extend(stopped.err());
    }
    if count == 0 {
        println!("nothing runs");
    }
    let failed = failures.len();
    match failures.pop() {
        None => Ok(Exit::Fine),
        Some(last) => {
            failures.iter().for_each(|error| eprintln!("mainstay: {}", crate::report(error)));
            Err(last.context(format!("{failed} of {count} instances could not be stopped")))
        }
    }
}

/// Stops what runs in a directory.
fn one(data_dir: &DataDir, delete_data: bool) -> Result<()> {
    let path = data_dir.path().display();
    if delete_data && data_dir.path().exists() {
        check_deletable(data_dir)?;
    }
    Instance::refuse_copy(data_dir)?;
    let server = match Instance::read(data_dir)? {
        Some(instance) if instance.alive() => stop(&instance)?,
        _ => false,
    };
    let holder = if data_dir.path().exists() { Sandbox::kill(data_dir.path())? } else { false };
    let host = crate::host::restore(data_dir.path())?;
    let _ = std::fs::remove_file(data_dir.instance());
    match (server || holder, host) {
        (_, true) => println!("stopped; pods and rules of {path} are gone, and this host is as it was"),
        (true, false) => println!("stopped; pods, networks and rules of {path} are gone"),
        (false, false) => println!("nothing runs in {path}"),
    }
    if delete_data && data_dir.path().exists() {
        std::fs::remove_dir_all(data_dir.path())
            .with_context(|| format!("cannot delete {path}.\nDelete it as the user that owns it: rm -r {path}"))?;
        println!("deleted {path}");
        crate::instances::forget();
    }
    Ok(())
}

/// Whether a directory is one that we made and nothing else: what is deleted cannot be brought back.
fn check_deletable(data_dir: &DataDir) -> Result<()> {
    let path = data_dir.path();
    let real = path.canonicalize().with_context(|| format!("cannot find {}.\nIs it spelled right?", path.display()))?;
    let above = |place: Option<std::path::PathBuf>| place.is_some_and(|place| place.starts_with(&real));
    let why = if !data_dir.pki().is_dir() || !data_dir.store().exists() {
        "it does not look like a data directory of Mainstay (no pki or no store in it)"
    } else if above(std::env::var_os("HOME").map(Into::into)) || above(std::env::current_dir().ok()) {
        "your home or current directory is in it"
    } else if real.join(".git").exists() {
        "it is a git repository, too"
    } else {
        return Ok(());
    };
    bail!(
        "{} is not deleted: {why}.\nStop the instance without --delete-data, and remove its files yourself",
        path.display()
    )
}

/// Asks the server to stop, and kills it when it does not.
fn stop(instance: &Instance) -> Result<bool> {
    let pid = Pid::from_raw(instance.pid).context("instance.json holds no process id")?;
    let Ok(server) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(false) };
    // The descriptor pins the process; look again, so that a reused id is not signalled.
    if !instance.alive() {
        return Ok(false);
    }
    let denied =
        || format!("cannot stop process {}.\nRun this as the user that started it, or with sudo", instance.pid);
    pidfd_send_signal(&server, Signal::TERM).with_context(denied)?;
    let began = Instant::now();
    while began.elapsed() < STOP_PATIENCE {
        if kernel::process::wait_end(std::os::fd::AsFd::as_fd(&server), 100)? {
            return Ok(true);
        }
    }
    pidfd_send_signal(&server, Signal::KILL).with_context(denied)?;
    Ok(true)
}
