//! Random bytes -> changes of a small cluster, as the JSON that an API server would send.

use std::net::IpAddr;

use api::object::{ObjectKey, Revision};
use compile::load_balancer::Pools;
use compile::service_table::Config;
use compile::snapshot::Builder;
use serde_json::{Value, json};

/// Choices from bytes; zero once they run out, so that smaller inputs are simpler worlds.
pub(crate) struct Draw<'a>(pub(crate) &'a [u8]);

impl Draw<'_> {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % bound
    }

    /// True once in `bound`.
    pub(crate) fn rarely(&mut self, bound: usize) -> bool {
        self.below(bound) == bound - 1
    }

    /// One of several.
    pub(crate) fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

pub(crate) const NODE: &str = "n1";
pub(crate) const CLUSTER_IPS: [&str; 6] = ["10.96.0.1", "10.96.0.2", "10.96.0.3", "fd96::1", "fd96::2", "fd96::3"];
pub(crate) const LB_IPS: [&str; 4] = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "10.96.0.2"];
pub(crate) const PODS: [&str; 8] =
    ["10.244.0.1", "10.244.0.2", "10.244.0.3", "10.244.0.4", "fd24::1", "fd24::2", "fd24::3", "fd24::4"];
pub(crate) const PORTS: [(&str, &str, u16); 4] =
    [("a", "TCP", 80), ("b", "UDP", 80), ("c", "TCP", 81), ("d", "SCTP", 81)];
pub(crate) const NODE_PORTS: [u16; 3] = [30000, 30001, 30002];
pub(crate) const RANGES: [&str; 6] =
    ["203.0.113.0/24", "203.0.113.128/25", "203.0.0.0/16", "10.244.0.0/16", "2001:db8:1::/48", "0.0.0.0/0"];

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn config() -> Config {
    Config {
        node: NODE.into(),
        pod_cidrs: ["10.244.0.0/16", "fd24::/64"].map(|range| range.parse().unwrap()).into(),
        service_cidrs: ["10.96.0.0/16", "fd96::/112"].map(|range| range.parse().unwrap()).into(),
        egress: false,
        node_port_addresses: ["198.51.100.1", "2001:db8:2::1"].map(ip).into(),
        dns_addresses: vec![ip("10.96.0.10")],
        // The last of LB_IPS is in no pool.
        pools: Pools::parse(&["192.0.2.1-192.0.2.2", "2001:db8::1"]).unwrap(),
        ..Config::default()
    }
}

/// The cluster as watched, with a revision that grows.
#[derive(Default)]
pub(crate) struct World {
    /// Every Service chooses by chance among endpoints of one weight.
    pub(crate) plain: bool,
    pub(crate) builder: Builder,
    pub(crate) revision: Revision,
}

impl World {
    pub(crate) fn put(&mut self, plural: &str, namespace: &str, name: &str, object: &Value) {
        self.revision.0 += 1;
        let key = ObjectKey::new(namespace, name);
        let mut object = object.clone();
        if let Some(meta) = object["metadata"].as_object_mut().filter(|_| self.plain) {
            meta.remove("annotations");
        }
        // What cannot be used is a problem that the builder remembers, and counts as absent.
        _ = self.builder.put(plural, &key, self.revision, object.to_string().as_bytes());
    }

    pub(crate) fn delete(&mut self, plural: &str, namespace: &str, name: &str) {
        self.revision.0 += 1;
        self.builder.delete(plural, &ObjectKey::new(namespace, name));
    }

    /// Something to begin with: three Services of all ports in both families, each with two endpoints.
    pub(crate) fn begin(&mut self) {
        for index in 0..6 {
            let (service, v6) = (index % 3, index >= 3);
            let pods = &PODS[if v6 { 4 } else { 0 }..][..4];
            let endpoint = |at: usize, node| json!({"addresses": [pods[(service + at) % 4]], "nodeName": node});
            self.put("services", "d", &format!("s{service}"), &self::service(&mut Draw(&[2]), service));
            let ports = PORTS.map(|(name, protocol, _)| json!({"name": name, "protocol": protocol, "port": 8000}));
            let slice = json!({
                "metadata": {"labels": {"kubernetes.io/service-name": format!("s{service}")}},
                "addressType": if v6 { "IPv6" } else { "IPv4" },
                "ports": ports, "endpoints": [endpoint(0, NODE), endpoint(1, "n2")],
            });
            self.put("endpointslices", "d", &format!("e{index}"), &slice);
        }
    }

    /// One change.
    pub(crate) fn change(&mut self, bytes: &[u8]) {
        let draw = &mut Draw(bytes);
        match draw.below(12) {
            0..=4 => self.change_slice(draw),
            5..=8 => self.change_service(draw),
            9 | 10 => self.change_pod(draw),
            _ => {
                let labels = draw.one(&[json!({}), json!({"topology.kubernetes.io/zone": "z1"})]);
                self.put("nodes", "", NODE, &json!({"metadata": {"name": NODE, "labels": labels}}));
            }
        }
    }

    fn change_service(&mut self, draw: &mut Draw<'_>) {
        let index = draw.below(3);
        let name = format!("s{index}");
        if draw.rarely(8) {
            return self.delete("services", "d", &name);
        }
        let service = service(draw, index);
        self.put("services", "d", &name, &service);
    }

    fn change_slice(&mut self, draw: &mut Draw<'_>) {
        let name = format!("e{}", draw.below(6));
        if draw.rarely(8) {
            return self.delete("endpointslices", "d", &name);
        }
        let owner = format!("s{}", draw.below(3));
        let v6 = draw.rarely(3);
        let named = draw.below(PORTS.len());
        let ports: Vec<Value> = (0..2 + draw.below(3))
            .map(|index| {
                let (name, protocol, _) = PORTS[(named + index) % PORTS.len()];
                json!({"name": name, "protocol": protocol, "port": 8000 + draw.below(2)})
            })
            .collect();
        let endpoints: Vec<Value> = (0..draw.below(6)).map(|_| endpoint(draw, v6)).collect();
        let weighted = draw.rarely(3);
        let weight = |pod: &&str| format!("{pod}={}", draw.one(&["1", "1", "2", "3", "0", "much"]));
        let weights: Vec<String> = PODS.iter().filter(|_| weighted).map(weight).collect();
        let slice = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": owner},
                         "annotations": {"mainstay.dev/weights": weights.join(",")}},
            "addressType": if v6 { "IPv6" } else { "IPv4" },
            "ports": ports, "endpoints": endpoints,
        });
        self.put("endpointslices", "d", &name, &slice);
    }

    fn change_pod(&mut self, draw: &mut Draw<'_>) {
        let index = draw.below(4);
        let name = format!("p{index}");
        if draw.rarely(4) {
            return self.delete("pods", "d", &name);
        }
        let node = draw.one(&[NODE, "n2"]);
        let ips = [json!({"ip": PODS[index]}), json!({"ip": PODS[index + 4]})];
        let pod = json!({"metadata": {"name": name}, "spec": {"nodeName": node}, "status": {"podIPs": ips}});
        self.put("pods", "d", &name, &pod);
    }
}

fn service(draw: &mut Draw<'_>, index: usize) -> Value {
    let kind = draw.one(&["ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer", "ClusterIP", "ExternalName"]);
    let headless = draw.rarely(12);
    // Mostly its own addresses, sometimes those of another.
    let [four, six] = [0, 3].map(|first| CLUSTER_IPS[first + if draw.rarely(5) { draw.below(3) } else { index }]);
    let addresses = match draw.below(4) {
        0 | 1 => vec![four, six],
        2 => vec![four],
        _ => vec![six],
    };
    let used = 15 - draw.below(15);
    let ports: Vec<Value> = (0..PORTS.len())
        .filter(|index| used >> index & 1 == 1)
        .map(|index| {
            let (name, protocol, port) = PORTS[index];
            let node_port = if kind == "ClusterIP" { 0 } else { draw.one(&NODE_PORTS) };
            json!({"name": name, "protocol": protocol, "port": port, "nodePort": node_port})
        })
        .collect();
    let ingress: Vec<Value> = (0..draw.below(3))
        .map(|_| json!({"ip": draw.one(&LB_IPS), "ipMode": draw.one(&["VIP", "VIP", "VIP", "Proxy"])}))
        .collect();
    let ranges: Vec<&str> = (0..draw.below(4)).map(|_| draw.one(&RANGES)).collect();
    let policies = ["Cluster", "Cluster", "Local"];
    let affinity = draw.one(&["None", "None", "ClientIP"]);
    let labels = if draw.rarely(12) { json!({"service.kubernetes.io/service-proxy-name": "x"}) } else { json!({}) };
    let mut service = json!({
        "metadata": {"labels": labels},
        "spec": {
            "type": kind, "ports": ports, "loadBalancerSourceRanges": ranges, "sessionAffinity": affinity,
            "clusterIP": if headless { "None" } else { addresses[0] }, "clusterIPs": addresses,
            "internalTrafficPolicy": draw.one(&policies), "externalTrafficPolicy": draw.one(&policies),
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1 + draw.below(200)}},
        },
        "status": {"loadBalancer": {"ingress": ingress}},
    });
    // Rarely a table: it has four thousand slots.
    let table = draw.rarely(24);
    let balance = if table { "consistent-hash" } else { draw.one(&["random", "round-robin", "no-such-thing"]) };
    let hash_on = draw.one(&["client-ip", "client-ip", "connection"]);
    let annotations = json!({"mainstay.dev/balance": balance, "mainstay.dev/hash-on": hash_on});
    service["metadata"]["annotations"] = annotations;
    service
}

fn endpoint(draw: &mut Draw<'_>, v6: bool) -> Value {
    let pods = if v6 { &PODS[4..] } else { &PODS[..4] };
    let odd = if v6 { ["::1", "fe80::1", "10.244.0.1"] } else { ["127.0.0.1", "169.254.7.7", "fd24::2"] };
    let address = if draw.rarely(16) { draw.one(&odd) } else { draw.one(pods) };
    let conditions = draw.one(&[
        json!({}),
        json!({"ready": true, "serving": true, "terminating": false}),
        json!({"ready": true}),
        json!({"ready": false, "serving": false}),
        json!({"ready": false, "serving": true, "terminating": true}),
        json!({"ready": false, "serving": false, "terminating": true}),
    ]);
    let mut endpoint = json!({"addresses": [address], "conditions": conditions, "nodeName": draw.one(&[NODE, "n2"])});
    match draw.below(8) {
        1 | 4 => endpoint["hints"] = json!({"forZones": [{"name": draw.one(&["z1", "z2"])}]}),
        2 | 5 => endpoint["hints"] = json!({"forNodes": [{"name": draw.one(&[NODE, "n2"])}]}),
        3 => endpoint["hints"] = json!({"forZones": [{"name": "z1"}], "forNodes": [{"name": "n2"}]}),
        _ => {}
    }
    endpoint
}
