//! The start of a host's holder: what the last one left in, containers that run and ends that nobody has seen out.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use kernel::process;
use rustix::process::Signal;

use super::container::Container;
use super::ends;
use super::kept::{Found, Kept};
use super::message::{ContainerRecord, Ended};
use super::spool::Files;

/// What is taken over.
#[derive(Default)]
pub(super) struct Adopted {
    /// Network namespaces of pods, found through their processes.
    pub(super) pods: BTreeMap<String, OwnedFd>,
    /// Containers that run.
    pub(super) containers: BTreeMap<(String, String), Container>,
    /// Containers that have ended.
    pub(super) past: BTreeMap<(String, String), ContainerRecord>,
}

/// Takes over what was left in the data directory.
pub(super) fn all(directory: &Path) -> Adopted {
    let mut adopted = Adopted::default();
    for kept in Kept::all(directory) {
        let name = format!("{}/{}", kept.record.pod, kept.record.container);
        if let Err(error) = one(kept, directory, &mut adopted) {
            eprintln!("holder: {name} is not taken over: {error}");
        }
    }
    adopted
}

fn one(mut kept: Kept, directory: &Path, adopted: &mut Adopted) -> io::Result<()> {
    let key = (kept.record.pod.clone(), kept.record.container.clone());
    if kept.record.ended.is_some() {
        adopted.past.insert(key, kept.record);
        return Ok(());
    }
    match kept.find() {
        // The holder ended between its go and its program: whether it has its own network and files yet cannot be seen, and
        // whoever asked for it asks again.
        Found::Live(child) if !kept.started => {
            process::signal(std::os::fd::AsFd::as_fd(&child.pidfd), Signal::KILL.as_raw())?;
            kept.remove(directory);
        }
        Found::Ended(_) if !kept.started => kept.remove(directory),
        Found::Live(child) => {
            if !kept.spawn.host_network {
                adopted.pods.insert(key.0.clone(), kept.network(&child)?);
            }
            let ends = ends::again(&kept, Some(&child))?;
            adopted.containers.insert(key, Container::adopted(kept, child, ends));
        }
        Found::Ended(code) => {
            let mut ends = ends::again(&kept, None)?;
            for stream in &mut ends.streams {
                stream.drain(&mut ends.log);
            }
            kept.record.ended = Some(ended(code, false));
            kept.write(directory)?;
            Files::beside(&kept.spawn.log).remove();
            adopted.past.insert(key, kept.record);
        }
    }
    Ok(())
}

/// The end of a container now. One that nobody saw is told as Kubernetes does, by the code of a kill.
pub(super) fn ended(code: Option<i32>, oom: bool) -> Ended {
    let at_ms = jiff::Timestamp::now().as_millisecond();
    Ended { code: code.unwrap_or(137), at_ms, unknown: code.is_none(), oom }
}
