//! Cases that random histories meet too rarely: overlapping ranges, and sets on both sides of a rung of the ladder.

use compile::nft::interpret::{Packet, Verdict};
use compile::snapshot::Protocol;
use serde_json::{Value, json};

use super::reference::Reference;
use super::world::{World, config, ip};
use super::{Node, node};

fn put(world: &mut World, ranges: &[&str], endpoints: usize, affinity: &str) {
    let service = json!({
        "metadata": {},
        "spec": {
            "type": "LoadBalancer", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}],
            "loadBalancerSourceRanges": ranges, "sessionAffinity": affinity,
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    });
    world.put("services", "d", "s", &service);
    let endpoints: Vec<Value> =
        (0..endpoints).map(|index| json!({"addresses": [format!("10.244.1.{index}")]})).collect();
    let slice = json!({
        "metadata": {"labels": {"kubernetes.io/service-name": "s"}}, "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080}], "endpoints": endpoints,
    });
    world.put("endpointslices", "d", "s", &slice);
}

/// Brings the node to the world, one operation per batch, watched at every step.
fn step(world: &mut World, node: &mut Node, packets: &[Packet]) {
    let config = config();
    let (snapshot, changes) = world.builder.publish(world.revision);
    let reference = Reference { snapshot: &snapshot, config: &config };
    let plan = node.plan(&snapshot, &changes, 1);
    let target = node.programmer.state();
    node.apply(&plan.batches, packets, (&target, &reference));
    node.check(&snapshot, packets, &reference);
}

fn packet(source: &str, destination: &str) -> Packet {
    let (source, destination) = (ip(source), ip(destination));
    Packet { source, destination, protocol: Protocol::Tcp, port: 80, source_is_host: false }
}

#[test]
fn ranges_widen_narrow_and_overlap() {
    let (mut world, mut node) = (World::default(), node());
    let packets = ["203.0.113.7", "203.0.113.200", "203.0.9.9", "8.8.8.8"].map(|source| packet(source, "192.0.2.1"));
    let lists: [&[&str]; 6] = [
        &["203.0.113.0/24"],
        &["203.0.0.0/16", "203.0.113.0/24", "203.0.0.0/16"],
        &["203.0.113.0/25", "203.0.113.128/25"],
        &["203.0.113.77/24", "203.0.113.128/25"],
        &[],
        &["203.0.0.0/16", "0.0.0.0/0"],
    ];
    for ranges in lists {
        put(&mut world, ranges, 2, "None");
        step(&mut world, &mut node, &packets);
    }
}

#[test]
fn every_endpoint_is_chosen_whatever_the_rung() {
    let (mut world, mut node) = (World::default(), node());
    let packets = [packet("203.0.113.7", "10.96.0.1")];
    for (affinity, count) in
        [("None", 1), ("None", 33), ("ClientIP", 40), ("ClientIP", 41), ("None", 32), ("None", 100)]
    {
        put(&mut world, &[], count, affinity);
        step(&mut world, &mut node, &packets);
        let verdicts = node.verdicts(&packets[0]);
        assert_eq!(verdicts.len(), count);
        assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Translate { masquerade: true, .. })));
    }
}
