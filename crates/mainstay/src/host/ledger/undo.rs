//! A change in, the host as it was before it out, unless somebody changed the same thing since.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use kernel::nl::batch::Batch;
use kernel::nl::route::{NewAddress, NewRoute, Rtnetlink, Scope};
use kernel::nl::{Protocol, Socket, nftables};

use super::{Change, sysctl};

/// What taking one change back came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Taken back.
    Done,
    /// Nothing of it is left.
    Already,
    /// Somebody changed it since, so it is left alone.
    Changed(String),
    /// Tried and failed.
    Failed(String),
}

/// Takes a change back.
pub(super) fn undo(change: &Change) -> Outcome {
    let done = match change {
        Change::Sysctl { name, before, after, along, only_if } => {
            let relied = only_if.iter().find(|(name, then)| sysctl::read(name).is_some_and(|now| now != *then));
            return match relied {
                Some((other, _)) if sysctl::read(name).as_ref() != Some(before) => {
                    Outcome::Changed(format!("{other} was changed since: somebody else relies on it"))
                }
                // Once it is made, the settings of links are as whoever cares for them wants them.
                _ if !only_if.is_empty() && !along.is_empty() => setting(name, before, after, &sysctl::now(along)),
                _ => setting(name, before, after, along),
            };
        }
        Change::File { path, before, after } => return file(path, before.as_deref(), after),
        Change::Foreign { holds, undo, .. } => return foreign(holds, undo),
        Change::Address { link, address } => remove_address(link, *address).map_err(|error| error.to_string()),
        Change::Route { link, network, prefix, source } => {
            let route = |index| NewRoute { source: *source, ..NewRoute::direct(*network, *prefix, index) };
            on_link(link, |netlink, index| netlink.route_delete(&route(index))).map_err(|error| error.to_string())
        }
        Change::PodLinks => remove_pod_links().map_err(|error| error.to_string()),
        Change::NftTable { name } => remove_table(name).map_err(|error| error.to_string()),
        Change::Directory { path } => match std::fs::remove_dir(path) {
            // Another instance, or anybody, uses it: it goes with the last one.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => return Outcome::Already,
            done => removed(done).map_err(|error| error.to_string()),
        },
    };
    match done {
        Ok(true) => Outcome::Done,
        Ok(false) => Outcome::Already,
        Err(why) => Outcome::Failed(why),
    }
}

fn setting(name: &str, before: &str, after: &str, along: &[(String, String)]) -> Outcome {
    // A link that is gone took its settings along.
    let Some(now) = sysctl::read(name) else { return Outcome::Already };
    let mut outcome = if now == before {
        Outcome::Already
    } else if now != after {
        return Outcome::Changed(format!("it is {now} now: somebody else has set it"));
    } else {
        match sysctl::write(name, before) {
            Ok(()) => Outcome::Done,
            Err(error) => return Outcome::Failed(error.to_string()),
        }
    };
    for (name, before) in along {
        if sysctl::read(name).is_some_and(|now| now != *before) {
            match sysctl::write(name, before) {
                Ok(()) => outcome = Outcome::Done,
                Err(error) => return Outcome::Failed(format!("{name}: {error}")),
            }
        }
    }
    outcome
}

fn file(path: &Path, before: Option<&str>, after: &str) -> Outcome {
    let now = match std::fs::read_to_string(path) {
        Ok(now) => Some(now),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    if now.as_deref() == before {
        return Outcome::Already;
    }
    if now.as_deref() != Some(after) {
        return Outcome::Changed("somebody else has written it".to_owned());
    }
    let done = match before {
        None => std::fs::remove_file(path),
        Some(before) => std::fs::write(path, before),
    };
    done.map_or_else(|error| Outcome::Failed(error.to_string()), |()| Outcome::Done)
}

fn foreign(holds: &[String], undo: &[String]) -> Outcome {
    let run = |argv: &[String]| -> io::Result<std::process::Output> {
        let (program, arguments) = argv.split_first().ok_or_else(|| io::Error::other("no command is noted"))?;
        Command::new(program).args(arguments).stdin(Stdio::null()).output()
    };
    match run(holds) {
        Ok(output) if output.status.success() => {}
        // The rule is gone, or the program and with it what it kept.
        Ok(_) => return Outcome::Already,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Outcome::Already,
        Err(error) => return Outcome::Failed(error.to_string()),
    }
    match run(undo) {
        Ok(output) if output.status.success() => Outcome::Done,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Outcome::Failed(format!("{} says: {said}", undo.join(" ")))
        }
        Err(error) => Outcome::Failed(format!("{}: {error}", undo.join(" "))),
    }
}

/// Does something to a link by name; false if the link or the object is not there.
fn on_link(link: &str, work: impl FnOnce(&mut Rtnetlink, u32) -> kernel::nl::Result<()>) -> kernel::nl::Result<bool> {
    let mut netlink = Rtnetlink::open()?;
    let Some(link) = netlink.link(link)? else { return Ok(false) };
    absent(work(&mut netlink, link.index))
}

/// False if what was to go was not there.
fn absent(done: kernel::nl::Result<()>) -> kernel::nl::Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.not_found() || error.errno() == Some(libc::EADDRNOTAVAIL) => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove_address(link: &str, address: std::net::IpAddr) -> kernel::nl::Result<bool> {
    let prefix_len = if address.is_ipv4() { 32 } else { 128 };
    on_link(link, |netlink, index| {
        netlink.address_delete(&NewAddress { index, address, prefix_len, scope: Scope::Global })
    })
}

/// Removes the near ends of pods' links: veth devices with our sort of name and the pods' gateway on them.
fn remove_pod_links() -> kernel::nl::Result<bool> {
    let mut netlink = Rtnetlink::open()?;
    let addresses = netlink.addresses()?;
    let mut any = false;
    for link in netlink.links()? {
        let has_gateway = addresses.iter().any(|own| own.index == link.index && pods::network::is_gateway(own.address));
        if link.kind == "veth" && pods::network::is_interface(&link.name) && has_gateway {
            any |= absent(netlink.link_delete(link.index))?;
        }
    }
    Ok(any)
}

fn remove_table(name: &str) -> kernel::nl::Result<bool> {
    let mut socket = Socket::open(Protocol::Netfilter)?;
    let mut batch = Batch::new();
    nftables::delete_table(&mut batch, name);
    absent(batch.commit(&mut socket, &format!("delete table inet {name}")))
}

fn removed(done: io::Result<()>) -> io::Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
