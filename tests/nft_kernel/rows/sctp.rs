//! 3.10: SCTP as far as a kernel without SCTP sockets goes: INIT and INIT ACK through the translation, by raw sockets.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;

use serde_json::json;

use super::world::*;
use crate::raw::{ask_sctp, serve_sctp};
use crate::topology::ip;

const NAMES: [(Who, u32); 3] = [(Who::A, 0xa), (Who::B, 0xb), (Who::C, 0xc)];

fn world() -> World {
    let world = World::new();
    for (who, name) in NAMES {
        for v4 in [true, false] {
            world.netns(who).run(|| serve_sctp(v4, 8080, name));
        }
    }
    world
}

/// Servers that answer forty associations.
fn answers(world: &World, who: Who, target: SocketAddr, first_port: u16) -> BTreeSet<u32> {
    let ask = |port| ask_sctp(port, target).unwrap_or_else(|error| panic!("{who:?} {target}: {error}"));
    world.netns(who).run(|| (first_port..first_port + 40).map(ask).collect())
}

#[test]
fn sctp_reaches_every_endpoint_on_every_way_in_in_both_families() {
    let mut world = world();
    world.web(json!({ "type": "LoadBalancer", "externalIPs": EXTERNAL, "status": ingress(VIP) }));
    world.three();
    let mut ports = (20_000..).step_by(100);
    for (at, port) in [(CLUSTER, 80), (VIP, 80), (EXTERNAL, 80), (NODE, 30080)] {
        for address in at {
            for who in [Who::Out, Who::Node] {
                let target = SocketAddr::new(ip(address), port);
                let found = answers(&world, who, target, ports.next().unwrap());
                assert_eq!(found, [0xa, 0xb, 0xc].into(), "{who:?} {target}");
            }
        }
    }
}

#[test]
fn sctp_follows_policy_local_and_is_refused_without_endpoints_and_at_unknown_ports() {
    let mut world = world();
    world.web(json!({ "type": "NodePort", "externalTrafficPolicy": "Local" }));
    world.three();
    for (index, address) in NODE.into_iter().enumerate() {
        let target = SocketAddr::new(ip(address), 30080);
        let found = answers(&world, Who::Out, target, 30_000 + 100 * index as u16);
        assert_eq!(found, [0xa, 0xb].into(), "{target}");
    }
    for address in CLUSTER {
        let target = SocketAddr::new(ip(address), 81);
        let error = world.out.netns.run(|| ask_sctp(31_000, target)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{target}: {error}");
    }
    world.endpoints(&[]);
    for address in CLUSTER {
        let target = SocketAddr::new(ip(address), 80);
        let error = world.out.netns.run(|| ask_sctp(31_001, target)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{target}: {error}");
    }
}

/// A Service with SCTP makes nodes load nothing: the module `sctp` gives sockets, which nobody here opens.
#[test]
fn an_sctp_service_loads_no_module() {
    let modules = || std::fs::read_to_string("/proc/modules").unwrap_or_default();
    let loaded = |modules: &str| modules.lines().any(|line| line.starts_with("sctp "));
    let before = loaded(&modules());
    let mut world = world();
    world.web(json!({}));
    world.three();
    assert_eq!(loaded(&modules()), before);
}
