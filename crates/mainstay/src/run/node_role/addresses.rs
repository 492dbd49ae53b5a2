//! The Node object, this host's addresses and `--nodeport-addresses` in; where node ports are served, as it changes, out.

use std::net::IpAddr;

use anyhow::{Context, Result};
use api::object::ObjectKey;
use compile::snapshot::Snapshot;
use controller::Feed;
use kernel::nl::route::{Monitor, Rtnetlink};
use tokio::sync::watch;

use super::Settings;
use crate::host::NodePorts;

/// Pause after a notice of the kernel: they come in bunches.
const CALM: std::time::Duration = std::time::Duration::from_millis(200);

/// The addresses now, and the future that keeps them so. What it changes is applied with the newest snapshot at once.
pub(super) fn follow(
    settings: &Settings,
    feed: &Feed,
) -> Result<(watch::Receiver<Vec<IpAddr>>, impl Future<Output = ()> + Send + use<>)> {
    let mut local = listen()?;
    let mut latest = feed.latest();
    let (selector, node, bind) = (settings.node_ports.clone(), settings.node.clone(), settings.bind);
    let chosen = move |local: &[IpAddr], snapshot: &Snapshot| {
        let node = snapshot.nodes.get(&ObjectKey::new("", node.as_str()));
        choose(&selector, node.map_or(&[][..], |node| &node.addresses), local, bind)
    };
    let (sender, receiver) = watch::channel(chosen(&local.borrow_and_update(), &latest.borrow_and_update()));
    let feed = feed.clone();
    let keep = async move {
        loop {
            tokio::select! {
                Ok(()) = local.changed() => {}
                Ok(()) = latest.changed() => {}
                else => return,
            }
            let now = chosen(&local.borrow_and_update(), &latest.borrow_and_update());
            if sender.send_if_modified(|known| std::mem::replace(known, now.clone()) != now) {
                tracing::info!(addresses = ?now, "other addresses serve node ports");
                feed.again();
            }
        }
    };
    Ok((receiver, keep))
}

/// This host's addresses, as they change; a thread listens in this network namespace.
fn listen() -> Result<watch::Receiver<Vec<IpAddr>>> {
    // It listens before it looks, so that no change falls between the two.
    let monitor = Monitor::open().context("cannot listen for this host's addresses")?;
    let (sender, receiver) = watch::channel(look().context("cannot read this host's addresses")?);
    std::thread::Builder::new().name("addresses".into()).spawn(move || {
        while monitor.wait().is_ok() && !sender.is_closed() {
            std::thread::sleep(CALM);
            match look() {
                Ok(now) => drop(sender.send_if_modified(|known| std::mem::replace(known, now.clone()) != now)),
                Err(error) => tracing::warn!(%error, "this host's addresses could not be read"),
            }
        }
    })?;
    Ok(receiver)
}

fn look() -> kernel::nl::Result<Vec<IpAddr>> {
    let mut all: Vec<IpAddr> = Rtnetlink::open()?.addresses()?.into_iter().map(|address| address.address).collect();
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// As kube-proxy's nftables mode: `primary` is what the Node object says, the first InternalIP of each family; ranges
/// choose among this host's own addresses. Loopback and link-local addresses never serve.
fn choose(selector: &NodePorts, node: &[IpAddr], local: &[IpAddr], bind: IpAddr) -> Vec<IpAddr> {
    let far = |address: &IpAddr| match address {
        IpAddr::V4(four) => !four.is_loopback() && !four.is_link_local(),
        IpAddr::V6(six) => !six.is_loopback() && !six.is_unicast_link_local(),
    };
    let mut chosen: Vec<IpAddr> = match selector {
        NodePorts::Primary => {
            let first = |v4: bool| node.iter().find(|address| address.is_ipv4() == v4).copied();
            let known: Vec<IpAddr> = [first(true), first(false)].into_iter().flatten().collect();
            let given = (known.is_empty() && !bind.is_unspecified()).then_some(bind);
            known.into_iter().chain(given).filter(far).collect()
        }
        NodePorts::In(ranges) => {
            let wanted = |address: &&IpAddr| far(address) && ranges.iter().any(|range| range.contains(**address));
            local.iter().filter(wanted).copied().collect()
        }
    };
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn primary_is_what_the_node_says_and_ranges_choose_among_what_is_here() {
        let node = ips(&["192.0.2.1", "192.0.2.9", "2001:db8::1"]);
        let local = ips(&["127.0.0.1", "192.0.2.1", "10.1.0.1", "fe80::1", "2001:db8::1"]);
        let any = "0.0.0.0".parse().unwrap();
        let choose = |flag: &str, node: &[IpAddr], bind| choose(&flag.parse().unwrap(), node, &local, bind);
        assert_eq!(choose("primary", &node, any), ips(&["192.0.2.1", "2001:db8::1"]));
        assert_eq!(choose("primary", &[], any), ips(&[]));
        assert_eq!(choose("primary", &[], "192.0.2.7".parse().unwrap()), ips(&["192.0.2.7"]), "--bind-address");
        assert_eq!(choose("all", &node, any), ips(&["10.1.0.1", "192.0.2.1", "2001:db8::1"]));
        assert_eq!(choose("10.0.0.0/8,fe80::/10", &node, any), ips(&["10.1.0.1"]));
    }
}
