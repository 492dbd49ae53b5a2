//! 3.5: which endpoint a client gets, and how long it keeps it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::world::*;
use crate::elements::{TCP, UDP};
use crate::topology::ip;

fn sticky(seconds: u32) -> Value {
    json!({
        "type": "LoadBalancer", "externalIPs": EXTERNAL, "status": ingress(VIP), "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": seconds } },
    })
}

fn names(world: &World, who: Who, at: &str, port: u16, protocol: u8) -> BTreeSet<String> {
    let answers = world.answers(who, SocketAddr::new(ip(at), port), protocol);
    answers.into_iter().map(|(name, _)| name).collect()
}

/// Also corner 22 of section 7: per Service port, not per Service, and shared by every way in.
#[test]
fn a_client_keeps_its_endpoint_on_every_way_in_and_each_port_chooses_for_itself() {
    let mut world = World::new();
    world.web(sticky(10_800));
    world.three();
    for family in [0, 1] {
        let mut chosen = Vec::new();
        for protocol in [TCP, UDP] {
            let first = names(&world, Who::Out, CLUSTER[family], 80, protocol);
            assert_eq!(first.len(), 1, "one endpoint for forty connections");
            for (at, port) in [(VIP[family], 80), (EXTERNAL[family], 80), (NODE[family], 30080)] {
                assert_eq!(names(&world, Who::Out, at, port, protocol), first, "{at}:{port}");
            }
            chosen.push(first);
        }
        println!("TCP and UDP of family {family} chose {chosen:?}");
    }
    // One client address has one memory per port and family, whatever it asked.
    assert_eq!((remembered(&world, "affinity4"), remembered(&world, "affinity6")), (2, 2));
}

/// Elements of a map, as an outside decoder sees them.
fn remembered(world: &World, map: &str) -> usize {
    let list = || std::process::Command::new("nft").args(["-j", "list", "map", "inet", "mainstay", map]).output();
    let output = world.node.netns.run(list).unwrap();
    let listing: Value = serde_json::from_slice(&output.stdout).unwrap();
    let maps = listing["nftables"].as_array().unwrap();
    maps.iter().filter_map(|one| one["map"]["elem"].as_array()).map(Vec::len).sum()
}

#[test]
fn silence_is_forgotten_and_the_next_connection_chooses_anew() {
    let mut world = World::new();
    world.web(sticky(1));
    world.three();
    let mut seen = BTreeSet::new();
    // Thirty choices among three miss one with a probability of 2e-5; each waits for the memory to be gone.
    for _ in 0..30 {
        let target = SocketAddr::new(ip(CLUSTER[0]), 80);
        seen.insert(world.out.netns.run(|| crate::ask(TCP, target)).unwrap().name);
        assert_eq!(remembered(&world, "affinity4"), 1);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while remembered(&world, "affinity4") > 0 {
            assert!(std::time::Instant::now() < deadline, "one second of silence is remembered for thirty");
        }
        if seen.len() > 1 {
            return;
        }
    }
    panic!("always {seen:?}");
}

/// Also corner 22 of section 7: an endpoint that is not ready any more is left though its client keeps coming.
#[test]
fn a_client_leaves_an_endpoint_that_is_no_longer_eligible() {
    let mut world = World::new();
    world.web(sticky(10_800));
    let [a, b] = [world.on_n1(Who::A), world.on_n1(Who::B)];
    world.endpoints(&[a.clone(), b.clone()]);
    for family in [0, 1] {
        world.endpoints(&[a.clone(), b.clone()]);
        let first = names(&world, Who::Out, CLUSTER[family], 80, TCP);
        let unready = |endpoint: Value, name: &str| {
            let ready = !first.contains(name);
            with(endpoint, "conditions", json!({ "ready": ready, "serving": ready, "terminating": false }))
        };
        world.endpoints(&[unready(a.clone(), "a"), unready(b.clone(), "b")]);
        let second = names(&world, Who::Out, CLUSTER[family], 80, TCP);
        assert!(second.len() == 1 && second != first, "{first:?} {second:?}");
        world.endpoints(&[a.clone(), b.clone()]);
        assert_eq!(names(&world, Who::Out, CLUSTER[family], 80, TCP), second, "nothing draws it back");
    }
}

/// Also corner 22 of section 7.
#[test]
fn under_policy_local_only_local_endpoints_are_kept() {
    let mut world = World::new();
    let mut spec = sticky(10_800);
    spec["externalTrafficPolicy"] = json!("Local");
    world.web(spec);
    // The cluster set is c alone; the local set falls back to a.
    let ends = ending(world.on_n1(Who::A), true);
    let c = world.on_n2();
    world.endpoints(&[ends, c]);
    for family in [0, 1] {
        for protocol in [TCP, UDP] {
            for _ in 0..2 {
                assert_eq!(names(&world, Who::Out, CLUSTER[family], 80, protocol), ["c".to_owned()].into());
                assert_eq!(names(&world, Who::Out, VIP[family], 80, protocol), ["a".to_owned()].into());
                assert_eq!(names(&world, Who::Out, NODE[family], 30080, protocol), ["a".to_owned()].into());
            }
        }
    }
}

#[test]
fn affinity_is_switched_on_and_off_on_a_living_service() {
    let mut world = World::new();
    world.three();
    for _ in 0..2 {
        world.web(json!({}));
        assert_eq!(names(&world, Who::Out, CLUSTER[0], 80, TCP).len(), 3);
        world.web(sticky(10_800));
        assert_eq!(names(&world, Who::Out, CLUSTER[0], 80, TCP).len(), 1);
    }
}
