//! Before an instance in host mode starts: flags and the host as it is in, leave to change it (or a refusal) out.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use anyhow::{Result, bail};
use compile::allocate::Cidr;
use rustix::thread::CapabilitySet;
use tokio::sync::watch as channel;

use super::addresses;
use super::flags::HostFlags;
use super::ledger::{Change, Ledger};
use super::look::Look;
use super::{Host, consent, families, netlock, overlaps, own_addresses, plan};
use crate::config::{DataDir, Network};
use crate::exit::Exit;

/// What came of it.
pub(crate) enum Prepared {
    /// Go on; the lock of the network namespace is held.
    Go(Arc<Host>),
    /// End with this code; everything was said.
    End(Exit),
}

/// Root is needed, and the powers that containers often take from it.
fn require_root() -> Result<()> {
    let wanted = [("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN), ("CAP_SYS_ADMIN", CapabilitySet::SYS_ADMIN)];
    let held = rustix::thread::capabilities(None).map(|sets| sets.effective).unwrap_or(CapabilitySet::empty());
    let lacks: Vec<&str> = wanted.iter().filter(|(_, one)| !held.contains(*one)).map(|(name, _)| *name).collect();
    if !rustix::process::geteuid().is_root() {
        bail!(
            "mainstay up --host changes this host's network, which needs root.\nType: sudo mainstay up --host; or, without \
             root: mainstay up --sandbox"
        );
    }
    if !lacks.is_empty() {
        bail!(
            "mainstay up --host lacks {}: this root is a container's.\nStart the container with --privileged, or use: \
             mainstay up --sandbox",
            lacks.join(" and ")
        );
    }
    Ok(())
}

/// Checks the host, shows what would be changed, asks unless somebody agreed before, and takes the locks.
pub(crate) fn prepare(flags: &HostFlags, data_dir: &DataDir, network: &Network) -> Result<Prepared> {
    let node_ports = flags.node_ports()?;
    require_root()?;
    require_ipv6(network)?;
    let directory = data_dir.path();
    let look = Look::now()?;
    let known = addresses::choose(&look, &node_ports, &own_addresses(network), &families(network));
    let planned = || -> Result<String> {
        let mut changes = plan(network, &look, &known);
        changes.extend([Change::PodLinks, Change::NftTable { name: compile::nft::rules::TABLE.to_owned() }]);
        changes.extend(netlock::changes(directory)?);
        Ok(consent::list(&changes, &known.node_ports, directory))
    };
    if flags.dry_run {
        refuse_overlaps(network, &look, Ledger::exists(directory))?;
        print!("{}", planned()?);
        return Ok(Prepared::End(Exit::Fine));
    }
    let lock = netlock::take()?;
    netlock::refuse_other(directory)?;
    refuse_overlaps(network, &look, Ledger::exists(directory))?;
    if !consent::given(directory) {
        let list = planned()?;
        if consent::ask(&list, flags.yes)? == consent::Answer::No {
            return Ok(Prepared::End(Exit::Usage));
        }
        data_dir.create()?;
        consent::remember(directory, &list)?;
    }
    data_dir.create()?;
    let ledger = Ledger::open(directory)?;
    ledger.forget_other_boots()?;
    ledger.finish_sysctls()?;
    let fresh = !ledger.is_live();
    netlock::claim(&ledger, directory)?;
    lock.serve(directory)?;
    let host = Host {
        ledger: Arc::new(ledger),
        network: network.clone(),
        selector: node_ports,
        primary: channel::Sender::new(Vec::new()),
        node_ports: channel::Sender::new(Vec::new()),
        added: Mutex::default(),
        closed: Mutex::new(false),
        fresh: AtomicBool::new(fresh),
        fix_forward: flags.fix_forward,
    };
    Ok(Prepared::Go(Arc::new(host)))
}

/// What an instance put here itself is no overlap, whether its server was killed or stopped.
fn refuse_overlaps(network: &Network, look: &Look, resumed: bool) -> Result<()> {
    let virtual_cidrs = [&network.service_cidrs[..], &network.pools.cidrs()].concat();
    let addresses = own_addresses(network);
    let ours = |cidr: &Cidr| {
        let bits = if cidr.network.is_ipv4() { 32 } else { 128 };
        let address = cidr.prefix == bits && addresses.contains(&cidr.network);
        // Added Service networks lie anywhere; they go over lo.
        resumed && (address || virtual_cidrs.contains(cidr) || over_lo(look, cidr))
    };
    overlaps::refuse(network, look, &ours)
}

fn over_lo(look: &Look, cidr: &Cidr) -> bool {
    let mut routes = look.main_routes();
    routes.any(|route| {
        (route.destination, route.prefix_len) == (cidr.network, cidr.prefix)
            && route.index.is_some_and(|index| look.name(index) == super::LO)
    })
}

/// A host without IPv6 cannot hold the cluster's IPv6 addresses.
fn require_ipv6(network: &Network) -> Result<()> {
    let off = super::ledger::sysctl::read("net/ipv6/conf/lo/disable_ipv6").is_none_or(|value| value == "1");
    if off && families(network).contains(&false) {
        let v4 = |cidrs: &[Cidr]| {
            let v4 = cidrs.iter().find(|cidr| cidr.network.is_ipv4());
            v4.map_or_else(String::new, ToString::to_string)
        };
        bail!(
            "IPv6 is off on this host (net.ipv6.conf.lo.disable_ipv6), but the cluster's ranges have it.\nStart without it: \
             --service-cidr {} --pod-cidr {}",
            v4(&network.service_cidrs),
            v4(&network.pod_cidrs)
        );
    }
    Ok(())
}
