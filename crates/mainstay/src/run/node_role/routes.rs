//! Is there a way for this host's own packets to Service addresses? A snapshot in, one word in the log out.
//!
//! A packet that this host sends to a cluster IP needs a route before any rule sees it. Nodes have a default route, and then
//! there is one; without it kube-proxy and we alike cannot help, so it is told and nothing is changed.

use std::net::IpAddr;

use compile::allocate::Cidr;
use kernel::nl::route::Rtnetlink;

use super::Latest;

/// Looks once there are networks of Services, and again whenever they change.
pub(super) async fn keep(mut latest: Latest, own: Vec<IpAddr>) {
    let mut seen = Vec::new();
    loop {
        let networks: Vec<Cidr> = latest
            .borrow_and_update()
            .networks
            .values()
            .flat_map(|network| network.cidrs.iter().copied())
            .filter(|cidr| own.is_empty() || own.iter().any(|address| address.is_ipv4() == cidr.network.is_ipv4()))
            .collect();
        if networks != seen {
            for network in missing(&networks).unwrap_or_default() {
                tracing::warn!(
                    %network,
                    "this host has no route that covers the Services' network: its own connections to Services fail, those \
                     of pods do not. Add one, for example: ip route add NETWORK dev lo"
                );
            }
            seen = networks;
        }
        if latest.changed().await.is_err() {
            return;
        }
    }
}

/// Those that no route of the main table leads to.
fn missing(networks: &[Cidr]) -> kernel::nl::Result<Vec<Cidr>> {
    /// Number of the main routing table.
    const MAIN: u32 = 254;
    let routes = Rtnetlink::open()?.routes()?;
    let leads = |cidr: &Cidr| {
        routes.iter().any(|route| {
            let around = Cidr { network: route.destination, prefix: route.prefix_len };
            route.table == MAIN && around.contains(cidr.network)
        })
    };
    Ok(networks.iter().filter(|cidr| !leads(cidr)).copied().collect())
}
