//! A veth pair into a second namespace, addressed and routed, as the kernel reports it back. Needs CAP_NET_ADMIN, by
//! root or by a user namespace of its own; without either it fails.

use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use super::*;
use crate::namespace;

/// Runs `work` on a thread in a network namespace of its own.
fn in_new_netns<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let handle = scope.spawn(|| {
            let made = namespace::new_net();
            made.unwrap_or_else(|error| panic!("{error}: run the tests as root or under `unshare -Urn`"));
            work()
        });
        handle.join().unwrap()
    })
}

fn enter(netns: &OwnedFd) {
    namespace::enter_net(netns.as_fd()).unwrap();
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_veth_pair_created_in_place_carries_both_families() {
    let pod = in_new_netns(|| namespace::current_net().unwrap());
    in_new_netns(|| {
        let mut node = Rtnetlink::open().unwrap();
        assert!(node.link("pod0").unwrap().is_none());
        let veth = VethSpec {
            name: "pod0",
            peer_name: "eth0",
            peer_netns: Some(pod.as_fd()),
            mtu: Some(1400),
            mac: None,
            peer_mac: None,
        };
        node.veth_create(&veth).unwrap();
        assert!(node.veth_create(&veth).unwrap_err().already_exists());
        let near = node.link("pod0").unwrap().unwrap();
        assert_eq!((near.up, near.mtu, near.kind.as_str()), (true, 1400, "veth"));
        for gateway in ["169.254.1.1", "fe80::1"] {
            let address = address(gateway);
            let prefix_len = if address.is_ipv4() { 32 } else { 64 };
            node.address_add(&NewAddress { index: near.index, address, prefix_len, scope: Scope::Link }).unwrap();
        }
        for (pod, prefix) in [("10.244.0.2", 32), ("fd00::2", 128)] {
            node.route_add(&NewRoute::direct(address(pod), prefix, near.index)).unwrap();
        }
        std::thread::scope(|scope| {
            scope.spawn(|| configure_pod(&pod)).join().unwrap();
        });
        assert!(node.addresses().unwrap().iter().any(|a| a.address == address("fe80::1") && a.scope == Scope::Link));
        assert!(node.routes().unwrap().iter().any(|r| r.destination == address("fd00::2") && r.prefix_len == 128));
        let added = NewRoute::direct(address("10.97.0.0"), 24, near.index);
        let there = |node: &mut Rtnetlink| node.routes().unwrap().iter().any(|r| r.destination == added.destination);
        node.route_add(&added).unwrap();
        assert!(there(&mut node));
        node.route_delete(&added).unwrap();
        assert!(!there(&mut node));
        node.forwarding4_set(near.index, true).unwrap();
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/conf/pod0/forwarding").unwrap().trim(), "1");
        connect_from_pod(&pod);
        node.link_delete(near.index).unwrap();
        assert!(node.link("pod0").unwrap().is_none());
        assert!(node.routes().unwrap().iter().all(|r| r.destination != address("10.244.0.2")));
    });
}

fn configure_pod(pod: &OwnedFd) {
    enter(pod);
    let mut pod = Rtnetlink::open().unwrap();
    for name in ["lo", "eth0"] {
        let index = pod.link_index(name).unwrap();
        pod.link_set_up(index, true).unwrap();
    }
    let index = pod.link_index("eth0").unwrap();
    for (own, prefix_len, gateway) in [("10.244.0.2", 32, "169.254.1.1"), ("fd00::2", 128, "fe80::1")] {
        let new = NewAddress { index, address: address(own), prefix_len, scope: Scope::Global };
        pod.address_add(&new).unwrap();
        pod.route_add(&NewRoute::default_via(address(gateway), index)).unwrap();
        let default = pod.routes().unwrap().into_iter().find(|r| r.gateway == Some(address(gateway))).unwrap();
        assert_eq!((default.prefix_len, default.index), (0, Some(index)));
    }
}

/// The pod reaches the node's end over IPv4 and IPv6 at once: no duplicate address detection delays it.
fn connect_from_pod(pod: &OwnedFd) {
    let lo = Rtnetlink::open().and_then(|mut node| {
        let index = node.link_index("lo")?;
        node.link_set_up(index, true)?;
        Ok(index)
    });
    let index = lo.unwrap();
    for own in ["10.244.0.1", "fd00::1"] {
        let address = address(own);
        let prefix_len = if address.is_ipv4() { 32 } else { 128 };
        let new = NewAddress { index, address, prefix_len, scope: Scope::Global };
        Rtnetlink::open().unwrap().address_add(&new).unwrap();
        let listener = TcpListener::bind((address, 0)).unwrap();
        let target = listener.local_addr().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                enter(pod);
                TcpStream::connect(target).unwrap()
            });
            listener.accept().unwrap();
        });
        Rtnetlink::open().unwrap().address_delete(&new).unwrap();
    }
}

#[test]
fn a_route_with_several_next_hops_names_each_of_their_links() {
    in_new_netns(|| {
        let mut node = Rtnetlink::open().unwrap();
        let veth = VethSpec { name: "one", peer_name: "two", peer_netns: None, mtu: None, mac: None, peer_mac: None };
        node.veth_create(&veth).unwrap();
        let mut indices = Vec::new();
        for (name, own) in [("one", "192.0.2.1"), ("two", "198.51.100.1")] {
            let index = node.link_index(name).unwrap();
            node.link_set_up(index, true).unwrap();
            let new = NewAddress { index, address: address(own), prefix_len: 24, scope: Scope::Global };
            node.address_add(&new).unwrap();
            indices.push(index);
        }
        let hops = ["nexthop", "via", "192.0.2.9", "dev", "one", "nexthop", "via", "198.51.100.9", "dev", "two"];
        let ip = std::process::Command::new("ip").args(["route", "add", "default"]).args(hops).status();
        assert!(ip.expect("ip must be installed (iproute2)").success());
        let all = node.routes().unwrap();
        let default: Vec<_> = all.iter().filter(|route| route.prefix_len == 0).map(|r| (r.index, r.gateway)).collect();
        let expected =
            [(Some(indices[0]), Some(address("192.0.2.9"))), (Some(indices[1]), Some(address("198.51.100.9")))];
        assert_eq!(default, expected);
    });
}
