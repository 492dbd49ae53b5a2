//! 3.2: which endpoints are used, by readiness, hints and policy, and what becomes of a packet when there are none.

use serde_json::json;

use super::world::*;

const ALL: [(&str, Seen); 3] = [("a", Seen::Node), ("b", Seen::Node), ("c", Seen::Node)];
const HERE: [(&str, Seen); 2] = [("a", Seen::Client), ("b", Seen::Client)];

#[test]
fn the_cluster_set_is_the_ready_ones_and_only_without_any_those_that_serve_and_terminate() {
    let mut world = World::new();
    world.web(json!({}));
    let [a, b, c] = [world.on_n1(Who::A), world.on_n1(Who::B), world.on_n2()];
    world.endpoints(&[a.clone(), ending(b.clone(), true), ending(c.clone(), false)]);
    world.reaches(Who::Out, CLUSTER, 80, &[("a", Seen::Node)]);
    world.endpoints(&[ending(a.clone(), true), ending(b.clone(), true), ending(c.clone(), false)]);
    world.reaches(Who::Out, CLUSTER, 80, &[("a", Seen::Node), ("b", Seen::Node)]);
    // Hints do not narrow the fallback.
    let hinted = with(ending(a, true), "hints", json!({ "forNodes": [{ "name": "n1" }] }));
    world.endpoints(&[hinted, ending(b, true), ending(c, true)]);
    world.reaches(Who::Out, CLUSTER, 80, &ALL);
}

#[test]
fn the_local_set_is_chosen_by_itself_whatever_is_ready_elsewhere() {
    let mut world = World::new();
    world.web(json!({ "internalTrafficPolicy": "Local" }));
    let [a, b, c] = [world.on_n1(Who::A), world.on_n1(Who::B), world.on_n2()];
    world.endpoints(&[a.clone(), b.clone(), c.clone()]);
    world.reaches(Who::C, CLUSTER, 80, &HERE);
    world.endpoints(&[ending(a.clone(), true), b.clone(), c.clone()]);
    world.reaches(Who::C, CLUSTER, 80, &[("b", Seen::Client)]);
    world.endpoints(&[ending(a.clone(), true), ending(b.clone(), true), c.clone()]);
    world.reaches(Who::C, CLUSTER, 80, &HERE);
    world.endpoints(&[ending(a, true), ending(b, false), c]);
    world.reaches(Who::C, CLUSTER, 80, &[("a", Seen::Client)]);
}

#[test]
fn hints_for_nodes_then_zones_narrow_the_cluster_set_and_one_missing_hint_switches_them_off() {
    let mut world = World::new();
    world.web(json!({}));
    let zone = |world: &mut World, zone: Option<&str>| {
        let labels = zone.map_or(json!({}), |zone| json!({ "topology.kubernetes.io/zone": zone }));
        world.put("nodes", "", "n1", &json!({ "metadata": { "labels": labels } }));
        world.sync();
    };
    let endpoints = [world.on_n1(Who::A), world.on_n1(Who::B), world.on_n2()];
    let hint = |world: &mut World, hints: [(&[&str], &[&str]); 3]| {
        let names = |names: &[&str]| names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>();
        let hinted = endpoints.iter().zip(hints).map(|(endpoint, (zones, nodes))| {
            with(endpoint.clone(), "hints", json!({ "forZones": names(zones), "forNodes": names(nodes) }))
        });
        let hinted: Vec<_> = hinted.collect();
        world.endpoints(&hinted);
    };
    let none: &[(&str, Seen)] = &ALL;
    /// Zones and nodes of a, b and c; which are used in zone z1.
    type Case<'a> = ([(&'a [&'a str], &'a [&'a str]); 3], &'a [(&'a str, Seen)]);
    let cases: [Case<'_>; 7] = [
        ([(&[], &["n1"]), (&[], &["n2"]), (&[], &["n2"])], &[("a", Seen::Node)]),
        ([(&["z2"], &["n1"]), (&["z1"], &["n2"]), (&["z1"], &["n2"])], &[("a", Seen::Node)]),
        // Every endpoint has a node, none is ours: zones decide.
        ([(&["z2"], &["n3"]), (&["z1"], &["n2"]), (&["z1"], &["n2"])], &[("b", Seen::Node), ("c", Seen::Node)]),
        // One has no node: zones decide.
        ([(&["z2"], &["n1"]), (&["z1"], &[]), (&["z1"], &["n2"])], &[("b", Seen::Node), ("c", Seen::Node)]),
        ([(&["z1"], &[]), (&["z1", "z2"], &[]), (&["z2"], &[])], &[("a", Seen::Node), ("b", Seen::Node)]),
        ([(&["z1"], &[]), (&["z1"], &[]), (&[], &[])], none),
        ([(&["z2"], &[]), (&["z2"], &[]), (&["z3"], &[])], none),
    ];
    for (index, (hints, expected)) in cases.into_iter().enumerate() {
        zone(&mut world, Some("z1"));
        hint(&mut world, hints);
        println!("case {index}");
        world.reaches(Who::Out, CLUSTER, 80, expected);
    }
    // The node's zone counts as it is now.
    hint(&mut world, [(&["z1"], &[]), (&["z2"], &[]), (&["z2"], &[])]);
    world.reaches(Who::Out, CLUSTER, 80, &[("a", Seen::Node)]);
    zone(&mut world, Some("z2"));
    world.reaches(Who::Out, CLUSTER, 80, &[("b", Seen::Node), ("c", Seen::Node)]);
    zone(&mut world, None);
    world.reaches(Who::Out, CLUSTER, 80, &ALL);
    // A hint that is missing on an endpoint that is not ready does not count.
    zone(&mut world, Some("z2"));
    let [a, b, c] = endpoints.clone();
    let hinted = |endpoint, zone: &str| with(endpoint, "hints", json!({ "forZones": [{ "name": zone }] }));
    world.endpoints(&[ending(a, true), hinted(b, "z1"), hinted(c, "z2")]);
    world.reaches(Who::Out, CLUSTER, 80, &[("c", Seen::Node)]);
}

#[test]
fn hints_do_not_touch_policy_local() {
    let mut world = World::new();
    world.web(json!({ "internalTrafficPolicy": "Local" }));
    let elsewhere = json!({ "forNodes": [{ "name": "n2" }], "forZones": [{ "name": "z9" }] });
    let all = [world.on_n1(Who::A), world.on_n1(Who::B), world.on_n2()];
    world.endpoints(&all.map(|endpoint| with(endpoint, "hints", elsewhere.clone())));
    world.reaches(Who::C, CLUSTER, 80, &HERE);
}

#[test]
fn unready_endpoints_that_are_published_count_by_their_condition_ready_alone() {
    let mut world = World::new();
    world.web(json!({ "publishNotReadyAddresses": true }));
    let published = json!({ "ready": true, "serving": false, "terminating": true });
    let [a, b] = [world.on_n1(Who::A), world.on_n1(Who::B)];
    world.endpoints(&[with(a, "conditions", published), with(b, "conditions", json!({ "ready": false }))]);
    world.reaches(Who::Out, CLUSTER, 80, &[("a", Seen::Node)]);
}

#[test]
fn internal_policy_local_without_a_local_endpoint_drops_and_without_any_refuses() {
    let mut world = World::new();
    world.web(json!({ "type": "NodePort", "internalTrafficPolicy": "Local" }));
    let c = world.on_n2();
    world.endpoints(&[c]);
    for who in [Who::A, Who::Out] {
        world.dropped(who, CLUSTER, 80, "dropped_local");
    }
    world.reaches(Who::Out, NODE, 30080, &[("c", Seen::Node)]);
    world.endpoints(&[]);
    for who in [Who::A, Who::Out, Who::Node] {
        world.refused(who, CLUSTER, 80);
    }
}

#[test]
fn external_policy_cluster_uses_every_endpoint_on_every_way_in() {
    let mut world = World::new();
    world.web(json!({ "type": "LoadBalancer", "externalIPs": EXTERNAL, "status": ingress(VIP) }));
    world.three();
    for (at, port) in [(NODE, 30080), (EXTERNAL, 80), (VIP, 80)] {
        for who in [Who::Out, Who::A, Who::Node] {
            world.reaches(who, at, port, &ALL);
        }
    }
}

#[test]
fn external_policy_local_binds_off_node_clients_and_short_circuits_pods_and_the_node() {
    let mut world = World::new();
    world.web(json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local", "externalIPs": EXTERNAL,
        "status": ingress(VIP) }));
    world.three();
    for (at, port) in [(NODE, 30080), (EXTERNAL, 80), (VIP, 80)] {
        world.reaches(Who::Out, at, port, &HERE);
        world.reaches(Who::Node, at, port, &ALL);
        world.reaches(Who::A, at, port, &[("a", Seen::Node), ("b", Seen::Client), ("c", Seen::Client)]);
    }
    // Cluster IPs follow the other policy.
    world.reaches(Who::Out, CLUSTER, 80, &ALL);
}

/// Also corner 16 of section 7: the short circuit comes before the drop.
#[test]
fn external_policy_local_without_a_local_endpoint_drops_off_node_clients_only() {
    let mut world = World::new();
    world.web(json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local", "externalIPs": EXTERNAL,
        "status": ingress(VIP) }));
    let c = world.on_n2();
    world.endpoints(&[c]);
    for (at, port) in [(NODE, 30080), (EXTERNAL, 80), (VIP, 80)] {
        world.dropped(Who::Out, at, port, "dropped_local");
        world.reaches(Who::Node, at, port, &[("c", Seen::Node)]);
        world.reaches(Who::A, at, port, &[("c", Seen::Client)]);
    }
}

#[test]
fn without_any_usable_endpoint_every_way_in_refuses_at_once_under_both_policies() {
    let mut world = World::new();
    let a = world.on_n1(Who::A);
    for policy in ["Cluster", "Local"] {
        world.web(json!({ "type": "LoadBalancer", "externalTrafficPolicy": policy, "internalTrafficPolicy": policy,
            "externalIPs": EXTERNAL, "status": ingress(VIP) }));
        for endpoints in
            [vec![], vec![ending(a.clone(), false)], vec![with(a.clone(), "conditions", json!({ "ready": false }))]]
        {
            world.endpoints(&endpoints);
            for (at, port) in [(CLUSTER, 80), (NODE, 30080), (EXTERNAL, 80), (VIP, 80)] {
                for who in [Who::Out, Who::A, Who::Node] {
                    world.refused(who, at, port);
                }
            }
        }
    }
}
