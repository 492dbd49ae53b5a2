//! The start of a host's holder: what the last one left in, containers that run and ends that nobody has seen out.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use kernel::process::{self, Child};

use super::container::Container;
use super::ends::{self, Ends};
use super::kept::{self, Found, Kept, Left};
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
    let Left { kept, unread } = kept::left(directory);
    for unread in unread {
        if let Err(error) = unread.end(directory) {
            note!("holder: {error}");
        }
    }
    for kept in kept {
        one(kept, directory, &mut adopted);
    }
    adopted
}

fn one(kept: Kept, directory: &Path, adopted: &mut Adopted) {
    let key = (kept.record.pod.clone(), kept.record.container.clone());
    let name = format!("{}/{}", key.0, key.1);
    if kept.record.ended.is_some() {
        adopted.past.insert(key, kept.record);
        return;
    }
    match kept.find() {
        // The holder ended between its go and its program: whether it has its own network and files yet cannot be seen, and
        // whoever asked for it asks again.
        Found::Live(child) if !kept.started => match kept::end(child.pidfd.as_fd()) {
            Ok(()) => kept.remove(directory),
            Err(error) => note!("holder: {name} was not ended on its way to its program: {error}"),
        },
        Found::Ended(_) if !kept.started => kept.remove(directory),
        Found::Live(child) => match take_over(&kept, &child) {
            Ok((network, ends)) => {
                adopted.pods.extend(network.map(|network| (key.0.clone(), network)));
                adopted.containers.insert(key, Container::adopted(kept, child, ends));
            }
            Err(error) => {
                let code = stop(&kept, &child, &name, &error);
                adopted.past.insert(key, over(kept, code, directory));
            }
        },
        Found::Ended(code) => {
            if let Err(error) = drain(&kept) {
                note!("holder: the last output of {name} is lost: {error}");
            }
            adopted.past.insert(key, over(kept, code, directory));
        }
    }
}

/// What it takes to go on with a container: its pod's network, its streams.
fn take_over(kept: &Kept, child: &Child) -> io::Result<(Option<OwnedFd>, Ends)> {
    let network = if kept.spawn.host_network { None } else { Some(kept.network(child)?) };
    Ok((network, ends::again(kept, Some(child))?))
}

/// Ends a container that cannot be taken over: left alone it would run unknown, beside the next one of its pod, until its
/// output fills what carries it.
fn stop(kept: &Kept, child: &Child, name: &str, why: &io::Error) -> Option<i32> {
    if process::wait_end(child.pidfd.as_fd(), 0).unwrap_or(false) {
        return kept.code(&child.pidfd);
    }
    let ended = match kept::end(child.pidfd.as_fd()) {
        Ok(()) => "was ended; its pod starts it again as its restartPolicy says".to_owned(),
        Err(error) => format!("could not be ended ({error}): kill -9 {}", child.pid),
    };
    note!("holder: {name} cannot be taken over ({why}) and {ended}");
    None
}

/// Brings what a container wrote last to its log.
fn drain(kept: &Kept) -> io::Result<()> {
    let mut ends = ends::again(kept, None)?;
    for stream in &mut ends.streams {
        stream.drain(&mut ends.log);
    }
    Ok(())
}

/// Notes that a container has ended.
fn over(mut kept: Kept, code: Option<i32>, directory: &Path) -> ContainerRecord {
    kept.record.ended = Some(ended(code, false));
    if let Err(error) = kept.write(directory) {
        // The next holder finds its process gone.
        note!("holder: the end of {}/{} is not kept: {error}", kept.record.pod, kept.record.container);
    }
    Files::beside(&kept.spawn.log).remove();
    kept.record
}

/// The end of a container now. One that nobody saw is told as Kubernetes does, by the code of a kill.
pub(super) fn ended(code: Option<i32>, oom: bool) -> Ended {
    let at_ms = jiff::Timestamp::now().as_millisecond();
    Ended { code: code.unwrap_or(137), at_ms, unknown: code.is_none(), oom }
}
