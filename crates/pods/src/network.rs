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
pub fn connect(
    node: BorrowedFd<'_>,
    pod: BorrowedFd<'_>,
    uid: &str,
    addresses: &[IpAddr],
    node_addresses: &[IpAddr],
) -> io::Result<()> {
    let name = interface_of(uid);
    namespace::within_net(node, || {
        let mut netlink = open()?;
        let veth =
            VethSpec { name: &name, peer_name: INTERFACE, peer_netns: Some(pod), mtu: None, mac: None, peer_mac: None };
        existing(netlink.veth_create(&veth))?;
        let index = netlink.link_index(&name).map_err(io::Error::other)?;
        if fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|value| value.trim() == "0") {
            netlink.forwarding4_set(index, true).map_err(io::Error::other)?;
        }
        for address in addresses {
            let gateway = gateway(*address);
            let (prefix_len, scope) = (bits(gateway), Scope::Link);
            existing(netlink.address_add(&NewAddress { index, address: gateway, prefix_len, scope }))?;
            let source = node_addresses.iter().find(|own| own.is_ipv4() == address.is_ipv4()).copied();
            let route = NewRoute { source, ..NewRoute::direct(*address, bits(*address), index) };
            if netlink.route_replace(&route).is_err() {
                // The node's address is not there yet (or not ours): the kernel chooses the source.
                let route = NewRoute { source: None, ..route };
                netlink.route_replace(&route).map_err(io::Error::other)?;
            }
        }
        Ok(())
    })?;
    namespace::within_net(pod, || inside(addresses))
}

fn inside(addresses: &[IpAddr]) -> io::Result<()> {
    let mut netlink = open()?;
    let loopback = netlink.link_index("lo").map_err(io::Error::other)?;
    netlink.link_set_up(loopback, true).map_err(io::Error::other)?;
    let index = netlink.link_index(INTERFACE).map_err(io::Error::other)?;
    netlink.link_set_up(index, true).map_err(io::Error::other)?;
    for address in addresses {
        let (prefix_len, scope) = (bits(*address), Scope::Global);
        existing(netlink.address_add(&NewAddress { index, address: *address, prefix_len, scope }))?;
        let gateway = gateway(*address);
        netlink.route_replace(&NewRoute::direct(gateway, bits(gateway), index)).map_err(io::Error::other)?;
        netlink.route_replace(&NewRoute::default_via(gateway, index)).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Takes a pod's link away, so that its addresses lead nowhere at once; the kernel would do it some time after the last
/// process is gone.
pub fn disconnect(node: BorrowedFd<'_>, uid: &str) -> io::Result<()> {
    let name = interface_of(uid);
    namespace::within_net(node, || {
        let mut netlink = open()?;
        let Some(link) = netlink.link(&name).map_err(io::Error::other)? else { return Ok(()) };
        match netlink.link_delete(link.index) {
            Err(error) if !error.not_found() => Err(io::Error::other(error)),
            _ => Ok(()),
        }
    })
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
