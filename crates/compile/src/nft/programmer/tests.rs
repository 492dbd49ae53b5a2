//! The programmer against a table as strict as the kernel: an existing key cannot be added, a missing one not deleted.

use serde_json::{Value as Json, json};

use super::*;
use crate::nft::words;
use crate::snapshot::Builder;
use api::object::Revision;

mod balance;

const NODE: &str = "n1";

fn config() -> Config {
    Config {
        node: NODE.into(),
        pod_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
        service_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
        egress: false,
        node_port_addresses: vec![[192, 0, 2, 1].into()],
        dns_addresses: vec![[10, 96, 0, 10].into()],
        pools: crate::load_balancer::Pools::parse(&["203.0.113.0/24"]).unwrap(),
        ..Config::default()
    }
}

fn size(element: &Element) -> usize {
    16 + element.key.len() + element.value.len()
}

/// A cluster, the programmer of one of its nodes, and what that node's kernel holds.
struct Rig {
    builder: Builder,
    revision: u64,
    programmer: Programmer,
    kernel: State,
    bytes_max: usize,
    flushed: Vec<u32>,
    flushes: Vec<flows::Flush>,
}

impl Rig {
    fn new(bytes_max: usize) -> Self {
        let programmer = Programmer::new(config());
        Self {
            builder: Builder::default(),
            revision: 0,
            programmer,
            kernel: State::new(),
            bytes_max,
            flushed: vec![],
            flushes: vec![],
        }
    }

    fn put(&mut self, plural: &str, name: &str, object: &Json) {
        self.revision += 1;
        let key = ObjectKey::new(if plural == "nodes" { "" } else { "ns" }, name);
        self.builder.put(plural, &key, Revision(self.revision), object.to_string().as_bytes()).unwrap();
    }

    fn service(&mut self, name: &str, spec: &Json) {
        let ingress: Vec<Json> = spec["vips"].as_array().into_iter().flatten().map(|ip| json!({ "ip": ip })).collect();
        let status = json!({ "loadBalancer": { "ingress": ingress } });
        self.put("services", name, &json!({ "metadata": {}, "spec": spec, "status": status }));
    }

    /// One slice of a Service, every endpoint ready.
    fn endpoints(&mut self, service: &str, protocol: &str, addresses: &[&str]) {
        let endpoints: Vec<Json> = addresses.iter().map(|address| json!({ "addresses": [address] })).collect();
        let labels = json!({ "kubernetes.io/service-name": service });
        let ports = json!([{ "name": "", "protocol": protocol, "port": 8080 }]);
        let slice = json!({ "metadata": { "labels": labels }, "addressType": "IPv4", "ports": ports,
            "endpoints": endpoints });
        self.put("endpointslices", &format!("{service}-1"), &slice);
    }

    fn delete(&mut self, plural: &str, name: &str) {
        self.builder.delete(plural, &ObjectKey::new("ns", name));
    }

    fn plan(&mut self) -> Plan {
        self.revision += 1;
        let (snapshot, changes) = self.builder.publish(Revision(self.revision));
        self.programmer.plan(&snapshot, &changes, self.bytes_max, &size)
    }

    /// Plans and applies; after every batch each frontend leads to an address.
    fn step(&mut self) -> Plan {
        let plan = self.plan();
        for batch in &plan.batches {
            self.apply(batch);
            whole(&self.kernel);
        }
        assert_eq!(self.kernel, self.programmer.state());
        plan
    }

    fn apply(&mut self, batch: &Batch) {
        for gone in &batch.delete {
            let set = self.kernel.get_mut(&gone.set).unwrap_or_else(|| panic!("ENOENT {gone:?}"));
            assert!(set.remove(&gone.key).is_some(), "ENOENT {gone:?}");
            if set.is_empty() {
                self.kernel.remove(&gone.set);
            }
        }
        for new in &batch.add {
            let old = self.kernel.entry(new.set).or_default().insert(new.key.clone(), new.value.clone());
            assert_eq!(old, None, "EEXIST {new:?}");
        }
        self.flushed.extend(batch.flush.iter().flat_map(|flush| &flush.left));
        self.flushes.extend(batch.flush.iter().cloned());
    }

    /// The process starts again and finds the kernel as it is.
    fn restart(&mut self) {
        self.programmer = Programmer::new(config());
        self.programmer.adopt(self.kernel.clone());
    }

    /// The endpoints behind the cluster set of a frontend.
    fn behind(&self, set: SetName, key: &[u8]) -> Vec<String> {
        let front = words::word(&self.kernel[&set][key]).unwrap();
        let id = ServiceId::of(front).unwrap();
        let slots = self.kernel.get(&SetName::Slots).into_iter().flatten();
        let own = slots.filter(|(key, _)| words::word(key) == Some(id.set(false)));
        let target = |endpoint: &Value| self.kernel[&SetName::Ep4][endpoint].clone();
        own.map(|(_, endpoint)| super::super::held::backend_of(&target(endpoint)).unwrap().address.to_string())
            .collect()
    }

    fn problems(&self) -> Vec<String> {
        self.programmer.problems().map(|problem| format!("{}: {}", problem.service, problem.why)).collect()
    }
}

/// Every frontend has a set, every slot below the smallest count of its class an endpoint with address and identity.
fn whole(kernel: &State) {
    let empty = BTreeMap::new();
    let of = |set| kernel.get(&set).unwrap_or(&empty);
    for set in [SetName::Front4, SetName::Nodeport4] {
        for (key, front) in of(set) {
            let id = ServiceId::of(words::word(front).unwrap()).unwrap();
            let choice = of(SetName::SetCluster).get(&words::bytes(id.word()));
            let choice = choice.unwrap_or_else(|| panic!("{set:?} {key:?} leads to no set"));
            let pick = words::word(choice).unwrap() & 0x3f;
            for slot in 0..pick.saturating_sub(1) {
                let key: Vec<u8> = [id.set(false).to_ne_bytes(), slot.to_ne_bytes()].concat();
                let endpoint = of(SetName::Slots).get(&*key).unwrap_or_else(|| panic!("no slot {slot}"));
                assert!(of(SetName::Ep4).contains_key(endpoint), "slot {slot} names an endpoint without address");
                assert!(of(SetName::CtIds).contains_key(endpoint), "slot {slot} names an endpoint without identity");
            }
        }
    }
}

fn cluster_ip(address: &str) -> Json {
    json!({ "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "ports": [{ "port": 80 }] })
}

fn node_port(address: &str, number: u16) -> Json {
    json!({ "type": "NodePort", "clusterIP": address, "clusterIPs": [address],
        "ports": [{ "port": 80, "nodePort": number }] })
}

fn front(address: [u8; 4], port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    [&address[..], &[6, 0, 0, 0, high, low, 0, 0]].concat()
}

fn port(number: u16) -> Vec<u8> {
    front([0; 4], number)[4..].to_vec()
}

#[test]
fn one_change_costs_the_same_however_many_services_there_are() {
    let cost = |services: usize| {
        let mut rig = Rig::new(1 << 20);
        for index in 0..services {
            let name = format!("s{index:05}");
            rig.service(&name, &cluster_ip(&format!("10.96.{}.{}", 1 + index / 250, 1 + index % 250)));
            let first = format!("10.244.{}.{}", index / 100, 1 + 2 * (index % 100));
            let second = format!("10.244.{}.{}", index / 100, 2 + 2 * (index % 100));
            rig.endpoints(&name, "TCP", &[&first, &second]);
        }
        rig.step();
        rig.endpoints("s00003", "TCP", &["10.244.0.7", "10.244.0.8", "10.244.200.1"]);
        let plan = rig.step();
        (plan.keys_compiled, plan.bytes, plan.batches.len())
    };
    let few = cost(10);
    assert_eq!(few.0, 1);
    assert_eq!(few, cost(2_000));
}

#[test]
fn a_restart_with_nothing_new_writes_nothing() {
    let mut rig = Rig::new(1 << 20);
    rig.service("a", &node_port("10.96.0.1", 30_001));
    rig.endpoints("a", "TCP", &["10.244.0.1", "10.244.0.2", "10.244.0.3"]);
    rig.step();
    rig.restart();
    assert_eq!(rig.step().batches, []);
    rig.endpoints("a", "TCP", &["10.244.0.1", "10.244.0.3"]);
    rig.step();
    rig.restart();
    assert_eq!(rig.step().batches, [], "also with slots out of order");
}

#[test]
fn a_service_created_while_we_were_down_does_not_take_numbers_that_the_kernel_still_holds() {
    let mut rig = Rig::new(64);
    let before = [("m", "10.96.0.1", "TCP", "10.244.0.1"), ("n", "10.96.0.2", "UDP", "10.244.0.2")];
    for (name, address, protocol, endpoint) in before {
        let mut spec = cluster_ip(address);
        spec["ports"][0]["protocol"] = json!(protocol);
        rig.service(name, &spec);
        rig.endpoints(name, protocol, &[endpoint]);
    }
    rig.step();
    let fronts = rig.kernel[&SetName::Front4].clone();
    let identities = rig.kernel[&SetName::CtIds].clone();
    rig.restart();
    rig.service("a", &cluster_ip("10.96.0.3"));
    rig.endpoints("a", "TCP", &["10.244.0.9"]);
    rig.delete("services", "n");
    rig.step();
    let kept = front([10, 96, 0, 1], 80);
    assert_eq!(rig.kernel[&SetName::Front4][&*kept], fronts[&*kept], "the survivor keeps its number");
    assert!(rig.kernel[&SetName::CtIds].iter().any(|(key, value)| identities.get(key) == Some(value)));
    assert_eq!(rig.behind(SetName::Front4, &front([10, 96, 0, 3], 80)), ["10.244.0.9"]);
    assert_eq!(rig.flushed.len(), 1, "flows of the Service that went meanwhile end");
}

#[test]
fn foreign_elements_are_removed_even_where_ours_must_go() {
    let mut rig = Rig::new(64);
    rig.service("a", &node_port("10.96.0.1", 30_001));
    rig.endpoints("a", "TCP", &["10.244.0.1"]);
    let stale = words::bytes(ServiceId(1).frontend(words::Policy::default()));
    rig.kernel.entry(SetName::Nodeport4).or_default().insert(port(30_001).into(), words::bytes(7));
    rig.kernel.entry(SetName::Nodeport4).or_default().insert(port(30_002).into(), stale);
    rig.kernel.entry(SetName::Slots).or_default().insert(
        [ServiceId(1).set(false).to_ne_bytes(), [0; 4]].concat().into(),
        words::bytes(ServiceId(1).endpoint(1)),
    );
    rig.kernel.entry(SetName::Hairpin4).or_default().insert([9; 8].into(), Value::default());
    rig.kernel.entry(SetName::Ep4).or_default().insert([1, 2, 3, 4].into(), [0; 8].into());
    rig.restart();
    let plan = rig.plan();
    plan.batches.iter().for_each(|batch| rig.apply(batch));
    assert_eq!(rig.kernel, rig.programmer.state());
    assert_eq!(rig.behind(SetName::Nodeport4, &port(30_001)), ["10.244.0.1"]);
}

#[test]
fn node_ports_that_two_services_exchange_always_lead_somewhere() {
    for restart in [false, true] {
        let mut rig = Rig::new(64);
        for (name, address, number, endpoint) in
            [("a", "10.96.0.1", 30_001, "10.244.0.1"), ("b", "10.96.0.2", 30_002, "10.244.0.2")]
        {
            rig.service(name, &node_port(address, number));
            rig.endpoints(name, "TCP", &[endpoint]);
        }
        rig.step();
        if restart {
            rig.restart();
        }
        rig.service("a", &node_port("10.96.0.1", 30_002));
        rig.service("b", &node_port("10.96.0.2", 30_001));
        let plan = rig.plan();
        assert!(plan.batches.len() > 1, "the limit is small");
        for batch in plan.batches {
            rig.apply(&batch);
            whole(&rig.kernel);
            assert_eq!(rig.kernel[&SetName::Nodeport4].len(), 2, "no node port is without an owner");
        }
        assert_eq!(rig.behind(SetName::Nodeport4, &port(30_001)), ["10.244.0.2"]);
        assert_eq!(rig.behind(SetName::Nodeport4, &port(30_002)), ["10.244.0.1"]);
        assert_eq!(rig.problems(), [""; 0]);
    }
}

#[test]
fn a_deleted_services_address_goes_to_its_successor_without_a_gap() {
    for (old, new) in [("a", "z"), ("z", "a")] {
        let mut rig = Rig::new(64);
        rig.service(old, &cluster_ip("10.96.0.1"));
        rig.endpoints(old, "TCP", &["10.244.0.1"]);
        rig.step();
        rig.delete("services", old);
        rig.service(new, &cluster_ip("10.96.0.1"));
        rig.endpoints(new, "TCP", &["10.244.0.2"]);
        for batch in rig.plan().batches {
            rig.apply(&batch);
            whole(&rig.kernel);
            assert!(rig.kernel.contains_key(&SetName::Front4), "the address always has an owner");
        }
        assert_eq!(rig.behind(SetName::Front4, &front([10, 96, 0, 1], 80)), ["10.244.0.2"]);
    }
}

#[test]
fn a_restricted_address_stays_restricted_while_it_changes_hands() {
    for (old, new) in [("a", "z"), ("z", "a")] {
        let mut rig = Rig::new(64);
        let balanced = |address: &str, vips: Json| {
            json!({ "type": "LoadBalancer", "clusterIP": address, "clusterIPs": [address], "vips": vips,
                "loadBalancerSourceRanges": ["198.51.100.0/24"], "ports": [{ "port": 80 }] })
        };
        rig.service(old, &balanced("10.96.0.1", json!(["203.0.113.1"])));
        rig.service(new, &balanced("10.96.0.2", json!([])));
        rig.step();
        rig.service(old, &balanced("10.96.0.1", json!([])));
        rig.service(new, &balanced("10.96.0.2", json!(["203.0.113.1"])));
        let ranges = rig.kernel[&SetName::LbAllow4].clone();
        for batch in rig.plan().batches {
            rig.apply(&batch);
            assert_eq!(rig.kernel.get(&SetName::LbAllow4), Some(&ranges));
        }
        assert_eq!(rig.kernel, rig.programmer.state());
    }
}

#[test]
fn a_frontend_claimed_twice_belongs_to_the_first_and_heals_when_that_one_goes() {
    let mut rig = Rig::new(1 << 20);
    for (name, address, endpoint) in [("b", "10.96.0.2", "10.244.0.2"), ("a", "10.96.0.1", "10.244.0.1")] {
        rig.service(name, &node_port(address, 30_001));
        rig.endpoints(name, "TCP", &[endpoint]);
        rig.step();
    }
    assert_eq!(rig.behind(SetName::Nodeport4, &port(30_001)), ["10.244.0.1"], "the first by name");
    let lost = "ns/b: node port 30001 (Tcp) already belongs to Service ns/a: give one of them another";
    assert_eq!(rig.problems(), [lost]);
    rig.endpoints("b", "TCP", &["10.244.0.3"]);
    rig.step();
    assert_eq!(rig.problems(), [lost], "said once");
    rig.delete("services", "a");
    rig.step();
    assert_eq!(rig.behind(SetName::Nodeport4, &port(30_001)), ["10.244.0.3"]);
    assert_eq!(rig.problems(), [""; 0]);
}

#[test]
fn only_udp_endpoints_that_left_are_flushed() {
    for (protocol, flushed) in [("TCP", 0), ("UDP", 1)] {
        let mut rig = Rig::new(1 << 20);
        let mut spec = cluster_ip("10.96.0.1");
        spec["ports"][0]["protocol"] = json!(protocol);
        rig.service("a", &spec);
        rig.endpoints("a", protocol, &["10.244.0.1", "10.244.0.2"]);
        rig.step();
        rig.endpoints("a", protocol, &["10.244.0.2", "10.244.0.3"]);
        rig.step();
        assert_eq!(rig.flushed.len(), flushed, "{protocol}");
        let kept: Vec<u32> = rig.kernel[&SetName::CtIds].values().map(|mark| words::word(mark).unwrap()).collect();
        assert!(rig.flushed.iter().all(|mark| !kept.contains(mark)));
    }
}

/// Where unknown addresses are refused, as first address and the one after the last.
fn refused(rig: &Rig) -> Vec<String> {
    let text = |half: &[u8]| half.iter().map(ToString::to_string).collect::<Vec<_>>().join(".");
    rig.kernel[&SetName::ServiceCidrs4].keys().map(|key| format!("{}-{}", text(&key[..4]), text(&key[4..]))).collect()
}

#[test]
fn added_networks_are_refused_where_nothing_answers_until_they_go() {
    let mut rig = Rig::new(10_000);
    rig.step();
    let configured = refused(&rig);
    let network = |cidrs: &[&str]| json!({ "metadata": {}, "spec": { "cidrs": cidrs } });
    rig.put("servicecidrs", "more", &network(&["10.97.0.0/24", "fd00::/112"]));
    // Pods live in the first; after the second there is no address; the third is the configured one again.
    for (i, odd) in ["10.0.0.0/8", "255.255.255.0/24", "10.96.0.0/16"].iter().enumerate() {
        rig.put("servicecidrs", &format!("odd{i}"), &network(&[odd]));
    }
    let plan = rig.step();
    assert_eq!(plan.keys_compiled, 0, "no Service is compiled for it");
    let mut more = configured.clone();
    more.push("10.97.0.0-10.97.1.0".to_owned());
    more.sort();
    assert_eq!(refused(&rig), more);
    assert_eq!(rig.kernel[&SetName::ServiceCidrs6].len(), 1);
    rig.restart();
    assert!(rig.step().batches.is_empty(), "a restart finds them and writes nothing");
    rig.put("servicecidrs", "wider", &network(&["10.97.0.0/16"]));
    rig.step();
    assert!(refused(&rig).contains(&"10.97.0.0-10.98.0.0".to_owned()), "{:?}", refused(&rig));
    for name in ["wider", "more"] {
        rig.delete("servicecidrs", name);
        rig.step();
    }
    assert_eq!(refused(&rig), configured);
}

#[test]
fn the_way_out_is_masqueraded_only_where_there_is_one() {
    let state = |egress| {
        let mut programmer = Programmer::new(Config { egress, ..config() });
        let (snapshot, changes) = Builder::default().publish(Revision(1));
        programmer.plan(&snapshot, &changes, usize::MAX, &size);
        programmer.state()
    };
    assert_eq!(state(false).get(&SetName::Egress4), None);
    let with = state(true);
    assert_eq!(with.get(&SetName::Egress4), with.get(&SetName::Pods4), "the pods' ranges");
}

fn udp(spec: Json) -> Json {
    let mut spec = spec;
    spec["ports"][0]["protocol"] = json!("UDP");
    spec
}

/// What the last step says of flows: (identities that left, closed, opened) per Service port.
fn said(rig: &mut Rig) -> Vec<(usize, Vec<String>, Vec<String>)> {
    rig.flushes.clear();
    rig.step();
    let name = |target: &flows::Target| match target.address {
        Some(address) => format!("{address}:{}", target.port),
        None => format!("*:{}", target.port),
    };
    let names = |targets: &[flows::Target]| targets.iter().map(name).collect();
    rig.flushes.iter().map(|flush| (flush.left.len(), names(&flush.closed), names(&flush.opened))).collect()
}

#[test]
fn flows_are_judged_by_frontends_that_come_and_go_and_endpoints_that_leave() {
    let texts = |texts: &[&str]| -> Vec<String> { texts.iter().map(ToString::to_string).collect() };
    let mut rig = Rig::new(1 << 20);
    rig.service("a", &udp(node_port("10.96.0.1", 30_001)));
    rig.endpoints("a", "UDP", &["10.244.0.1", "10.244.0.2"]);
    assert_eq!(said(&mut rig), [(0, vec![], texts(&["10.96.0.1:80", "*:30001"]))]);
    rig.endpoints("a", "UDP", &["10.244.0.1", "10.244.0.2", "10.244.0.3"]);
    assert_eq!(said(&mut rig), [], "an endpoint more ends no flow");
    rig.endpoints("a", "UDP", &["10.244.0.2", "10.244.0.3"]);
    assert_eq!(said(&mut rig), [(1, vec![], vec![])]);
    assert_eq!(rig.flushes[0].frontends.len(), 2, "flows without identity are looked for at its frontends");
    let serving: Vec<String> = rig.flushes[0].serving.iter().map(|(to, _)| to.address.to_string()).collect();
    assert_eq!(serving, ["10.244.0.2", "10.244.0.3"]);
    rig.service("a", &udp(cluster_ip("10.96.0.1")));
    assert_eq!(said(&mut rig), [(0, texts(&["*:30001"]), vec![])]);
    rig.restart();
    assert_eq!(said(&mut rig), [], "a restart with nothing new");
    rig.delete("services", "a");
    rig.service("b", &udp(cluster_ip("10.96.0.1")));
    rig.endpoints("b", "UDP", &["10.244.0.9"]);
    let mut exchanged = said(&mut rig);
    exchanged.sort();
    assert_eq!(exchanged, [(0, vec![], texts(&["10.96.0.1:80"])), (2, texts(&["10.96.0.1:80"]), vec![])]);
    rig.restart();
    rig.delete("services", "b");
    assert_eq!(said(&mut rig), [(1, texts(&["10.96.0.1:80"]), vec![])], "deleted while we were down");
}
