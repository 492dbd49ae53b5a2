//! `mainstay down`: ends an instance's server, then its holder and with it every pod, network and rule.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use pods::sandbox::Sandbox;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::InstanceFlags;
use crate::instance::Instance;

/// Flags of `mainstay down`.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    #[command(flatten)]
    instance: InstanceFlags,
    /// Also delete the data directory: every object, address and certificate
    #[arg(long)]
    delete_data: bool,
}

/// How long a server gets to stop in order before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// Runs the subcommand.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    let data_dir = flags.instance.data_dir()?;
    let path = data_dir.path().display();
    let server = match Instance::read(&data_dir)? {
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
    if flags.delete_data && data_dir.path().exists() {
        if !data_dir.pki().is_dir() {
            bail!(
                "{path} does not look like a data directory of Mainstay (no pki in it): not deleted.\nRemove it yourself if it is one"
            );
        }
        std::fs::remove_dir_all(data_dir.path()).with_context(|| format!("cannot delete {path}"))?;
        println!("deleted {path}");
        crate::instances::forget();
    }
    Ok(())
}

/// Asks the server to stop, and kills it when it does not.
fn stop(instance: &Instance) -> Result<bool> {
    let pid = Pid::from_raw(instance.pid).context("instance.json holds no process id")?;
    let Ok(server) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(false) };
    // The descriptor pins the process; look again, so that a reused id is not signalled.
    if !instance.alive() {
        return Ok(false);
    }
    let denied = || format!("cannot stop process {}: run this as the user that started it", instance.pid);
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
