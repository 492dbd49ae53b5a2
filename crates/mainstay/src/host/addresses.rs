//! The host's addresses in, those by which this node is known and on which node ports are served out. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use compile::allocate::Cidr;
use kernel::nl::route::{Address, Scope};

use super::look::Look;

/// `--nodeport-addresses`, as kube-proxy's flag means it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum NodePorts {
    /// The node's primary addresses.
    #[default]
    Primary,
    /// Every address of the host in these ranges.
    In(Vec<Cidr>),
}

impl FromStr for NodePorts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "Give primary, all, or ranges: --nodeport-addresses 192.168.1.0/24,fd00:1::/64";
        let range = |part: &str| -> Result<Cidr, String> {
            let part = part.trim();
            Cidr::around(part).ok_or_else(|| {
                let hint = if part.parse::<IpAddr>().is_ok() { "it has no prefix length" } else { "it is no range" };
                format!("{part:?} is not a range of addresses: {hint}.\n{example}")
            })
        };
        match text.trim() {
            "primary" => Ok(Self::Primary),
            "all" => Ok(Self::In(["0.0.0.0/0", "::/0"].into_iter().filter_map(Cidr::around).collect())),
            list => Ok(Self::In(list.split(',').map(range).collect::<Result<_, _>>()?)),
        }
    }
}

/// What the instance makes of the host's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// At most one per family: the node's InternalIPs.
    pub(crate) primary: Vec<IpAddr>,
    /// Addresses of the host that serve node ports.
    pub(crate) node_ports: Vec<IpAddr>,
    /// Links through which packets for pods come in and go out.
    pub(crate) uplinks: BTreeSet<String>,
}

/// Chooses. `own` are the addresses that the instance itself has put on the host; `v4` and `v6` say which families it
/// has, in order.
pub(crate) fn choose(look: &Look, selector: &NodePorts, own: &[IpAddr], families: &[bool]) -> Known {
    let usable = |address: &&Address| {
        let ip = address.address;
        address.scope == Scope::Global && address.is_stable() && !own.contains(&ip) && !ip.is_loopback()
    };
    let usable: Vec<&Address> = look.addresses.iter().filter(usable).collect();
    let primary: Vec<IpAddr> = families.iter().filter_map(|v4| primary(look, &usable, *v4)).collect();
    let mut node_ports: Vec<IpAddr> = match selector {
        NodePorts::Primary => primary.clone(),
        NodePorts::In(ranges) => {
            let wanted =
                |ip: &IpAddr| families.contains(&ip.is_ipv4()) && ranges.iter().any(|range| range.contains(*ip));
            usable.iter().map(|address| address.address).filter(wanted).collect()
        }
    };
    node_ports.sort_unstable();
    node_ports.dedup();
    let by_route = families.iter().flat_map(|v4| look.uplinks(*v4));
    let by_address = usable.iter().filter(|address| node_ports.contains(&address.address)).map(|address| address.index);
    let names = by_route.chain(by_address.map(|index| look.name(index)));
    let uplinks = names.filter(|name| !name.is_empty() && *name != "lo").map(str::to_owned).collect();
    Known { primary, node_ports, uplinks }
}

/// The address from which a family leaves the host: the one its default route names, else the first of its link.
fn primary(look: &Look, usable: &[&Address], v4: bool) -> Option<IpAddr> {
    look.defaults(v4).into_iter().find_map(|route| {
        let named = route.source.filter(|source| usable.iter().any(|address| address.address == *source));
        let of_link = || {
            let mut all = usable.iter().filter(|it| Some(it.index) == route.index && it.address.is_ipv4() == v4);
            all.next().map(|address| address.address)
        };
        named.or_else(of_link)
    })
}

#[cfg(test)]
mod tests {
    use kernel::nl::route::{Link, Route};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn link(index: u32, name: &str) -> Link {
        Link { index, name: name.into(), up: true, mtu: 1500, mac: Vec::new(), kind: String::new() }
    }

    fn address(index: u32, text: &str, flags: u32) -> Address {
        Address { index, address: ip(text), prefix_len: 24, scope: Scope::Global, flags }
    }

    fn default(index: u32, gateway: &str, metric: u32, source: Option<&str>) -> Route {
        let destination = if ip(gateway).is_ipv4() { ip("0.0.0.0") } else { ip("::") };
        let (gateway, index, source) = (Some(ip(gateway)), Some(index), source.map(ip));
        Route { destination, prefix_len: 0, gateway, index, table: 254, protocol: 3, metric, source }
    }

    /// A laptop: cable and radio, a container bridge, a privacy address.
    fn look() -> Look {
        Look {
            links: vec![link(1, "lo"), link(2, "eth0"), link(3, "wlan0"), link(4, "docker0")],
            addresses: vec![
                address(1, "10.244.0.1", 0),
                address(2, "192.168.1.10", 0),
                address(2, "192.168.1.11", 1),
                address(3, "192.168.7.7", 0),
                address(4, "172.17.0.1", 0),
                address(2, "fd00:1::aaaa", 1),
                address(2, "fd00:1::10", 0),
                address(2, "fd00:1::dead", 0x20),
            ],
            routes: vec![
                default(3, "192.168.7.1", 600, None),
                default(2, "192.168.1.1", 100, None),
                default(2, "fe80::1", 1024, None),
            ],
        }
    }

    fn chosen(look: &Look, flag: &str) -> Known {
        choose(look, &flag.parse().unwrap(), &[ip("10.244.0.1")], &[true, false])
    }

    #[test]
    fn primary_is_the_stable_address_of_the_preferred_default_route() {
        let known = chosen(&look(), "primary");
        assert_eq!(known.primary, [ip("192.168.1.10"), ip("fd00:1::10")]);
        assert_eq!(known.node_ports, known.primary);
        assert_eq!(Vec::from_iter(known.uplinks), ["eth0", "wlan0"]);
        let mut look = look();
        look.routes[1].source = Some(ip("192.168.1.11"));
        assert_eq!(chosen(&look, "primary").primary[0], ip("192.168.1.11"), "the route names its source");
        look.routes.clear();
        assert_eq!(chosen(&look, "primary"), Known::default(), "no link up yet");
    }

    #[test]
    fn every_link_that_leads_anywhere_is_an_uplink() {
        let mut look = look();
        let names = ["eth1", "wg0", "pod0123456789ab", "msprobe0a", "idle"];
        look.links.extend((5..).zip(names).map(|(index, name)| link(index, name)));
        let to = |index, destination: &str, table| {
            let route = default(index, "192.0.2.1", 0, None);
            Route { destination: ip(destination), prefix_len: 24, gateway: None, table, ..route }
        };
        look.routes.extend([
            to(1, "10.96.0.0", 254),
            to(5, "10.50.0.0", 254),
            to(6, "0.0.0.0", 51820),
            to(7, "10.244.0.0", 254),
            to(8, "10.244.255.0", 254),
            to(9, "10.60.0.0", 255),
            Route { prefix_len: 64, ..to(9, "fe80::", 254) },
        ]);
        assert!(pods::network::is_interface("pod0123456789ab"), "the test means a pod's link");
        let known = chosen(&look, "primary");
        assert_eq!(Vec::from_iter(known.uplinks), ["eth0", "eth1", "wg0", "wlan0"]);
    }

    #[test]
    fn ranges_choose_among_the_hosts_own_addresses() {
        assert_eq!(chosen(&look(), "172.17.0.0/16").node_ports, [ip("172.17.0.1")]);
        assert!(chosen(&look(), "172.17.0.0/16").uplinks.contains("docker0"));
        let all = chosen(&look(), "all").node_ports;
        assert_eq!(all.len(), 5, "no temporary, deprecated or own address: {all:?}");
        let own = chosen(&look(), "10.0.0.0/8").node_ports;
        assert!(own.is_empty(), "what the instance itself put there is not the host's: {own:?}");
        assert_eq!(chosen(&look(), "192.168.1.77/24,fd00:1::/64").node_ports.len(), 3);
    }

    #[test]
    fn a_wrong_flag_says_what_to_type() {
        for text in ["", "eth0", "192.168.1.1", "192.168.1.0/33", "10.0.0.0/8;fd00::/8"] {
            let error = text.parse::<NodePorts>().unwrap_err();
            assert!(error.contains("not a range") && error.contains("\nGive primary, all"), "{text}: {error}");
        }
    }
}
