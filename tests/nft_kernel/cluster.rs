//! Objects in, the kernel of a node programmed by the real compiler and programmer out: the whole way but the API.

use api::object::{ObjectKey, Revision};
use compile::nft::state::Batch;
use compile::nft::{Plan, Programmer};
use compile::service_table::Config;
use compile::snapshot::Builder;
use dataplane::Dataplane;
use dataplane::nft::{Nft, encoded_len};
use serde_json::{Value as Json, json};

use super::topology::*;

/// A cluster and one of its nodes.
pub(crate) struct Cluster {
    pub(crate) node: Node,
    pub(crate) nft: Nft,
    builder: Builder,
    programmer: Programmer,
    revision: u64,
}

fn config() -> Config {
    let range = |text: &str| text.parse().unwrap();
    Config {
        node: "n1".into(),
        pod_cidrs: vec![range("10.244.0.0/16"), range("fd00:244::/64")],
        service_cidrs: vec![range("10.96.0.0/16"), range("fd00:96::/112")],
        node_port_addresses: vec![ip("10.244.0.1"), ip("fd00:244::1")],
        pools: compile::load_balancer::Pools::parse(&["203.0.113.0/24"]).unwrap(),
        ..Config::default()
    }
}

impl Cluster {
    /// A node whose rules are installed and whose ranges are known; `indexed`: it follows UDP flows.
    pub(crate) fn new(indexed: bool) -> Self {
        let node = Node::new();
        let mut nft = node.netns.run(|| Nft::open().unwrap());
        if indexed {
            node.netns.run(|| nft.follow_flows().unwrap());
        }
        assert_eq!(nft.observe().unwrap(), None);
        nft.install().unwrap();
        let programmer = Programmer::new(config());
        let mut cluster = Self { node, nft, builder: Builder::default(), programmer, revision: 0 };
        cluster.step();
        cluster
    }

    fn put(&mut self, plural: &str, name: &str, object: &Json) {
        self.revision += 1;
        let key = ObjectKey::new("ns", name);
        self.builder.put(plural, &key, Revision(self.revision), object.to_string().as_bytes()).unwrap();
    }

    /// A UDP Service, port 80 to 8080, on these cluster IPs; more of its spec as JSON.
    pub(crate) fn service(&mut self, name: &str, addresses: [&str; 2], more: &Json) {
        let mut spec = json!({ "type": "ClusterIP", "clusterIP": addresses[0], "clusterIPs": addresses,
            "ipFamilies": ["IPv4", "IPv6"], "ports": [{ "port": 80, "protocol": "UDP" }] });
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        let ingress: Vec<Json> = spec["vips"].as_array().into_iter().flatten().map(|ip| json!({ "ip": ip })).collect();
        let status = json!({ "loadBalancer": { "ingress": ingress } });
        self.put("services", name, &json!({ "metadata": {}, "spec": spec, "status": status }));
    }

    /// The endpoints of a Service, all ready, in both families.
    pub(crate) fn endpoints(&mut self, service: &str, hosts: &[&Host]) {
        self.endpoints_that_are(service, hosts, &json!({ "ready": true }));
    }

    /// The endpoints of a Service under these conditions.
    pub(crate) fn endpoints_that_are(&mut self, service: &str, hosts: &[&Host], conditions: &Json) {
        for v4 in [true, false] {
            let one = |host: &&Host| {
                let address = if v4 { host.four } else { host.six };
                json!({ "addresses": [address], "conditions": conditions, "nodeName": "n2" })
            };
            let endpoints: Vec<Json> = hosts.iter().map(one).collect();
            let slice = json!({ "metadata": { "labels": { "kubernetes.io/service-name": service } },
                "addressType": if v4 { "IPv4" } else { "IPv6" }, "endpoints": endpoints,
                "ports": [{ "name": "", "protocol": "UDP", "port": 8080 }] });
            self.put("endpointslices", &format!("{service}-{v4}"), &slice);
        }
    }

    /// Deletes a Service and its slices.
    pub(crate) fn delete(&mut self, service: &str) {
        self.builder.delete("services", &ObjectKey::new("ns", service));
        for v4 in [true, false] {
            self.builder.delete("endpointslices", &ObjectKey::new("ns", format!("{service}-{v4}")));
        }
    }

    /// Plans what changed since the last time.
    pub(crate) fn plan(&mut self) -> Plan {
        self.revision += 1;
        let (snapshot, changes) = self.builder.publish(Revision(self.revision));
        self.programmer.plan(&snapshot, &changes, self.nft.batch_bytes_max(), &encoded_len)
    }

    /// Brings the kernel to what the objects say: when this returns, the revision is confirmed. The batches.
    pub(crate) fn step(&mut self) -> Vec<Batch> {
        let plan = self.plan();
        plan.batches.iter().for_each(|batch| self.nft.apply(batch).unwrap());
        plan.batches
    }

    /// The process ends and another one starts, which finds the kernel as it is.
    pub(crate) fn restart(&mut self, indexed: bool) {
        // The old one's log group is free once it is gone.
        self.nft = self.node.netns.run(|| Nft::open().unwrap());
        if indexed {
            self.node.netns.run(|| self.nft.follow_flows().unwrap());
        }
        let state = self.nft.observe().unwrap().expect("the table is ours");
        self.programmer = Programmer::new(config());
        self.programmer.adopt(state);
    }
}
