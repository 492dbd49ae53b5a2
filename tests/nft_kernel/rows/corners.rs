//! Corners of section 7 that no row of section 3 shows already.

use serde_json::json;

use super::world::*;

/// Number 19 (CVE-2020-8554): whoever may name addresses in a Service takes no other Service's cluster IP with them.
#[test]
fn naming_another_services_cluster_ip_takes_none_of_its_traffic() {
    let mut world = World::new();
    world.web(json!({}));
    let [a, b] = [world.on_n1(Who::A), world.on_n1(Who::B)];
    world.endpoints(&[a]);
    world.slices("aaa", &[b]);
    let others = ["10.96.0.99", "fd00:96::99"];
    for more in [json!({ "externalIPs": CLUSTER }), json!({ "type": "LoadBalancer", "status": ingress(CLUSTER) })] {
        // Its name comes first, and it may come first as well.
        world.service("aaa", others, more.clone());
        world.reaches(Who::C, CLUSTER, 80, &[("a", Seen::Client)]);
        assert!(
            world.problems().iter().any(|why| why.contains("already belongs to Service ns/web")),
            "{:?}",
            world.problems()
        );
        world.delete("services", "ns", "web");
        world.sync();
        world.web(json!({}));
        world.reaches(Who::C, CLUSTER, 80, &[("a", Seen::Client)]);
        world.reaches(Who::C, others, 80, &[("b", Seen::Client)]);
    }
    // Once nobody has it as cluster IP, whoever names it gets it.
    world.delete("services", "ns", "web");
    world.sync();
    world.reaches(Who::C, CLUSTER, 80, &[("b", Seen::Node)]);
}

/// Number 24: a pod reaches its own node's load-balancer address under policy Local, on a node with endpoints and on
/// one without.
#[test]
fn a_pod_reaches_the_load_balancer_address_of_its_own_node() {
    let mut world = World::new();
    world.web(json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local", "status": ingress(NODE) }));
    let [b, c] = [world.on_n1(Who::B), world.on_n2()];
    world.endpoints(&[b]);
    world.reaches(Who::A, NODE, 80, &[("b", Seen::Client)]);
    world.endpoints(&[c]);
    world.reaches(Who::A, NODE, 80, &[("c", Seen::Client)]);
    world.dropped(Who::Out, NODE, 80, "dropped_local");
}
