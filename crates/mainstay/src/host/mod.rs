//! Host mode: this host's own network in, an instance in it and a way back out.
//!
//! Everything that is changed goes through the [`ledger`]; start reading there.

mod addresses;
pub(crate) mod consent;
mod flags;
mod forwarding;
mod kill_points;
pub(crate) mod ledger;
mod look;
pub(crate) mod neighbours;
mod netlock;
mod overlaps;
mod prepare;
mod routes;
mod watch;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use kernel::nl::route::{NewAddress, Rtnetlink, Scope};
use pods::sandbox::Sandbox;
use tokio::sync::watch as channel;

use addresses::Known;
pub(crate) use addresses::NodePorts;
pub(crate) use flags::HostFlags;
use ledger::{Change, Ledger};
use look::Look;
pub(crate) use netlock::{NODE_ROLE, take as take_network};
pub(crate) use prepare::{Prepared, prepare};

use crate::config::Network;

/// The link that carries what belongs to the node and to no other link.
const LO: &str = "lo";

/// The host under an instance: what was changed, and the addresses it is known by.
pub(crate) struct Host {
    ledger: Arc<Ledger>,
    network: Network,
    selector: NodePorts,
    primary: channel::Sender<Vec<IpAddr>>,
    node_ports: channel::Sender<Vec<IpAddr>>,
    /// Service networks beyond the configured ones that have routes here, as (first address, bits).
    added: Mutex<BTreeSet<(IpAddr, u8)>>,
    /// One at a time looks and changes, until the host is given back.
    closed: Mutex<bool>,
    /// Nothing of the instance was in place before this start.
    fresh: AtomicBool,
    /// Whether neighbours that eat packets of pods are told to let them pass.
    fix_forward: bool,
}

impl Host {
    /// Makes what the instance needs and is not there, and says by which addresses the node is known. Where nothing is
    /// missing, nothing is written.
    pub(crate) fn settle(&self) -> Result<()> {
        let closed = self.closed.lock().unwrap_or_else(|poison| poison.into_inner());
        if *closed {
            return Ok(());
        }
        let look = Look::now()?;
        let known = self.known(&look);
        for change in self.missing(&look, &known) {
            self.make(change)?;
        }
        forward_pods(&look);
        self.publish(known);
        Ok(())
    }

    /// Notes what others in this process are about to make: the table and the links of pods.
    pub(crate) fn note_fixed(&self) -> Result<()> {
        self.ledger.note(Change::NftTable { name: compile::nft::rules::TABLE.to_owned() })?;
        self.ledger.note(Change::PodLinks)
    }

    /// The node's addresses as others know them, primary family first; the node's own ones where the host has none.
    pub(crate) fn primary(&self) -> channel::Receiver<Vec<IpAddr>> {
        self.primary.subscribe()
    }

    /// Addresses that serve node ports.
    pub(crate) fn node_ports(&self) -> channel::Receiver<Vec<IpAddr>> {
        self.node_ports.subscribe()
    }

    /// The instance works: from now on it is somebody's, and outlives its server.
    pub(crate) fn is_ready(&self) {
        self.fresh.store(false, Ordering::Release);
    }

    /// Takes everything back, and changes nothing any more: for a first start that failed.
    fn give_back(&self) -> Result<()> {
        *self.closed.lock().unwrap_or_else(|poison| poison.into_inner()) = true;
        report(&self.ledger.undo_all()?, "mainstay down")
    }

    fn known(&self, look: &Look) -> Known {
        let own: Vec<IpAddr> = own_addresses(&self.network);
        addresses::choose(look, &self.selector, &own, &families(&self.network))
    }

    /// Addresses, routes and settings that are needed and not there.
    fn missing(&self, look: &Look, known: &Known) -> Vec<Change> {
        let mut changes = plan(&self.network, look, known);
        let added = self.added.lock().unwrap_or_else(|poison| poison.into_inner());
        changes.extend(routes::missing(&self.network, added.iter().copied(), look));
        changes
    }

    fn make(&self, change: Change) -> Result<()> {
        match &change {
            Change::Sysctl { .. } => self.ledger.apply_sysctl(change),
            Change::Address { link, address } => {
                let (link, address) = (link.clone(), *address);
                self.ledger.make(change, || add_address(&link, address))
            }
            Change::Route { .. } => routes::add(&self.ledger, change),
            other => bail!("{other}: not made here"),
        }
    }

    /// Tells those who serve on the addresses first, and the Node object last: its write wakes the data path.
    fn publish(&self, known: Known) {
        let own = &self.network.node_addresses;
        let mut node_ports = known.node_ports;
        node_ports.extend(own);
        let primary = if known.primary.is_empty() { own.clone() } else { known.primary };
        let changed = *self.node_ports.borrow() != node_ports || *self.primary.borrow() != primary;
        if changed {
            self.node_ports.send_replace(node_ports);
            self.primary.send_replace(primary);
        }
    }
}

/// Addresses that the instance puts on the host.
fn own_addresses(network: &Network) -> Vec<IpAddr> {
    network.node_addresses.iter().chain(&network.dns_addresses).copied().collect()
}

/// Families of the cluster in order, true for IPv4.
fn families(network: &Network) -> Vec<bool> {
    network.service_cidrs.iter().map(|cidr| cidr.network.is_ipv4()).collect()
}

/// Addresses, routes and settings that are needed and not there.
fn plan(network: &Network, look: &Look, known: &Known) -> Vec<Change> {
    let names: Vec<String> = look.links.iter().map(|link| link.name.clone()).collect();
    let v6 = families(network).contains(&false);
    let mut changes = forwarding::plan(&ledger::sysctl::read, &names, &known.uplinks, v6);
    let on_lo =
        |address: &IpAddr| look.addresses.iter().any(|held| held.address == *address && look.name(held.index) == LO);
    let absent = own_addresses(network).into_iter().filter(|address| !on_lo(address));
    changes.extend(absent.map(|address| Change::Address { link: LO.to_owned(), address }));
    changes.extend(routes::missing(network, routes::configured(network), look));
    changes
}

/// Forwarding that somebody turned off for all links is turned on again for those of pods; it ends with the link.
fn forward_pods(look: &Look) {
    let off = |name: &str| ledger::sysctl::read(name).as_deref() == Some("0");
    let none6 = off("net/ipv6/conf/all/forwarding");
    for link in look.links.iter().filter(|link| link.kind == "veth" && pods::network::is_interface(&link.name)) {
        let four = format!("net/ipv4/conf/{}/forwarding", link.name);
        let six = format!("net/ipv6/conf/{}/force_forwarding", link.name);
        for name in [Some(four), Some(six).filter(|_| none6)].into_iter().flatten().filter(|name| off(name)) {
            if let Err(error) = ledger::sysctl::write(&name, "1") {
                // The pod may have ended meanwhile.
                tracing::debug!(%error, name, "forwarding of a pod's link was not turned on");
            }
        }
    }
}

fn add_address(link: &str, address: IpAddr) -> Result<()> {
    let prefix_len = if address.is_ipv4() { 32 } else { 128 };
    let add = || -> kernel::nl::Result<()> {
        let mut netlink = Rtnetlink::open()?;
        let index = netlink.link_index(link)?;
        let new = NewAddress { index, address, prefix_len, scope: Scope::Global };
        match netlink.address_add(&new) {
            Err(error) if error.already_exists() => Ok(()),
            done => done,
        }
    };
    add().with_context(|| format!("cannot add {address} to {link}"))
}

/// Takes back everything that an instance changed on this host; false if there was nothing.
pub(crate) fn restore(data_dir: &Path) -> Result<bool> {
    if !Ledger::exists(data_dir) {
        return Ok(false);
    }
    let again = format!("mainstay down --data-dir {}", data_dir.display());
    report(&Ledger::open_to_undo(data_dir)?.undo_all()?, &again).map(|()| true)
}

/// After the server has ended: says what goes on. A first start that failed, or was stopped, leaves nothing.
pub(crate) fn end(host: &Host, data_dir: &Path, ended: Result<()>) -> Result<()> {
    let shown = data_dir.display();
    if host.fresh.load(Ordering::Acquire) {
        // What failed is what matters to the reader; what could not be taken back is said as well.
        match Sandbox::kill(data_dir).map_err(Into::into).and_then(|_| host.give_back()) {
            Err(error) => eprintln!("mainstay: {error:#}"),
            Ok(()) if ended.is_ok() => eprintln!("stopped before it was ready; this host is as it was"),
            Ok(()) => {}
        }
        return ended;
    }
    ended?;
    eprintln!(
        "stopped serving; pods and Services go on.\nGo on with them: mainstay up --host --data-dir {shown}; end all: mainstay \
         down --data-dir {shown}"
    );
    Ok(())
}

/// Refuses a sandbox on the directory of an instance in host mode, whose way back lies there.
pub(crate) fn refuse_sandbox(data_dir: &Path) -> Result<()> {
    if !Ledger::exists(data_dir) {
        return Ok(());
    }
    let shown = data_dir.display();
    bail!(
        "{shown} belongs to an instance in host mode, whose changes of this host are in place.\nEnd it first: mainstay down \
         --data-dir {shown}; or choose another: --data-dir DIR"
    )
}

fn report(undone: &ledger::Undone, again: &str) -> Result<()> {
    for left in &undone.left {
        eprintln!("left alone  {left}");
    }
    if undone.failed.is_empty() {
        return Ok(());
    }
    let failed: Vec<String> = undone.failed.iter().map(|why| format!("  {why}")).collect();
    bail!(
        "{} changes of this host could not be taken back:\n{}\nSee to what is said there, then again: {again}",
        failed.len(),
        failed.join("\n")
    )
}

/// Follows the host's addresses from a thread of its own until the process ends.
pub(crate) fn follow(host: &Arc<Host>) -> Result<()> {
    watch::start(host.clone())
}
