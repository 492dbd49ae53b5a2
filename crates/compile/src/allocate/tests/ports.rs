//! Section 1.6: node ports on create and on update, and the health-check port.

use super::*;

const TAKEN: &str = "provided port is already allocated";

fn port(name: &str, port: i64, protocol: &str, node: i64) -> Value {
    json!({ "name": name, "port": port, "protocol": protocol, "nodePort": node })
}

fn node_port(ports: &[Value]) -> Value {
    spec(json!({ "type": "NodePort", "ports": ports }))
}

#[test]
fn entries_of_one_port_share_a_number_on_create() {
    let mut cluster = single();
    let made = cluster
        .create("a", node_port(&[port("t", 53, "TCP", 0), port("u", 53, "UDP", 0), port("h", 80, "TCP", 0)]))
        .unwrap();
    let numbers = node_ports(&made);
    assert!(numbers[0] == numbers[1] && numbers[0] != numbers[2], "{numbers:?}");
    let made = cluster.create("b", node_port(&[port("t", 53, "TCP", 0), port("u", 53, "UDP", 31111)])).unwrap();
    assert_eq!(node_ports(&made), [31111, 31111], "an explicit one serves all");
    let made = cluster.create("c", node_port(&[port("t", 53, "TCP", 31112), port("u", 53, "UDP", 31113)])).unwrap();
    assert_eq!(node_ports(&made), [31112, 31113], "two explicit ones stay two");
    let refused = error(cluster.create("web", node_port(&[port("t", 53, "TCP", 31114), port("u", 54, "UDP", 31114)])));
    assert_eq!(
        refused,
        (422, format!("spec.ports[1].nodePort: Invalid value: 31114: {TAKEN}")),
        "different ports may not"
    );
}

#[test]
fn refusals_name_the_owner_and_the_range() {
    let mut cluster = single();
    cluster.create("other", node_port(&[port("", 80, "TCP", 30080)])).unwrap();
    let table = [
        (30080, format!("{TAKEN} (by default/other)")),
        (80, "provided port is not in the valid range. The range of valid ports is 30000-32767".to_owned()),
        (70000, "provided port is not in the valid range. The range of valid ports is 30000-32767".to_owned()),
    ];
    for (number, why) in table {
        // Another protocol is no other number: a number has one owner.
        let refused = error(cluster.create("web", node_port(&[port("", 80, "UDP", number)])));
        assert_eq!(refused, (422, format!("spec.ports[0].nodePort: Invalid value: {number}: {why}")));
    }
    let plain = cluster.create("web", spec(json!({ "ports": [port("", 80, "TCP", 30000)] })));
    assert_eq!(
        error(plain),
        (422, "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'".to_owned())
    );
}

#[test]
fn exhaustion() {
    let mut cluster = cluster(&["10.96.0.0/16"], 30000..=30001);
    cluster.create("a", node_port(&[port("a", 1, "TCP", 0), port("b", 2, "TCP", 0)])).unwrap();
    let refused = error(cluster.create("web", node_port(&[port("", 1, "TCP", 0)])));
    assert_eq!(refused, (500, "Internal error occurred: failed to allocate a nodePort: range is full".to_owned()));
}

#[test]
fn updates_keep_add_and_release() {
    let mut cluster = single();
    let old = cluster.create("web", node_port(&[port("a", 1, "TCP", 30001), port("b", 2, "TCP", 30002)])).unwrap();
    let same = cluster.update(&old, node_port(&[port("a", 1, "TCP", 0), port("b", 2, "TCP", 0)])).unwrap();
    assert_eq!(node_ports(&same), [30001, 30002]);
    let swapped = cluster.update(&same, node_port(&[port("a", 1, "TCP", 30002), port("b", 2, "TCP", 30001)])).unwrap();
    assert_eq!(node_ports(&swapped), [30002, 30001], "its own numbers are its own");
    let fewer = cluster.update(&swapped, node_port(&[port("a", 1, "TCP", 0)])).unwrap();
    assert_eq!((node_ports(&fewer), cluster.taken.counts().1), (vec![30002], 1));
    assert!(cluster.taken.port(30001).is_none());
    let twice = cluster.update(&fewer, node_port(&[port("a", 1, "TCP", 30009), port("u", 1, "UDP", 30009)])).unwrap();
    assert_eq!(node_ports(&twice), [30009, 30009], "an explicit new number may serve several entries");
    let own = cluster.update(&twice, node_port(&[port("x", 5, "TCP", 0), port("y", 5, "UDP", 0)])).unwrap();
    let numbers = node_ports(&own);
    assert!(numbers[0] != numbers[1] && !numbers.contains(&30009), "each its own on update: {numbers:?}");
    let duplicate = cluster.update(&own, node_port(&[port("x", 5, "TCP", 30009), port("y", 6, "TCP", 30009)]));
    assert_eq!(error(duplicate), (422, "spec.ports[1].nodePort: Duplicate value: 30009".to_owned()));
}

#[test]
fn load_balancers_without_node_ports() {
    let mut cluster = single();
    let off = json!({ "type": "LoadBalancer", "allocateLoadBalancerNodePorts": false });
    let none = cluster.create("a", spec(off.clone())).unwrap();
    assert_eq!(node_ports(&none), [0]);
    let mut explicit = spec(off.clone());
    explicit["ports"] = json!([port("a", 1, "TCP", 30005), port("b", 2, "TCP", 0)]);
    assert_eq!(node_ports(&cluster.create("b", explicit).unwrap()), [30005, 0], "explicit ones are honoured");
    let on = cluster.create("web", spec(json!({ "type": "LoadBalancer" }))).unwrap();
    let kept = cluster.patch(&on, json!({ "allocateLoadBalancerNodePorts": false })).unwrap();
    assert_eq!(node_ports(&kept), node_ports(&on), "kept until the user zeroes them");
    let zeroed = cluster.patch(&kept, json!({ "ports": [{ "port": 80 }] })).unwrap();
    assert_eq!(node_ports(&zeroed), [0]);
    let wanted = cluster.patch(&zeroed, json!({ "allocateLoadBalancerNodePorts": true })).unwrap();
    assert_ne!(node_ports(&wanted), [0]);
}

#[test]
fn health_check_ports() {
    let mut cluster = single();
    let local = |port: i64| {
        spec(json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": port }))
    };
    let number = |service: &Value| service["spec"]["healthCheckNodePort"].as_i64().unwrap_or(0);
    let made = cluster.create("a", local(0)).unwrap();
    assert!((30000..=32767).contains(&number(&made)) && number(&made) != node_ports(&made)[0]);
    assert_eq!(cluster.taken.counts().1, 2);
    let kept = cluster.update(&made, local(0)).unwrap();
    assert_eq!(number(&kept), number(&made));
    assert_eq!(
        error(cluster.create("web", local(number(&made)))),
        (
            500,
            format!(
                "Internal error occurred: failed to allocate requested HealthCheck NodePort {}: {TAKEN} (by default/a)",
                number(&made)
            )
        )
    );
    let cluster_wide = cluster.patch(&kept, json!({ "externalTrafficPolicy": "Cluster" })).unwrap();
    assert_eq!((number(&cluster_wide), cluster.taken.counts().1), (0, 1));
    let again = cluster
        .patch(&cluster_wide, json!({ "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000 }))
        .unwrap();
    assert_eq!(number(&again), 32000);
    let plain = cluster.patch(&again, json!({ "type": "ClusterIP" })).unwrap();
    assert_eq!((number(&plain), cluster.taken.counts()), (0, (1, 0)));
}

#[test]
fn one_write_never_draws_a_number_twice() {
    for seed in 0..100 {
        let mut cluster = cluster(&["10.96.0.0/16"], 30000..=30003);
        cluster.seed = seed;
        let ports = [port("a", 1, "TCP", 0), port("b", 2, "UDP", 0), port("c", 3, "SCTP", 0)];
        let members = json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": ports });
        let made = cluster.create("web", spec(members.clone())).unwrap();
        let mut numbers: BTreeSet<_> = node_ports(&made).into_iter().collect();
        numbers.extend(made["spec"]["healthCheckNodePort"].as_i64());
        assert_eq!(numbers, (30000..=30003).collect(), "seed {seed}: four numbers for four needs");

        cluster.taken = Taken::default();
        let plain = cluster.create("web", spec(json!({ "ports": ports }))).unwrap();
        let grown = cluster.update(&plain, spec(members)).unwrap();
        assert_eq!(node_ports(&grown).into_iter().collect::<BTreeSet<_>>().len(), 3, "seed {seed}: on update too");
    }
}
