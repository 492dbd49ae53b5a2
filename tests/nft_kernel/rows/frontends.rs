//! 3.4: where a Service is met.

use std::net::IpAddr;

use serde_json::json;

use super::world::*;
use crate::topology::{ip, serve_at};

const ALL: [(&str, Seen); 3] = [("a", Seen::Node), ("b", Seen::Node), ("c", Seen::Node)];
const PODS_OWN: [(&str, Seen); 3] = [("a", Seen::Node), ("b", Seen::Client), ("c", Seen::Client)];

#[test]
fn cluster_ips_are_met_by_packets_that_pass_and_by_those_the_node_makes() {
    let mut world = World::new();
    world.web(json!({}));
    world.three();
    world.reaches(Who::A, CLUSTER, 80, &PODS_OWN);
    world.reaches(Who::Out, CLUSTER, 80, &ALL);
    world.reaches(Who::Node, CLUSTER, 80, &ALL);
}

#[test]
fn external_ips_are_met_though_no_node_has_them() {
    let mut world = World::new();
    world.web(json!({ "externalIPs": EXTERNAL }));
    world.three();
    for who in [Who::A, Who::Out, Who::Node] {
        world.reaches(who, EXTERNAL, 80, &ALL);
    }
    // A node's own address may be one too; its other ports stay the node's.
    world.web(json!({ "externalIPs": SECOND }));
    serve_at(&world.node.netns, (ip(SECOND[0]), 8081).into(), "daemon");
    serve_at(&world.node.netns, (ip(SECOND[1]), 8081).into(), "daemon");
    world.reaches(Who::Out, SECOND, 80, &ALL);
    world.reaches(Who::Out, SECOND, 8081, &[("daemon", Seen::Client)]);
}

/// Also corner 21 of section 7.
#[test]
fn load_balancer_addresses_are_met_on_the_node_and_pod_traffic_never_leaves() {
    let mut world = World::new();
    world.three();
    world.web(json!({ "type": "LoadBalancer" }));
    world.reaches(Who::A, VIP, 80, &[("lb", Seen::Client)]);
    world.web(json!({ "type": "LoadBalancer", "status": ingress(VIP) }));
    for who in [Who::A, Who::Out, Who::Node] {
        world.reaches(who, VIP, 80, &ALL);
    }
    // An entry without ipMode is a VIP: that is the API's default.
    let plain = VIP.map(|address| json!({ "ip": address }));
    world.web(json!({ "type": "LoadBalancer", "status": { "loadBalancer": { "ingress": plain } } }));
    world.reaches(Who::A, VIP, 80, &ALL);
}

/// Also corner 21 of section 7.
#[test]
fn with_ip_mode_proxy_or_a_name_alone_traffic_goes_to_the_load_balancer() {
    let mut world = World::new();
    world.three();
    let proxy = VIP.map(|address| json!({ "ip": address, "ipMode": "Proxy" }));
    for ingress in [json!(proxy), json!([{ "hostname": "lb.example.org" }])] {
        let status = json!({ "loadBalancer": { "ingress": ingress } });
        let ranges = ["192.0.2.0/24", "fd00:bad::/64"];
        world.web(json!({ "type": "LoadBalancer", "status": status, "loadBalancerSourceRanges": ranges }));
        for who in [Who::A, Who::Out] {
            world.reaches(who, VIP, 80, &[("lb", Seen::Client)]);
        }
        world.reaches(Who::Node, VIP, 80, &[("lb", Seen::Node)]);
        world.reaches(Who::Out, NODE, 30080, &ALL);
    }
}

#[test]
fn node_ports_are_met_on_the_chosen_addresses_only_and_after_every_other_way_in() {
    let mut world = World::new();
    world.web(json!({ "type": "NodePort" }));
    world.three();
    for who in [Who::A, Who::Out, Who::Node] {
        world.reaches(who, NODE, 30080, &ALL);
    }
    for address in SECOND {
        serve_at(&world.node.netns, (ip(address), 30080).into(), "daemon");
    }
    world.reaches(Who::Out, SECOND, 30080, &[("daemon", Seen::Client)]);
    // Another Service's external address with the same port comes first.
    let b = world.on_n1(Who::B);
    world.slices("other", &[b]);
    let ports = [("t", "TCP"), ("u", "UDP")]
        .map(|(name, protocol)| json!({ "name": name, "protocol": protocol, "port": 30080 }));
    world.service("other", ["10.96.0.11", "fd00:96::11"], json!({ "ports": ports, "externalIPs": NODE }));
    world.reaches(Who::Out, NODE, 30080, &[("b", Seen::Node)]);
    world.delete("services", "ns", "other");
    world.sync();
    world.reaches(Who::Out, NODE, 30080, &ALL);
}

/// Also corner 18 of section 7: nothing sets route_localnet, and no rule leads from a loopback address.
#[test]
fn node_ports_are_not_met_on_loopback_addresses() {
    let loopback: [IpAddr; 2] = ["127.0.0.1", "::1"].map(ip);
    let mut config = config();
    config.node_port_addresses.extend(loopback);
    let mut world = World::with(config);
    world.web(json!({ "type": "NodePort" }));
    world.three();
    world.reaches(Who::Node, NODE, 30080, &ALL);
    let before = world.counted("refused");
    world.refused(Who::Node, ["127.0.0.1", "::1"], 30080);
    assert_eq!(world.counted("refused"), before, "the node's own kernel refuses");
    let route = || std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/route_localnet").unwrap();
    assert_eq!(world.node.netns.run(route).trim(), "0");
}

#[test]
fn unknown_ports_of_a_service_and_unknown_addresses_of_its_range_are_refused_at_once() {
    let mut world = World::new();
    world.web(json!({ "ports": [{ "name": "t", "protocol": "TCP", "port": 80 }] }));
    world.three();
    for who in [Who::A, Who::Out, Who::Node] {
        world.refused(who, CLUSTER, 81);
        world.refused(who, ["10.96.77.7", "fd00:96::77"], 80);
    }
    // The other protocol of a known port is unknown as well.
    let target = std::net::SocketAddr::new(ip(CLUSTER[0]), 80);
    let error = world.a.netns.run(|| crate::ask(crate::elements::UDP, target)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    // A range that a ServiceCIDR adds counts as soon as it is there.
    let before = world.counted("refused");
    world.put(
        "servicecidrs",
        "",
        "more",
        &json!({ "metadata": {}, "spec": { "cidrs": ["10.97.0.0/16", "fd00:97::/112"] } }),
    );
    world.sync();
    world.refused(Who::Out, ["10.97.0.5", "fd00:97::5"], 80);
    assert!(world.counted("refused") >= before + 4);
}

/// Also corner 23 of section 7.
#[test]
fn no_socket_holds_a_node_port_and_the_rules_shadow_a_daemon_that_takes_its_number() {
    let mut world = World::new();
    world.web(json!({ "type": "NodePort" }));
    world.three();
    for address in NODE {
        // It could not bind if anybody held the port.
        serve_at(&world.node.netns, (ip(address), 30080).into(), "daemon");
    }
    for who in [Who::A, Who::Out, Who::Node] {
        world.reaches(who, NODE, 30080, &ALL);
    }
    world.delete("services", "ns", "web");
    world.sync();
    world.reaches(Who::Out, NODE, 30080, &[("daemon", Seen::Client)]);
}
