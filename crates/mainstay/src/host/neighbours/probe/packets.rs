//! The throw-away namespace: linked to the host as a pod is, with sockets that send one packet each.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};
use compile::allocate::Cidr;
use kernel::namespace;
use kernel::nl::route::{NewAddress, NewRoute, Rtnetlink, Scope, VethSpec};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::super::facts::{Hook, Ours};
use super::Way;

const GATEWAY4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));
const GATEWAY6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
/// Places from the end of the pod range: pods are numbered from its start.
const SENDER: u128 = 3;
const RECEIVER: u128 = 2;
/// Names that are tried for the links.
const NAMES: u32 = 16;
/// How they begin.
const LINK: &str = "msprobe";

/// Whether a link is one of a probe, of this process or another one.
pub(crate) fn is_link(name: &str) -> bool {
    name.starts_with(LINK)
}

/// Where one packet goes.
pub(super) struct Target {
    pub(super) address: IpAddr,
    pub(super) protocol: u8,
    pub(super) port: u16,
    pub(super) from_host: bool,
}

/// The namespace and its links; dropping it takes them away.
pub(super) struct Network {
    namespace: OwnedFd,
    /// Index of the link by which its packets come in.
    pub(super) entrance: u32,
    exit: u32,
    receivers: Vec<IpAddr>,
    /// Family and reason.
    broken: Vec<(bool, String)>,
    default_routes: Vec<bool>,
}

impl Network {
    /// Makes it beside the calling thread's network namespace.
    pub(super) fn make(ours: &Ours) -> Result<Self> {
        let namespace = std::thread::scope(|scope| {
            let made = scope.spawn(|| namespace::new_net().and_then(|()| namespace::current_net())).join();
            made.unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
        })?;
        let mut netlink = Rtnetlink::open()?;
        let (entrance, exit) = links(&mut netlink, &namespace)?;
        let default = |v6: bool| {
            move |route: &kernel::nl::route::Route| {
                route.prefix_len == 0 && route.destination.is_ipv6() == v6 && route.index.is_some()
            }
        };
        let routes = netlink.routes()?;
        let default_routes = [false, true].into_iter().filter(|v6| routes.iter().any(default(*v6))).collect();
        let (receivers, broken) = (Vec::new(), Vec::new());
        let mut this = Self { namespace, entrance, exit, receivers, broken, default_routes };
        for cidr in &ours.pods {
            let v6 = cidr.network.is_ipv6();
            match this.family(&mut netlink, cidr, ours) {
                Ok(receiver) => this.receivers.push(receiver),
                Err(error) => this.broken.push((v6, format!("{error:#}"))),
            }
        }
        Ok(this)
    }

    /// Pods that packets may be sent to, one per family.
    pub(super) fn pods(&self) -> Vec<IpAddr> {
        self.receivers.clone()
    }

    /// Why a way cannot be tried.
    pub(super) fn obstacle(&self, way: Way, v6: bool) -> Option<String> {
        if let Some((_, why)) = self.broken.iter().find(|(family, _)| *family == v6) {
            return Some(why.clone());
        }
        let off =
            || fs::read_to_string("/proc/sys/net/ipv6/conf/all/forwarding").is_ok_and(|value| value.trim() == "0");
        if v6 && way.hook() == Hook::Forward && off() {
            return Some("IPv6 forwarding is off as yet".to_owned());
        }
        let nowhere = way == Way::PodOutside && !self.default_routes.contains(&v6);
        nowhere.then(|| "this host has no default route".to_owned())
    }

    /// Sends one packet. That it is refused on the way is no error: what became of it is told elsewhere.
    pub(super) fn send(&self, target: &Target) -> Result<()> {
        let to = SocketAddr::new(target.address, target.port);
        let udp = target.protocol == super::UDP;
        let one = move || {
            let _ = if udp { datagram(to) } else { syn(to) };
            Ok(())
        };
        if target.from_host { one() } else { namespace::within_net(self.namespace.as_fd(), one) }
            .context("cannot enter the throw-away namespace")
    }

    /// Addresses and routes of one family; returns the receiver's address.
    fn family(&self, netlink: &mut Rtnetlink, cidr: &Cidr, ours: &Ours) -> Result<IpAddr> {
        let v6 = cidr.network.is_ipv6();
        let (sender, receiver) = (place(cidr, SENDER), place(cidr, RECEIVER));
        let bits = if v6 { 128 } else { 32 };
        let index = self.entrance;
        let gateway = if v6 { GATEWAY6 } else { GATEWAY4 };
        netlink.address_add(&NewAddress { index, address: gateway, prefix_len: bits, scope: Scope::Link })?;
        if !v6 {
            for link in [self.entrance, self.exit] {
                netlink.forwarding4_set(link, true)?;
            }
        }
        let known: Vec<IpAddr> = netlink.addresses()?.into_iter().map(|known| known.address).collect();
        for address in ours.dns.iter().chain(&ours.node) {
            if address.is_ipv6() == v6 && !known.contains(address) {
                let new = NewAddress { index, address: *address, prefix_len: bits, scope: Scope::Link };
                netlink.address_add(&new)?;
            }
        }
        for (address, link) in [(sender, self.entrance), (receiver, self.exit)] {
            netlink.route_add(&NewRoute::direct(address, bits, link))?;
        }
        namespace::within_net(self.namespace.as_fd(), || inside(sender, gateway, bits).map_err(io::Error::other))?;
        Ok(receiver)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let Ok(mut netlink) = Rtnetlink::open() else { return };
        for link in [self.entrance, self.exit] {
            // If it fails, the end of the namespace takes the link away.
            let _ = netlink.link_delete(link);
        }
    }
}

fn links(netlink: &mut Rtnetlink, namespace: &OwnedFd) -> Result<(u32, u32)> {
    for number in 0..NAMES {
        let mut made = Vec::new();
        for (side, peer_name) in [("a", "eth0"), ("b", "eth1")] {
            let name = format!("{LINK}{number}{side}");
            let peer_netns = Some(namespace.as_fd());
            let veth = VethSpec { name: &name, peer_name, peer_netns, mtu: None, mac: None, peer_mac: None };
            match netlink.veth_create(&veth) {
                Ok(()) => made.push(netlink.link_index(&name)?),
                // Another probe is at work.
                Err(error) if error.already_exists() => break,
                Err(error) => return Err(error.into()),
            }
        }
        match made[..] {
            [entrance, exit] => return Ok((entrance, exit)),
            [entrance] => netlink.link_delete(entrance)?,
            _ => {}
        }
    }
    bail!("{NAMES} links named msprobe.. are there already.\nRemove them: ip link delete msprobe0a")
}

fn inside(sender: IpAddr, gateway: IpAddr, bits: u8) -> kernel::nl::Result<()> {
    let mut netlink = Rtnetlink::open()?;
    for name in ["lo", "eth0", "eth1"] {
        let index = netlink.link_index(name)?;
        netlink.link_set_up(index, true)?;
    }
    let index = netlink.link_index("eth0")?;
    netlink.address_add(&NewAddress { index, address: sender, prefix_len: bits, scope: Scope::Global })?;
    netlink.route_replace(&NewRoute::direct(gateway, bits, index))?;
    netlink.route_replace(&NewRoute::default_via(gateway, index))
}

/// The address so many places before the end of a range.
fn place(cidr: &Cidr, from_end: u128) -> IpAddr {
    crate::config::offset(cidr.network, cidr.size().saturating_sub(from_end))
}

fn datagram(to: SocketAddr) -> io::Result<()> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0))?.send_to(&[0], to).map(drop)
}

/// The first packet of a connection; the socket is closed at once.
fn syn(to: SocketAddr) -> io::Result<()> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    Ok(rustix::net::connect(&socket, &to)?)
}
