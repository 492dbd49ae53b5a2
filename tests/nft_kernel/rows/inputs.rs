//! 3.1: which Services and endpoints count at all.

use serde_json::json;

use super::world::*;

#[test]
fn a_service_for_another_proxy_gives_nothing_and_a_named_proxy_takes_only_its_own() {
    let label = json!({ "metadata": { "labels": { "service.kubernetes.io/service-proxy-name": "mine" } } });
    let mut world = World::new();
    world.web(label.clone());
    world.three();
    world.refused(Who::A, CLUSTER, 80);
    world.web(json!({}));
    world.reaches(Who::A, CLUSTER, 80, &[("a", Seen::Node), ("b", Seen::Client), ("c", Seen::Client)]);
    let mut world = World::with(compile::service_table::Config { service_proxy_name: Some("mine".into()), ..config() });
    world.web(json!({}));
    world.three();
    world.refused(Who::A, CLUSTER, 80);
    world.web(label);
    world.reaches(Who::B, CLUSTER, 80, &[("a", Seen::Client), ("b", Seen::Node), ("c", Seen::Client)]);
}

#[test]
fn headless_services_and_aliases_give_nothing() {
    let mut world = World::new();
    world.three();
    for more in [
        json!({ "clusterIP": "None", "clusterIPs": ["None"] }),
        json!({ "type": "ExternalName", "externalName": "x.y" }),
    ] {
        world.web(more);
        world.refused(Who::A, CLUSTER, 80);
    }
    world.web(json!({}));
    // A slice of a headless Service is none of ours, whatever Service it names.
    let endpoint = world.on_n1(Who::A);
    for family in ["IPv4", "IPv6"] {
        let labels = json!({ "kubernetes.io/service-name": "web", "service.kubernetes.io/headless": "" });
        let slice = json!({ "metadata": { "labels": labels }, "addressType": family, "endpoints": [endpoint],
            "ports": [{ "name": "t", "protocol": "TCP", "port": 8080 }] });
        world.put("endpointslices", "ns", &format!("web-{family}"), &slice);
    }
    world.sync();
    world.refused(Who::A, CLUSTER, 80);
}

#[test]
fn a_family_without_a_cluster_ip_has_no_node_port_external_ip_or_load_balancer_address() {
    let mut world = World::new();
    world.three();
    for own in [0, 1] {
        let other = 1 - own;
        world.web(json!({
            "type": "LoadBalancer", "clusterIP": CLUSTER[own], "clusterIPs": [CLUSTER[own]], "externalIPs": EXTERNAL,
            "status": ingress(VIP),
        }));
        let all = [("a", Seen::Node), ("b", Seen::Node), ("c", Seen::Node)];
        for (address, port) in [(VIP[own], 80), (EXTERNAL[own], 80), (NODE[own], 30080)] {
            world.reaches(Who::Out, [address; 2], port, &all);
        }
        world.reaches(Who::Out, [VIP[other]; 2], 80, &[("lb", Seen::Client)]);
        world.refused(Who::Out, [CLUSTER[other]; 2], 80);
        // Nobody listens there: the node's own kernel refuses, ours is not asked.
        let before = world.counted("refused");
        world.refused(Who::Out, [NODE[other]; 2], 30080);
        assert_eq!(world.counted("refused"), before);
    }
}

#[test]
fn slices_join_by_port_name_and_protocol_and_ports_without_a_number_are_ignored() {
    let mut world = World::new();
    // The target port says 9999; the slices say 8080, and they count.
    world.web(json!({ "ports": [{ "name": "t", "protocol": "TCP", "port": 80, "targetPort": 9999 },
        { "name": "u", "protocol": "UDP", "port": 80, "targetPort": 9999 }] }));
    world.three();
    world.reaches(Who::Out, CLUSTER, 80, &[("a", Seen::Node), ("b", Seen::Node), ("c", Seen::Node)]);
    let wrong = [
        json!([{ "name": "x", "protocol": "TCP", "port": 8080 }, { "name": "y", "protocol": "UDP", "port": 8080 }]),
        json!([{ "name": "t", "protocol": "UDP", "port": 8080 }, { "name": "u", "protocol": "TCP", "port": 8080 }]),
        json!([{ "name": "t", "protocol": "TCP" }, { "name": "u", "protocol": "UDP", "port": 0 }]),
        json!([{ "protocol": "TCP", "port": 8080 }, { "protocol": "UDP", "port": 8080 }]),
        json!([]),
    ];
    for ports in wrong {
        for (index, family) in ["IPv4", "IPv6"].into_iter().enumerate() {
            let endpoint = json!({ "addresses": [world.addresses(Who::A)[index]], "nodeName": "n1" });
            let slice = json!({ "metadata": { "labels": { "kubernetes.io/service-name": "web" } },
                "addressType": family, "ports": ports, "endpoints": [endpoint] });
            world.put("endpointslices", "ns", &format!("web-{family}"), &slice);
        }
        world.sync();
        world.refused(Who::A, CLUSTER, 80);
    }
}

#[test]
fn of_an_address_seen_twice_a_later_one_that_stays_wins_and_one_that_terminates_never_does() {
    let mut world = World::new();
    world.web(json!({}));
    let ready = world.on_n1(Who::A);
    let ends = |serving| ending(world.on_n1(Who::A), serving);
    let not_ready = with(world.on_n1(Who::A), "conditions", json!({ "ready": false }));
    // First slice, second slice, whether it is used (the fallback is told by c, which is ready and only then alone).
    let cases = [
        (ends(true), ready.clone(), true),
        (ready.clone(), ends(true), true),
        (ready.clone(), ends(false), true),
        (ends(true), not_ready.clone(), false),
        (not_ready.clone(), ready.clone(), true),
        // kube-proxy leaves this open; a ready endpoint is not given up.
        (ready.clone(), not_ready.clone(), true),
        (ends(true), ends(false), false),
    ];
    let other = world.on_n2();
    world.slices("web", &[other]);
    for (index, (first, second, used)) in cases.into_iter().enumerate() {
        for (family, at) in [("IPv4", 0), ("IPv6", 1)] {
            for (name, endpoint) in [("x1", &first), ("x2", &second)] {
                let one = with(endpoint.clone(), "addresses", json!([endpoint["addresses"][at]]));
                world.slice(&format!("{name}-{family}"), "web", family, &[one]);
            }
        }
        world.sync();
        let expected = if used { &[("a", Seen::Client), ("c", Seen::Client)][..] } else { &[("c", Seen::Client)] };
        println!("case {index}");
        world.reaches(Who::B, CLUSTER, 80, expected);
    }
    // With nothing else left the earlier of two that terminate counts: it serves.
    world.slices("web", &[]);
    world.reaches(Who::B, CLUSTER, 80, &[("a", Seen::Client)]);
}
