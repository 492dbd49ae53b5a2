//! The cluster's ranges and the host's addresses and routes in, what they share and ranges that are free out. Pure.

use std::net::IpAddr;

use anyhow::{Result, bail};
use compile::allocate::Cidr;

use super::look::Look;
use crate::config::Network;

/// Pairs of Service and pod ranges to offer, per family: seldom used ones first, but for the usual ones.
const OFFERS4: [(&str, &str); 6] = [
    ("10.96.0.0/16", "10.244.0.0/16"),
    ("10.196.0.0/16", "10.197.0.0/16"),
    ("172.29.0.0/16", "172.30.0.0/16"),
    ("192.168.208.0/20", "192.168.224.0/20"),
    ("100.96.0.0/16", "100.97.0.0/16"),
    ("198.18.0.0/16", "198.19.0.0/16"),
];
const OFFERS6: [(&str, &str); 3] = [
    ("fd00:10:96::/112", "fd00:10:244::/64"),
    ("fd6d:61:96::/112", "fd6d:61:244::/64"),
    ("fd6d:62:96::/112", "fd6d:62:244::/64"),
];

/// A range that the host uses, and by what.
struct Used {
    cidr: Cidr,
    by: String,
}

/// Refuses ranges of the cluster that the host uses already. `ours` tells what the instance itself has put there.
pub(super) fn refuse(network: &Network, look: &Look, ours: &dyn Fn(&Cidr) -> bool) -> Result<()> {
    let used = used(look, ours);
    let named = |flag: &'static str, cidrs: &[Cidr]| cidrs.iter().map(|cidr| (flag, *cidr)).collect::<Vec<_>>();
    let pools = network.pools.cidrs();
    let all = [
        named("--service-cidr", &network.service_cidrs),
        named("--pod-cidr", &network.pod_cidrs),
        named("--lb-pool", &pools),
    ];
    for (flag, cidr) in all.concat() {
        let Some(found) = used.iter().find(|used| overlap(&used.cidr, &cidr)) else { continue };
        let next = if flag == "--lb-pool" {
            "Give a range that nothing on this host uses: --lb-pool RANGE".to_owned()
        } else {
            match free(network, &used) {
                Some((service, pod)) => format!("These are free: --service-cidr {service} --pod-cidr {pod}"),
                None => "Give ranges that nothing on this host uses: --service-cidr RANGE --pod-cidr RANGE".to_owned(),
            }
        };
        bail!(
            "{flag} {cidr} overlaps {} of this host ({}): one of them would not be reached.\n{next}",
            found.cidr,
            found.by
        );
    }
    Ok(())
}

fn overlap(one: &Cidr, other: &Cidr) -> bool {
    one.contains(other.network) || other.contains(one.network)
}

/// Ranges that the host uses. Routes to everything, or to halves of it (a VPN's way to take all traffic), use nothing.
fn used(look: &Look, ours: &dyn Fn(&Cidr) -> bool) -> Vec<Used> {
    let mut used = Vec::new();
    let special = |ip: &IpAddr| ip.is_loopback() || ip.is_multicast() || link_local(ip);
    for address in look.addresses.iter().filter(|address| !special(&address.address)) {
        let bits = if address.address.is_ipv4() { 32 } else { 128 };
        let cidr = Cidr { network: address.address, prefix: bits };
        if !ours(&cidr) && !look.is_pod_link(address.index) {
            used.push(Used { cidr, by: format!("address on {}", look.name(address.index)) });
        }
    }
    for route in look.main_routes().filter(|route| route.prefix_len > 1 && !special(&route.destination)) {
        let cidr = Cidr { network: route.destination, prefix: route.prefix_len };
        let link = route.index.unwrap_or_default();
        if !ours(&cidr) && !look.is_pod_link(link) {
            let name = look.name(link);
            let of = if name.starts_with("br-") || name == "docker0" { ", a Docker network" } else { "" };
            used.push(Used { cidr, by: format!("route over {name}{of}") });
        }
    }
    used
}

fn link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Service and pod ranges in the families of the network that nothing uses, as the flags take them.
fn free(network: &Network, used: &[Used]) -> Option<(String, String)> {
    let is_free = |text: &str| {
        let cidr: Option<Cidr> = text.parse().ok();
        cidr.is_some_and(|cidr| !used.iter().any(|used| overlap(&used.cidr, &cidr)))
    };
    let pair = |v4: bool| {
        let offers: &[(&str, &str)] = if v4 { &OFFERS4 } else { &OFFERS6 };
        offers.iter().find(|(service, pod)| is_free(service) && is_free(pod))
    };
    let families = network.service_cidrs.iter().map(|cidr| cidr.network.is_ipv4());
    let pairs: Vec<_> = families.map(pair).collect::<Option<_>>()?;
    let join = |parts: Vec<&str>| parts.join(",");
    Some((join(pairs.iter().map(|pair| pair.0).collect()), join(pairs.iter().map(|pair| pair.1).collect())))
}

#[cfg(test)]
mod tests {
    use kernel::nl::route::{Link, Route};

    use super::*;

    fn look(routes: &[(&str, u8, u32)]) -> Look {
        let link = |index, name: &str| Link {
            index,
            name: name.into(),
            up: true,
            mtu: 1500,
            mac: Vec::new(),
            kind: String::new(),
        };
        let route = |(destination, prefix_len, index): &(&str, u8, u32)| Route {
            destination: destination.parse().unwrap(),
            prefix_len: *prefix_len,
            gateway: None,
            index: Some(*index),
            table: 254,
            protocol: 3,
            metric: 0,
            source: None,
        };
        Look {
            links: vec![link(1, "lo"), link(2, "eth0"), link(3, "br-1"), link(4, "poda1b2c3d4e5f6"), link(5, "tun0")],
            addresses: Vec::new(),
            routes: routes.iter().map(route).collect(),
        }
    }

    fn refused(routes: &[(&str, u8, u32)], service: &str, pod: &str) -> String {
        let network = Network::parse(service, pod).unwrap();
        let ours = |cidr: &Cidr| cidr.to_string() == "10.96.0.0/16";
        refuse(&network, &look(routes), &ours).err().map_or(String::new(), |error| error.to_string())
    }

    #[test]
    fn what_the_host_reaches_elsewhere_is_refused_with_free_ranges() {
        let both = ("10.96.0.0/16,fd00:10:96::/112", "10.244.0.0/16,fd00:10:244::/64");
        let said = refused(&[("10.244.16.0", 20, 3), ("10.196.0.0", 16, 2)], both.0, both.1);
        assert!(
            said.contains("--pod-cidr 10.244.0.0/16 overlaps 10.244.16.0/20") && said.contains("a Docker network"),
            "{said}"
        );
        assert!(
            said.ends_with("--service-cidr 172.29.0.0/16,fd00:10:96::/112 --pod-cidr 172.30.0.0/16,fd00:10:244::/64"),
            "{said}"
        );
        let said = refused(&[("10.0.0.0", 8, 2)], both.0, both.1);
        assert!(said.contains("overlaps 10.0.0.0/8") && said.contains("172.29.0.0/16"), "{said}");
        assert!(refused(&[("fd00:10:244::", 48, 2)], both.0, both.1).contains("fd6d:61:96::/112"));
    }

    #[test]
    fn own_routes_pods_and_ways_to_everything_are_no_overlap() {
        let routes =
            [("0.0.0.0", 0, 2), ("128.0.0.0", 1, 5), ("0.0.0.0", 1, 5), ("10.96.0.0", 16, 1), ("10.244.0.7", 32, 4)];
        assert_eq!(refused(&routes, "10.96.0.0/16", "10.244.0.0/16"), "");
    }
}
