//! 3.3: whose source gives way to the node's.

use compile::service_table::{Config, Interface, LocalPods, MarkBit};
use serde_json::json;

use super::world::*;

const FROM_OUTSIDE: [(&str, Seen); 3] = [("a", Seen::Node), ("b", Seen::Node), ("c", Seen::Node)];
const KEPT: [(&str, Seen); 3] = [("a", Seen::Client), ("b", Seen::Client), ("c", Seen::Client)];
/// What pod a meets: itself through the node, the others as itself.
const FROM_A: [(&str, Seen); 3] = [("a", Seen::Node), ("b", Seen::Client), ("c", Seen::Client)];

#[test]
fn masquerade_all_hides_every_source_towards_cluster_ips_under_both_policies() {
    let mut world = World::with(Config { masquerade_all: true, ..config() });
    world.three();
    for (policy, seen) in [("Cluster", &FROM_OUTSIDE[..]), ("Local", &FROM_OUTSIDE[..2])] {
        world.web(json!({ "internalTrafficPolicy": policy, "type": "NodePort", "externalTrafficPolicy": "Local" }));
        for who in [Who::A, Who::C, Who::Out, Who::Node] {
            world.reaches(who, CLUSTER, 80, seen);
        }
        // It says nothing of other ways in.
        world.reaches(Who::Out, NODE, 30080, &KEPT[..2]);
    }
}

#[test]
fn towards_cluster_ips_pods_keep_their_source_and_all_others_do_not() {
    let mut world = World::new();
    world.web(json!({}));
    world.three();
    world.reaches(Who::A, CLUSTER, 80, &FROM_A);
    world.reaches(Who::Out, CLUSTER, 80, &FROM_OUTSIDE);
    world.reaches(Who::Node, CLUSTER, 80, &FROM_OUTSIDE);
    // A pod of another node is a pod; that it may not meet itself is for its own node to see to.
    here(&mut world);
    world.reaches(Who::C, CLUSTER, 80, &KEPT[..2]);
}

/// Endpoints on this node only.
fn here(world: &mut World) {
    let own = [world.on_n1(Who::A), world.on_n1(Who::B)];
    world.endpoints(&own);
}

#[test]
fn without_a_local_detector_cluster_ips_are_not_masqueraded_and_pods_are_not_short_circuited() {
    let mut world = World::with(Config { local_pods: LocalPods::Nobody, ..config() });
    world.web(json!({ "type": "NodePort", "externalTrafficPolicy": "Local" }));
    world.three();
    world.reaches(Who::Out, CLUSTER, 80, &KEPT);
    world.reaches(Who::A, CLUSTER, 80, &FROM_A);
    world.reaches(Who::C, NODE, 30080, &KEPT[..2]);
    world.reaches(Who::Node, NODE, 30080, &FROM_OUTSIDE);
    world.web(json!({ "internalTrafficPolicy": "Local" }));
    world.reaches(Who::Out, CLUSTER, 80, &KEPT[..2]);
}

#[test]
fn a_family_without_a_pod_range_has_no_local_detector() {
    let pod_cidrs = vec!["10.244.0.0/16".parse().unwrap()];
    let mut world = World::with(Config { pod_cidrs, ..config() });
    world.web(json!({}));
    world.three();
    world.reaches(Who::Out, [CLUSTER[0]; 2], 80, &FROM_OUTSIDE);
    world.reaches(Who::Out, [CLUSTER[1]; 2], 80, &KEPT);
}

#[test]
fn pods_may_be_told_by_the_interface_on_which_they_arrive() {
    for interface in [vec!["poda", "podb"], vec!["pod*"], vec!["pod*", "poda"]] {
        let interfaces = interface.iter().map(|name| match name.strip_suffix('*') {
            Some(prefix) => Interface::starting_with(prefix).unwrap(),
            None => Interface::named(name).unwrap(),
        });
        let local_pods = LocalPods::Interfaces(interfaces.collect());
        let mut world = World::with(Config { local_pods, pod_cidrs: Vec::new(), ..config() });
        world.web(json!({ "type": "NodePort", "externalTrafficPolicy": "Local" }));
        world.three();
        world.reaches(Who::A, CLUSTER, 80, &FROM_A);
        // c comes in by another interface: to this node it is an outsider.
        for who in [Who::C, Who::Out, Who::Node] {
            world.reaches(who, CLUSTER, 80, &FROM_OUTSIDE);
        }
        world.reaches(Who::A, NODE, 30080, &FROM_A);
        world.reaches(Who::Out, NODE, 30080, &KEPT[..2]);
        world.reaches(Who::Node, NODE, 30080, &FROM_OUTSIDE);
    }
}

#[test]
fn external_policy_cluster_always_masquerades_even_pods() {
    let mut world = World::new();
    world.web(json!({ "type": "LoadBalancer", "externalIPs": EXTERNAL, "status": ingress(VIP) }));
    world.three();
    for (at, port) in [(NODE, 30080), (EXTERNAL, 80), (VIP, 80)] {
        for who in [Who::A, Who::C, Who::Out, Who::Node] {
            world.reaches(who, at, port, &FROM_OUTSIDE);
        }
    }
}

#[test]
fn external_policy_local_keeps_off_node_clients_and_pods_and_hides_the_node() {
    let mut world = World::new();
    world.web(json!({ "type": "NodePort", "externalTrafficPolicy": "Local" }));
    world.three();
    world.reaches(Who::Out, NODE, 30080, &KEPT[..2]);
    world.reaches(Who::A, NODE, 30080, &FROM_A);
    world.reaches(Who::Node, NODE, 30080, &FROM_OUTSIDE);
}

#[test]
fn a_pod_that_reaches_itself_sees_the_node() {
    let mut world = World::new();
    world.web(json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local", "status": ingress(VIP) }));
    let a = world.on_n1(Who::A);
    world.endpoints(&[a]);
    for (at, port) in [(CLUSTER, 80), (VIP, 80), (NODE, 30080)] {
        world.reaches(Who::A, at, port, &[("a", Seen::Node)]);
        world.reaches(Who::B, at, port, &[("a", Seen::Client)]);
    }
}

#[test]
fn the_mark_bit_is_the_one_asked_for_and_ports_are_drawn_fully_at_random() {
    for bit in [23, 31] {
        let mut world = World::with(Config { mark: MarkBit::new(bit).unwrap(), ..config() });
        world.web(json!({}));
        here(&mut world);
        world.reaches(Who::Out, CLUSTER, 80, &FROM_OUTSIDE[..2]);
        world.reaches(Who::C, CLUSTER, 80, &KEPT[..2]);
        let out = world.addresses(Who::Out);
        let flows = world.nft.flows().unwrap();
        let ours: Vec<_> = flows.iter().filter(|flow| flow.destination_translated()).collect();
        assert!(ours.len() > 100, "{}", ours.len());
        for flow in ours {
            let expected = if out.contains(&flow.original.source) { 1 << bit } else { 0 };
            assert_eq!(flow.mark & 0xff80_0000, expected, "{flow:?}");
            assert_eq!(flow.mark & 0x0040_0000, 0x0040_0000, "the identity is there with any bit: {flow:?}");
        }
        let list =
            || std::process::Command::new("nft").args(["list", "chain", "inet", "mainstay", "postrouting"]).output();
        let listing = String::from_utf8(world.node.netns.run(list).unwrap().stdout).unwrap();
        let masquerades: Vec<&str> = listing.lines().filter(|line| line.contains("masquerade")).collect();
        assert!(masquerades.len() >= 3 && masquerades.iter().all(|line| line.contains("fully-random")), "{listing}");
    }
}
