//! Services and slices of every policy -> objects of a small cluster, where chance alone would seldom serve anything.

use serde_json::{Value, json};

use super::world::{self, CLUSTER_IPS, PODS, World};

/// Source ranges of both families.
pub(crate) const RANGES: [&str; 3] = ["203.0.113.0/25", "10.244.0.0/16", "2001:db8:1::/48"];

/// Endpoint and node.
pub(crate) type Endpoints = &'static [(&'static str, &'static str)];

/// Here and elsewhere, elsewhere and beyond the pods' ranges, none, here and on the host itself.
pub(crate) const ENDPOINTS: [[Endpoints; 2]; 4] = [
    [
        &[("10.244.0.1", "n1"), ("10.244.0.2", "n2"), ("10.244.0.3", "n1")],
        &[("fd24::1", "n1"), ("fd24::2", "n2"), ("fd24::3", "n1")],
    ],
    [&[("10.244.0.2", "n2"), ("203.0.113.50", "n2")], &[("fd24::2", "n2"), ("2001:db8:9::50", "n2")]],
    [&[], &[]],
    [&[("10.244.0.1", "n1"), ("198.51.100.1", "n1")], &[("fd24::1", "n1"), ("2001:db8:2::1", "n1")]],
];

/// Two pods on the node.
pub(crate) fn pods(world: &mut World) {
    for pod in 0..2 {
        let ips = [json!({"ip": PODS[pod]}), json!({"ip": PODS[pod + 4]})];
        let object = json!({"metadata": {}, "spec": {"nodeName": world::NODE}, "status": {"podIPs": ips}});
        world.put("pods", "d", &format!("p{pod}"), &object);
    }
}

/// A Service with everything, in both families: kinds of policy, ranges, affinity, endpoints here, elsewhere and
/// outside of the pods' ranges.
pub(crate) fn service(index: usize, external: &str, internal: &str, affinity: Option<u32>, ranges: &[&str]) -> Value {
    let ports: Vec<Value> = [("a", "TCP", 80, 30_000), ("b", "UDP", 80, 30_001), ("c", "TCP", 81, 30_002), ("d", "SCTP", 81, 30_000)]
        .map(|(name, protocol, port, node_port)| json!({"name": name, "protocol": protocol, "port": port, "nodePort": node_port}))
        .into();
    let ingress = [["192.0.2.1", "2001:db8::1"], ["192.0.2.2", "2001:db8::2"], ["192.0.2.3", "2001:db8::3"]][index];
    let affinity_config = json!({"clientIP": {"timeoutSeconds": affinity.unwrap_or(1)}});
    json!({
        "metadata": {},
        "spec": {
            "type": "LoadBalancer", "ports": if index == 0 { ports.clone() } else { without_node_ports(ports) },
            "clusterIP": CLUSTER_IPS[index], "clusterIPs": [CLUSTER_IPS[index], CLUSTER_IPS[index + 3]],
            "loadBalancerSourceRanges": ranges, "sessionAffinity": if affinity.is_some() { "ClientIP" } else { "None" },
            "sessionAffinityConfig": affinity_config,
            "internalTrafficPolicy": internal, "externalTrafficPolicy": external,
        },
        "status": {"loadBalancer": {"ingress": ingress.map(|ip| json!({"ip": ip}))}},
    })
}

fn without_node_ports(ports: Vec<Value>) -> Vec<Value> {
    ports
        .into_iter()
        .map(|mut port| {
            port["nodePort"] = json!(0);
            port
        })
        .collect()
}

/// Endpoints of a Service, in both families.
pub(crate) fn slices(world: &mut World, index: usize, [four, six]: [Endpoints; 2]) {
    for (name, family, endpoints) in [("four", "IPv4", four), ("six", "IPv6", six)] {
        let endpoints: Vec<Value> =
            endpoints.iter().map(|(address, node)| json!({"addresses": [address], "nodeName": node})).collect();
        let ports = world::PORTS.map(|(name, protocol, _)| json!({"name": name, "protocol": protocol, "port": 8000}));
        let slice = json!({
            "metadata": {"labels": {"kubernetes.io/service-name": format!("s{index}")}}, "addressType": family,
            "ports": ports, "endpoints": endpoints,
        });
        world.put("endpointslices", "d", &format!("{name}{index}"), &slice);
    }
}
