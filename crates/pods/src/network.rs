//! The network of a pod: its namespace and addresses in, a routed veth pair with fixed link-local gateways out.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

use kernel::namespace;
use kernel::nl::Error;
use kernel::nl::route::{NewAddress, NewRoute, Rtnetlink, Scope, VethSpec};

/// The gateway of every pod, on the node's end of its link. Link scope, so that it is never the source address of
/// masqueraded packets.
const GATEWAY4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));
const GATEWAY6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
/// The pod's end of the link.
const INTERFACE: &str = "eth0";

/// Name of the node's end of a pod's link: at most 15 bytes, from the part of the uid that differs most.
pub fn interface_of(uid: &str) -> String {
    let hex: String = uid.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    format!("pod{hex}")
}

/// Whether a link is named as [`interface_of`] names them.
pub fn is_interface(name: &str) -> bool {
    let rest = name.strip_prefix("pod").unwrap_or_default();
    rest.len() == 12 && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Whether an address is the gateway of pods.
pub fn is_gateway(address: IpAddr) -> bool {
    address == GATEWAY4 || address == GATEWAY6
}

/// Connects a pod. Everything that is there already is left as it is, so this repeats after a crash half way.
/// Where nothing is missing, nothing is written.
pub fn connect(
    node: BorrowedFd<'_>,
    pod: BorrowedFd<'_>,
    uid: &str,
    addresses: &[IpAddr],
    node_addresses: &[IpAddr],
) -> io::Result<()> {
    let name = interface_of(uid);
    let has_end = namespace::within_net(pod, || Ok(open()?.link(INTERFACE).map_err(io::Error::other)?.is_some()))?;
    namespace::within_net(node, || {
        let mut netlink = open()?;
        if !has_end {
            // A link of that name leads into a namespace that has ended, and goes soon by itself.
            delete(&mut netlink, &name)?;
            let (peer_name, peer_netns) = (INTERFACE, Some(pod));
            let veth = VethSpec { name: &name, peer_name, peer_netns, mtu: None, mac: None, peer_mac: None };
            existing(netlink.veth_create(&veth))?;
        }
        let index = netlink.link_index(&name).map_err(io::Error::other)?;
        forward(&mut netlink, &name, index)?;
        let held = held_by(&mut netlink, index, has_end)?;
        for address in addresses {
            let gateway = gateway(*address);
            if !held.contains(&gateway) {
                let (prefix_len, scope) = (bits(gateway), Scope::Link);
                existing(netlink.address_add(&NewAddress { index, address: gateway, prefix_len, scope }))?;
            }
            if has_end
                && netlink.route_to(*address).is_ok_and(|route| route.is_some_and(|found| found.index == Some(index)))
            {
                continue;
            }
            let source = node_addresses.iter().find(|own| own.is_ipv4() == address.is_ipv4()).copied();
            let route = NewRoute { source, ..NewRoute::direct(*address, bits(*address), index) };
            if netlink.route_replace(&route).is_err() {
                // The node's address is not there yet (or not ours): the kernel chooses the source.
                netlink.route_replace(&NewRoute { source: None, ..route }).map_err(io::Error::other)?;
            }
        }
        Ok(())
    })?;
    namespace::within_net(pod, || inside(addresses))
}

/// Lets packets from a pod be forwarded where the host as a whole forwards none: by this link's own settings.
fn forward(netlink: &mut Rtnetlink, name: &str, index: u32) -> io::Result<()> {
    let is = |path: &str, wanted: &str| {
        fs::read_to_string(format!("/proc/sys/net/{path}")).is_ok_and(|value| value.trim() == wanted)
    };
    if is("ipv4/ip_forward", "0") && !is(&format!("ipv4/conf/{name}/forwarding"), "1") {
        netlink.forwarding4_set(index, true).map_err(io::Error::other)?;
    }
    // Linux 6.17 and later; before that only the setting for all links is there, which is not a pod's to change.
    let own = format!("ipv6/conf/{name}/force_forwarding");
    if is("ipv6/conf/all/forwarding", "0") && is(&own, "0") {
        fs::write(format!("/proc/sys/net/{own}"), "1")?;
    }
    Ok(())
}

/// Addresses that a link has; a new one has none of ours.
fn held_by(netlink: &mut Rtnetlink, index: u32, known: bool) -> io::Result<Vec<IpAddr>> {
    if !known {
        return Ok(Vec::new());
    }
    let all = netlink.addresses().map_err(io::Error::other)?;
    Ok(all.into_iter().filter(|held| held.index == index).map(|held| held.address).collect())
}

fn inside(addresses: &[IpAddr]) -> io::Result<()> {
    let mut netlink = open()?;
    let mut up = |name: &str| -> io::Result<u32> {
        let missing = || io::Error::other(format!("the pod has no link {name}"));
        let link = netlink.link(name).map_err(io::Error::other)?.ok_or_else(missing)?;
        if !link.up {
            netlink.link_set_up(link.index, true).map_err(io::Error::other)?;
        }
        Ok(link.index)
    };
    up("lo")?;
    let index = up(INTERFACE)?;
    let held = held_by(&mut netlink, index, true)?;
    let routes = netlink.routes().map_err(io::Error::other)?;
    for address in addresses {
        if !held.contains(address) {
            let (prefix_len, scope) = (bits(*address), Scope::Global);
            existing(netlink.address_add(&NewAddress { index, address: *address, prefix_len, scope }))?;
        }
        let gateway = gateway(*address);
        // The default route is made last: where it is, the one to the gateway is.
        if routes.iter().any(|route| route.prefix_len == 0 && route.gateway == Some(gateway)) {
            continue;
        }
        netlink.route_replace(&NewRoute::direct(gateway, bits(gateway), index)).map_err(io::Error::other)?;
        netlink.route_replace(&NewRoute::default_via(gateway, index)).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Takes a pod's link away, so that its addresses lead nowhere at once; the kernel would do it some time after the last
/// process is gone.
pub fn disconnect(node: BorrowedFd<'_>, uid: &str) -> io::Result<()> {
    let name = interface_of(uid);
    namespace::within_net(node, || delete(&mut open()?, &name))
}

fn delete(netlink: &mut Rtnetlink, name: &str) -> io::Result<()> {
    let Some(link) = netlink.link(name).map_err(io::Error::other)? else { return Ok(()) };
    match netlink.link_delete(link.index) {
        Err(error) if !error.not_found() => Err(io::Error::other(error)),
        _ => Ok(()),
    }
}

fn open() -> io::Result<Rtnetlink> {
    Rtnetlink::open().map_err(io::Error::other)
}

fn existing(done: Result<(), Error>) -> io::Result<()> {
    match done {
        Err(error) if !error.already_exists() => Err(io::Error::other(error)),
        _ => Ok(()),
    }
}

fn gateway(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { GATEWAY4 } else { GATEWAY6 }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}
